"""Run a module in a process of its own that may take only so much.

It watches its own time and memory, and whether anybody still waits for it,
which works on every system.
"""

import contextlib
import dataclasses
import faulthandler
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, NoReturn, TextIO

import psutil

from workshop.stages import STAGES_FOLDER
from workshop.terminal import fail, terminal_size

TOO_LARGE, TOO_LONG = 99, 98  # exit statuses
NOTE = "note: "
LARGEST = 86_400  # seconds of a day


@dataclasses.dataclass(frozen=True)
class Limits:
    """How long a process may run, and how much memory it may take."""

    seconds: float = 60
    gigabytes: float = 2


def check_limits(limits: Limits) -> None:
    """End with one line and status 2 if they are no limits."""
    for name, value in dataclasses.asdict(limits).items():
        if not 0 < value <= LARGEST:
            allowed = f"above 0 and at most {LARGEST}"
            fail(f"--{name} must be {allowed}, got {value:g}")


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a process has ended."""

    status: int
    printed: str
    """The last lines that it printed."""
    broken: str = ""
    """Which limit it broke, if one."""
    place: tuple[str, ...] = ()
    """Where it was then, as faulthandler writes it."""
    note: str = ""
    """What else is known of it."""


def run_within(
    limits: Limits,
    module: str,
    *arguments: object,
    folder: Path,
    environment: dict[str, str],
    cwd: Path | None = None,
) -> Ended:
    """Run `python -m module ARGUMENTS LIMITS PLACE` to its end.

    It has to call `keep_within(LIMITS, PLACE)` at its start. The place is a
    file in the folder given.
    """
    tail, place = bytearray(), folder / "place"
    numbers = map(str, dataclasses.astuple(limits))
    with subprocess.Popen(
        [sys.executable, "-P", "-m", module, *arguments, *numbers, place],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment | own_environment(),
        cwd=cwd,
        start_new_session=True,
    ) as process:
        reader = threading.Thread(
            target=keep_tail, args=(process.stdout, tail), daemon=True
        )
        reader.start()
        try:
            process.wait()
        finally:
            end_session(process)
            reader.join(timeout=1)
    printed = bytes(tail).decode(errors="replace").splitlines()[-5:]
    lines = place.read_text(encoding="utf-8") if place.exists() else ""
    broken = ""
    if process.returncode == TOO_LARGE:
        broken = f"It takes more than {limits.gigabytes:g} GB of memory"
    elif lines:
        broken = f"It still runs after {limits.seconds:g} seconds"
    note = re.match(f"{NOTE}(.*)", lines)
    return Ended(
        process.returncode,
        "\n".join(printed),
        broken,
        tuple(lines.splitlines()),
        note[1] if note else "",
    )


def own_environment() -> dict[str, str]:
    """What such a process needs to find us, and to print as we do."""
    return {
        "COLUMNS": str(terminal_size()[0]),
        "PYTHONIOENCODING": "utf-8",
        "PYTHONPATH": str(STAGES_FOLDER),
    }


def end_session(process: subprocess.Popen) -> None:
    """End it and what it has started; on POSIX also what it has orphaned."""
    kill_children(process.pid)
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()


def kill_children(pid: int) -> None:
    """End all that a process has started, if it still runs."""
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.kill()


def keep_tail(stream: IO[bytes], tail: bytearray, size: int = 20_000) -> None:
    """Read the stream to its end; keep only the last bytes."""
    while chunk := stream.read1(size):
        tail += chunk
        del tail[:-size]


def find_place(printed: tuple[str, ...], path: Path, name: str) -> str:
    """Where in the file it was, if Python could still say so."""
    for line in printed:
        match = re.search(r'File "(.+)", line (\d+) in (.+)', line)
        if match and Path(match[1]).name == path.name:
            source = path.read_text(encoding="utf-8").splitlines()
            number = int(match[2])
            return (
                f":\n{name}, line {number}, in {match[3]}:\n"
                f"    {source[number - 1].strip()}"
            )
    return "."


def keep_within(limits: Limits, place: Path) -> None:
    """From now on end this process, and say where, when it takes more.

    Also when the one that has started it is gone.
    """
    file = place.open("w", encoding="utf-8")
    # A second later where Python has no turn, and its thread cannot do it.
    faulthandler.dump_traceback_later(limits.seconds + 1, exit=True, file=file)
    threading.Thread(target=watch, args=(limits, file), daemon=True).start()


def watch(limits: Limits, place: TextIO) -> NoReturn:
    """End this process once it takes too much, or nobody waits for it."""
    parent, end = os.getppid(), time.monotonic() + limits.seconds
    process, status = psutil.Process(), 0
    while not status:
        time.sleep(0.05)
        if os.getppid() != parent or not psutil.pid_exists(parent):
            shutil.rmtree(Path(place.name).parent, ignore_errors=True)
            end_with_children()
        if process.memory_info().rss > limits.gigabytes * 1e9:
            status = TOO_LARGE
        elif time.monotonic() > end:
            status = TOO_LONG
    if "workshop.jaxprs" in sys.modules:
        note = sys.modules["workshop.jaxprs"].describe_compilation()
        place.write(f"{NOTE}{note}\n")
        place.flush()
    faulthandler.dump_traceback(place)
    end_with_children(status)


def end_with_children(status: int = 0) -> NoReturn:
    """End this process, and all that it has started."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    kill_children(os.getpid())
    os._exit(status)
