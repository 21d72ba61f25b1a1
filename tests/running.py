"""Run each notebook once, for all tests that look at it."""

from pathlib import Path

import nbformat

import convert
from support import wait_for

PATIENCE = 240  # seconds


def run_once(name: str, folder: Path) -> nbformat.NotebookNode:
    """Return a notebook that has been run from top to bottom.

    Tests run in several processes that share the folder. The first process
    that asks runs the notebook; the others wait.
    """
    result = folder / f"{name}.ipynb"
    try:
        (folder / f"{name}.claim").touch(exist_ok=False)
    except FileExistsError:
        wait_for(result.exists, PATIENCE)
    else:
        part = result.with_suffix(".part")
        nbformat.write(convert.execute(convert.make_notebook(name)), part)
        part.replace(result)
    return nbformat.read(result, as_version=4)


def printed(cell: nbformat.NotebookNode) -> str:
    """Return what a cell printed."""
    return "".join(output.get("text", "") for output in cell.outputs)
