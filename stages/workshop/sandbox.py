"""Run a user's file in a separate process, within limits.

The parent process calls `run_within`, which starts a child process and reads
the child's report. In the child, `start` calls the function `work` of the
module that works on the file. The child watches its own time and memory, and
ends when the parent has ended. This way, the limits work on every operating
system.
"""

import ast
import collections
import contextlib
import dataclasses
import faulthandler
import functools
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import IO, Any, NoReturn

import psutil

from workshop.errors import show_line
from workshop.stages import STAGES_FOLDER
from workshop.terminal import command, fail, terminal_size

CALL = "--call"  # used as the file name of the code in this option
LARGEST = 86_400  # the largest value of each limit: a day, if in seconds
REPORT = "report"  # the file to which the process reports
START = "from workshop.sandbox import start; start()"
LINES_SHOWN, LINE_LENGTH = 5, 1000  # of the output that is kept
INTERVAL = 0.05  # seconds between checks of memory and parent
COMPILING = (
    "JAX was compiling. A long compilation usually comes from a Python loop"
    " that jit unrolls, or from `unroll=`. Use scan, without `unroll=`."
)


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
    printed: str = ""  # the last lines that it printed
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
    """Call the function `work` of a module in a child process.

    Return the report. `work` gets a function `tell`, then the arguments and
    the path of the file. `tell` writes its keyword arguments to the report:
    step=name when a step begins, why=text if the step fails, and any other
    name for another fact. The report is written in the folder. If this process
    is killed, the child removes the folder.
    """
    words = [os.getpid(), module, *arguments, path, folder]
    words += dataclasses.astuple(limits)
    words = [sys.executable, "-P", "-c", START, *map(str, words)]
    options = {"env": add_variables(environment), "cwd": cwd}
    status, printed = run_to_end(words, **options)
    report = read_report(folder / REPORT, limits, status, path)
    report.printed = printed
    return report


def add_variables(environment: dict[str, str]) -> dict[str, str]:
    """Return the environment with the variables that a child process needs.

    The child can then import the workshop, and print any character. Pictures
    that it draws fit our terminal.
    """
    paths = str(STAGES_FOLDER), environment.get("PYTHONPATH")
    return environment | {
        "COLUMNS": str(terminal_size()[0]),
        "PYTHONIOENCODING": "utf-8",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }


def run_to_end(words: list[str], **options: Any) -> tuple[int, str]:
    """Run a command without input; return its status and last output."""
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
        end_session(process.pid)
    reader.join(timeout=1)  # a process that survived may hold the pipe
    return process.returncode, "".join(last.copy())


def read_lines(stream: IO[str], last: collections.deque[str]) -> None:
    """Add all lines of a stream to `last`, then close the stream."""
    with stream:
        last.extend(iter(lambda: stream.readline(LINE_LENGTH), ""))


def end_session(leader: int) -> None:
    """End a process and, on POSIX, all processes of its group."""
    with contextlib.suppress(OSError):  # it has already ended
        if sys.platform == "win32":
            os.kill(leader, signal.SIGTERM)
        else:
            os.killpg(leader, signal.SIGKILL)


def read_report(path: Path, limits: Limits, status: int, file: Path) -> Report:
    """Return the report of a process that has ended.

    The report holds a line of JSON for each call of `tell`. If the process
    broke a limit, a traceback follows. If the process ended before its first
    step, show why, and exit with status 1.
    """
    found, stopped = Report(), ""
    lines = path.read_text(encoding="utf-8") if path.exists() else ""
    for line in lines.splitlines():
        if not line.startswith("{"):
            stopped += f"{line}\n"
            continue
        for name, value in json.loads(line).items():
            if name == "step":
                found.steps.append(value)
            elif name in ("why", "broken"):
                setattr(found, name, value)
            else:
                found.facts[name] = value
    if not found.steps:
        print(found.why, end="", file=sys.stderr)
        how = command("doctor")
        fail(f"Python could not run the file. To check this machine: {how}", 1)
    if stopped:
        explain_limit(found, limits, stopped, file)
    elif not found.facts.pop("ended", False):
        found.why = f"The file made Python exit with status {status}."
    return found


def explain_limit(
    found: Report, limits: Limits, stopped: str, file: Path
) -> None:
    """Note in `found` which limit was broken, and at which line."""
    found.broken = found.broken or "seconds"
    found.why = f"It is still running after {limits.seconds:g} s"
    if found.broken == "gigabytes":
        found.why = f"It uses more than {limits.gigabytes:g} GB of memory"
    line = find_line(stopped, file)
    found.why += f":\n{line}" if line else "."
    if "backend_compile" in stopped:  # a function of JAX
        found.why += f"\n{COMPILING}"


def find_line(stopped: str, path: Path) -> str:
    """Return the first line of the file in a traceback, "" if there is none.

    The traceback is in ASCII: escapes replace all other characters of a path.
    """
    escaped = str(path.resolve()).encode("ascii", "backslashreplace").decode()
    for match in re.finditer(r'File "(.+)", line (\d+) in (.+)', stopped):
        if match[1] == escaped:
            return show_line(path, int(match[2]), match[3])
    return ""


# --- in the process that is started


def start() -> NoReturn:
    """Call the function `work` of a module, then end this process.

    The module imports jax, which takes seconds. The parent may end during this
    time, so the watch starts before the import.
    """
    parent, module, *arguments, path, folder, seconds, gigabytes = sys.argv[1:]
    file = (Path(folder) / REPORT).open("w", encoding="utf-8")
    tell = functools.partial(write_facts, file)
    in_background(watch, int(parent), Path(folder), float(gigabytes), file)
    try:
        work = importlib.import_module(module).work
    except Exception:
        tell(why=traceback.format_exc())
        os._exit(1)
    # This timer works even while Python cannot switch to another thread.
    faulthandler.dump_traceback_later(float(seconds), exit=True, file=file)
    work(tell, *arguments, Path(path).resolve())
    tell(ended=True)
    sys.stdout.flush()
    os._exit(0)


def write_facts(file: IO[str], **facts: Any) -> None:
    """Write facts to the report at once, so that a crash cannot lose them."""
    file.write(json.dumps(facts) + "\n")
    file.flush()


def watch(parent: int, folder: Path, gigabytes: float, file: IO[str]) -> None:
    """Wait until the parent ends or the memory limit is broken; then exit."""
    process = psutil.Process()
    while has_parent(parent):
        if process.memory_info().rss > gigabytes * 1e9:
            write_facts(file, broken="gigabytes")
            faulthandler.dump_traceback(file)
            end_session(os.getpid())
        time.sleep(INTERVAL)
    shutil.rmtree(folder, ignore_errors=True)
    end_session(os.getpid())


def has_parent(parent: int) -> bool:
    """Return whether the parent process is still running."""
    if sys.platform == "win32":  # a launcher may be in between
        return psutil.pid_exists(parent)
    return os.getppid() == parent


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
