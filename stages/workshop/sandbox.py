"""Run a user's file in a separate process, within limits.

The parent process calls `run_within`, which starts a child process and reads
the child's report. In the child, `start` runs the module that works on the
file, and this module calls `report`. The child watches its own time and
memory, and ends when the parent has ended. This way, the limits work on every
operating system.
"""

import ast
import collections
import contextlib
import dataclasses
import faulthandler
import functools
import importlib.util
import json
import linecache
import os
import re
import runpy
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

CALL = "--call"  # used as the file name of the code in this option
LARGEST = 86_400  # the largest value of each limit: a day, if in seconds
REPORT = "report"  # the file to which the process reports
STOPPED = "stopped"  # the file for the traceback of a stopped process
START = "from workshop.sandbox import start; start()"
INTERVAL = 0.05  # seconds between checks of time, memory and parent
LINES_SHOWN, LINE_LENGTH = 5, 1000  # of the output that is kept


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
    broken: str = ""  # the limit that it broke, if any: seconds or gigabytes
    note: str = ""  # what it was doing when it broke the limit, if known
    printed: str = ""  # the last lines it printed, unless it broke a limit
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)


# --- in the parent process


def check_limits(limits: Limits) -> None:
    """Exit with a message and status 2 if a limit is out of range."""
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
    """Run a module in a child process until it ends; return its report.

    The module has to call `report`. It gets the arguments, the path of the
    file to work on, and the folder in which it writes its report. If this
    process is killed, the child removes the folder.
    """
    (folder / REPORT).unlink(missing_ok=True)
    words = [os.getpid(), module, *arguments, path, folder]
    words += dataclasses.astuple(limits)
    status, printed = run_to_end(
        [sys.executable, "-P", "-c", START, *map(str, words)],
        env=add_variables(environment),
        cwd=cwd,
    )
    found = read_report(folder / REPORT, printed)
    found.printed = printed
    if not found.facts.pop("ended", False):
        traceback = (folder / STOPPED).read_text(encoding="utf-8")
        explain_end(found, limits, status, traceback, path)
    return found


def add_variables(environment: dict[str, str]) -> dict[str, str]:
    """Return the environment with the variables that a child process needs.

    With these variables, the child can import the workshop, and prints UTF-8
    in lines that fit our terminal.
    """
    paths = str(STAGES_FOLDER), environment.get("PYTHONPATH")
    return environment | {
        "COLUMNS": str(terminal_size()[0]),
        "PYTHONIOENCODING": "utf-8",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }


def run_to_end(words: list[str], **options: Any) -> tuple[int, str]:
    """Run a command; return its exit status and the last lines it printed."""
    sys.stdout.flush()
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
        **options,
    )
    last: collections.deque[str] = collections.deque(maxlen=LINES_SHOWN)
    reader = in_background(read_lines, process.stdout, last)
    try:
        process.wait()
    finally:
        end_session(process)
    reader.join(timeout=1)  # a process that survived may hold the pipe
    return process.returncode, "".join(last.copy())


def read_lines(stream: IO[str], last: collections.deque[str]) -> None:
    """Add all lines of a stream to `last`, then close the stream."""
    with stream:
        last.extend(iter(lambda: stream.readline(LINE_LENGTH), ""))


def end_session(process: subprocess.Popen) -> None:
    """End a process and, on POSIX, every process that it started."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()


def read_report(path: Path, printed: str) -> Report:
    """Return the report of a process that has ended.

    If the process ended before it could report anything, show its output and
    exit with status 1.
    """
    if not path.exists():
        print(printed, end="", file=sys.stderr)
        how = command("doctor")
        fail(f"Python could not run the file. To check this machine: {how}", 1)
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


def explain_end(
    found: Report, limits: Limits, status: int, traceback: str, path: Path
) -> None:
    """Add to `found` why the process ended before its work was done.

    The traceback is empty unless the process broke a limit.
    """
    if not traceback:
        found.why = f"The file made Python exit with status {status}."
        return
    found.printed = ""
    found.broken = found.broken or "seconds"
    found.why = f"It is still running after {limits.seconds:g} s"
    if found.broken == "gigabytes":
        found.why = f"It uses more than {limits.gigabytes:g} GB of memory"
    line = find_line(traceback, path)
    found.why += f":\n{line}" if line else "."
    if found.note:
        found.why += f"\n{found.note}"


def find_line(traceback: str, path: Path) -> str:
    """Return the first line of the file in a traceback, "" if there is none.

    The traceback is in ASCII: escapes replace all other characters of a path.
    """
    escaped = str(path.resolve()).encode("ascii", "backslashreplace").decode()
    for match in re.finditer(r'File "(.+)", line (\d+) in (.+)', traceback):
        if match[1] == escaped:
            line = linecache.getline(str(path), int(match[2])).strip()
            where = f"{show_path(path)}, line {match[2]}, in {match[3]}"
            return f"{where}:\n    {line}"
    return ""


# --- in the process that is started


def start() -> None:
    """Start to watch the parent process, then run the module.

    The module imports jax, which takes seconds. The parent may end during this
    time, so the watch starts before the import.
    """
    parent, module = int(sys.argv.pop(1)), sys.argv.pop(1)
    *_, folder, _, _ = sys.argv
    in_background(end_with_parent, parent, Path(folder))
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def end_with_parent(parent: int, folder: Path) -> None:
    """Wait until the parent has ended; then remove the folder and exit."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(parent)
        while is_running(process):
            time.sleep(INTERVAL)
    shutil.rmtree(folder, ignore_errors=True)
    end_with_children()


