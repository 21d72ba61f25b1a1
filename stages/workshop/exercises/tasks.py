"""The exercises: their texts, their files, and how far an attendee is."""

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


def unfold(text: str) -> str:
    """Return a text in one line; it is wrapped where it is shown."""
    return " ".join(text.split())


def find_tasks() -> dict[int, Task]:
    """Return all exercises, by the number of their stage, in order."""
    return {
        int(number): Task(
            number=int(number),
            title=texts["title"],
            task=unfold(texts["task"]),
            hints=[unfold(hint) for hint in texts["hints"]],
            notice=unfold(texts["notice"]),
            run=texts["run"],
            extra=unfold(texts["extra"]),
            checks=texts["checks"],
        )
        for number, texts in read_texts()["stage"].items()
    }


def find_task(number: int) -> Task:
    """Return the exercise of a stage; end with one line if it has none."""
    tasks = find_tasks()
    if number not in tasks:
        numbers = ", ".join(map(str, tasks))
        fail(f"N must be a stage with an exercise, {numbers}, got {number}")
    return tasks[number]


def require_file(task: Task) -> Path:
    """Return the attendee's file; end with one line if it is not there."""
    if not task.path.is_file():
        make = command("exercise", task.number)
        fail(f"{show_path(task.path)} does not exist yet: {make}")
    return task.path


def fingerprint(path: Path) -> str:
    """Return a text that changes when the file does."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_progress() -> dict[str, dict]:
    """Return what is known of each exercise; {} if the file is unusable."""
    try:
        found = json.loads(PROGRESS.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {n: known for n, known in found.items() if isinstance(known, dict)}


def hints_seen(number: int) -> int:
    """Return how many hints of an exercise the attendee has seen."""
    seen = read_progress().get(str(number), {}).get("hints")
    return seen if type(seen) is int and seen > 0 else 0


def remember(number: int, **facts: object) -> None:
    """Add facts to what is known of an exercise; None removes one.

    If they cannot be written, one line says so, and nothing else is lost.
    """
    progress = read_progress()
    progress[str(number)] = progress.get(str(number), {}) | facts
    try:
        FOLDER.mkdir(exist_ok=True)
        write_whole(PROGRESS, json.dumps(progress, indent=1))
    except OSError as error:
        say(f"(Progress not saved, {show_path(PROGRESS)}: {error.strerror})")
