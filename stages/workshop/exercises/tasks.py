"""The exercises: their texts, their files, and an attendee's progress."""

import dataclasses
import functools
import hashlib
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
    """What to do to get to stage `number` from the one that it changes."""

    number: int
    title: str
    task: str
    hints: list[str]
    notice: str
    run: str
    """The arguments of a run that shows what there is to notice."""
    extra: str
    checks: dict[str, str]
    """Functions of checks.py, by name, and what the screen calls them."""

    @property
    def path(self) -> Path:
        """Return the attendee's file, which has the name of the stage."""
        return FOLDER / find_stages()[self.number].name


@functools.cache
def read_texts() -> dict[str, Any]:
    """Return all of tasks.toml."""
    return tomllib.loads(TEXTS.read_text(encoding="utf-8"))


def unfold(text: Any) -> Any:
    """Return a text, or each text of a list, as one line."""
    if isinstance(text, list):
        return [unfold(item) for item in text]
    return " ".join(text.split()) if isinstance(text, str) else text


def find_tasks() -> dict[int, Task]:
    """Return all exercises, by the number of their stage, in order."""
    tasks = {}
    for number, texts in read_texts()["stage"].items():
        values = {name: unfold(text) for name, text in texts.items()}
        tasks[int(number)] = Task(int(number), **values)
    return tasks


def find_task(number: int) -> Task:
    """Return the exercise of a stage; exit with a message if it has none."""
    tasks = find_tasks()
    if number not in tasks:
        numbers = ", ".join(map(str, tasks))
        fail(f"N must be a stage with an exercise ({numbers}), got {number}")
    return tasks[number]


def require_file(task: Task) -> Path:
    """Return the attendee's file; end with one line if it is not there."""
    if not task.path.is_file():
        start = command("exercise", task.number)
        fail(f"{show_path(task.path)} does not exist yet. To start: {start}")
    return task.path


def fingerprint(path: Path) -> str:
    """Return a text that changes when the file does."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_progress() -> dict[str, dict[str, Any]]:
    """Return what is known of each exercise; nothing if it cannot be read."""
    try:
        known = json.loads(PROGRESS.read_text(encoding="utf-8"))
        return {number: dict(facts) for number, facts in known.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def remember(number: int, **facts: Any) -> None:
    """Add facts to what is known of an exercise.

    If they cannot be written, print one line that says so, and go on.
    """
    progress = read_progress()
    progress[str(number)] = progress.get(str(number), {}) | facts
    try:
        FOLDER.mkdir(exist_ok=True)
        write_whole(PROGRESS, json.dumps(progress, indent=1))
    except OSError as error:
        say(f"(Progress not saved, {show_path(PROGRESS)}: {error.strerror})")
