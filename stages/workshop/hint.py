"""Give the next hint for an exercise.

python stages/workshop/hint.py 5
"""

import dataclasses
import sys
from pathlib import Path

if not __package__:  # run as a script
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from workshop.command_line import StageNumber, parse
from workshop.tasks import find_task, read_progress, remember
from workshop.terminal import reader_may_leave, say


@dataclasses.dataclass(frozen=True)
class Arguments:
    """The command line."""

    number: StageNumber
    """The stage to arrive at."""


def main() -> None:
    """Print one hint more than last time; the last one again if no more."""
    arguments = parse(Arguments, "Give the next hint, from vague to clear.")
    task = find_task(arguments.number)
    seen = read_progress().get(str(task.number), {}).get("hints", 0)
    number = min(seen + 1, len(task.hints))
    remember(task.number, hints=number)
    with reader_may_leave():
        say(f"Hint {number} of {len(task.hints)}: {task.hints[number - 1]}")
        if number == len(task.hints):
            print()
            say(f"That was the last. The solution: make diff N={task.number}")


if __name__ == "__main__":
    main()
