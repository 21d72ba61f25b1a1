"""Run a module in a process of its own that may take only so much.

It watches its own time and memory, which works on every system.
"""

import contextlib
import dataclasses
import faulthandler
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, TextIO

import psutil

from workshop.stages import STAGES_FOLDER
from workshop.terminal import terminal_size

TOO_LARGE = 99  # the exit status


@dataclasses.dataclass(frozen=True)
class Limits:
    """How long a process may run, and how much memory it may take."""

    seconds: float = 60
    gigabytes: float = 2


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a process has ended."""

    status: int
    printed: str
    """The last lines that it printed."""
    place: tuple[str, ...] = ()
    """Where it was when it broke a limit, as faulthandler writes it."""

    def broken(self, limits: Limits) -> str:
        """Which of the limits it broke, if one."""
        if self.status == TOO_LARGE:
            return f"It takes more than {limits.gigabytes:g} GB of memory"
        seconds = f"It still runs after {limits.seconds:g} seconds"
        return seconds if self.place else ""


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
            end_with_children(process)
            reader.join(timeout=1)
    printed = bytes(tail).decode(errors="replace").splitlines()[-5:]
    lines = place.read_text(encoding="utf-8") if place.exists() else ""
    return Ended(
        process.returncode, "\n".join(printed), tuple(lines.splitlines())
    )


def own_environment() -> dict[str, str]:
    """What such a process needs to find us, and to print as we do."""
    return {
        "COLUMNS": str(terminal_size()[0]),
        "PYTHONIOENCODING": "utf-8",
        "PYTHONPATH": str(STAGES_FOLDER),
    }


def end_with_children(process: subprocess.Popen) -> None:
    """End it, and on POSIX whatever it has started: they are one session."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()


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
    """From now on end this process, and say where, when it takes more."""
    file = place.open("w", encoding="utf-8")
    faulthandler.dump_traceback_later(limits.seconds, exit=True, file=file)
    threading.Thread(
        target=end_if_larger, args=(limits.gigabytes, file), daemon=True
    ).start()


def end_if_larger(gigabytes: float, place: TextIO) -> None:
    """End this process, and say where it is, once it takes that much."""
    process = psutil.Process()
    while process.memory_info().rss < gigabytes * 1e9:
        time.sleep(0.05)
    faulthandler.dump_traceback(place)
    os._exit(TOO_LARGE)
