"""Break the code on purpose, one edit at a time: do the tests notice?

python tests/mutants.py --only rendering

The edits stand in mutants.txt. Each is made in a copy of the files that git
tracks, as they are now; this folder is left alone. An edit is "killed" if the
tests that are named for it fail. If they pass, it "SURVIVED": a test is
missing. "stale": its text is not there exactly once, mend the list. "broken":
these tests fail without the edit, or a signal ended them, so they cannot judge
it. The exit status is 0 only if every edit is killed.
"""

import fnmatch
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil
import tyro

ROOT = Path(__file__).resolve().parents[1]
TABLE = Path(__file__).with_suffix(".txt")
PYTEST = ["-m", "pytest", "--slow", "-x", "-q", "-p", "no:cacheprovider"]
MARK = "WORKSHOP_MUTANT"  # in the environment of what tests of a copy start
MAX_SECONDS = 900  # for tests of unbroken code
SHORT = 36  # characters of an edit that are shown


class Edit(NamedTuple):
    """A way to break the code, and the tests that should notice."""

    old: str
    new: str
    files: str  # a pattern of the paths where to look
    tests: tuple[str, ...]  # arguments of pytest

    def __str__(self) -> str:
        """On one line."""
        return " -> ".join(" ".join(x.split())[:SHORT] for x in self[:2])


def read_edits() -> list[Edit]:
    """The edits of the table, which says on top how it is written.

    Raises ValueError if a line is of no known kind.
    """
    edits, files, tests = [], "*", ()
    text = TABLE.read_text(encoding="utf-8")
    for block in re.split(r"\n\n+", text.strip("\n")):
        sides: dict[str, list[str]] = {"-": [], "+": []}
        for line in block.splitlines():
            if line[0] in sides:
                sides[line[0]].append(line[2:])
            elif line[0] == "@":
                inside, _, words = line[1:].rpartition(" : ")
                files = inside.strip() or "*"
                tests = tuple(
                    re.sub(r"^test_\w+\.py$", r"tests/\g<0>", word)
                    for word in shlex.split(words)
                )
            elif line[0] != "#":
                raise ValueError(f"{TABLE.name}: what is {line!r}?")
        if sides["-"]:
            edits.append(Edit(*map("\n".join, sides.values()), files, tests))
    return edits


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


def run_tests(
    folder: Path, tests: tuple[str, ...], limit: float = MAX_SECONDS
) -> tuple[str, float]:
    """The first test that failed there, "" if none, and the seconds it took.

    Nothing that the tests have started is left running.
    """
    start, environment = time.monotonic(), os.environ | {MARK: str(folder)}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"  # files change too fast
    with (folder / "output").open("w+", errors="replace") as output:
        process = subprocess.Popen(
            [sys.executable, *PYTEST, *tests],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            status = f"status {process.wait(limit)}"
        except subprocess.TimeoutExpired:
            status = f"not done within {limit:.0f} s"
        finally:
            end_all(folder)
            process.wait()
        output.seek(0)
        printed = output.read()
    failed = re.search(r"^(?:FAILED|ERROR) (?:\S+::)?(.+)$", printed, re.M)
    why = failed[1].partition(" - ")[0] if failed else status
    return why * (status != "status 0"), time.monotonic() - start


def end_all(folder: Path) -> None:
    """End the tests of that folder, and all that they have started."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == str(folder):
                process.kill()


def judge(folder: Path, places: dict[Edit, str], tests: tuple) -> int:
    """Judge the edits that these tests should notice; how many are killed."""
    broken, seconds = run_tests(folder, tests)
    shown = shlex.join(word.removeprefix("tests/") for word in tests)
    say("unbroken", seconds, f"{shown}: {broken or 'pass'}")
    num_killed, limit = 0, 60 + 3 * seconds
    for edit in [edit for edit in places if edit.tests == tests]:
        why, seconds = "", 0
        if not broken:
            path = folder / places[edit]
            source = path.read_bytes()
            text = source.decode().replace(edit.old, edit.new)
            path.write_bytes(text.encode())
            why, seconds = run_tests(folder, tests, limit)
            path.write_bytes(source)
        verdict = "killed" if why else "SURVIVED"
        if broken or why.startswith("status -"):  # ended from outside
            verdict = "broken"
        say(verdict, seconds, f"{places[edit]}: {edit}  {why}".rstrip())
        num_killed += verdict == "killed"
    return num_killed


def say(verdict: str, seconds: float, what: str) -> None:
    """Print one line, at once."""
    print(f"{verdict:8}  {seconds:4.0f} s  {what}", flush=True)


def main(only: str = "", stale: bool = False) -> int:
    """Break the code in many ways: do the tests notice?

    Args:
        only: Judge only edits with this in their text, file or tests.
        stale: Run no tests; say which edits are stale.
    """
    names, places, num_edits = tracked_files(), {}, 0
    for edit in read_edits():
        found = find_places(edit, names)
        if only not in "\n".join([*edit[:3], *edit.tests, *found]):
            continue
        num_edits += 1
        if len(found) == 1:
            places[edit] = found[0]
        else:
            what = f"{edit.files}: {edit}  (found {len(found)} times)"
            say("stale", 0, what)
    if not num_edits:
        sys.exit(f"--only must be a part of some edit, got {only!r}")
    if stale:
        print(f"{num_edits - len(places)} of {num_edits} stale")
        return int(len(places) < num_edits)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for name in names:
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, path)
        selections = dict.fromkeys(edit.tests for edit in places)
        num_killed = sum(judge(Path(folder), places, s) for s in selections)
    print(f"{num_killed} of {num_edits} killed")
    return int(num_killed < num_edits)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(tyro.cli(main))
    sys.exit(130)
