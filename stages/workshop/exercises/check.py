"""Check an attendee's file: does it do what the stage is about?

It is examined in a process of its own, which may take only so long and so much
memory. One thing is said at a time: the first that is not right.
"""

import os
import sys
import tempfile
import textwrap
from pathlib import Path

from workshop.devices import stray_variables
from workshop.exercises.tasks import (
    Task,
    find_task,
    find_tasks,
    fingerprint,
    remember,
    require_file,
)
from workshop.sandbox import (
    Limits,
    Report,
    check_limits,
    check_path,
    run_within,
)
from workshop.stages import find_stages
from workshop.terminal import say, show_item, show_path, show_text

DEFAULT = Limits()
EXAMINE = "workshop.exercises.examine"
NUM_DEVICES = 4  # simulated, for a stage that spreads over devices


def verdict(report: Report) -> str:
    """Return whether it passes, or the step that failed."""
    return f"FAIL {report.steps[-1]}" if report.why else "it passes"


def check(
    n: int,
    path: Path | None = None,
    /,
    seconds: float = Limits.seconds,
    gigabytes: float = Limits.gigabytes,
) -> int:
    """Check your solution of an exercise.

    Exit status 0 if it passes, 1 if not yet, 2 if there is no such file.

    Args:
        n: The stage to arrive at.
        path: The file to check; without it, the one in exercises/.
        seconds: How long the file may run.
        gigabytes: How much memory it may take.
    """
    limits, task = Limits(seconds, gigabytes), find_task(n)
    check_limits(limits)
    check_path(path) if path else require_file(task)
    say(f"{show_path(path or task.path)}, stage {n}")
    sys.stdout.flush()
    if path is None:
        outcome = examine_own(task, limits)
    else:
        outcome = run_examiner(task, path, limits)
    show_outcome(task, outcome)
    return 1 if outcome.why else 0


def examine_own(task: Task, limits: Limits = DEFAULT) -> Report:
    """Examine the attendee's exercise, and remember if it passes."""
    mark = fingerprint(task.path)
    outcome = run_examiner(task, task.path, limits)
    remember(task.number, passed=None if outcome.why else mark)
    return outcome


def run_examiner(task: Task, path: Path, limits: Limits) -> Report:
    """Start examine.py, wait for it within the limits, read its report.

    The same for all: CPU devices, and no settings from outside.
    """
    environment = dict(os.environ)
    for name in stray_variables():
        del environment[name]
    environment.pop("PYTHONPATH", None)
    environment["JAX_PLATFORMS"] = "cpu"
    environment["JAX_NUM_CPU_DEVICES"] = str(NUM_DEVICES)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        return run_within(
            *(limits, EXAMINE, str(task.number)),
            path=path.resolve(),
            folder=Path(folder),
            environment=environment,
        )


def show_outcome(task: Task, outcome: Report) -> None:
    """Print what is right, then what is not."""
    *right, last = outcome.steps
    for step in right:
        show_item("OK", step)
    if not outcome.why:
        show_item("OK", last)
        show_item("", outcome.facts["fact"])
        congratulate(task)
        return
    show_item("FAIL", last)
    print()
    show_text(outcome.why)
    if outcome.printed:
        print()
        say("The last lines that the file printed:")
        show_text(textwrap.indent(outcome.printed, "    "))


def congratulate(task: Task) -> None:
    """One line of praise, what to notice, and what is next."""
    print()
    say("Well done: that is what the stage is about.")
    print()
    say(f"Notice: {task.notice}")
    print(f"    {task.try_this}\n")
    later = [number for number in find_tasks() if number > task.number]
    if not later:
        print("That was the last exercise.")
        return
    between = [n for n in find_stages() if task.number < n < later[0]]
    for number in between:
        print(f"Next, to see it fail: make stage N={number}")
    print(f"{'Then' if between else 'Next'}: make exercise N={later[0]}")
