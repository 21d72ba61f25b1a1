"""Test exercises, hints, progress and watching, as attendees use them."""

import functools
import itertools
import re
import signal
import subprocess
import threading

import pytest
import watchfiles

from support import (
    NOT_ON_WINDOWS,
    STAGES,
    assert_refused,
    copy_workshop,
    run_python,
    start_python,
)
from workshop.exercises import commands, tasks
from workshop.exercises.commands import make_exercise
from workshop.exercises.tasks import find_tasks
from workshop.sandbox import Report
from workshop.stages import failure, stage_before, strip_docstring

TASKS = find_tasks()
PYTHON = "python stages/workshop"


@pytest.fixture
def workshop(tmp_path):
    return copy_workshop(tmp_path)


@pytest.fixture
def run(workshop):
    """Run a command in the copy, in a terminal too wide to wrap."""
    run = functools.partial(run_python, "stages/workshop", cwd=workshop)
    return functools.partial(run, env={"COLUMNS": "200", "MAKELEVEL": "1"})


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Return the attendee's folder, for commands called in this process."""
    monkeypatch.setattr(tasks, "FOLDER", tmp_path / "exercises")
    monkeypatch.setattr(commands, "FOLDER", tmp_path / "exercises")
    monkeypatch.setattr(tasks, "PROGRESS", tmp_path / "exercises/progress")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("MAKELEVEL", raising=False)
    return tmp_path / "exercises"


@pytest.mark.parametrize("number", TASKS)
def test_an_exercise_is_the_stage_before_with_a_task_on_top(
    number, monkeypatch
):
    monkeypatch.setenv("MAKELEVEL", "1")
    before = STAGES[stage_before(number)].read_text(encoding="utf-8")
    exercise = make_exercise(TASKS[number])
    assert strip_docstring(exercise) == strip_docstring(before)
    docstring = exercise.split('"""')[1]
    assert failure(docstring) is None
    assert TASKS[number].task in " ".join(docstring.split())
    for command in ("check", "hint", "run"):
        assert f"    make {command} N={number}\n" in docstring
    assert max(map(len, exercise.splitlines())) <= 79
    monkeypatch.delenv("MAKELEVEL")
    assert f"    {PYTHON} hint {number}\n" in make_exercise(TASKS[number])


def test_every_task_has_texts_without_line_numbers():
    for task in TASKS.values():
        assert len(set(task.hints)) == 3
        for text in (*task.hints, task.task, task.notice, task.extra):
            assert len(text.split()) > 8
            assert not re.search(r"\blines? \d", text)
            assert "\n" not in text


def test_work_is_never_overwritten(here, capsys):
    own = here / "stage5_scan.py"
    commands.exercise(5)
    untouched = own.read_text(encoding="utf-8")
    assert untouched == make_exercise(TASKS[5])
    own.write_text("my work", encoding="utf-8")
    with pytest.raises(SystemExit) as end:
        commands.exercise(5)
    assert end.value.code == 2
    assert f"{PYTHON} exercise 5 --force" in capsys.readouterr().err
    assert own.read_text(encoding="utf-8") == "my work"

    for number in (1, 2):
        commands.exercise(5, force=True)
        backup = own.with_name(f"stage5_scan.py.{number}.bak")
        assert backup.name in capsys.readouterr().out
        assert backup.read_text(encoding="utf-8") == "my work"
        assert own.read_text(encoding="utf-8") == untouched
        own.write_text("my work", encoding="utf-8")
    assert len(list(here.iterdir())) == 4  # one is the progress file


def test_on_a_full_disk_the_old_file_stays(here, monkeypatch):
    def write_nothing(*_):
        raise OSError(28, "No space left on device")

    commands.exercise(5)
    (here / "stage5_scan.py").write_text("my work", encoding="utf-8")
    monkeypatch.setattr(commands, "write_whole", write_nothing)
    with pytest.raises(SystemExit) as end:
        commands.exercise(5, force=True)
    assert end.value.code == 2
    own = (here / "stage5_scan.py").read_text(encoding="utf-8")
    assert own == "my work"
    assert not list(here.glob("*.bak"))


@pytest.mark.parametrize("command", ["exercise", "hint", "watch", "run"])
def test_what_is_no_exercise_is_refused(command, here, capsys):
    with pytest.raises(SystemExit) as end:
        getattr(commands, command)(3)
    assert end.value.code == 2
    assert "got 3" in capsys.readouterr().err
    assert not here.exists()


def test_a_folder_that_cannot_be_made_is_refused(run, workshop):
    (workshop / "exercises").write_text("in the way", encoding="utf-8")
    assert_refused(run("exercise", 5), "exercises/ ")


