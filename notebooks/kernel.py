"""Check that this kernel can run the notebooks.

The check imports only the standard library and runs on old versions of Python,
so that it can also report what a wrong kernel lacks.
"""

import os
import subprocess
import sys
from importlib import invalidate_caches, metadata
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OLDEST_JAX = (0, 10)  # cannot be installed if Python is too old
PACKAGES = ("jax", "numpy", "jaxtyping", "matplotlib", "ipywidgets", "PIL")
HOSTED = {"COLAB_RELEASE_TAG", "BINDER_SERVICE_HOST", "KAGGLE_URL_BASE"}
REQUIREMENTS = str(ROOT / ".binder" / "requirements.txt")
ADVICE = (
    "In the menu, choose Kernel, Change Kernel, and the kernel of this"
    f" workshop's .venv. Or type `make lab` in the folder {ROOT}. Or run"
    f' `%pip install -r "{REQUIREMENTS}"` in a cell of its own, restart the'
    " kernel, and run this cell again."
)


def check_kernel() -> None:
    """End the cell with a few sentences if the notebooks cannot run here.

    On a hosted Jupyter, first install missing packages. Elsewhere, only advise
    the reader, because other programs may use the same environment.
    """
    problem = find_problem()
    if problem and HOSTED & os.environ.keys():
        print("Installing what the notebooks need takes a minute or two.")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "-r"]
        subprocess.run([*pip, REQUIREMENTS])
        invalidate_caches()
        problem = find_problem()
    if problem:
        kernel = f"This kernel, {sys.executable}, cannot run the notebooks"
        sys.exit(f"{kernel}: {problem}.\n{ADVICE}")
    print("The right kernel, with all packages.")


def find_problem() -> str:
    """Return what is missing or too old, or an empty text."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        return f"it has no {', '.join(missing)}"
    version = metadata.version("jax")
    if tuple(map(int, version.split(".")[:2])) < OLDEST_JAX:
        return f"its jax, {version}, is too old"
    return ""
