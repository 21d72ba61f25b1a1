"""The notebooks, run once for all tests that look at them."""

import functools
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import nbformat

import convert

NAMES = [source.stem for source in convert.SOURCES]

# Run before a notebook: remembers the names of the axes of what is drawn.
WATCH = """
import json
import sys
from matplotlib.figure import Figure

drawn = []
draw = Figure.draw

def watched_draw(figure, renderer):
    drawn.extend([a.get_xlabel(), a.get_ylabel()] for a in figure.axes)
    return draw(figure, renderer)

Figure.draw = watched_draw
"""
REPORT = "print(json.dumps([sys.executable, drawn]))"


class Run(NamedTuple):
    """An executed notebook, and what was seen from within."""

    notebook: nbformat.NotebookNode
    verdicts: list[str]  # of the check of each solution
    python: str
    axes: list[list[str]]


def make_notebook(name: str) -> nbformat.NotebookNode:
    """A notebook, not yet run."""
    return convert.make_notebook(convert.FOLDER / f"{name}.py")


def run_notebook(name: str) -> Run:
    """A notebook, run top to bottom."""
    notebook = make_notebook(name)
    cells = [nbformat.v4.new_code_cell(WATCH)]
    checks = []
    for cell in notebook.cells:
        cells.append(cell)
        if "exercise" in cell.metadata.get("tags", []):
            check = cell.source.splitlines()[-1].partition("(")[0]
        if "solution" in cell.metadata.get("tags", []):
            call = f"{check}(solution_{len(checks) + 1})"
            checks.append(nbformat.v4.new_code_cell(call))
            cells.append(checks[-1])
    cells.append(nbformat.v4.new_code_cell(REPORT))
    notebook.cells, given = cells, notebook.cells
    convert.execute(notebook)
    notebook.cells = given
    return Run(
        notebook,
        [printed(check) for check in checks],
        *json.loads(printed(cells[-1])),
    )


def printed(cell: nbformat.NotebookNode) -> str:
    """What a cell printed."""
    return "".join(output.get("text", "") for output in cell.outputs)


@functools.cache
def run_notebooks() -> dict[str, Run]:
    """All notebooks by name, run the first time that a test asks."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        return dict(zip(NAMES, pool.map(run_notebook, NAMES), strict=True))


def write_pages(folder: Path) -> None:
    """Write the pages of all notebooks into that folder."""
    convert.write_pages(
        folder, {name: run.notebook for name, run in run_notebooks().items()}
    )