def is_running(process: psutil.Process) -> bool:
    """Return whether a process is running.

    A zombie does not count as running. A process that has ended does not count
    either, even if a new process has the same number.
    """
    try:
        is_zombie = process.status() == psutil.STATUS_ZOMBIE
        return process.is_running() and not is_zombie
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def report(
    work: Callable[..., None], describe: Callable[[], str] = str
) -> NoReturn:
    """Call `work` in a process that `run_within` started; end the process.

    `work` gets a function `tell`, then the arguments and the path. `tell`
    writes its keyword arguments to the report at once: step=name when a step
    begins, why=text if the step fails, and any other name for another fact.
    `describe` returns what the process is doing. If the process breaks a
    limit, this text becomes the note in the report.
    """
    *arguments, path, folder, seconds, gigabytes = sys.argv[1:]
    limits = Limits(float(seconds), float(gigabytes))
    stopped = (Path(folder) / STOPPED).open("w")
    file = (Path(folder) / REPORT).open("w", encoding="utf-8")
    tell = functools.partial(write_facts, file)

    def stop(limit: str) -> NoReturn:
        tell(broken=limit, note=describe())
        faulthandler.dump_traceback(stopped)
        end_with_children()

    # While Python cannot switch threads, the thread that watches cannot run.
    # In this case, faulthandler ends the process.
    late = limits.seconds + 1
    faulthandler.dump_traceback_later(late, exit=True, file=stopped)
    in_background(watch, limits, stop)
    work(tell, *arguments, Path(path).resolve())
    tell(ended=True)
    end_with_children()


def write_facts(file: IO[str], **facts: Any) -> None:
    """Write facts to the report at once, so that a crash cannot lose them."""
    file.write(json.dumps(facts) + "\n")
    file.flush()


def watch(limits: Limits, stop: Callable[[str], None]) -> None:
    """Call `stop` when this process breaks a limit."""
    end = time.monotonic() + limits.seconds
    process = psutil.Process()
    while True:
        time.sleep(INTERVAL)
        if process.memory_info().rss > limits.gigabytes * 1e9:
            stop("gigabytes")
        if time.monotonic() > end:
            stop("seconds")


def end_with_children() -> NoReturn:
    """End this process, and every process that it has started."""
    try:
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.kill()
        sys.stdout.flush()
    finally:
        os._exit(0)


# --- in either process


def in_background(function: Callable, *args: Any) -> threading.Thread:
    """Call a function in a thread; the thread ends when the program ends."""
    thread = threading.Thread(target=function, args=args, daemon=True)
    thread.start()
    return thread


def check_path(path: Path, name: str = "path") -> None:
    """Exit with a message and status 2 if the path is not a Python file."""
    if not path.is_file():
        fail(f"{name} must be a file, got {path}")
    if path.suffix != ".py":
        copy = "Copy its code into a .py file."
        fail(f"{name} must be a Python file (.py), got {path}. {copy}")


def check_code(name: str, code: str, mode: str) -> None:
    """Exit with a message and status 2 if the code does not parse."""
    try:
        ast.parse(code, mode=mode)
    except (SyntaxError, ValueError):
        kind = "a Python expression" if mode == "eval" else "Python statements"
        fail(f"--{name} must be {kind}, got {code!r}")


def import_file(path: Path) -> ModuleType:
    """Import a file as a module; its main guard does not run."""
    sys.path.insert(0, str(path.parent))
    sys.dont_write_bytecode = True  # bytecode may be stale
    spec = importlib.util.spec_from_file_location("exercise", path)
    module = sys.modules["exercise"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
