"""Exercises, hints, progress, watching: as an attendee meets them."""

import functools
import itertools
import re
import signal
import subprocess
import threading

import pytest

from support import (
    NOT_ON_WINDOWS,
    STAGES,
    assert_refused,
    copy_workshop,
    output_of,
    run_python,
    start_python,
)
from workshop.exercises.commands import make_exercise
from workshop.exercises.tasks import find_tasks
from workshop.stages import failure, stage_before, strip_docstring

TASKS = find_tasks()


@pytest.fixture
def workshop(tmp_path):
    return copy_workshop(tmp_path)


@pytest.fixture
def run(workshop):
    """Run a command there, in a terminal that wraps nothing."""
    run = functools.partial(run_python, "stages/workshop", cwd=workshop)
    return functools.partial(run, env={"COLUMNS": "200"})


@pytest.fixture
def own(workshop):
    """The attendee's file of stage 5, not yet there."""
    return workshop / "exercises" / "stage5_scan.py"


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


def test_work_is_never_overwritten(run, own):
    told = output_of(run("exercise", 5))
    assert told.startswith("wrote exercises/stage5_scan.py\n")
    untouched = own.read_text(encoding="utf-8")
    assert untouched == make_exercise(TASKS[5])

    own.write_text("my work", encoding="utf-8")
    assert_refused(run("exercise", 5), "exercises/stage5_scan.py is there alr")
    assert own.read_text(encoding="utf-8") == "my work"

    for number in (1, 2):
        told = output_of(run("exercise", 5, "--force"))
        backup = own.with_name(f"stage5_scan.py.{number}.bak")
        assert told.startswith(f"kept exercises/{backup.name}\n")
        assert backup.read_text(encoding="utf-8") == "my work"
        assert own.read_text(encoding="utf-8") == untouched
        own.write_text("my work", encoding="utf-8")


@pytest.mark.parametrize("command", ["exercise", "hint", "watch", "run"])
def test_what_is_no_exercise_is_refused(command, run, workshop):
    if command == "watch":
        pytest.importorskip("watchfiles", reason="it is not installed")
    assert_refused(run(command, 3), "fails on purpose")
    assert not (workshop / "exercises").exists()


def test_a_folder_that_cannot_be_made_is_refused(run, workshop):
    (workshop / "exercises").write_text("in the way", encoding="utf-8")
    said = "exercises must be a writable folder"
    assert_refused(run("exercise", 5), said)


def test_there_are_three_hints_without_line_numbers():
    for task in TASKS.values():
        assert len(set(task.hints)) == 3
        for hint in task.hints:
            assert len(hint.split()) > 8
            assert not re.search(r"\blines? \d", hint)


def test_hints_come_one_after_the_other(run):
    said = [output_of(run("hint", 5)) for _ in range(4)]
    for number, hint in enumerate(TASKS[5].hints, 1):
        words = " ".join(said[number - 1].split())
        assert words.startswith(f"Hint {number} of 3: {hint}")
    assert "make diff N=5" not in said[1]
    assert "The solution: make diff N=5" in said[2]
    assert said[3] == said[2]
    assert output_of(run("hint", 6)).startswith("Hint 1 of 3")
    run("exercise", 5)
    assert output_of(run("hint", 5)) == said[0]


def test_a_number_alone_needs_no_parser(workshop):
    arguments = ("-X", "importtime", "stages/workshop", "hint", 5)
    done = run_python(*arguments, cwd=workshop)
    assert done.stdout.startswith("Hint 1 of 3")
    assert "tomllib" in done.stderr
    assert "tyro" not in done.stderr


@NOT_ON_WINDOWS  # no Ctrl-C can be sent to one process
def test_progress_and_watch_follow_the_work(run, own, workshop):
    pytest.importorskip("watchfiles", reason="it is not installed")
    numbers = list(map(str, TASKS))
    rest = f"not begun: {', '.join(n for n in numbers if n != '5')}\n"
    of_all = f"of {len(TASKS)} pass"
    none = f"0 {of_all}; not begun: {', '.join(numbers)}\n"
    assert output_of(run("progress")) == none
    run("exercise", 5)
    assert output_of(run("progress")) == f"0 {of_all}; begun: 5; {rest}"

    own.write_text("begun", encoding="utf-8")
    watch(workshop, own)
    assert output_of(run("progress")) == f"1 {of_all}: 5; {rest}"

    own.write_text("changed", encoding="utf-8")
    changed = f"0 {of_all}; passed, changed since: 5; {rest}"
    assert output_of(run("progress")) == changed
    run("hint", 5)
    assert output_of(run("progress")) == changed
    assert run("check", 5).returncode == 1
    assert output_of(run("progress")) == f"0 {of_all}; begun: 5; {rest}"


def watch(workshop, own):
    """Save the file in three states; each save is checked, until Ctrl-C."""
    where = {"stderr": subprocess.STDOUT, "cwd": workshop}
    process = start_python("stages/workshop", "watch", 5, **where)
    limit = threading.Timer(240, process.kill)
    limit.start()

    def read_until_waiting():
        waiting = "waiting for exercises/stage5_scan.py"
        lines = iter(process.stdout.readline, "")
        said = itertools.takewhile(lambda x: not x.startswith(waiting), lines)
        return "".join(said)

    with process:
        verdict = "FAIL imports\n\nFAIL  imports\n"
        first = rf"---- \d\d:\d\d:\d\d ---- {verdict}"
        assert re.match(first, read_until_waiting())
        own.touch()
        assert " ---- still: FAIL imports\n" in read_until_waiting()
        replacement = own.with_suffix(".new")  # as many editors save
        replacement.write_bytes(STAGES[5].read_bytes())
        replacement.replace(own)
        said = read_until_waiting()
        assert " ---- it passes; before: FAIL imports\n\nOK" in said
        assert "Well done" in said
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == ""
    limit.cancel()
    assert process.returncode == 130


@pytest.mark.parametrize("found", ["{", "[]", '{"5": {"hints": "x"}}'])
def test_progress_of_another_kind_is_none(found, run, own):
    run("exercise", 5)
    own.with_name("progress.json").write_text(found, encoding="utf-8")
    assert output_of(run("progress")).startswith("0 of ")
    for number in (1, 2):
        assert output_of(run("hint", 5)).startswith(f"Hint {number} of 3")


def test_progress_that_cannot_be_kept_is_one_line_more(run, workshop):
    (workshop / "exercises" / "progress.json").mkdir(parents=True)
    for command in ("exercise", "hint"):
        told = output_of(run(command, 5))
        assert "(Progress is not kept, exercises/progress.json: " in told
