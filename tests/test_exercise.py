"""Exercises, hints, progress, watching: as an attendee meets them."""

import re
import signal
import subprocess
import sys
import threading

import pytest

from support import STAGES, clean_environment, run_python
from workplace import copy_workshop, run_script
from workshop.exercises.commands import make_exercise
from workshop.exercises.tasks import find_tasks
from workshop.stages import failure, stage_before, strip_docstring

TASKS = find_tasks()


@pytest.fixture
def workshop(tmp_path):
    return copy_workshop(tmp_path)


@pytest.mark.parametrize("number", TASKS)
def test_an_exercise_is_the_stage_before_with_a_task_on_top(number):
    before = STAGES[stage_before(number)].read_text(encoding="utf-8")
    exercise = make_exercise(TASKS[number])
    assert strip_docstring(exercise) == strip_docstring(before)
    docstring = exercise.split('"""')[1]
    assert failure(docstring) is None
    assert TASKS[number].task in " ".join(docstring.split())
    for command in ("check", "hint"):
        assert re.search(rf"make {command} N={number}$", docstring, re.M)
    assert max(map(len, exercise.splitlines())) <= 79


@pytest.mark.parametrize("number", TASKS)
def test_an_exercise_is_formatted_as_the_stages_are(number, tmp_path):
    path = tmp_path / "exercise.py"
    path.write_text(make_exercise(TASKS[number]), encoding="utf-8")
    # F821: run is given a function that is still to be written.
    rules = ["--select", "E,F,W,I,D", "--ignore", "F722,F821"]
    convention = "lint.pydocstyle.convention='google'"
    settings = ["--line-length", "79", "--isolated"]
    for command in (
        ["check", *rules, "--config", convention],
        ["format", "--check"],
    ):
        done = run_python("-m", "ruff", *command, *settings, path)
        assert done.returncode == 0, done.stdout


def test_work_is_never_overwritten(workshop):
    own = workshop / "exercises" / "stage5_scan.py"
    done = run_script(workshop, "exercise", 5)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("wrote exercises/stage5_scan.py\n")
    untouched = own.read_text(encoding="utf-8")
    assert untouched == make_exercise(TASKS[5])
    own.write_text("my work", encoding="utf-8")

    done = run_script(workshop, "exercise", 5)
    assert (done.returncode, done.stdout) == (2, "")
    assert "exercises/stage5_scan.py is there already" in done.stderr
    assert own.read_text(encoding="utf-8") == "my work"

    for number in (1, 2):
        done = run_script(workshop, "exercise", 5, "--force")
        backup = own.with_name(f"stage5_scan.py.{number}.bak")
        assert done.stdout.startswith(f"kept exercises/{backup.name}\n")
        assert backup.read_text(encoding="utf-8") == "my work"
        assert own.read_text(encoding="utf-8") == untouched
        own.write_text("my work", encoding="utf-8")


@pytest.mark.parametrize("script", ["exercise", "hint", "watch", "check"])
@pytest.mark.parametrize(
    ("number", "said"), [(3, "fails on purpose"), (99, "there is no stage")]
)
def test_what_is_no_exercise_is_one_line_and_status_2(
    script, number, said, workshop
):
    if script == "watch":
        pytest.importorskip("watchfiles", reason="it is not installed")
    done = run_script(workshop, script, number)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (workshop / "exercises").exists()


def test_a_folder_that_cannot_be_made_is_one_line_and_status_2(workshop):
    (workshop / "exercises").write_text("in the way", encoding="utf-8")
    done = run_script(workshop, "exercise", 5)
    assert (done.returncode, done.stdout) == (2, "")
    assert "exercises must be a writable folder" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("number", TASKS)
def test_there_are_three_hints_without_line_numbers(number):
    hints = TASKS[number].hints
    assert len(set(hints)) == 3
    for hint in hints:
        assert len(hint.split()) > 8
        assert not re.search(r"\blines? \d", hint)


def test_hints_come_one_after_the_other(workshop):
    said = [run_script(workshop, "hint", 5).stdout for _ in range(4)]
    for number, hint in enumerate(TASKS[5].hints, 1):
        words = " ".join(said[number - 1].split())
        assert words.startswith(f"Hint {number} of 3: {hint}")
    assert "make diff N=5" not in said[1]
    assert "The solution: make diff N=5" in said[2]
    assert said[3] == said[2]
    assert run_script(workshop, "hint", 6).stdout.startswith("Hint 1 of 3")
    run_script(workshop, "exercise", 5)
    assert run_script(workshop, "hint", 5).stdout == said[0]


