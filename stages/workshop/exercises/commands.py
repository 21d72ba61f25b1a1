"""Define the commands for the exercises.

A check uses two processes. In the first process, `examine` starts the second
process, with limits on time and memory (sandbox.py). In the second process,
checks.py imports the attendee's file and examines what the file does.
"""

import contextlib
import os
import sys
import tempfile
import textwrap
import time
from pathlib import Path

from workshop.devices import stray_variables
from workshop.exercises.tasks import (
    FOLDER,
    Task,
    find_task,
    find_tasks,
    read_progress,
    remember,
    require_file,
)
from workshop.sandbox import Limits, Report, check_path, run_within
from workshop.stages import (
    find_stages,
    run_script,
    stage_before,
    strip_docstring,
)
from workshop.terminal import (
    command,
    fail,
    say,
    show_item,
    show_path,
    show_text,
    uses_make,
    write_whole,
)

NUM_DEVICES = 4  # simulated, for exercises that use several devices
NEXT = {
    "check": "does it work?",
    "watch": "check it at every save",
    "hint": "the next of three hints",
    "run": "run it as a stage",
}


def exercise(n: int, /, force: bool = False) -> None:
    """Start an exercise: copy the stage to change, with the task on top.

    Args:
        n: The number of the exercise.
        force: Start again; your present file is renamed and kept.
    """
    task = find_task(n)
    shown = show_path(task.path)
    if task.path.exists() and not force:
        option = "FORCE=1" if uses_make() else "--force"
        again = f"{command('exercise', n)} {option}"
        fail(f"{shown} exists already. To start again: {again}")
    try:
        FOLDER.mkdir(exist_ok=True)
        new = task.path.with_suffix(".new")
        write_whole(new, make_exercise(task))  # before the rename
        if task.path.exists():
            say(f"renamed your file to {show_path(keep_backup(task.path))}")
        new.replace(task.path)
    except OSError as error:
        fail(f"{shown} cannot be written: {error}")
    remember(n, hints=0, passed=False)
    say(f"wrote {shown}")
    print()
    say(task.task)
    print()
    for name, what in NEXT.items():
        typed = command(name, n)
        say(f"{typed:{len(command('check', n))}}  {what}")


def keep_backup(path: Path) -> Path:
    """Rename a file to a name that is not in use; return the new path."""
    number = 1
    while (backup := path.with_name(f"{path.name}.{number}.bak")).exists():
        number += 1
    return path.rename(backup)


def make_exercise(task: Task) -> str:
    """Return the source of the stage to change, with the task on top."""
    stages = find_stages()
    before = stages[stage_before(task.number)].read_text(encoding="utf-8")
    text = textwrap.fill(task.task, width=78)
    docstring = f"Exercise {task.number}: {task.title}\n\n{text}\n\n"
    for name in ("check", "hint", "run"):
        docstring += f"    {command(name, task.number)}\n"
    return f'"""{docstring}"""\n\n{strip_docstring(before)}'


def check(n: int, path: Path | None = None, /) -> int:
    """Check your solution of an exercise.

    The exit status is 0 if the solution passes, 1 if it does not pass yet, and
    2 if the exercise or the file does not exist.

    Args:
        n: The number of the exercise.
        path: The file to check; by default, your file in exercises/.
    """
    task = find_task(n)
    if path is not None:
        check_path(path)
    file = path or require_file(task)
    say(f"{show_path(file)}, stage {n}")
    report = examine(task, file)
    show_report(task, report)
    if path is None:
        remember(n, passed=not report.why)
    return 1 if report.why else 0


def examine(task: Task, path: Path) -> Report:
    """Check a file on CPU devices, without the user's settings for JAX."""
    left_out = {*stray_variables(), "PYTHONPATH"}
    environment = {k: v for k, v in os.environ.items() if k not in left_out}
    environment["JAX_PLATFORMS"] = "cpu"
    environment["JAX_NUM_CPU_DEVICES"] = str(NUM_DEVICES)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        return run_within(
            Limits(),
            "workshop.exercises.checks",
            str(task.number),
            path=path.resolve(),
            folder=Path(folder),
            environment=environment,
        )


def show_report(task: Task, report: Report) -> None:
    """Print the steps that passed; then what is wrong, or what is next."""
    *right, last = report.steps
    for step in right:
        show_item("OK", step)
    show_item("FAIL" if report.why else "OK", last)
    if report.why:
        print()
        show_text(report.why)
        if report.printed:
            print()
            say("The last lines that the file printed:")
            show_text(textwrap.indent(report.printed, "    "))
        return
    if report.facts["fact"]:
        show_item("", report.facts["fact"])
    congratulate(task)


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


def watch(n: int, /) -> None:
    """Check an exercise whenever you save it; Ctrl-C ends this command.

    Args:
        n: The number of the exercise.
    """
    import watchfiles

    path = require_file(find_task(n))
    wakes = watchfiles.watch(
        path.parent,  # the folder, because editors may replace the file
        rust_timeout=500,
        yield_on_timeout=True,
    )
    checked = 0  # so the file is checked once before it is saved
    for _ in wakes:
        # While an editor replaces the file, it may be missing or locked.
        with contextlib.suppress(FileNotFoundError, PermissionError):
            saved = path.stat().st_mtime_ns
            if saved != checked:
                checked = saved
                print(f"---- {time.strftime('%H:%M:%S')}", flush=True)
                check(n)
                print()
                say(f"waiting for {show_path(path)} to be saved; Ctrl-C ends")
                sys.stdout.flush()


def hint(n: int, /) -> None:
    """Give the next of three hints; the last one is nearly the solution.

    Args:
        n: The number of the exercise.
    """
    task = find_task(n)
    seen = read_progress().get(str(n), {}).get("hints", 0)
    number = min(seen + 1, len(task.hints))
    say(f"Hint {number} of {len(task.hints)}: {task.hints[number - 1]}")
    if number == len(task.hints):
        print()
        say(f"That was the last one. The solution: {command('diff', n)}")
    remember(n, hints=number)


def run(n: int, /, *arguments: str) -> None:
    """Run your exercise, as you would run a stage.

    Args:
        n: The number of the exercise.
        arguments: The options of the stage.
    """
    run_script(require_file(find_task(n)), arguments)


def progress() -> None:
    """Print how many exercises passed their last check, in one line."""
    known, tasks = read_progress(), find_tasks()
    passing, begun = [], []
    for number, task in tasks.items():
        if task.path.is_file():
            if known.get(str(number), {}).get("passed"):
                passing.append(str(number))
            else:
                begun.append(str(number))
    line = f"progress: {len(passing)} of {len(tasks)} pass"
    if passing:
        line += f" ({', '.join(passing)})"
    if begun:
        line += f", working on {', '.join(begun)}"
    say(line)
