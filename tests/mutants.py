"""Break the code on purpose, one edit at a time: do the tests notice?

python tests/mutants.py --jobs 2 --only rendering

The edits stand in mutants.txt. They are made in a copy of the files that git
tracks, as they are now, and never in this folder. An edit is "killed" if the
tests that are named for it fail. If they pass, it "SURVIVED": a test is
missing. "stale": its text is not there exactly once, mend the list. "broken":
these tests fail without the edit, so they cannot judge it. The exit status is
0 only if every edit is killed.
"""

import argparse
import fnmatch
import os
import queue
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import psutil

ROOT = Path(__file__).resolve().parents[1]
TABLE = Path(__file__).with_suffix(".txt")
PYTEST = ["-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-n", "0"]
MARK = "WORKSHOP_MUTANTS_COPY"  # in the environment of what a copy starts
MAX_SECONDS = 900  # for tests of unbroken code
SHORT = 36  # characters of an edit that are shown


class Edit(NamedTuple):
    """A way to break the code, and the tests that should notice."""

    old: str
    new: str
    files: str  # a pattern of the paths where to look
    tests: tuple[str, ...]  # arguments of pytest


class Run(NamedTuple):
    """What became of some tests."""

    passed: bool
    seconds: float
    why: str  # the first test that failed


def read_edits(text: str) -> list[Edit]:
    """The edits of the table; its head says how it is written.

    Raises ValueError if a line is of no known kind.
    """
    edits, files, tests = [], "*", ()
    for block in re.split(r"\n\n+", text.strip("\n")):
        sides: dict[str, list[str]] = {"-": [], "+": []}
        for line in block.splitlines():
            if line[:1] in sides:
                sides[line[0]].append(line[2:])
            elif line[:1] == "@":
                inside, _, words = line[1:].rpartition(" : ")
                files = inside.strip() or "*"
                tests = tuple(map(test_path, shlex.split(words)))
            elif line[:1] != "#":
                raise ValueError(f"{TABLE.name}: what is {line!r}?")
        if sides["-"]:
            edits.append(Edit(*map("\n".join, sides.values()), files, tests))
    return edits


def test_path(word: str) -> str:
    """An argument of pytest; the name of a test file gets its folder."""
    return f"tests/{word}" if re.fullmatch(r"test_\w+\.py", word) else word


def tracked_files() -> list[str]:
    """The paths of all files that git tracks and that are there."""
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True
    )
    names = os.fsdecode(done.stdout).split("\0")
    return [name for name in names if (ROOT / name).is_file()]


def find_places(edit: Edit, names: list[str]) -> list[str]:
    """The path of each place where the old text stands, outside of tests."""
    return [
        name
        for name in fnmatch.filter(names, edit.files)
        if name.endswith((".py", "Makefile")) and not name.startswith("tests/")
        for _ in range((ROOT / name).read_text("utf-8").count(edit.old))
    ]


def copy_files(names: list[str], folder: Path) -> Path:
    """A copy of these files in that folder."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    return folder


def run_tests(copy: Path, tests: tuple[str, ...], limit: float) -> Run:
    """Run tests in a copy; too long is as good as failed."""
    # A file that changes twice within a second would be taken for its .pyc.
    mark = {MARK: str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    start = time.monotonic()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, *PYTEST, *tests],
            cwd=copy,
            env={**os.environ, **mark},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            status = process.wait(limit)
            why = f"status {status}"
        except subprocess.TimeoutExpired:
            status, why = None, f"not done within {limit:.0f} s"
        finally:
            end_marked(copy)
            process.wait()
        output.seek(0)
        printed = output.read().decode("utf-8", errors="replace")
    first = re.search(
        r"^(?:FAILED|ERROR) (?:\S+::)?(.+?)(?: - |$)", printed, re.M
    )
    why = first[1].strip() if first else why
    return Run(status == 0, time.monotonic() - start, why)


def end_marked(copy: Path) -> None:
    """End every process that tests in this copy have started and left."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == str(copy):
                process.kill()


