"""Open your copies of the notebooks in JupyterLab.

python notebooks/lab.py

The copies are in my-notebooks and belong to you: `git pull` does not change
them. To start a notebook over, delete your copy and run this command again.
You can add options of JupyterLab, which `jupyter lab --help` lists. If you are
root, for example in a container, add --allow-root.
"""

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


def copy_notebooks() -> None:
    """Copy the notebooks that have no copy yet."""
    try:
        COPIES.mkdir(exist_ok=True)
        for notebook in sorted(NOTEBOOKS.glob("[0-9]_*.ipynb")):
            copy = COPIES / notebook.name
            if not copy.exists():
                shutil.copyfile(notebook, copy)
                print(f"wrote {COPIES.name}/{copy.name}")
    except OSError as error:
        fail(f"cannot write {error.filename}: {error.strerror}")


def start_lab(options: list[str]) -> None:
    """Run JupyterLab in the repository, and open the first copy."""
    # The settings in labconfig turn off news, updates and builds.
    paths = [str(NOTEBOOKS), os.environ.get("JUPYTER_CONFIG_PATH", "")]
    os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join(filter(None, paths))

    from jupyterlab.labapp import LabApp

    first = f"/lab/tree/{COPIES.name}/1_port.ipynb"
    own = [f"--ServerApp.root_dir={ROOT}", f"--LabApp.default_url={first}"]
    server = LabApp.initialize_server([*own, *options])
    # These signals end the server at once. The kernels notice it, and end.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    server.start()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if "--help" in sys.argv:
        print(__doc__.strip())
    else:
        copy_notebooks()
        start_lab(sys.argv[1:])