def test_hints_come_one_after_the_other(here, capsys):
    def hint(number):
        commands.hint(number)
        return capsys.readouterr().out

    shown = [hint(5) for _ in range(4)]
    for text, expected in zip(shown, TASKS[5].hints, strict=False):
        assert expected in " ".join(text.split())
        assert (f"{PYTHON} diff 5" in text) == (expected is TASKS[5].hints[2])
    assert shown[3] == shown[2]
    assert TASKS[6].hints[0] in " ".join(hint(6).split())
    commands.exercise(5)
    capsys.readouterr()
    assert hint(5) == shown[0]


def test_a_number_alone_needs_no_parser(workshop):
    arguments = ("-X", "importtime", "stages/workshop", "hint", 5)
    done = run_python(*arguments, cwd=workshop)
    assert "1 of 3" in done.stdout
    assert "tomllib" in done.stderr
    assert "tyro" not in done.stderr


def test_progress_is_one_line_of_what_passes_as_it_is_now(here, capsys):
    def progress():
        commands.progress()
        return capsys.readouterr().out

    assert progress() == f"progress: 0 of {len(TASKS)} pass\n"
    for number in (5, 6):
        commands.exercise(number)
    capsys.readouterr()
    assert "0 of" in progress()
    path = TASKS[5].path
    tasks.remember(5, passed=tasks.fingerprint(path))
    one = f"progress: 1 of {len(TASKS)} pass (5), working on 6\n"
    assert progress() == one
    commands.hint(5)
    capsys.readouterr()
    assert progress() == one
    path.write_text("changed", encoding="utf-8")
    assert progress().endswith(" pass, working on 5, 6\n")


@NOT_ON_WINDOWS  # Windows cannot send Ctrl-C to one process
def test_watch_checks_every_save(run, workshop):
    own = workshop / "exercises" / "stage5_scan.py"
    run("exercise", 5)
    own.write_text("begun", encoding="utf-8")
    where = {"stderr": subprocess.STDOUT, "cwd": workshop}
    process = start_python("stages/workshop", "watch", 5, **where)
    limit = threading.Timer(240, process.kill)
    limit.start()

    def read_until_waiting():
        waiting = "waiting for exercises/stage5_scan.py"
        lines = iter(process.stdout.readline, "")
        shown = itertools.takewhile(lambda x: not x.startswith(waiting), lines)
        return "".join(shown)

    with process:
        assert "\nFAIL  imports\n" in read_until_waiting()
        replacement = own.with_suffix(".other")  # many editors save this way
        replacement.write_text("another = 1\n", encoding="utf-8")
        replacement.replace(own)
        assert re.search(r"saved \d\d:\d\d:\d\d", process.stdout.readline())
        shown = read_until_waiting()
        assert shown.index("FAIL imports") < shown.index("\nFAIL  runs\n")
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == ""
    limit.cancel()
    assert process.returncode in (130, -signal.SIGINT)


def test_watch_waits_while_an_editor_replaces_the_file(here, monkeypatch):
    checked = []

    def check_what_has_gone(task, _):
        checked.append(task.number)
        task.path.unlink()
        return tasks.fingerprint(task.path)

    commands.exercise(5)
    monkeypatch.setattr(watchfiles, "watch", lambda *_, **__: range(3))
    monkeypatch.setattr(commands, "check_save", check_what_has_gone)
    commands.watch(5)
    assert checked == [5]


def test_a_verdict_is_compared_with_the_one_before(here, monkeypatch, capsys):
    commands.exercise(5)
    wrong = Report(steps=["imports"], why="no")
    monkeypatch.setattr(
        "workshop.exercises.check.examine", lambda *_: reports.pop(0)
    )
    reports = [wrong, wrong, Report(steps=["runs"], facts={"fact": "right"})]
    verdicts, headlines = [""], []
    for passes in (False, False, True):
        capsys.readouterr()
        verdicts.append(commands.check_save(TASKS[5], verdicts[-1]))
        headlines.append(capsys.readouterr().out.splitlines()[2])
        assert bool(tasks.read_progress()["5"]["passed"]) == passes
    assert verdicts[1] == verdicts[2] != verdicts[3]
    assert verdicts[1] not in headlines[0]
    assert verdicts[1] in headlines[1]
    assert headlines[1] != headlines[2]
    assert all(verdict in headlines[2] for verdict in verdicts[1:])


def test_a_broken_file_of_progress_is_none(here, capsys):
    commands.exercise(5)
    for text in ('{"5": {"hin', "[]", '{"5": 3}'):
        tasks.PROGRESS.write_text(text, encoding="utf-8")
        commands.progress()
        assert " 0 of " in capsys.readouterr().out
    for number in (1, 2):
        commands.hint(5)
        assert f" {number} of 3" in capsys.readouterr().out


def test_progress_that_cannot_be_kept_is_one_line_more(here, capsys):
    tasks.PROGRESS.mkdir(parents=True)
    for command in (commands.exercise, commands.hint):
        command(5)
        lines = capsys.readouterr().out.splitlines()
        assert sum("progress: " in line for line in lines) == 1
