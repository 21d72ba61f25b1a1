"""Run examine.py on an attendee's file, in a process of its own.

It may take only so long and so much memory. Memory is watched from outside,
which works on every system, while a limit set by the system does not.
"""

import contextlib
import dataclasses
import json
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO

import psutil

from workshop.doctor import stray_variables
from workshop.tasks import Task, shown
from workshop.terminal import fail, terminal_size

EXAMINE = Path(__file__).with_name("examine.py")
NUM_DEVICES = 4  # simulated, for a stage that spreads over devices
PAUSE = 0.05  # seconds between two looks at the memory


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


def run_examiner(task: Task, path: Path, limits: Limits) -> Outcome:
    """Start examine.py, wait for it within the limits, read its report."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report"
        tail = bytearray()
        with subprocess.Popen(
            [sys.executable, EXAMINE, str(task.number), path, report],
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
                broken = wait_within(process, limits, report)
            finally:
                end_with_children(process)
                reader.join(timeout=1)
        if not report.exists():
            fail("The check could not start. What is wrong: make doctor", 1)
        lines = report.read_text(encoding="utf-8").splitlines()
    printed = bytes(tail).decode(errors="replace").splitlines()
    *steps, last = map(json.loads, lines)
    if "step" not in last:
        steps = [line["step"] for line in steps]
        return Outcome(steps, **last, printed="\n".join(printed[-5:]))
    steps = [line["step"] for line in (*steps, last)]
    if broken:
        return Outcome(steps, why=broken + find_place(printed, path))
    ended = f"The file ended Python, status {process.returncode}."
    return Outcome(steps, why=ended)


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
    }


def keep_tail(stream: IO[bytes], tail: bytearray, size: int = 20_000) -> None:
    """Read the stream to its end; keep only the last bytes."""
    while chunk := stream.read1(size):
        tail += chunk
        del tail[:-size]


def wait_within(
    process: subprocess.Popen, limits: Limits, report: Path
) -> str | None:
    """Wait for the end; which limit was broken, None if none was.

    The time runs from the first thing in the report, when JAX is loaded.
    """
    while not report.exists():
        if process.poll() is not None:
            return None
        time.sleep(PAUSE)
    for _ in range(math.ceil(limits.seconds / PAUSE)):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=PAUSE)
            return None
        if resident_bytes(process.pid) > limits.gigabytes * 1e9:
            broken = f"It takes more than {limits.gigabytes:g} GB of memory"
            break
    else:
        broken = f"It still runs after {limits.seconds:g} seconds"
    if hasattr(signal, "SIGUSR1"):  # let it say where it is; see examine.py
        process.send_signal(signal.SIGUSR1)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=1)
    return broken


def resident_bytes(pid: int) -> int:
    """The memory that a process takes, 0 if it has just ended."""
    try:
        return psutil.Process(pid).memory_info().rss
    except psutil.NoSuchProcess:
        return 0


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
