"""Run a module in a process of its own that may take only so much.

It watches its own time and memory, and whether anybody still waits for it,
which works on every system.
"""

import ast
import contextlib
import dataclasses
import faulthandler
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
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import IO, Any, NoReturn, TextIO

import psutil

from workshop.stages import STAGES_FOLDER
from workshop.terminal import fail, show_path, terminal_size

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


def run_within(
    limits: Limits,
    module: str,
    *arguments: str,
    path: Path,
    folder: Path,
    environment: dict[str, str],
    cwd: Path | None = None,
) -> dict[str, Any]:
    """Run `python -m module ARGUMENTS PATH REPORT LIMITS` to its end.

    It has to call `report`. Returns all that it told, its steps in a list:
    {"steps": [name, ...], "why": how it failed, if so, "printed": its last
    lines then, ...}. The folder holds the report.
    """
    report, place = folder / "report", folder / "place"
    report.unlink(missing_ok=True)
    arguments += path, report, *map(str, dataclasses.astuple(limits))
    status, printed = run_to_end(
        [sys.executable, "-P", "-m", module, *arguments],
        env=environment | own_environment(environment),
        cwd=cwd,
    )
    found = read_report(report)
    if not found.pop("ended", False):
        found["why"] = explain_end(status, limits, place, path)
    broken = status == TOO_LARGE or place.read_text(encoding="utf-8")
    return found | {"printed": "" if broken else printed}


def read_report(path: Path) -> dict[str, Any]:
    """All that was told, in one; of the steps a list."""
    if not path.exists():
        fail("It could not be started. What is wrong: make doctor", 1)
    found: dict[str, Any] = {"steps": []}
    for line in path.read_text(encoding="utf-8").splitlines():
        told = json.loads(line)
        found["steps"] += [told.pop("step")] if "step" in told else []
        found |= told
    return found


def run_to_end(command: list, **options: Any) -> tuple[int, str]:
    """Its exit status, and the last lines that it printed."""
    tail = bytearray()
    sys.stdout.flush()
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        **options,
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
    lines = bytes(tail).decode(errors="replace").splitlines()
    return process.returncode, "\n".join(lines[-5:])


def explain_end(status: int, limits: Limits, place: Path, path: Path) -> str:
    """Why it ended early: the limit that it broke, and where it was then."""
    lines = place.read_text(encoding="utf-8")
    if status == TOO_LARGE:
        broken = f"It takes more than {limits.gigabytes:g} GB of memory"
    elif lines:
        broken = f"It still runs after {limits.seconds:g} seconds"
    else:
        return f"The file ended Python, status {status}."
    note = re.match(f"{NOTE}(.*)", lines)
    where = find_place(lines, path)
    return f"{broken}{where}\n{note[1] if note else ''}".rstrip()


def own_environment(environment: dict[str, str]) -> dict[str, str]:
    """What such a process needs to find us, and to print as we do."""
    paths = str(STAGES_FOLDER), environment.get("PYTHONPATH")
    return {
        "COLUMNS": str(terminal_size()[0]),
        "PYTHONIOENCODING": "utf-8",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
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


def find_place(printed: str, path: Path) -> str:
    """Where in the file it was, if Python could still say so."""
    for match in re.finditer(r'File "(.+)", line (\d+) in (.+)', printed):
        if Path(match[1]).name == path.name:
            source = path.read_text(encoding="utf-8").splitlines()
            line = source[int(match[2]) - 1].strip()
            where = f"{show_path(path)}, line {match[2]}, in {match[3]}"
            return f":\n{where}:\n    {line}"
    return "."


def report(work: Callable[..., None]) -> NoReturn:
    """Work in a process that run_within has started, and end it.

    The work is given ARGUMENTS and PATH, and first a function that tells
    run_within, at once, what its keywords say: step=name when something
    begins that may not end, why=text if it fails, and what else is found.
    """
    *arguments, path, name, seconds, gigabytes = sys.argv[1:]
    limits = Limits(float(seconds), float(gigabytes))
    keep_within(limits, Path(name).with_name("place"))
    with Path(name).open("w", encoding="utf-8") as file:

        def tell(**what: Any) -> None:
            print(json.dumps(what), file=file, flush=True)

        work(tell, *arguments, Path(path).resolve())
        tell(ended=True)
    end_with_children()


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
    if "workshop.tracing" in sys.modules:
        note = sys.modules["workshop.tracing"].describe_compilation()
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


def check_path(path: Path, name: str = "path") -> None:
    """End with one line and status 2 if it is not a file of Python."""
    if not path.is_file():
        fail(f"{name} must be a file, got {path}")
    if path.suffix != ".py":
        copy = "copy its code into one"
        fail(f"{name} must be a Python file, .py, got {path}: {copy}")


def check_code(name: str, code: str, mode: str) -> None:
    """End with one line and status 2 if it is not Python: eval or exec."""
    try:
        ast.parse(code, mode=mode)
    except (SyntaxError, ValueError):
        kind = {"eval": "an expression", "exec": "statements"}[mode]
        fail(f"--{name} must be {kind} of Python, got {code!r}")


def import_file(path: Path) -> ModuleType:
    """The file as a module, its main guard not run."""
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location("exercise", path)
    module = sys.modules["exercise"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
