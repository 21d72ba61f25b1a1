"""Check an attendee's file, and show the first problem.

A check uses two processes. In the first process, this module starts the second
process, with limits on time and memory (sandbox.py), and prints the report. In
the second process, checks.py imports the attendee's file and examines what the
file does.
"""

import os
import tempfile
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
from workshop.terminal import command, say, show_item, show_path, show_text

NUM_DEVICES = 4  # simulated, for exercises that use several devices


def check(
    n: int,
    path: Path | None = None,
    /,
    seconds: float = Limits.seconds,
    gigabytes: float = Limits.gigabytes,
) -> int:
    """Check your solution of an exercise.

    The exit status is 0 if the solution passes, 1 if it does not pass yet, and
    2 if the exercise or the file does not exist.

    Args:
        n: The number of the exercise.
        path: The file to check; by default, your file in exercises/.
        seconds: How long the file may run.
        gigabytes: How much memory the file may use.
    """
    limits, task = Limits(seconds, gigabytes), find_task(n)
    check_limits(limits)
    if path is None:
        say(f"{show_path(require_file(task))}, stage {n}")
        report = examine_and_remember(task, limits)
    else:
        check_path(path)
        say(f"{show_path(path)}, stage {n}")
        report = examine(task, path, limits)
    show_report(task, report)
    return 1 if report.why else 0


def examine_and_remember(task: Task, limits: Limits | None = None) -> Report:
    """Examine the attendee's exercise, and remember whether it passes."""
    mark = fingerprint(task.path)
    report = examine(task, task.path, limits or Limits())
    remember(task.number, passed=None if report.why else mark)
    return report


def examine(task: Task, path: Path, limits: Limits) -> Report:
    """Check a file on CPU devices, without the user's settings for JAX."""
    environment = dict(os.environ)
    for name in stray_variables():
        del environment[name]
    environment.pop("PYTHONPATH", None)
    environment["JAX_PLATFORMS"] = "cpu"
    environment["JAX_NUM_CPU_DEVICES"] = str(NUM_DEVICES)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        return run_within(
            limits,
            "workshop.exercises.checks",
            str(task.number),
            path=path.resolve(),
            folder=Path(folder),
            environment=environment,
        )


def verdict(report: Report) -> str:
    """Return "it passes", or name the step that fails."""
    return f"FAIL {report.steps[-1]}" if report.why else "it passes"


def show_report(task: Task, report: Report) -> None:
    """Print the steps that passed; then what is wrong, or what is next."""
    *right, last = report.steps
    for step in right:
        show_item("OK", step)
    if not report.why:
        show_item("OK", last)
        if report.facts["fact"]:
            show_item("", report.facts["fact"])
        congratulate(task)
        return
    show_item("FAIL", last)
    print()
    show_text(report.why)


def congratulate(task: Task) -> None:
    """Print what to notice, an extra task, and what is next."""
    print()
    say(f"Well done. Notice: {task.notice}")
    print(f"    {command('run', task.number, task.run)}\n")
    say(f"Finished early? {task.extra}")
    print()
    later = [number for number in find_tasks() if number > task.number]
    if not later:
        say("That was the last exercise.")
        return
    for number in find_stages():
        if task.number < number < later[0]:
            say(f"Next, run a stage that fails: {command('stage', number)}")
    say(f"The next exercise: {command('exercise', later[0])}")
