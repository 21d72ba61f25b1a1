"""Run somebody's file in a process of its own, within limits.

`run_within` starts a module that calls `report`. That process watches its own
time and memory, and ends when its parent process has ended. This works on
every system. The module reports what it does, step by step.
"""

import ast
import contextlib
import dataclasses
import faulthandler
import importlib.util
import json
import linecache
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import IO, Any, NoReturn

import psutil

from workshop.stages import STAGES_FOLDER
from workshop.terminal import command, fail, show_path, terminal_size

LARGEST = 86_400  # the seconds of a day
REPORT, PLACE = "report", "place"  # what it tells, and where it was stopped
INTERVAL = 0.05  # seconds between two looks at time, memory and parent


@dataclasses.dataclass(frozen=True)
class Limits:
    """How long a process may run, and how much memory it may use."""

    seconds: float = 60
    gigabytes: float = 2


@dataclasses.dataclass
class Report:
    """What a process has reported, and how it ended."""

    steps: list[str] = dataclasses.field(default_factory=list)
    why: str = ""  # why the last step failed, if it did
    broken: str = ""  # the limit: "seconds" or "gigabytes", if one was broken
    note: str = ""  # what it was busy with then, if that is known
    printed: str = ""  # its last lines, unless it broke a limit
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)


def check_limits(limits: Limits) -> None:
    """End with one line and status 2 if a limit is out of range."""
    for name, value in dataclasses.asdict(limits).items():
        if not 0 < value <= LARGEST:
            allowed = f"above 0 and at most {LARGEST}"
            fail(f"--{name} must be {allowed}, got {value:g}")


def run_within(
    limits: Limits,
    module: str,
    *arguments: str,
    path: Path,
    folder: Path,
    environment: dict[str, str],
    cwd: Path | None = None,
) -> Report:
    """Run `python -m module`, which has to call `report`, to its end.

    The module works on the file at path, and also gets the arguments. The
    folder holds what it reports; nothing else may use that folder.
    """
    (folder / REPORT).unlink(missing_ok=True)
    words = [*arguments, path, folder, os.getpid()]
    words += dataclasses.astuple(limits)
    status, printed = run_to_end(
        [sys.executable, "-P", "-m", module, *map(str, words)],
        env=environment | make_environment(environment),
        cwd=cwd,
    )
    found = read_report(folder / REPORT)
    traceback = (folder / PLACE).read_text(encoding="utf-8")
    if found.facts.pop("ended", False):
        found.broken = ""  # at the last moment
    elif traceback:
        found.broken = found.broken or "seconds"
        found.why = explain_limit(limits, found, traceback, path)
    else:
        found.why = f"The file ended Python, status {status}."
    found.printed = "" if found.broken else printed
    return found


def read_report(path: Path) -> Report:
    """Return what a process has reported; end with one line if nothing."""
    if not path.exists():
        fail(f"It could not be started. To see why: {command('doctor')}", 1)
    found = Report()
    for line in path.read_text(encoding="utf-8").splitlines():
        for name, value in json.loads(line).items():
            if name == "step":
                found.steps.append(value)
            elif name in ("why", "broken", "note"):
                setattr(found, name, value)
            else:
                found.facts[name] = value
    return found


def explain_limit(
    limits: Limits, found: Report, traceback: str, path: Path
) -> str:
    """Return in words which limit was broken, and where in the file."""
    broken = f"It is still running after {limits.seconds:g} s"
    if found.broken == "gigabytes":
        broken = f"It uses more than {limits.gigabytes:g} GB of memory"
    for match in re.finditer(r'File "(.+)", line (\d+) in (.+)', traceback):
        if Path(match[1]).name == path.name:
            line = linecache.getline(str(path), int(match[2])).strip()
            where = f"{show_path(path)}, line {match[2]}, in {match[3]}"
            return f"{broken}:\n{where}:\n    {line}\n{found.note}".rstrip()
    return f"{broken}.\n{found.note}".rstrip()


