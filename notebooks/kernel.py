"""Check that this kernel can run the notebooks, and show what stages change.

The check imports only the standard library and runs on old versions of Python,
so that it can also report what a wrong kernel lacks.
"""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from importlib import invalidate_caches, metadata
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OLDEST_PYTHON = (3, 11)
OLDEST_JAX = (0, 10)
PACKAGES = ("jax", "numpy", "jaxtyping", "matplotlib", "ipywidgets", "PIL")
HOSTED = {"COLAB_RELEASE_TAG", "BINDER_SERVICE_HOST", "KAGGLE_URL_BASE"}
REQUIREMENTS = str(ROOT / ".binder" / "requirements.txt")
ADVICE = (
    "In the menu, choose Kernel, Change Kernel, and the kernel of this"
    f" workshop's .venv. Or type `make lab` in the folder {ROOT}. Or run"
    f' `%pip install -r "{REQUIREMENTS}"` in a cell of its own, restart the'
    " kernel, and run this cell again."
)

# These colors are transparent, so they suit light and dark backgrounds.
ADDED = "display: block; text-decoration: none; background: #2da04c38"
REMOVED = "display: block; text-decoration: none; background: #f0504638"
WIDE = "display: inline-block; min-width: 100%"  # colors fill every line
BLOCK = "overflow-x: auto; white-space: pre; line-height: 1.4"


def check_kernel() -> None:
    """End the cell with a few sentences if the notebooks cannot run here.

    On a hosted Jupyter, first install missing packages. Elsewhere, only advise
    the reader, because other programs may use the same environment.
    """
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        needed = ".".join(map(str, OLDEST_PYTHON))
        refuse(f"it runs Python {version}, but {needed} or later is needed.")
    if find_problem() and HOSTED & os.environ.keys():
        print("Installing what the notebooks need takes a minute or two.")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "-r"]
        subprocess.run([*pip, REQUIREMENTS])
        invalidate_caches()
    problem = find_problem()
    if problem:
        refuse(problem)
    print(f"The right kernel: Python {version}, with all packages.")


def find_problem() -> str:
    """Return which packages are missing or too old, or an empty text."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        return f"it has no {', '.join(missing)}."
    jax = metadata.version("jax")
    if tuple(map(int, jax.split(".")[:2])) < OLDEST_JAX:
        needed = ".".join(map(str, OLDEST_JAX))
        return f"it has jax {jax}, but {needed} or later is needed."
    return ""


def refuse(reason: str) -> None:
    """Stop the notebook without a traceback."""
    kernel = f"This kernel, {sys.executable}, cannot run the notebooks"
    sys.exit(f"{kernel}: {reason}\n{ADVICE}")


def show_diff(number: int, only: str | None = None) -> None:
    """Show the code that a stage changes, in all functions or only in one.

    Raise KeyError if there is no such stage, and ValueError if the stage does
    not change this function.
    """
    from IPython.display import display

    from workshop.stages import diff_lines

    changes = "\n".join(diff_lines(number, only=only))
    if not changes:
        raise ValueError(f"stage {number} does not change {only}")
    _, *hunks = re.split(r"(?m)^@@.*\n", changes)  # without file names
    blank_edges = r"\A( \n)+|(\n )*\n?\Z"
    text = "\n⋯\n".join(re.sub(blank_edges, "", hunk) for hunk in hunks)
    marked = "".join(map(mark_line, text.splitlines()))
    wide = f'<div style="{WIDE}">{marked}</div>'
    block = f'<pre class="diff" style="{BLOCK}">{wide}</pre>'
    display({"text/plain": text, "text/html": block}, raw=True)


def mark_line(line: str) -> str:
    """Return a line of a diff as HTML."""
    text = html.escape(line)
    if line.startswith("+"):
        return f'<ins style="{ADDED}">{text}</ins>'
    if line.startswith("-"):
        return f'<del style="{REMOVED}">{text}</del>'
    return f'<span style="display: block">{text}</span>'
