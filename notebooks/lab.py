"""Open copies of the notebooks in JupyterLab.

python notebooks/lab.py

The copies are yours: `git pull` does not meet them. Options of JupyterLab may
follow, `--no-browser` say. With --force the copies are made again; those that
are there are kept beside.
"""

import shutil
import sys
from pathlib import Path

from jupyterlab.labapp import LabApp

NOTEBOOKS = Path(__file__).resolve().parent
COPIES = NOTEBOOKS.parent / "my-notebooks"


def copy_notebooks(folder: Path, *, again: bool = False) -> None:
    """Copy each notebook that is not in folder, or again all of them."""
    folder.mkdir(exist_ok=True)
    for notebook in sorted(NOTEBOOKS.glob("[0-9]_*.ipynb")):
        copy = folder / notebook.name
        if copy.exists() and again:
            print(f"kept {folder.name}/{keep(copy).name}")
        if not copy.exists():
            shutil.copyfile(notebook, copy)
            print(f"wrote {folder.name}/{copy.name}")


def keep(path: Path) -> Path:
    """Move a file aside, over no other; its new path."""
    number = 1
    while (kept := path.with_stem(f"{path.stem}.{number}")).exists():
        number += 1
    return path.rename(kept)


def main(arguments: list[str]) -> None:
    """Make the copies, then start JupyterLab in their folder."""
    copy_notebooks(COPIES, again="--force" in arguments)
    LabApp.launch_instance(
        [
            f"--ServerApp.root_dir={COPIES}",
            "--LabApp.default_url=/lab/tree/1_port.ipynb",
            "--LabApp.news_url=None",
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
            *(option for option in arguments if option != "--force"),
        ]
    )


if __name__ == "__main__":
    main(sys.argv[1:])
