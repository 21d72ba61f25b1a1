"""Open your copies of the notebooks in JupyterLab.

python notebooks/lab.py

The copies are in my-notebooks and belong to you: `git pull` does not change
them. With --force, the command makes new copies, and renames the old ones. You
can add options of JupyterLab: `jupyter lab --help` lists them.
"""

import contextlib
import os
import shutil
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "stages"))

from workshop.terminal import fail

NOTEBOOKS = Path(__file__).resolve().parent
ROOT = NOTEBOOKS.parent
COPIES = ROOT / "my-notebooks"


def copy_notebooks(folder: Path, *, again: bool = False) -> None:
    """Copy missing notebooks into the folder; with `again`, copy them all."""
    folder.mkdir(exist_ok=True)
    for notebook in sorted(NOTEBOOKS.glob("[0-9]_*.ipynb")):
        copy = folder / notebook.name
        if copy.exists() and again:
            print(f"renamed your copy to {folder.name}/{keep(copy).name}")
        if not copy.exists():
            shutil.copyfile(notebook, copy)
            print(f"wrote {folder.name}/{copy.name}")


def keep(path: Path) -> Path:
    """Rename a file to an unused name, and return its new path."""
    number = 1
    while (kept := path.with_stem(f"{path.stem}.{number}")).exists():
        number += 1
    return path.rename(kept)


def start_lab(options: list[str]) -> None:
    """Run JupyterLab in the repository, and open the first copy."""
    # The settings in labconfig turn off news, updates and builds.
    paths = [str(NOTEBOOKS), os.environ.get("JUPYTER_CONFIG_PATH", "")]
    os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join(filter(None, paths))

    import psutil
    from jupyterlab.labapp import LabApp

    first = f"/lab/tree/{COPIES.name}/1_port.ipynb"
    own = [f"--ServerApp.root_dir={ROOT}", f"--LabApp.default_url={first}"]
    server = LabApp.initialize_server([*own, *options])
    received = []

    def end(number: int, _: object) -> None:
        """Kill the kernels first: a busy kernel would print a traceback."""
        received.append(number)
        for kernel in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                kernel.kill()
        server.stop(from_signal=True)

    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)
    server.start()
    sys.exit(128 + received[0] if received else 0)


def main(arguments: list[str]) -> None:
    """Make the copies, then run JupyterLab."""
    if "--help" in arguments:
        print(__doc__.strip())
        return
    options = [option for option in arguments if option != "--force"]
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    if is_root and "--allow-root" not in options:
        fail(
            "JupyterLab refuses to run as root unless you add --allow-root. In"
            " a container of your own, type: make lab ARGS=--allow-root"
        )
    try:
        copy_notebooks(COPIES, again="--force" in arguments)
    except OSError as error:
        fail(f"cannot write {error.filename}: {error.strerror}")
    start_lab(options)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    main(sys.argv[1:])
