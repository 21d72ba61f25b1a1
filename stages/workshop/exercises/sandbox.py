"""Run examine.py on an attendee's file, in a process of its own.

It may take only so long and so much memory. It watches both itself, which
works on every system.
"""

import contextlib
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO

from workshop.devices import stray_variables
from workshop.exercises.tasks import Task, shown
from workshop.stages import STAGES_FOLDER
from workshop.terminal import fail, terminal_size

EXAMINE = "workshop.exercises.examine"
NUM_DEVICES = 4  # simulated, for a stage that spreads over devices


@dataclasses.dataclass(frozen=True)
class Limits:
    """How long the file may run, and how much memory it may take."""

    seconds: float = 60
    gigabytes: float = 2


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
        report = Path(folder) / "report"
        tail = bytearray()
        with subprocess.Popen(
            [
                *(sys.executable, "-m", EXAMINE),
                *(str(task.number), path.resolve(), report),
                *map(str, dataclasses.astuple(limits)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=examiner_environment(),
            start_new_session=True,
        ) as process:
            reader = threading.Thread(
                target=keep_tail, args=(process.stdout, tail), daemon=True
            )
            reader.start()
            try:
                process.wait()
            finally:
                end_with_children(process)
                reader.join(timeout=1)
        if not report.exists():
            fail("The check could not start. What is wrong: make doctor", 1)
        lines = report.read_text(encoding="utf-8").splitlines()
        place = report.with_name("place").read_text("utf-8").splitlines()
    printed = bytes(tail).decode(errors="replace").splitlines()
    *steps, last = map(json.loads, lines)
    if "step" in last:
        steps.append(last)
        last = {"why": f"The file ended Python, status {process.returncode}."}
        if place:
            last = {"limit": f"It still runs after {limits.seconds:g} seconds"}
    if "limit" in last:
        note = last.get("note")
        last = {
            "why": last["limit"]
            + find_place(place, path)
            + (f"\n{note}" if note else "")
        }
    steps = [line["step"] for line in steps]
    return Outcome(steps, **last, printed="\n".join(printed[-5:]))


def end_with_children(process: subprocess.Popen) -> None:
    """End it, and on POSIX whatever it has started: they are one session."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()


def examiner_environment() -> dict[str, str]:
    """The same for all: CPU devices, and no settings from outside."""
    environment = dict(os.environ)
    for name in stray_variables():
        del environment[name]
    return environment | {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(NUM_DEVICES),
        "COLUMNS": str(terminal_size()[0]),
        "PYTHONIOENCODING": "utf-8",
        "PYTHONPATH": str(STAGES_FOLDER),
    }


def keep_tail(stream: IO[bytes], tail: bytearray, size: int = 20_000) -> None:
    """Read the stream to its end; keep only the last bytes."""
    while chunk := stream.read1(size):
        tail += chunk
        del tail[:-size]


def find_place(printed: list[str], path: Path) -> str:
    """Where in the file it was, if Python could still say so."""
    for line in printed:
        match = re.search(r'File "(.+)", line (\d+) in (.+)', line)
        if match and Path(match[1]).name == path.name:
            source = path.read_text(encoding="utf-8").splitlines()
            number = int(match[2])
            return (
                f":\n{shown(path)}, line {number}, in {match[3]}:\n"
                f"    {source[number - 1].strip()}"
            )
    return "."
