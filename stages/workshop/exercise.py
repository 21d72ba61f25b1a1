"""Make an exercise: the stage to change, with the task on top.

python stages/workshop/exercise.py 5
"""

import dataclasses
import re
import sys
import textwrap
from pathlib import Path

if not __package__:  # run as a script
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from workshop.catalog import find_stages, stage_before, strip_docstring
from workshop.command_line import StageNumber, parse
from workshop.tasks import FOLDER, Task, find_task, remember, shown
from workshop.terminal import fail, reader_may_leave, say


@dataclasses.dataclass(frozen=True)
class Arguments:
    """The command line."""

    number: StageNumber
    """The stage to arrive at."""
    force: bool = False
    """Start again; what is there is kept beside it."""


def make_exercise(task: Task) -> str:
    """The source of the stage to change, under a docstring with the task.

    A stage that fails on purpose declares it; the exercise does not. It runs
    as the stage to arrive at does: the main guard is that stage's.
    """
    stages = find_stages()
    before = stages[stage_before(task.number)].read_text(encoding="utf-8")
    code, guard, _ = strip_docstring(before).partition("\nif __name__ ==")
    code = re.sub(r"^FAILS_WITH = .*\n\n+", "\n", code, flags=re.MULTILINE)
    code = re.sub(r"\n{4,}", "\n\n\n", code)
    after = stages[task.number].read_text(encoding="utf-8")
    code += guard + after.partition(guard)[2]
    _, title = after.partition("\n")[0].split(": ", 1)
    return (
        f'"""Exercise {task.number}: {title}\n\n'
        + textwrap.fill(task.task, width=78)
        + f"\n\n    make check N={task.number}\n"
        + f'    make hint N={task.number}\n"""\n\n'
        + code
    )


def keep_backup(path: Path) -> Path:
    """Move the file out of the way, over no other; its new path."""
    number = 1
    while (backup := path.with_name(f"{path.name}.{number}.bak")).exists():
        number += 1
    return path.rename(backup)


def main() -> None:
    """Write the exercise, unless there is work already."""
    arguments = parse(Arguments, "Write the stage to change and its task.")
    task = find_task(arguments.number)
    again = f"make exercise N={task.number} FORCE=1"
    if task.path.exists() and not arguments.force:
        fail(f"{shown(task.path)} is there already; to start again: {again}")
    kept = None
    try:
        FOLDER.mkdir(exist_ok=True)
        if task.path.exists():
            kept = keep_backup(task.path)
        with task.path.open("x", encoding="utf-8") as file:
            file.write(make_exercise(task))
        remember(task.number, hints=0, passed=None)
    except OSError as error:
        fail(f"exercises must be a writable folder, got {error}")
    with reader_may_leave():
        if kept:
            say(f"kept {shown(kept)}")
        say(f"wrote {shown(task.path)}")
        print()
        say(task.task)
        print()
        print(f"make check N={task.number}   does it work?")
        print(f"make hint N={task.number}    one of three hints")
        print(f"make run N={task.number}     run it as a stage")


if __name__ == "__main__":
    main()
