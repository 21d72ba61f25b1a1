"""A copy of the workshop to work in, so that no test touches real work."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def copy_workshop(folder: Path) -> Path:
    """The stages and what make needs, without exercises, in that folder."""
    shutil.copytree(
        ROOT / "stages",
        folder / "stages",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    for name in ("Makefile", "LINKS.md"):
        shutil.copy(ROOT / name, folder)
    return folder


def run_script(
    folder: Path, script: str, *arguments: object, columns: int = 80
) -> subprocess.CompletedProcess:
    """Run stages/workshop/<script>.py there, as it is run through a pipe."""
    return subprocess.run(
        [
            sys.executable,
            f"stages/workshop/{script}.py",
            *map(str, arguments),
        ],
        cwd=folder,
        env=environment(columns),
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )


def environment(columns: int = 80) -> dict[str, str]:
    """This process's, in a terminal of that width."""
    return os.environ | {"COLUMNS": str(columns), "PYTHONIOENCODING": "utf-8"}
