"""Make the notebooks from their sources, and web pages from the notebooks.

python notebooks/convert.py write   # write the .ipynb of each source
python notebooks/convert.py html    # run the notebooks; write build/html
"""

import signal

if __name__ == "__main__":  # Ctrl-C ends it at once, even during the imports
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import asyncio
import re
import subprocess
import sys
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "stages"))

import jupytext
import nbformat
from nbclient import NotebookClient
from nbconvert import HTMLExporter

from workshop.terminal import parse

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
NAMES = sorted(path.stem for path in FOLDER.glob("[0-9]_*.py"))
PAGES = ROOT / "build" / "html"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
NO_ADDRESS = 'ADDRESS = ""'  # in the set-up cell of each source
Notebooks = dict[str, nbformat.NotebookNode]  # keyed by name
ADDRESS_LINE = '<span class="address">'  # on the handout


def find_address() -> str:
    """Return the web address of the git remote, or "" if there is none."""
    command = ["git", "-C", str(ROOT), "remote", "get-url", "origin"]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        return ""  # git is not installed
    return make_address(done.stdout.strip())


def make_address(remote: str) -> str:
    """Return the web address of a git remote, "" if it is not on the web.

    A remote is https://HOST/PATH or git@HOST:PATH. Passwords are left out.
    """
    form = (
        r"(?:https://(?:[^/@]+@)?|git@)([^/:]+(?::\d+)?)[:/](.+?)(?:\.git)?/?"
    )
    found = re.fullmatch(form, remote)
    return f"https://{found[1]}/{found[2]}" if found else ""


def make_notebook(name: str, address: str = "") -> nbformat.NotebookNode:
    """Return the notebook of a py:percent source, without outputs.

    The random ids of cells are removed, so that equal sources make equal
    files.
    """
    source = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    source = source.replace(NO_ADDRESS, f'ADDRESS = "{address}"')
    notebook = jupytext.reads(source, fmt="py:percent")
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL})
    notebook.nbformat, notebook.nbformat_minor = 4, 4  # 4.5 adds ids
    for cell in notebook.cells:
        cell.pop("id", None)
    return notebook


def write_notebooks(folder: Path, address: str) -> None:
    """Write the .ipynb of every source into a folder."""
    for name in NAMES:
        nbformat.write(make_notebook(name, address), folder / f"{name}.ipynb")


class Loop(asyncio.SelectorEventLoop):
    """An event loop that works with Jupyter's sockets on every system."""

    def add_signal_handler(self, *_: object) -> None:
        """Refuse nbclient's handler, because this handler ignores Ctrl-C."""
        raise RuntimeError


def execute(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Run a notebook in its folder, and return it with its outputs.

    Raise CellExecutionError if a cell fails.
    """
    client = NotebookClient(
        notebook,
        extra_arguments=["--log-level=ERROR"],
        timeout=120,  # seconds for each cell
        resources={"metadata": {"path": str(FOLDER)}},
        store_widget_state=False,
        coalesce_streams=True,
    )
    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(client.async_execute())


def write_pages(folder: Path, notebooks: Notebooks, address: str) -> None:
    """Write a page for each notebook, and each notebook for download.

    `notebooks` maps names to notebooks that have been run. No page needs the
    network. The notebooks for download have no outputs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pages = {"index": make_index(notebooks), **notebooks}
    titles = {name: find_title(page) for name, page in pages.items()}
    exporter = HTMLExporter(
        template_file=str(FOLDER / "page.html.j2"),
        filters={"find_headings": find_headings},
    )
    for name, notebook in pages.items():
        facts = {"name": name, "titles": titles, "address": address}
        body, _ = exporter.from_notebook_node(notebook, {"page": facts})
        page = folder / f"{name}.html"
        page.write_text(fix_links(body, address), encoding="utf-8")
    write_notebooks(folder, address)
    handout = (FOLDER / "handout.html").read_text(encoding="utf-8")
    handout = handout.replace(ADDRESS_LINE, f"{ADDRESS_LINE}{address}")
    (folder / "handout.html").write_text(handout, encoding="utf-8")


def make_index(notebooks: Notebooks) -> nbformat.NotebookNode:
    """Return the first page: the title and beginning of each notebook."""
    parts = ["# A JAX workshop: the notebooks"]
    for name, notebook in notebooks.items():
        _, _, opening = notebook.cells[0].source.partition("\n")
        parts += [f"## [{find_title(notebook)}]({name}.ipynb)", opening]
    text = nbformat.v4.new_markdown_cell("\n\n".join(parts))
    return nbformat.v4.new_notebook(cells=[text])


def find_title(notebook: nbformat.NotebookNode) -> str:
    """Return the first heading of a notebook."""
    return notebook.cells[0].source.partition("\n")[0].strip("# ")


def find_headings(body: str) -> list[tuple[str, str]]:
    """Return the id and the HTML of each heading of the second level."""
    return re.findall(r'<h2 id="(.*?)">(.*?)<a class="anchor-link"', body)


def fix_links(body: str, address: str) -> str:
    """Make the links of a page lead to other pages and to the repository."""
    files = f"{address}/blob/HEAD/" if address else "../../"
    body = body.replace('<a href="../', f'<a href="{files}')
    return re.sub(r'(<a href="\w+)\.ipynb', r"\1.html", body)


def convert(action: Literal["write", "html"], /) -> None:
    """Make the notebooks, and pages from them.

    Args:
        action: `write` makes the notebooks; `html` runs them and makes pages.
    """
    if action == "write":
        write_notebooks(FOLDER, find_address())
        print(f"wrote {len(NAMES)} notebooks")
        return
    notebooks = {}
    for name in NAMES:
        print(f"running notebooks/{name}.ipynb", flush=True)
        notebooks[name] = execute(make_notebook(name))
    write_pages(PAGES, notebooks, find_address())
    print(f"wrote {(PAGES / 'index.html').relative_to(ROOT)} and its pages")


if __name__ == "__main__":
    parse(convert)()
