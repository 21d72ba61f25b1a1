"""Examine an attendee's file, in a process of its own: sandbox.py starts it.

python -m workshop.exercises.examine 5 exercises/stage5_scan.py REPORT 60 2 PLACE

Into the file REPORT goes one line of JSON for each thing that is looked at,
when it begins, `{"step": name}`, and one for how it ended: `{"fact": found}`
or `{"why": text}`.
"""

import importlib.util
import json
import linecache
import os
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import jax
import numpy as np

from workshop.compare import (
    explain_difference,
    load_reference,
    name_mistake,
)
from workshop.exercises.points import POINTS, NotYet
from workshop.exercises.tasks import Task, find_tasks, shown
from workshop.limits import Limits, keep_within

# rule, width, num_steps: the first tells the classic mistakes apart.
CASES = [
    (30, 16, 16),
    *((rule, 16, 16) for rule in (0, 1, 45, 90, 110, 184, 255)),
    (110, 33, 5),
    (30, 1, 1),
]


def examine(task: Task, path: Path, begin: Callable[[str], None]) -> str:
    """What was found about the stage's own point, at the end.

    Calls begin with what is looked at next; NotYet or the attendee's own
    error if that is not right.
    """
    begin("imports")
    module = import_file(path)
    for function in task.functions:
        begin(f"has {function}")
        if not callable(getattr(module, function, None)):
            raise NotYet(f"There is no function `{function}` in the file.")
    begin("runs")
    states = simulate(module, *CASES[0])
    begin("shape and dtype")
    compare(states, *CASES[0], values=False)
    begin("states equal stage 0's")
    for case in (*CASES, *task.cases):
        compare(simulate(module, *case), *case)
    begin(task.point)
    return POINTS[task.point](module)


def import_file(path: Path) -> ModuleType:
    """The file as a module, its main guard not run."""
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location("exercise", path)
    module = sys.modules["exercise"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def simulate(
    module: ModuleType, rule: int, width: int, num_steps: int
) -> np.ndarray:
    """What the attendee's simulate returns, as a NumPy array."""
    states = module.simulate(rule, width=width, num_steps=num_steps)
    if not hasattr(states, "dtype"):
        kind = type(states).__name__
        raise NotYet(f"simulate returns a {kind}, want an array of uint8.")
    return np.asarray(states)


def compare(
    states: np.ndarray,
    rule: int,
    width: int,
    num_steps: int,
    values: bool = True,
) -> None:
    """NotYet if the states are wrong; it names the mistake if it can."""
    expected = load_reference().simulate(rule, width, num_steps)
    mistake = name_mistake(states, rule, width, num_steps)
    if not values and states.shape == expected.shape:
        states = expected.astype(states.dtype)
    difference = explain_difference(states, expected)
    if difference:
        call = f"simulate({rule}, width={width}, num_steps={num_steps})"
        guess = f"\nIt looks like this: {mistake}." if mistake else ""
        raise NotYet(f"{call}\n{difference}{guess}")


def explain_error(error: BaseException, path: Path) -> str:
    """An error in the attendee's file: their own line, and what it says."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        number, where = error.lineno, ""
        message = f"{type(error).__name__}: {error.msg}"
    else:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if frame.filename == str(path)]
        if not own:
            return describe(error)
        number = own[-1].lineno
        where = f", in {own[-1].name}".replace(", in <module>", "")
        message = describe(error)
    line = linecache.getline(str(path), number).strip()
    return f"{shown(path)}, line {number}{where}:\n    {line}\n{message}"


def describe(error: BaseException) -> str:
    """The type of the error and the first paragraph of its message."""
    if isinstance(error, SystemExit):
        return "The file ends the program here (SystemExit)."
    if isinstance(error, jax.errors.UnexpectedTracerError):
        return (
            "UnexpectedTracerError: a traced value has left the function that"
            " is traced,\nby `append` say. The body of a scan returns what it"
            " records, as second result."
        )
    paragraphs = re.split(r"\n\s*\n", str(error).strip())
    end = 2 if paragraphs[0].endswith(":") else 1
    message = "\n".join(paragraphs[:end])
    return f"{type(error).__name__}: {message}".removesuffix(": ")


def main() -> None:
    """Write the report line by line, and end whatever else still runs."""
    number, path, report, seconds, gigabytes, place = sys.argv[1:]
    path = Path(path).resolve()
    keep_within(Limits(float(seconds), float(gigabytes)), Path(place))
    with Path(report).open("w", encoding="utf-8") as file:

        def tell(**what: str) -> None:
            print(json.dumps(what), file=file, flush=True)

        try:
            fact = examine(
                find_tasks()[int(number)], path, lambda step: tell(step=step)
            )
            tell(fact=fact)
        except NotYet as reason:
            tell(why=str(reason))
        except BaseException as error:
            tell(why=explain_error(error, path))
        sys.stdout.flush()
        os._exit(0)


if __name__ == "__main__":
    main()
