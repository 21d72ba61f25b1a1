"""The exercises: their texts, their files, and how far an attendee is."""

import hashlib
import json
import tomllib
from pathlib import Path
from typing import NamedTuple

from workshop.stages import STAGES_FOLDER, find_stages
from workshop.terminal import fail, say, show_path, write_whole

TEXTS = Path(__file__).with_name("tasks.toml")
FOLDER = STAGES_FOLDER.parent / "exercises"
PROGRESS = FOLDER / "progress.json"


class Task(NamedTuple):
    """What to do to get to stage `number` from the one that it changes."""

    number: int
    title: str
    functions: tuple[str, ...]
    point: str
    task: str
    hints: tuple[str, ...]
    notice: str
    try_this: str

    @property
    def path(self) -> Path:
        """The attendee's file, named as the stage is."""
        return FOLDER / find_stages()[self.number].name


def find_tasks() -> dict[int, Task]:
    """All exercises, by the number of their stage, in order."""
    texts = tomllib.loads(TEXTS.read_text(encoding="utf-8"))["stage"]
    return {
        int(number): Task(int(number), **{k: unfold(t) for k, t in it.items()})
        for number, it in texts.items()
    }


def unfold(text: str | list[str]) -> str | tuple[str, ...]:
    """Each text in one line, to be wrapped where it is shown."""
    if isinstance(text, list):
        return tuple(map(unfold, text))
    return " ".join(text.split())


def find_task(number: int) -> Task:
    """The exercise of that stage; status 2 and one line if it has none."""
    tasks, stages = find_tasks(), find_stages()
    if number in tasks:
        return tasks[number]
    if number not in stages:
        reason = f"there is no stage {number}"
    elif number == min(stages):
        reason = "it is where all starts"
    else:
        reason = "it fails on purpose, there is nothing to solve"
    numbers = ", ".join(map(str, tasks))
    fail(f"N must be one of {numbers}, got {number}: {reason}")


def require_file(task: Task) -> Path:
    """The attendee's file; status 2 and one line if it is not there."""
    if not task.path.is_file():
        fail(
            f"{show_path(task.path)} does not exist yet:"
            f" make exercise N={task.number}"
        )
    return task.path


def fingerprint(path: Path) -> str:
    """Changes when the file does."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_progress() -> dict[str, dict]:
    """Number of the stage to what is known of it, {} if nothing is."""
    try:
        found = json.loads(PROGRESS.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {n: known for n, known in found.items() if isinstance(known, dict)}


def hints_seen(number: int) -> int:
    """How many hints of an exercise the attendee has seen."""
    seen = read_progress().get(str(number), {}).get("hints")
    return seen if type(seen) is int and seen > 0 else 0


def remember(number: int, **facts: object) -> None:
    """Add facts to what is known of an exercise; None forgets one.

    Nobody needs them: where they cannot be written, one line says so.
    """
    progress = read_progress()
    progress[str(number)] = progress.get(str(number), {}) | facts
    try:
        FOLDER.mkdir(exist_ok=True)
        write_whole(PROGRESS, json.dumps(progress, indent=1))
    except OSError as error:
        say(f"(Progress is not kept, {show_path(PROGRESS)}: {error.strerror})")
