"""Run examine.py on an attendee's file, in a process of its own.

It may take only so long and so much memory.
"""

import dataclasses
import os
import tempfile
from pathlib import Path

from workshop.devices import stray_variables
from workshop.exercises.limits import Limits, run_within
from workshop.exercises.tasks import Task

EXAMINE = "workshop.exercises.examine"
NUM_DEVICES = 4  # simulated, for a stage that spreads over devices


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What was looked at, the last thing still undecided, and the verdict."""

    steps: list[str]
    fact: str = ""
    """What was found, if all is right."""
    why: str = ""
    """What is not right with the last step, if that is so."""
    printed: str = ""
    """The last lines that the file itself printed."""

    @property
    def verdict(self) -> str:
        """It passes, or what it does not pass."""
        return f"FAIL {self.steps[-1]}" if self.why else "it passes"


def run_examiner(task: Task, path: Path, limits: Limits) -> Outcome:
    """Start examine.py, wait for it within the limits, read its report."""
    with tempfile.TemporaryDirectory() as folder:
        found = run_within(
            *(limits, EXAMINE, str(task.number)),
            path=path.resolve(),
            folder=Path(folder),
            environment=examiner_environment(),
        )
    return Outcome(**found)


def examiner_environment() -> dict[str, str]:
    """The same for all: CPU devices, and no settings from outside."""
    environment = dict(os.environ)
    for name in stray_variables():
        del environment[name]
    return environment | {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(NUM_DEVICES),
    }