def run_to_end(words: list[str], **options: Any) -> tuple[int, str]:
    """Run a command; return its exit status and the last lines it printed."""
    tail = bytearray()
    sys.stdout.flush()
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        **options,
    )
    try:
        reader = threading.Thread(
            target=keep_tail, args=(process.stdout, tail), daemon=True
        )
        reader.start()
        process.wait()
    finally:
        end_session(process)
    reader.join(timeout=1)  # a process that got away may hold the pipe
    lines = bytes(tail).decode(errors="replace").splitlines()
    return process.returncode, "\n".join(lines[-5:])


def keep_tail(stream: IO[bytes], tail: bytearray, size: int = 20_000) -> None:
    """Read the stream to its end, and close it; keep only the last bytes."""
    with stream:
        while chunk := stream.read1(size):
            tail += chunk
            del tail[:-size]


def end_session(process: subprocess.Popen) -> None:
    """End a process and all that it has started.

    On POSIX this includes processes whose parent has ended already.
    """
    kill_children(process.pid)
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()


def kill_children(pid: int) -> None:
    """End all that a process has started, if the process still runs."""
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.kill()


def make_environment(environment: dict[str, str]) -> dict[str, str]:
    """Return variables that let a process find us, and print as we do."""
    paths = str(STAGES_FOLDER), environment.get("PYTHONPATH")
    return {
        "COLUMNS": str(terminal_size()[0]),
        "PYTHONIOENCODING": "utf-8",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }


def report(
    work: Callable[..., None], describe: Callable[[], str] = str
) -> NoReturn:
    """Do the work in a process that `run_within` started; end the process.

    The work gets a function `tell`, then the arguments and the path. `tell`
    reports its keywords at once: step=name when something begins, why=text if
    it fails, and any other name for what is found. describe returns what the
    process is busy with, for the note of one that breaks a limit.
    """
    *arguments, path, folder, parent, seconds, gigabytes = sys.argv[1:]
    limits, folder = Limits(float(seconds), float(gigabytes)), Path(folder)
    place = (folder / PLACE).open("w")
    file = (folder / REPORT).open("w", encoding="utf-8")

    def tell(**what: Any) -> None:
        file.write(json.dumps(what) + "\n")
        file.flush()

    def stop(limit: str) -> NoReturn:
        tell(broken=limit, note=describe())
        faulthandler.dump_traceback(place)
        end_with_children()

    # Where Python cannot switch threads, `watch` does not run.
    late = limits.seconds + 1
    faulthandler.dump_traceback_later(late, exit=True, file=place)
    watching = (limits, int(parent), folder, stop)
    threading.Thread(target=watch, args=watching, daemon=True).start()
    work(tell, *arguments, Path(path).resolve())
    tell(ended=True)
    end_with_children()


def watch(
    limits: Limits, parent: int, folder: Path, stop: Callable[[str], None]
) -> None:
    """Stop this process once a limit is broken, or its parent has ended."""
    end = time.monotonic() + limits.seconds
    process = psutil.Process()
    while is_running(parent):
        time.sleep(INTERVAL)
        if process.memory_info().rss > limits.gigabytes * 1e9:
            stop("gigabytes")
        if time.monotonic() > end:
            stop("seconds")
    shutil.rmtree(folder, ignore_errors=True)
    end_with_children()


def is_running(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def end_with_children() -> NoReturn:
    """End this process, and all that it has started."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    kill_children(os.getpid())
    os._exit(0)


def check_path(path: Path, name: str = "path") -> None:
    """End with one line and status 2 if the path is not a Python file."""
    if not path.is_file():
        fail(f"{name} must be a file, got {path}")
    if path.suffix != ".py":
        copy = "copy its code into one"
        fail(f"{name} must be a Python file, .py, got {path}: {copy}")


def check_code(name: str, code: str, mode: str) -> None:
    """End with one line and status 2 if the code does not parse."""
    try:
        ast.parse(code, mode=mode)
    except (SyntaxError, ValueError):
        kind = {"eval": "an expression", "exec": "statements"}[mode]
        fail(f"--{name} must be {kind} of Python, got {code!r}")


def import_file(path: Path) -> ModuleType:
    """Return the file as a module; its main guard is not run."""
    sys.path.insert(0, str(path.parent))
    sys.dont_write_bytecode = True  # an old version must never be found
    spec = importlib.util.spec_from_file_location("exercise", path)
    module = sys.modules["exercise"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