def test_a_number_alone_needs_no_parser(workshop):
    arguments = ("-X", "importtime", "stages/workshop", "hint", 5)
    done = run_python(*arguments, cwd=workshop)
    assert done.stdout.startswith("Hint 1 of 3")
    assert "tomllib" in done.stderr
    assert "tyro" not in done.stderr


def progress(workshop):
    """What is said of all exercises, in one sentence."""
    done = run_script(workshop, "progress", columns=200)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    return done.stdout.strip()


def test_progress_follows_the_work(workshop):
    own = workshop / "exercises" / "stage5_scan.py"
    numbers = list(map(str, TASKS))
    others = ", ".join(n for n in numbers if n != "5")
    none = f"0 of {len(TASKS)} pass; not begun: {', '.join(numbers)}"
    assert progress(workshop) == none

    run_script(workshop, "exercise", 5)
    begun = f"0 of {len(TASKS)} pass; begun: 5; not begun: {others}"
    assert progress(workshop) == begun

    own.write_bytes(STAGES[5].read_bytes())
    assert run_script(workshop, "check", 5).returncode == 0
    passes = f"1 of {len(TASKS)} pass: 5; not begun: {others}"
    assert progress(workshop) == passes

    own.write_text("changed", encoding="utf-8")
    assert "passed, changed since: 5" in progress(workshop)
    run_script(workshop, "hint", 5)
    assert "passed, changed since: 5" in progress(workshop)
    run_script(workshop, "check", 5)
    assert progress(workshop) == begun


@pytest.mark.parametrize(
    "found",
    ["{", "[]", "null", '{"5": 3}', '{"5": {"hints": "x", "passed": []}}'],
)
def test_progress_of_another_kind_is_none(found, workshop):
    run_script(workshop, "exercise", 5)
    file = workshop / "exercises" / "progress.json"
    file.write_text(found, encoding="utf-8")
    assert progress(workshop).startswith("0 of ")
    assert run_script(workshop, "hint", 5).stdout.startswith("Hint 1 of 3")
    assert run_script(workshop, "hint", 5).stdout.startswith("Hint 2 of 3")


def test_progress_that_cannot_be_kept_is_one_line_more(workshop):
    (workshop / "exercises" / "progress.json").mkdir(parents=True)
    for command in ("exercise", "hint", "check"):
        done = run_script(workshop, command, 5)
        assert done.stderr == ""
        assert (
            "(Progress is not kept, exercises/progress.json: " in done.stdout
        )
    assert "FAIL  the program does not grow with num_steps" in done.stdout
    assert done.returncode == 1


@pytest.mark.skipif(sys.platform == "win32", reason="cmd has no `head`")
@pytest.mark.parametrize(
    "command", ["check 5", "exercise 6", "hint 5", "progress"]
)
def test_a_reader_that_leaves_gets_no_traceback(command, workshop):
    run_script(workshop, "exercise", 5)
    done = subprocess.run(
        f"'{sys.executable}' -u stages/workshop {command} | true",
        shell=True,
        cwd=workshop,
        env=clean_environment(),
        capture_output=True,
        encoding="utf-8",
    )
    assert done.stderr == ""


@pytest.mark.skipif(
    sys.platform == "win32", reason="no Ctrl-C can be sent to one process"
)
def test_watch_checks_at_every_save_until_ctrl_c(workshop):
    pytest.importorskip("watchfiles", reason="it is not installed")
    run_script(workshop, "exercise", 5)
    own = workshop / "exercises" / "stage5_scan.py"
    process = subprocess.Popen(
        [sys.executable, "stages/workshop", "watch", "5"],
        cwd=workshop,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    limit = threading.Timer(240, process.kill)
    limit.start()

    def read_until_waiting():
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("waiting for exercises/stage5_scan.py"):
                break
        return "".join(lines)

    with process:
        point = "FAIL the program does not grow with num_steps"
        said = read_until_waiting()
        assert re.match(rf"---- \d\d:\d\d:\d\d ---- {point}\n", said)
        assert "FAIL  the program does not grow" in said
        own.touch()
        assert f" ---- still: {point}\n" in read_until_waiting()
        replacement = own.with_suffix(".new")  # as many editors save
        replacement.write_bytes(STAGES[5].read_bytes())
        replacement.replace(own)
        said = read_until_waiting()
        words = " ".join(said.split())
        assert f" ---- it passes; before: {point} OK" in words
        assert "Well done" in said
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == ""
    limit.cancel()
    assert process.returncode == 130
    assert " pass: 5; " in progress(workshop)
