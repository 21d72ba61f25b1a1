"""Test that the sandbox limits a file, and leaves nothing running."""

import os

import pytest

from support import (
    DOOR,
    NOT_ON_WINDOWS,
    has_ended,
    start_python,
    wait_for,
)
from workshop.sandbox import Limits, run_within

# The sandbox calls `work` of this module, which imports the file.
WORKER = """
from workshop.sandbox import import_file

def work(tell, path):
    tell(step="imports")
    import_file(path)
    tell(found="all")
"""
# Start a process that sleeps, and write a file with the two process numbers.
START = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(99)"])
with open("part", "w") as file:
    file.write(f"{os.getpid()} {child.pid}")
os.replace("part", "pids")
"""


@pytest.fixture
def run_file(tmp_path):
    """Run a file with this text within limits; return the report."""
    (tmp_path / "worker.py").write_text(WORKER, encoding="utf-8")

    def run_file(text, **limits):
        path = tmp_path / "größe.py"
        path.write_text(text, encoding="utf-8")
        return run_within(
            Limits(**limits),
            "worker",
            path=path,
            folder=tmp_path,
            environment=os.environ | {"PYTHONPATH": str(tmp_path)},
            cwd=tmp_path,
        )

    return run_file


def test_a_file_that_ends_is_reported(run_file, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    text = "import os, sys; print('█', int(os.environ['COLUMNS']))\n" * 6
    report = run_file(text + "assert not sys.stdin.read()")
    assert report.printed == 5 * "█ 80\n"
    assert report.steps == ["imports"]
    assert report.facts == {"found": "all"}
    assert (report.why, report.broken) == ("", "")


def test_a_file_may_end_python(run_file):
    report = run_file("import os\nos._exit(3)\n")
    assert "status 3" in report.why
    assert report.facts == {}


@pytest.mark.parametrize(
    ("text", "limits", "shown"),
    [
        (  # as if JAX were compiling
            "def backend_compile():\n    while 1: pass\nbackend_compile()\n",
            {"seconds": 0.5},
            [" 0.5 s", "größe.py, line 2, in backend", "    while", "unroll"],
        ),
        (
            "rows = []\nwhile True:\n    rows.append(bytearray(10**7))\n",
            {"gigabytes": 0.5},
            [" 0.5 GB", "line 3:", "    rows.append(bytearray(10**7))"],
        ),
        (  # no other thread can run
            "print(sum(range(10**12)))\n",
            {"seconds": 0.5},
            ["line 1:", "    print(sum(range(10**12)))"],
        ),
    ],
)
def test_a_broken_limit_is_named_with_the_line_of_the_file(
    text, limits, shown, run_file
):
    report = run_file(text, **limits)
    assert report.broken == next(iter(limits))
    assert report.facts == {}
    assert all(part in report.why for part in shown)
    assert ("unroll" in report.why) == ("unroll" in shown)


def test_a_module_that_cannot_start_does_not_return_an_old_report(
    run_file, tmp_path, capsys
):
    assert run_file("").facts == {"found": "all"}
    (tmp_path / "worker.py").write_text("1 / 0\n", encoding="utf-8")
    with pytest.raises(SystemExit) as end:
        run_file("")
    assert end.value.code == 1
    *_, error, last = capsys.readouterr().err.splitlines()
    assert error.startswith("ZeroDivisionError")
    assert last.endswith(" doctor")


@NOT_ON_WINDOWS
def test_what_the_file_has_started_ends_with_it(run_file, tmp_path):
    run_file(START)
    pids = map(int, (tmp_path / "pids").read_text().split())
    assert wait_for(lambda: all(map(has_ended, pids)))


@NOT_ON_WINDOWS
def test_nothing_stays_if_the_command_is_killed(tmp_path):
    path, temporary = tmp_path / "attempt.py", tmp_path / "temporary"
    path.write_text(f"{START}while True: pass\n")
    temporary.mkdir()
    env = {"TMPDIR": str(temporary)}
    process = start_python(DOOR, "check", 5, path, env=env, cwd=tmp_path)
    pids = wait_for(lambda: (tmp_path / "pids").read_text().split())
    process.kill()
    process.communicate()
    assert wait_for(lambda: all(map(has_ended, map(int, pids))))
    assert not list(temporary.iterdir())
