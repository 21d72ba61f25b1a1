"""What several tests need: the stages, and running them as their users do."""

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from workshop.stages import failure, find_stages

ROOT = Path(__file__).resolve().parents[1]
DOOR = ROOT / "stages" / "workshop"
ON_LINUX = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="needs /proc, /dev/full"
)
NOT_ON_WINDOWS = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows has no such signals and shell"
)
STAGES = find_stages()
REFERENCE = importlib.import_module(STAGES[0].stem)


def import_stage(number: int):
    """The module of a stage, its annotations checked."""
    return importlib.import_module(STAGES[number].stem)


FAILING = [n for n in STAGES if failure(import_stage(n).__doc__)]
WORKING = [n for n in STAGES if n not in FAILING]


def run_from(state, rule, num_steps):
    """All states from a given initial state, by stage 0's step."""
    rule_table = REFERENCE.make_rule_table(rule)
    states = [state]
    while len(states) < num_steps:
        states.append(REFERENCE.step(states[-1], rule_table))
    return np.stack(states)


def output_of(done: subprocess.CompletedProcess) -> str:
    """What a command printed that ended well, without a word of complaint."""
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def assert_refused(
    done: subprocess.CompletedProcess, said: str, status: int = 2
) -> None:
    """It ended with that status and one line that says so, nothing else."""
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def run_python(
    *args, env: dict[str, str] | None = None, timeout: float = 120, **kwargs
) -> subprocess.CompletedProcess:
    """Run this Python on a script of the repository, as a user would."""
    return subprocess.run(
        [sys.executable, *map(str, args)],
        env=clean_environment(env),
        capture_output=True,
        timeout=timeout,
        **{"encoding": "utf-8", **kwargs},
    )


def clean_environment(env: dict[str, str] | None = None) -> dict[str, str]:
    """This environment, with UTF-8 output and 80 columns, and env on top.

    What would change JAX or the colors is left out.
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
    """Where programs are, and nothing else.

    Without the variables by which the make that runs the tests would hand its
    own arguments to another.
    """
    return {"PATH": os.environ["PATH"]}


def read_half_blocks(picture: list[str]) -> list[list[int]]:
    """The cells of a picture in half-block characters, two rows a line."""
    upper = [[int(c in "▀█") for c in line] for line in picture]
    lower = [[int(c in "▄█") for c in line] for line in picture]
    return [row for pair in zip(upper, lower, strict=True) for row in pair]


def copy_workshop(folder: Path, *more: str) -> Path:
    """The stages and what make needs, to work in, without exercises."""
    for name in ("stages", "requirements", *more):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("Makefile", "README.md", "requirements.txt"):
        shutil.copy(ROOT / name, folder)
    return folder
