"""Check an attendee's file: does it do what the stage is about?

python stages/workshop/check.py 5
python stages/workshop/check.py 5 my_scan.py

The file runs in a process of its own, with a time and a memory limit. One
thing is said at a time: the first that is not right.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
from pathlib import Path
from typing import IO

if not __package__:  # run as a script
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import psutil
import tyro

from workshop.catalog import find_stages
from workshop.command_line import parse
from workshop.doctor import stray_variables
from workshop.tasks import (
    Task,
    find_task,
    find_tasks,
    remember,
    require_file,
    shown,
)
from workshop.terminal import fail, say, terminal_size

EXAMINE = Path(__file__).with_name("examine.py")
PAUSE = 0.05  # seconds between two looks at the memory
NUM_DEVICES = 4  # simulated, for the stages that spread over devices


@dataclasses.dataclass(frozen=True)
class Limits:
    """How long the file may run, and how much memory it may take."""

    seconds: float = 60
    gigabytes: float = 2


@dataclasses.dataclass(frozen=True)
class Arguments:
    """The command line."""

    number: tyro.conf.Positional[int]
    """The stage to arrive at."""
    path: tyro.conf.Positional[Path | None] = None
    """The file to check; without it, the one in exercises/."""
    limits: tyro.conf.OmitArgPrefixes[Limits] = Limits()


def check(task: Task, path: Path, limits: Limits) -> bool:
    """Print what is right, then what is not; whether all is right."""
    print(f"{shown(path)}, stage {task.number}", flush=True)
    steps, outcome, printed = run_examiner(task, path, limits)
    for step in steps[:-1]:
        print(f"OK    {step}")
    if "passed" in outcome:
        print(f"OK    {steps[-1]}")
        print(f"      {outcome['passed']}")
        congratulate(task)
        return True
    print(f"FAIL  {steps[-1]}\n")
    show(outcome["why"])
    if printed:
        print("\nThe last lines that the file printed:")
        show(textwrap.indent("\n".join(printed[-5:]), "    "))
    return False


def run_examiner(
    task: Task, path: Path, limits: Limits
) -> tuple[list[str], dict[str, str], list[str]]:
    """What was looked at, how it ended, and what the file printed last."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report"
        process = subprocess.Popen(
            [sys.executable, EXAMINE, str(task.number), path, report],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=examiner_environment(),
        )
        output = bytearray()
        reader = threading.Thread(
            target=keep_tail, args=(process.stdout, output)
        )
        reader.start()
        try:
            broken = wait_within(process, limits)
        finally:
            process.kill()
            process.wait()
            reader.join()
        if not report.exists():
            fail("The check could not start. What is wrong: make doctor", 1)
        lines = report.read_text(encoding="utf-8").splitlines()
    lines = [json.loads(line) for line in lines]
    steps = [line["step"] for line in lines if "step" in line]
    printed = bytes(output).decode(errors="replace").splitlines()
    if broken:
        place = find_place(printed, path)
        return steps, {"why": broken + place}, []
    if "step" in lines[-1]:
        status = process.returncode
        return steps, {"why": f"The file ended Python, status {status}."}, []
    return steps, lines[-1], printed


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


def wait_within(process: subprocess.Popen, limits: Limits) -> str | None:
    """Wait for the end; which limit was broken, None if none was."""
    watched = psutil.Process(process.pid)
    for _ in range(math.ceil(limits.seconds / PAUSE)):
        try:
            process.wait(timeout=PAUSE)
            return None
        except subprocess.TimeoutExpired:
            memory = watched.memory_info().rss
        if memory > limits.gigabytes * 1e9:
            broken = f"It takes more than {limits.gigabytes:g} GB of memory"
            break
    else:
        broken = f"It still runs after {limits.seconds:g} seconds"
    if hasattr(signal, "SIGUSR1"):  # let it say where it is; see examine.py
        process.send_signal(signal.SIGUSR1)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.5)
    return broken


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


def show(text: str) -> None:
    """Print wrapped lines; indented ones, pictures and code, are cut."""
    columns, _ = terminal_size()
    for line in text.splitlines():
        if line.startswith(" "):
            print(line[:columns])
        else:
            say(line)


def congratulate(task: Task) -> None:
    """One line of praise, what to notice, and what is next."""
    print("\nWell done: this is the idea of the stage.\n")
    say(f"Notice: {task.notice}")
    print(f"    {task.try_this}\n")
    later = [number for number in find_tasks() if number > task.number]
    if not later:
        print("That was the last exercise.")
        return
    between = [n for n in find_stages() if task.number < n < later[0]]
    for number in between:
        print(f"Next, to see it fail: make stage N={number}")
    print(f"{'Then' if between else 'Next'}: make exercise N={later[0]}")


def fingerprint(path: Path) -> str:
    """Changes when the file does."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def check_own(task: Task, limits: Limits) -> bool:
    """Check the attendee's exercise, and remember if it passes."""
    mark = fingerprint(task.path)
    passed = check(task, task.path, limits)
    remember(task.number, passed=mark if passed else None)
    return passed


def main() -> None:
    """Exit status 0 if it passes, 1 if not yet, 2 if there is no such file."""
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
    arguments = parse(Arguments, "Check your solution of an exercise.")
    task, path = find_task(arguments.number), arguments.path
    if path is None:
        require_file(task)
        passed = check_own(task, arguments.limits)
    elif path.is_file():
        passed = check(task, path, arguments.limits)
    else:
        fail(f"path must be a file, got {path}")
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
