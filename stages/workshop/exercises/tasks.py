"""Find the exercises, their texts and files, and an attendee's progress."""

import dataclasses
import functools
import json
import tomllib
from pathlib import Path
from typing import Any

from workshop.stages import STAGES_FOLDER, find_stages
from workshop.terminal import command, fail, say, show_path, write_whole

TEXTS = Path(__file__).with_name("tasks.toml")
FOLDER = STAGES_FOLDER.parent / "exercises"
PROGRESS = FOLDER / "progress.json"


@dataclasses.dataclass(frozen=True)
class Task:
    """An exercise, in which the attendee's task is to write stage `number`."""

    number: int
    title: str
    task: str
    hints: list[str]
    notice: str
    run: str  # the arguments of a run that shows what `notice` describes
    extra: str
    checks: list[str]  # names of functions in checks.py

    @property
    def path(self) -> Path:
        """Return the attendee's file, which has the name of the stage."""
        return FOLDER / find_stages()[self.number].name


@functools.cache
def read_texts() -> dict[str, Any]:
    """Return the contents of tasks.toml."""
    return tomllib.loads(TEXTS.read_text(encoding="utf-8"))


def find_tasks() -> dict[int, Task]:
    """Return all exercises in order, keyed by the number of their stage."""
    tasks = {}
    for number, texts in read_texts()["stage"].items():
        hints = texts["hints"].split("\n\n")
        tasks[int(number)] = Task(int(number), **(texts | {"hints": hints}))
    return tasks


def find_task(number: int) -> Task:
    """Return the exercise of a stage; exit with a message if it has none."""
    tasks = find_tasks()
    if number not in tasks:
        numbers = ", ".join(map(str, tasks))
        fail(f"N must be a stage with an exercise ({numbers}), got {number}")
    return tasks[number]


def require_file(task: Task) -> Path:
    """Return the attendee's file; exit with a message if it does not exist."""
    if not task.path.is_file():
        start = command("exercise", task.number)
        fail(f"{show_path(task.path)} does not exist yet. To start: {start}")
    return task.path


def read_progress() -> dict[str, dict[str, Any]]:
    """Return the stored facts about each exercise, {} if unreadable."""
    try:
        known = json.loads(PROGRESS.read_text(encoding="utf-8"))
        return {number: dict(facts) for number, facts in known.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def remember(number: int, **facts: Any) -> None:
    """Add facts to the stored facts about an exercise.

    If the facts cannot be written, print one line that says so, and go on.
    """
    progress = read_progress()
    progress[str(number)] = progress.get(str(number), {}) | facts
    try:
        FOLDER.mkdir(exist_ok=True)
        write_whole(PROGRESS, json.dumps(progress, indent=1))
    except OSError as error:
        say(f"(Progress not saved, {show_path(PROGRESS)}: {error.strerror})")
