"""Run each notebook once, for all tests that look at it."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import nbformat
from nbclient.exceptions import CellExecutionError

import convert
from support import wait_for

NAMES = [source.stem for source in convert.SOURCES]
PATIENCE = 240  # seconds

# This code runs before a notebook, and records the labels of all drawn axes.
WATCH = """
import json
import sys
from matplotlib.figure import Figure

seen_axes = []
draw = Figure.draw

def watched_draw(figure, renderer):
    shown = [axes for axes in figure.axes if axes.axison]
    seen_axes.extend([axes.get_xlabel(), axes.get_ylabel()] for axes in shown)
    return draw(figure, renderer)

Figure.draw = watched_draw
"""
REPORT = "print(json.dumps([sys.executable, seen_axes]))"


class Run(NamedTuple):
    """An executed notebook, the Python that ran it, and its axis labels."""

    notebook: nbformat.NotebookNode
    python: str
    axes: list[list[str]]


def make_notebook(name: str) -> nbformat.NotebookNode:
    """Return a notebook that has not been run."""
    return convert.make_notebook(convert.FOLDER / f"{name}.py")


def run_watched(name: str) -> Run:
    """Run a notebook from top to bottom, between two cells of our own."""
    notebook = make_notebook(name)
    given = notebook.cells
    code = nbformat.v4.new_code_cell
    notebook.cells = [code(WATCH), *given, code(REPORT)]
    convert.execute(notebook)
    report = json.loads(printed(notebook.cells[-1]))
    notebook.cells = given
    return Run(notebook, *report)


def printed(cell: nbformat.NotebookNode) -> str:
    """Return what a cell printed."""
    return "".join(output.get("text", "") for output in cell.outputs)


def run_once(name: str, folder: Path) -> Run:
    """Return the notebook once it has run.

    Tests run in several processes that share the folder. The first process
    that asks runs the notebook; the others wait.
    """
    result = folder / f"{name}.pickle"
    try:
        (folder / f"{name}.claim").touch(exist_ok=False)
    except FileExistsError:
        wait_for(result.exists, PATIENCE)
    else:
        try:
            run = run_watched(name)
        except CellExecutionError as error:
            run = RuntimeError(str(error))  # `error` cannot be pickled
        part = result.with_suffix(".part")
        part.write_bytes(pickle.dumps(run))
        part.replace(result)
    run = pickle.loads(result.read_bytes())
    if isinstance(run, Exception):
        raise run
    return run


def write_pages(folder: Path, run_notebook: Callable[[str], Run]) -> None:
    """Write the pages of all notebooks into a folder."""
    convert.write_pages(
        folder, {name: run_notebook(name).notebook for name in NAMES}
    )
