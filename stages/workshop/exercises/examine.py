"""Examine an attendee's file, in a process of its own: check.py starts it.

It tells each step when it begins, and how the last ended: the fact that was
found, or why it is not right.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax

from workshop.compare import CASES, some_cases
from workshop.errors import ErrorRow, explain_error
from workshop.exercises.checks import COMPARE, POINTS, compare_at
from workshop.exercises.expect import NotYet
from workshop.exercises.tasks import Task, find_tasks
from workshop.sandbox import import_file, report
from workshop.stages import failure, find_stages, stage_before
from workshop.tracing import describe_compilation


def examine(task: Task, path: Path, begin: Callable[[str], None]) -> str:
    """What was found about the stage's own point, at the end.

    Calls begin with what is looked at next. Raises NotYet or the attendee's
    own error if that is not right.
    """
    begin("imports")
    module = import_file(path)
    if jax.config.jax_disable_jit:
        raise NotYet(
            "The file sets jax_disable_jit: with it nothing is compiled. Leave"
            " it out."
        )
    for name in task.functions:
        begin(f"has {name}")
        if not callable(getattr(module, name, None)):
            raise NotYet(f"There is no function `{name}` in the file.")
    begin("runs")
    module.simulate(*CASES[0])
    for name in filter(COMPARE.get, task.functions):
        of_name = "" if name == "simulate" else f", those of {name}"
        begin(f"states equal stage 0's{of_name}")
        for number, case in enumerate(some_cases()):
            by_keyword = number % 2 == 0
            compare_at(module, name, task.number, case, by_keyword)
    begin(task.point)
    return POINTS[task.point](module)


def is_about(task: Task, row: ErrorRow) -> bool:
    """Whether the stage to change fails with this error, on purpose."""
    before = find_stages()[stage_before(task.number)]
    fails_with = failure(before.read_text(encoding="utf-8"))
    return fails_with is not None and fails_with[1] in row.keyword


def work(tell: Callable[..., None], number: str, path: Path) -> None:
    """Tell what is looked at, and how it ended."""
    task = find_tasks()[int(number)]
    try:
        tell(fact=examine(task, path, lambda step: tell(step=step)))
    except NotYet as reason:
        tell(why=str(reason))
    except BaseException as error:
        tell(why=explain_error(error, path, partial(is_about, task)))


if __name__ == "__main__":
    report(work, describe_compilation)
