"""Is this the right kernel for the notebooks? If not: what to do.

Needs nothing but Python, and not a new one: a wrong kernel has to get through.
"""

from __future__ import annotations

import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

OLDEST_PYTHON = (3, 11)
OLDEST_JAX = (0, 10)
PACKAGES = ("jax", "numpy", "jaxtyping", "matplotlib", "ipywidgets", "PIL")
ADVICE = (
    "In the menu choose Kernel, Change Kernel, the one of this workshop's"
    " .venv; or start JupyterLab by `make lab` in the folder {folder}; or type"
    ' in a cell of its own `%pip install -r "{folder}/requirements.txt"'
    " matplotlib ipywidgets`, restart the kernel, and run this cell again."
)


def check_kernel() -> None:
    """End the cell with one sentence if the notebook cannot run here."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        needed = ".".join(map(str, OLDEST_PYTHON))
        refuse(f"it runs Python {version}, {needed} or later is needed.")
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        refuse(f"it has no {', '.join(missing)}.")
    jax = metadata.version("jax")
    if tuple(map(int, jax.split(".")[:2])) < OLDEST_JAX:
        needed = ".".join(map(str, OLDEST_JAX))
        refuse(f"it has jax {jax}, {needed} or later is needed.")
    print(f"The right kernel: Python {version}, with all that is needed.")


def refuse(reason: str) -> None:
    """Stop the notebook, without a traceback."""
    folder = Path(__file__).resolve().parents[1]
    advice = ADVICE.format(folder=folder)
    sys.exit(f"This kernel, {sys.executable}, will not do: {reason}\n{advice}")
