"""Test that the sandbox limits a file, and leaves nothing running."""

import os
from types import SimpleNamespace

import psutil
import pytest

from support import (
    DOOR,
    NOT_ON_WINDOWS,
    has_ended,
    start_python,
    wait_for,
)
from workshop.sandbox import Limits, is_running, run_within

# The sandbox runs a module on a file. This module imports the file.
WORKER = """
from workshop.sandbox import import_file, report

def work(tell, path):
    tell(step="imports")
    import_file(path)
    tell(found="all")

if __name__ == "__main__":
    report(work, lambda: "busy")
"""
# A program that uses the sandbox. The tests kill this program.
PARENT = """
import os, sys
from pathlib import Path
from workshop.sandbox import Limits, run_within

module, *paths = sys.argv[1:]
path, folder = map(Path, paths)
run_within(
    Limits(999), module, path=path, folder=folder, environment={**os.environ}
)
"""
SLEEP = "[sys.executable, '-c', 'import time; time.sleep(100)']"


@pytest.fixture
def folder(tmp_path):
    """Return the folder for the reports, beside the worker."""
    (tmp_path / "worker.py").write_text(WORKER, encoding="utf-8")
    folder = tmp_path / "reports"
    folder.mkdir()
    return folder


@pytest.fixture
def run_file(folder, tmp_path):
    """Run a file with this text within limits; return the report."""

    def run_file(text, name="attempt.py", **limits):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return run_within(
            Limits(**limits),
            "worker",
            path=path,
            folder=folder,
            environment=os.environ | {"PYTHONPATH": str(tmp_path)},
            cwd=tmp_path,
        )

    return run_file


def test_a_file_that_ends_is_reported(run_file):
    report = run_file("print(*range(9), sep='\\n')\n")
    assert report.steps == ["imports"]
    assert report.facts == {"found": "all"}
    assert (report.why, report.broken) == ("", "")
    assert report.printed.split() == ["4", "5", "6", "7", "8"]


def test_only_the_end_of_an_endless_line_is_kept(run_file):
    report = run_file("print('x' * 10**6 + 'end')\n")
    assert report.printed.endswith("end\n")
    assert len(report.printed) < 10**4


def test_a_file_may_end_python(run_file):
    report = run_file("import os\nprint('here', flush=True)\nos._exit(3)\n")
    assert "status 3" in report.why
    assert report.printed.strip() == "here"
    assert report.facts == {}


@pytest.mark.parametrize(
    ("text", "limits", "shown"),
    [
        (
            "def simulate():\n    while True: print('x' * 1000)\nsimulate()\n",
            {"seconds": 1},
            [" 1 s", "line 2, in simulate", "    while True: print", "busy"],
        ),
        (
            "rows = []\nwhile True:\n    rows.append(bytearray(10**7))\n",
            {"gigabytes": 0.5},
            [" 0.5 GB", "line 3", "    rows.append(bytearray(10**7))\n"],
        ),
        (
            "print(sum(range(10**12)))\n",
            {"seconds": 1},  # meanwhile no other thread can run
            [" 1 s", "line 1", "    print(sum(range(10**12)))"],
        ),
    ],
)
def test_a_broken_limit_is_named_with_the_line_of_the_file(
    text, limits, shown, run_file
):
    report = run_file(text, **limits)
    assert report.broken == next(iter(limits))
    assert report.printed == ""
    assert report.facts == {}
    for part in shown:
        assert part in report.why


@pytest.mark.parametrize("name", ["größe.py", "sandbox.py"])
def test_the_line_is_found_whatever_the_file_is_called(name, run_file):
    report = run_file("while True: pass\n", name, seconds=0.5)
    assert f"{name}, line 1" in report.why


def test_a_report_does_not_hold_what_the_last_one_did(
    run_file, tmp_path, capsys
):
    assert run_file("while True: pass\n", seconds=0.5).broken == "seconds"
    report = run_file("")
    assert (report.why, report.broken) == ("", "")
    (tmp_path / "worker.py").write_text("1 / 0\n", encoding="utf-8")
    with pytest.raises(SystemExit) as end:
        run_file("")
    assert end.value.code == 1
    *_, error, last = capsys.readouterr().err.splitlines()
    assert error.startswith("ZeroDivisionError")
    assert last.endswith(" doctor")


@NOT_ON_WINDOWS
def test_what_the_file_has_started_ends_with_it(run_file, tmp_path):
    """Also start a process whose parent has already ended."""
    script = (
        f"import subprocess, sys; child = subprocess.Popen({SLEEP});"
        " open('pid', 'w').write(str(child.pid))"
    )
    run_file(
        "import subprocess, sys\n"
        f"subprocess.run([sys.executable, '-c', {script!r}])\n"
    )
    pid = int((tmp_path / "pid").read_text())
    assert wait_for(lambda: has_ended(pid))


@pytest.mark.parametrize(
    ("status", "is_same", "runs"),
    [
        (psutil.STATUS_RUNNING, True, True),
        (psutil.STATUS_RUNNING, False, False),
        (psutil.STATUS_ZOMBIE, True, False),
        (psutil.AccessDenied(1), True, True),
        (psutil.NoSuchProcess(1), True, False),
    ],
)
def test_a_number_that_another_process_has_got_does_not_count(
    status, is_same, runs
):
    def look():
        if isinstance(status, Exception):
            raise status
        return status

    process = SimpleNamespace(status=look, is_running=lambda: is_same)
    assert is_running(process) == runs


def start_parent(module, path, folder):
    """Start a program that uses the sandbox; the module is beside the file."""
    paths = os.pathsep.join([str(DOOR.parent), str(path.parent)])
    environment = {"PYTHONPATH": paths}
    return start_python("-c", PARENT, module, path, folder, env=environment)


def test_a_process_ends_with_its_parent_even_while_it_imports(
    folder, tmp_path
):
    slow = tmp_path / "slow.py"
    slow.write_text(
        "import os, pathlib, time\n"
        "pathlib.Path('pid.part').write_text(str(os.getpid()))\n"
        "os.replace('pid.part', 'pid')\n"
        "time.sleep(100)\n".replace("'pid", f"'{tmp_path.as_posix()}/pid"),
        encoding="utf-8",
    )
    process = start_parent("slow", slow, folder)
    pid = int(wait_for(lambda: (tmp_path / "pid").read_text()))
    process.kill()
    process.communicate()
    wait_for(lambda: has_ended(pid))
    assert not folder.exists()


@NOT_ON_WINDOWS
def test_what_the_file_has_started_ends_with_the_parent(folder, tmp_path):
    path = tmp_path / "attempt.py"
    path.write_text(
        "import os, subprocess, sys\n"
        f"child = subprocess.Popen({SLEEP}, start_new_session=True)\n"
        f"with open({str(tmp_path / 'pids')!r}, 'w') as file:\n"
        "    print(os.getpid(), child.pid, file=file)\n"
        "while True: pass\n",
        encoding="utf-8",
    )
    process = start_parent("worker", path, folder)
    pids = wait_for(lambda: (tmp_path / "pids").read_text().split())
    process.kill()
    process.communicate()
    assert wait_for(lambda: all(map(has_ended, map(int, pids))))
