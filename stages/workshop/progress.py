"""Show which exercises pass.

python stages/workshop/progress.py
"""

import sys
from pathlib import Path

if not __package__:  # run as a script
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from workshop.check import fingerprint
from workshop.tasks import Task, find_tasks, read_progress
from workshop.terminal import reader_may_leave


def describe(task: Task, known: dict) -> str:
    """How far the attendee is with an exercise, in a few words."""
    if not task.path.is_file():
        return "not begun"
    passed = known.get("passed")
    if passed is None:
        return "begun"
    if passed != fingerprint(task.path):
        return "passed, changed since"
    return "passes"


def main() -> None:
    """One line for each exercise, and how many pass."""
    progress, tasks = read_progress(), find_tasks()
    found = {
        number: describe(task, progress.get(str(number), {}))
        for number, task in tasks.items()
    }
    num_passing = list(found.values()).count("passes")
    with reader_may_leave():
        for number, task in tasks.items():
            print(f"{number:3}  {task.path.name:21}  {found[number]}")
        print(f"{num_passing} of {len(tasks)} pass")


if __name__ == "__main__":
    main()
