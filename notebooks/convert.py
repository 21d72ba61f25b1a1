"""Make the notebooks from their sources, and web pages from the notebooks.

python notebooks/convert.py write   # the .ipynb beside each source
python notebooks/convert.py check   # is each .ipynb what its source makes?
python notebooks/convert.py html    # run them, into build/html; the handout
"""

import asyncio
import hashlib
import re
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "stages"))

import jupytext
import nbformat
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from pygments.formatters import HtmlFormatter

from workshop.terminal import fail, parse

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
SOURCES = sorted(FOLDER.glob("[0-9]_*.py"))
PAGES = ROOT / "build" / "html"
SECONDS_A_CELL = 120
WIDGET = "application/vnd.jupyter.widget-view+json"
METADATA = {
    "kernelspec": {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    },
    "language_info": {"name": "python"},
}


def make_notebook(source: Path) -> nbformat.NotebookNode:
    """The notebook of a py:percent source, without outputs.

    The id of a cell comes from its text: the same source makes the same file.
    """
    notebook = jupytext.read(source)
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    seen: Counter[str] = Counter()
    for cell in notebook.cells:
        mark = hashlib.sha256(cell.source.encode()).hexdigest()[:8]
        seen[mark] += 1
        cell.id = f"{mark}-{seen[mark]}"
    return notebook


def write_notebooks() -> None:
    """Write the .ipynb of every source."""
    for source in SOURCES:
        path = source.with_suffix(".ipynb")
        nbformat.write(make_notebook(source), path)
        print(f"wrote {path.relative_to(ROOT)}")


def check_notebooks() -> None:
    """End with status 1 if a .ipynb is not what its source makes."""
    for source in SOURCES:
        path = source.with_suffix(".ipynb")
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        if text != nbformat.writes(make_notebook(source)) + "\n":
            name = path.relative_to(ROOT)
            fail(f"{name} is not what {source.name} makes: make notebooks", 1)


def execute(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook with its outputs, run in its folder.

    Raises CellExecutionError if a cell fails.
    """
    client = NotebookClient(
        notebook,
        extra_arguments=["--log-level=ERROR"],
        timeout=SECONDS_A_CELL,
        resources={"metadata": {"path": str(FOLDER)}},
        store_widget_state=False,
        coalesce_streams=True,
    )
    # The loop that Jupyter's sockets work with on every system.
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        return runner.run(client.async_execute())


def make_pages() -> None:
    """Run every notebook, and write the pages."""
    notebooks = {}
    for source in SOURCES:
        print(f"running notebooks/{source.stem}.ipynb", flush=True)
        notebooks[source.stem] = execute(make_notebook(source))
    write_pages(PAGES, notebooks)
    print(f"wrote {(PAGES / 'index.html').relative_to(ROOT)} and its pages")


def write_pages(
    folder: Path, notebooks: dict[str, nbformat.NotebookNode]
) -> None:
    """Write executed notebooks, by name, as pages that need no network.

    Beside each the notebook itself, not run, to be opened elsewhere.
    """
    folder.mkdir(parents=True, exist_ok=True)
    links = {"Contents": "index.html", "Handout": "handout.html"}
    for name, notebook in notebooks.items():
        links[find_title(notebook).partition(":")[0]] = f"{name}.html"
    pages = {"index": make_index(notebooks), **notebooks}
    for name, page in pages.items():
        write_page(folder / f"{name}.html", page, links)
    shutil.copy(FOLDER / "handout.html", folder)
    for name in notebooks:
        shutil.copy(FOLDER / f"{name}.ipynb", folder)


def find_title(notebook: nbformat.NotebookNode) -> str:
    """The heading that a notebook begins with."""
    return notebook.cells[0].source.splitlines()[0].strip("# ")


def make_index(
    notebooks: dict[str, nbformat.NotebookNode],
) -> nbformat.NotebookNode:
    """The first page: how each notebook begins."""
    parts = ["# A JAX workshop: the notebooks"]
    for name, notebook in notebooks.items():
        _, *opening = notebook.cells[0].source.splitlines()
        parts.append(f"## [{find_title(notebook)}]({name}.html)")
        parts.append("\n".join(opening))
    text = nbformat.v4.new_markdown_cell("\n\n".join(parts))
    return nbformat.v4.new_notebook(cells=[text])


def write_page(
    path: Path, notebook: nbformat.NotebookNode, links: dict[str, str]
) -> None:
    """Write one notebook as a page, with links to the others on top."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            # No kernel answers a slider here: the picture beside it stays.
            output.get("data", {}).pop(WIDGET, None)
    exporter = HTMLExporter(template_file=str(FOLDER / "page.html.j2"))
    page = {
        "title": find_title(notebook),
        "links": list(links.items()),
        "notebook": "" if path.stem == "index" else f"{path.stem}.ipynb",
        "highlighting": HtmlFormatter(style="bw").get_style_defs(".highlight"),
    }
    body, _ = exporter.from_notebook_node(notebook, resources={"page": page})
    body = re.sub(r'(<a href="\w+)\.ipynb"', r'\1.html"', body)
    path.write_text(body, encoding="utf-8")


def convert(action: Literal["write", "check", "html"], /) -> None:
    """Make the notebooks, and pages from them.

    Args:
        action: What to make, or to check.
    """
    actions = {
        "write": write_notebooks,
        "check": check_notebooks,
        "html": make_pages,
    }
    actions[action]()


if __name__ == "__main__":
    parse(convert)()