@contextmanager
def borrow(copies: queue.Queue) -> Iterator[Path]:
    """A copy that no other thread has meanwhile."""
    copy = copies.get()
    try:
        yield copy
    finally:
        copies.put(copy)


def run_unbroken(copies: queue.Queue, tests: tuple[str, ...]) -> Run:
    """Run tests as they are, and say so: it is a while before the edits."""
    with borrow(copies) as copy:
        run = run_tests(copy, tests, MAX_SECONDS)
    verdict = "passes" if run.passed else f"FAILS: {run.why}"
    shown = shlex.join(word.removeprefix("tests/") for word in tests)
    print(f"unbroken  {run.seconds:4.0f} s  {shown}: {verdict}", flush=True)
    return run


def judge(
    copies: queue.Queue,
    names: list[str],
    unbroken: dict[tuple[str, ...], Run],
    edit: Edit,
) -> tuple[str, str]:
    """The verdict on an edit, and the line that tells of it."""
    places = find_places(edit, names)
    old, new = (" ".join(text.split()) for text in (edit.old, edit.new))
    shown = f"{old[:SHORT]} -> {new[:SHORT]}"
    if len(places) != 1:
        found = f"found {len(places)} times"
        return "stale", f"stale       0 s  {edit.files}: {shown}  ({found})"
    shown = f"{places[0]}: {shown}"
    before = unbroken[edit.tests]
    if not before.passed:
        return "broken", f"broken      0 s  {shown}  ({before.why})"
    with borrow(copies) as copy:
        path = copy / places[0]
        whole = path.read_bytes()
        text = whole.decode().replace(edit.old, edit.new)
        path.write_bytes(text.encode())
        try:
            run = run_tests(copy, edit.tests, 60 + 3 * before.seconds)
        finally:
            path.write_bytes(whole)
    verdict = "SURVIVED" if run.passed else "killed"
    why = "" if run.passed else f"  ({run.why})"
    return verdict, f"{verdict:8}  {run.seconds:4.0f} s  {shown}{why}"


def at_least_1(text: str) -> int:
    """A number of jobs."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return int(text)


def read_arguments() -> argparse.Namespace:
    """The command line; what does not fit is one line and status 2."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        usage=argparse.SUPPRESS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--jobs",
        type=at_least_1,
        default=os.cpu_count(),
        help="how many edits at a time, each in its own copy",
    )
    parser.add_argument(
        "--only", default="", help="only edits with this text in their entry"
    )
    parser.add_argument(
        "--stale", action="store_true", help="run nothing: which are stale?"
    )
    arguments = parser.parse_args()
    edits = read_edits(TABLE.read_text(encoding="utf-8"))
    arguments.edits = [
        edit for edit in edits if arguments.only in "\n".join(map(str, edit))
    ]
    if not arguments.edits:
        parser.error(f"--only must be in an entry, got {arguments.only!r}")
    return arguments


def main() -> int:
    """Judge the edits one after the other; the exit status."""
    arguments, names = read_arguments(), tracked_files()
    edits, verdicts = arguments.edits, []
    fresh = [edit for edit in edits if len(find_places(edit, names)) == 1]
    if arguments.stale:
        edits = [edit for edit in edits if edit not in fresh]
        fresh = []
    copies: queue.Queue[Path] = queue.Queue()
    with (
        tempfile.TemporaryDirectory() as folder,
        ThreadPoolExecutor(arguments.jobs) as pool,
    ):
        for i in range(arguments.jobs):
            copies.put(copy_files(names, Path(folder, str(i))))
        tests = list(dict.fromkeys(edit.tests for edit in fresh))
        runs = pool.map(partial(run_unbroken, copies), tests)
        unbroken = dict(zip(tests, runs, strict=True))
        for verdict, line in pool.map(
            partial(judge, copies, names, unbroken), edits
        ):
            print(line, flush=True)
            verdicts.append(verdict)
    others = [v for v in verdicts if v != "killed"]
    if arguments.stale:
        print(f"{len(others)} of {len(arguments.edits)} stale")
    else:
        print(f"{len(verdicts) - len(others)} of {len(verdicts)} killed")
    return 1 if others else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
