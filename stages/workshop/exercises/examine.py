"""Examine an attendee's file, in a process of its own: check.py starts it.

It tells each step when it begins, and how the last ended: the fact that was
found, or why it is not right.
"""

import importlib.util
import linecache
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import jax

from workshop.compare import CASES, some_cases
from workshop.exercises.errors import ErrorRow, find_row
from workshop.exercises.expect import NotYet
from workshop.exercises.limits import report
from workshop.exercises.points import COMPARE, POINTS, compare_at
from workshop.exercises.tasks import Task, find_tasks, shown
from workshop.stages import failure, find_stages, stage_before


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


def import_file(path: Path) -> ModuleType:
    """The file as a module, its main guard not run."""
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location("exercise", path)
    module = sys.modules["exercise"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def explain_error(
    error: BaseException, path: Path, task: Task | None = None
) -> str:
    """An error in the attendee's file: their own line, and what it says."""
    message = describe(error, task)
    if isinstance(error, SyntaxError) and error.filename == str(path):
        number, where = error.lineno, ""
    else:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if frame.filename == str(path)]
        if not own:
            return message
        number = own[-1].lineno
        where = f", in {own[-1].name}".replace(", in <module>", "")
    line = linecache.getline(str(path), number).strip()
    return f"{shown(path)}, line {number}{where}:\n    {line}\n{message}"


def describe(error: BaseException, task: Task | None) -> str:
    """The type of the error, the first paragraph of its message, a remedy.

    No remedy for the error that an exercise is about: its hints have it.
    """
    if isinstance(error, SystemExit):
        return "The file ends the program here (SystemExit)."
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg}"
    paragraphs = re.split(r"\n\s*\n|\n-----+", str(error).strip())
    end = 2 if paragraphs[0].endswith(":") else 1
    message = "\n".join(paragraphs[:end])
    message = f"{type(error).__name__}: {message}".removesuffix(": ")
    row = find_row(error)
    if row is None or (task and is_about(task, row)):
        return message
    return (
        f"{message}\nWhat happened: {row.met}.\nWhat to do: {row.remedy}.\n"
        f"See {row.stage}."
    )


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
        tell(why=explain_error(error, path, task))


if __name__ == "__main__":
    report(work)
