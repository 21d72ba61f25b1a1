"""Load the stages, and run commands as their users do, for several tests."""

import contextlib
import importlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from workshop.stages import failure, find_stages

ROOT = Path(__file__).resolve().parents[1]
DOOR = ROOT / "stages" / "workshop"
NOT_ON_WINDOWS = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows has no such signals and shell"
)
STAGES = find_stages()
REFERENCE = importlib.import_module(STAGES[0].stem)


def import_stage(number: int):
    """Return the module of a stage; its annotations are checked."""
    return importlib.import_module(STAGES[number].stem)


FAILING = [n for n in STAGES if failure(import_stage(n).__doc__)]
WORKING = [n for n in STAGES if n not in FAILING]


def output_of(done: subprocess.CompletedProcess) -> str:
    """Return what a command printed; require status 0 and no complaint."""
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def assert_refused(
    done: subprocess.CompletedProcess, said: str, status: int = 2
) -> None:
    """Check that a command ended with this status and one line of error."""
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def wait_for(condition: Callable[[], Any], seconds: float = 60) -> Any:
    """Wait until the condition returns a true value; return this value.

    Before that, the condition may raise OSError or psutil.Error.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError, psutil.Error):
            if found := condition():
                return found
        time.sleep(0.05)
    pytest.fail("it took too long")


def has_ended(pid: int) -> bool:
    """Return whether a process has ended; a zombie counts as ended."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def run_python(*args: Any, timeout: float = 120, **kwargs: Any) -> Any:
    """Run this Python on a script of the repository, as a user does."""
    command = [sys.executable, *map(str, args)]
    return subprocess.run(command, timeout=timeout, **options(**kwargs))


def start_python(*args: Any, **kwargs: Any) -> subprocess.Popen:
    """Start Python, and return the process without waiting for its end."""
    return subprocess.Popen(
        [sys.executable, *map(str, args)], **options(**kwargs)
    )


def options(env: dict[str, str] | None = None, **kwargs: Any) -> dict:
    """Return arguments for subprocess: pipes, and an environment with env."""
    pipes = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
    environment = {"env": clean_environment(env), "encoding": "utf-8"}
    return pipes | environment | kwargs


def clean_environment(env: dict[str, str] | None = None) -> dict[str, str]:
    """Return this environment with UTF-8, 80 columns, and the given env.

    Variables that would change JAX or the colors are left out.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("JAX_")
        and name not in ("XLA_FLAGS", "NO_COLOR")
    }
    base = {"PYTHONIOENCODING": "utf-8", "COLUMNS": "80", "LINES": "24"}
    return {**inherited, **base, **(env or {})}


def plain_environment() -> dict[str, str]:
    """Return an environment that contains only PATH.

    When make runs the tests, it sets variables that would pass its arguments
    on to a second make. They are left out.
    """
    return {"PATH": os.environ["PATH"]}


def read_half_blocks(picture: list[str]) -> list[list[int]]:
    """Return the cells of a picture in half blocks, two rows per line."""
    upper = [[int(c in "▀█") for c in line] for line in picture]
    lower = [[int(c in "▄█") for c in line] for line in picture]
    return [row for pair in zip(upper, lower, strict=True) for row in pair]


def copy_workshop(folder: Path, *more: str) -> Path:
    """Copy the stages and the files that make needs, but no exercises."""
    for name in ("stages", "requirements", *more):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("ERRORS.md", "Makefile", "README.md", "requirements.txt"):
        shutil.copy(ROOT / name, folder)
    return folder
