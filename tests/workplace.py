"""A copy of the workshop to work in, so that no test touches real work."""

import shutil
import subprocess
from pathlib import Path

from support import ROOT, run_python


def copy_workshop(folder: Path) -> Path:
    """The stages and what make needs, without exercises, in that folder."""
    shutil.copytree(
        ROOT / "stages",
        folder / "stages",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    shutil.copytree(ROOT / "requirements", folder / "requirements")
    for name in ("ERRORS.md", "Makefile", "README.md", "requirements.txt"):
        shutil.copy(ROOT / name, folder)
    return folder


def run_script(
    folder: Path, command: str, *arguments: object, columns: int = 80
) -> subprocess.CompletedProcess:
    """Run a command of the workshop there, as a user would."""
    return run_python(
        "stages/workshop",
        command,
        *arguments,
        cwd=folder,
        env={"COLUMNS": str(columns)},
    )
