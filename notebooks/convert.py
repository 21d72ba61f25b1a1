"""Make the notebooks from their sources, and web pages from the notebooks.

python notebooks/convert.py write   # write the .ipynb of each source
python notebooks/convert.py check   # fail if a .ipynb differs from its source
python notebooks/convert.py html    # run the notebooks; write build/html
"""

import signal

if __name__ == "__main__":  # Ctrl-C ends it at once, even during the imports
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import asyncio
import re
import subprocess
import sys
import urllib.parse
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "stages"))

import jupytext
import nbformat
from bs4 import BeautifulSoup
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter
from nbconvert.filters import strip_ansi

from workshop.terminal import fail, parse

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
SOURCES = sorted(FOLDER.glob("[0-9]_*.py"))
PAGES = ROOT / "build" / "html"
SECONDS_PER_CELL = 120
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
NO_ADDRESS = 'ADDRESS = ""'  # in the set-up cell of each source
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

    User names, passwords and the port of ssh are left out.
    """
    if "://" not in remote:  # git@host:path
        remote = "ssh://" + remote.replace(":", "/", 1)
    url = urllib.parse.urlsplit(remote)
    _, _, host = url.netloc.rpartition("@")
    if not url.scheme.startswith("http"):
        host = host.partition(":")[0]
    path = url.path.strip("/").removesuffix(".git")
    is_host = re.fullmatch(r"[\w-]+(\.[\w-]+)+(:\d+)?", host)
    return f"https://{host}/{path}" if is_host and path else ""


def make_notebook(source: Path, address: str = "") -> nbformat.NotebookNode:
    """Return the notebook of a py:percent source, without outputs.

    The random ids of cells are removed, so that equal sources make equal
    files.
    """
    text = source.read_text(encoding="utf-8")
    text = text.replace(NO_ADDRESS, f'ADDRESS = "{address}"')
    notebook = jupytext.reads(text, fmt="py:percent")
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL})
    notebook.nbformat, notebook.nbformat_minor = 4, 4  # 4.5 adds ids
    for cell in notebook.cells:
        cell.pop("id", None)
    return notebook


def write_notebooks() -> None:
    """Write the .ipynb of every source."""
    for source in SOURCES:
        path = source.with_suffix(".ipynb")
        nbformat.write(make_notebook(source, find_address()), path)
        print(f"wrote {path.relative_to(ROOT)}")


def check_notebooks() -> None:
    """End with status 1 if a .ipynb differs from what its source makes.

    The web address in the .ipynb may differ, so that the check passes in a
    fork.
    """
    for source in SOURCES:
        path = source.with_suffix(".ipynb")
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        address = re.search(r'ADDRESS = \\"(.*?)\\"', text)
        notebook = make_notebook(source, address[1] if address else "")
        if text != nbformat.writes(notebook) + "\n":
            name = path.relative_to(ROOT)
            fail(f"{name} differs from {source.name}. Run: make notebooks", 1)


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
        timeout=SECONDS_PER_CELL,
        resources={"metadata": {"path": str(FOLDER)}},
        store_widget_state=False,
        coalesce_streams=True,
    )
    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(client.async_execute())


def make_pages() -> None:
    """Run every notebook, and write the pages."""
    notebooks = {}
    for source in SOURCES:
        print(f"running notebooks/{source.stem}.ipynb", flush=True)
        try:
            notebooks[source.stem] = execute(make_notebook(source))
        except CellExecutionError as error:
            fail(f"{source.name} fails:\n{strip_ansi(str(error))}", 1)
    write_pages(PAGES, notebooks, find_address())
    print(f"wrote {(PAGES / 'index.html').relative_to(ROOT)} and its pages")


def write_pages(
    folder: Path,
    notebooks: dict[str, nbformat.NotebookNode],
    address: str = "",
) -> None:
    """Write a page for each notebook, and each notebook for download.

    `notebooks` maps names to notebooks that have been run. No page needs the
    network. The notebooks for download have no outputs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pages = {"index": make_index(notebooks), **notebooks}
    titles = {name: find_title(pages[name]) for name in pages}
    exporter = HTMLExporter(
        template_file=str(FOLDER / "page.html.j2"),
        filters={"find_headings": find_headings},
    )
    for name, notebook in pages.items():
        facts = {"name": name, "titles": titles, "address": address}
        body, _ = exporter.from_notebook_node(notebook, {"page": facts})
        page = folder / f"{name}.html"
        page.write_text(fix_links(body, address), encoding="utf-8")
    for name in notebooks:
        notebook = make_notebook(FOLDER / f"{name}.py", address)
        nbformat.write(notebook, folder / f"{name}.ipynb")
    handout = (FOLDER / "handout.html").read_text(encoding="utf-8")
    handout = handout.replace(ADDRESS_LINE, f"{ADDRESS_LINE}{address}")
    (folder / "handout.html").write_text(handout, encoding="utf-8")


def make_index(
    notebooks: dict[str, nbformat.NotebookNode],
) -> nbformat.NotebookNode:
    """Return the first page: the title and beginning of each notebook."""
    parts = ["# A JAX workshop: the notebooks"]
    for name, notebook in notebooks.items():
        _, *opening = notebook.cells[0].source.splitlines()
        parts.append(f"## [{find_title(notebook)}]({name}.ipynb)")
        parts.append("\n".join(opening))
    text = nbformat.v4.new_markdown_cell("\n\n".join(parts))
    return nbformat.v4.new_notebook(cells=[text])


def find_title(notebook: nbformat.NotebookNode) -> str:
    """Return the first heading of a notebook."""
    return notebook.cells[0].source.splitlines()[0].strip("# ")


def find_headings(body: str) -> list[tuple[str, str]]:
    """Return the id and the text of each heading of the second level."""
    headings = BeautifulSoup(body, "html.parser").select("h2[id]")
    return [(h["id"], h.get_text().removesuffix("¶")) for h in headings]


def fix_links(body: str, address: str) -> str:
    """Make the links of a page lead to other pages and to the repository."""
    files = f"{address}/blob/HEAD/" if address else "../../"
    body = body.replace('<a href="../', f'<a href="{files}')
    return re.sub(r'(<a href="\w+)\.ipynb', r"\1.html", body)


def convert(action: Literal["write", "check", "html"], /) -> None:
    """Make the notebooks, and pages from them.

    Args:
        action: write or check the notebooks, or make pages (html).
    """
    match action:
        case "write":
            write_notebooks()
        case "check":
            check_notebooks()
        case "html":
            make_pages()


if __name__ == "__main__":
    parse(convert)()
