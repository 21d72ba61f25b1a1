"""Test exercises, hints, progress and watching, as attendees use them."""

import re
import threading

import pytest

from support import STAGES
from workshop.exercises import commands, tasks
from workshop.exercises.commands import make_exercise
from workshop.exercises.tasks import find_tasks
from workshop.sandbox import Report
from workshop.stages import failure, stage_before, strip_docstring

TASKS = find_tasks()
PYTHON = "python stages/workshop"


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
    task = " ".join(TASKS[number].task.split())
    assert task in " ".join(docstring.split())
    for command in ("check", "hint", "run"):
        assert f"    make {command} N={number}\n" in docstring
    assert max(map(len, exercise.splitlines())) <= 79


def test_every_task_has_three_hints_and_texts_without_line_numbers():
    for task in TASKS.values():
        assert len(set(task.hints)) == 3
        for text in (*task.hints, task.task, task.notice, task.extra):
            assert len(text.split()) > 8
            assert not re.search(r"\blines? \d", text)


def test_work_is_never_overwritten(here, capsys):
    commands.exercise(5)
    own = here / "stage5_scan.py"
    assert own.read_text(encoding="utf-8") == make_exercise(TASKS[5])
    own.write_text("my work", encoding="utf-8")
    with pytest.raises(SystemExit, match="2"):
        commands.exercise(5)
    assert f"{PYTHON} exercise 5 --force" in capsys.readouterr().err
    for number in (1, 2):
        own.write_text(f"my work {number}", encoding="utf-8")
        commands.exercise(5, force=True)
        backup = own.with_name(f"stage5_scan.py.{number}.bak")
        assert backup.name in capsys.readouterr().out
        assert backup.read_text(encoding="utf-8") == f"my work {number}"
        assert own.read_text(encoding="utf-8") == make_exercise(TASKS[5])


def test_on_a_full_disk_the_old_file_stays(here, monkeypatch):
    def write_nothing(*_):
        raise OSError(28, "No space left on device")

    commands.exercise(5)
    own = here / "stage5_scan.py"
    own.write_text("my work", encoding="utf-8")
    monkeypatch.setattr(commands, "write_whole", write_nothing)
    with pytest.raises(SystemExit, match="2"):
        commands.exercise(5, force=True)
    assert own.read_text(encoding="utf-8") == "my work"


@pytest.mark.parametrize(
    ("command", "number", "said"),
    [
        ("exercise", 3, "got 3"),
        ("hint", 99, "got 99"),
        ("check", 5, f"{PYTHON} exercise 5"),
        ("watch", 5, f"{PYTHON} exercise 5"),
        ("run", 5, f"{PYTHON} exercise 5"),
        ("exercise", 5, "exercises/stage5_scan.py "),
    ],
)
def test_what_cannot_work_is_refused(command, number, said, here, capsys):
    """A file is in the way of the folder exercises."""
    here.write_text("in the way", encoding="utf-8")
    with pytest.raises(SystemExit) as end:
        getattr(commands, command)(number)
    assert end.value.code == 2
    assert said in capsys.readouterr().err


def test_hints_come_one_after_the_other(here, capsys):
    def hint(number):
        commands.hint(number)
        return capsys.readouterr().out

    shown = [hint(5) for _ in range(4)]
    for text, expected in zip(shown, TASKS[5].hints, strict=False):
        assert " ".join(expected.split()) in " ".join(text.split())
        assert (f"{PYTHON} diff 5" in text) == (expected is TASKS[5].hints[2])
    assert shown[3] == shown[2]
    assert hint(6) != shown[0]
    commands.exercise(5)  # the hints begin again
    capsys.readouterr()
    assert hint(5) == shown[0]


def test_a_check_counts_as_progress(here, capsys, monkeypatch):
    def progress():
        capsys.readouterr()
        commands.progress()
        return capsys.readouterr().out

    right = Report(steps=["imports"], facts={"fact": "it is right"})
    wrong = Report(steps=["imports"], why="No.")
    assert progress() == f"progress: 0 of {len(TASKS)} pass\n"
    for number in (5, 6):
        commands.exercise(number)
    assert progress().endswith(" pass, working on 5, 6\n")
    monkeypatch.setattr(commands, "examine", lambda *_: right)
    assert commands.check(5) == 0
    commands.hint(5)
    one = f"progress: 1 of {len(TASKS)} pass (5), working on 6\n"
    assert progress() == one
    monkeypatch.setattr(commands, "examine", lambda *_: wrong)
    other = here / "other.py"
    other.touch()
    assert commands.check(5, other) == 1
    assert progress() == one
    assert commands.check(5) == 1
    assert progress().endswith(" pass, working on 5, 6\n")
    tasks.remember(5, passed=True)
    commands.exercise(5, force=True)
    assert progress().endswith(" pass, working on 5, 6\n")


def test_watch_checks_every_save(here, monkeypatch, capsys):
    """Save as some editors do: delete the file, and write it later."""
    commands.exercise(5)
    own, seen = here / "stage5_scan.py", []

    def save():
        own.write_text("saved", encoding="utf-8")

    def check(number):
        seen.append(own.read_text(encoding="utf-8"))
        if seen[-1] == "saved":
            raise KeyboardInterrupt
        own.unlink()
        threading.Timer(1, save).start()

    monkeypatch.setattr(commands, "check", check)
    with pytest.raises(KeyboardInterrupt):
        commands.watch(5)
    assert seen == [make_exercise(TASKS[5]), "saved"]
    assert "exercises/stage5_scan.py" in capsys.readouterr().out


def test_progress_that_cannot_be_read_or_written_stops_nothing(here, capsys):
    commands.exercise(5)
    for text in ('{"5": {"hin', "[]", '{"5": 3}'):
        tasks.PROGRESS.write_text(text, encoding="utf-8")
        commands.progress()
        assert " 0 of " in capsys.readouterr().out
    tasks.PROGRESS.unlink()
    tasks.PROGRESS.mkdir()
    commands.hint(5)
    lines = capsys.readouterr().out.splitlines()
    assert sum("progress: " in line for line in lines) == 1
