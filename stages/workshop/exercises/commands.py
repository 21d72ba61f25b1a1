"""Define the commands for an exercise, except `check`."""

import contextlib
import sys
import textwrap
import time
from pathlib import Path

from workshop.exercises.check import (
    examine_and_remember,
    show_report,
    verdict,
)
from workshop.exercises.tasks import (
    FOLDER,
    Task,
    find_task,
    find_tasks,
    fingerprint,
    read_progress,
    remember,
    require_file,
)
from workshop.stages import (
    find_stages,
    run_script,
    stage_before,
    strip_docstring,
)
from workshop.terminal import command, fail, say, show_path, write_whole

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
    if task.path.exists() and not force:
        again = command("exercise", n, "--force")
        fail(f"{show_path(task.path)} exists already. To start again: {again}")
    new = task.path.with_suffix(".new")
    try:
        FOLDER.mkdir(exist_ok=True)
        write_whole(new, make_exercise(task))
        if task.path.exists():
            say(f"renamed your file to {show_path(keep_backup(task.path))}")
        new.replace(task.path)
    except OSError as error:
        fail(f"exercises/ cannot be written: {error}")
    remember(n, hints=0, passed=None)
    say(f"wrote {show_path(task.path)}")
    print()
    say(task.task)
    print()
    for name, what in NEXT.items():
        typed = command(name, n)
        say(f"{typed:{len(command('check', n))}}  {what}")


def make_exercise(task: Task) -> str:
    """Return the source of the stage to change, with the task on top."""
    stages = find_stages()
    before = stages[stage_before(task.number)].read_text(encoding="utf-8")
    text = textwrap.fill(task.task, width=78)
    docstring = f"Exercise {task.number}: {task.title}\n\n{text}\n\n"
    for name in ("check", "hint", "run"):
        docstring += f"    {command(name, task.number)}\n"
    return f'"""{docstring}"""\n\n{strip_docstring(before)}'


def keep_backup(path: Path) -> Path:
    """Rename a file to a name that is not in use; return the new path."""
    number = 1
    while (backup := path.with_name(f"{path.name}.{number}.bak")).exists():
        number += 1
    return path.rename(backup)


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


def watch(n: int, /) -> None:
    """Check an exercise whenever you save it; Ctrl-C ends this command.

    Args:
        n: The number of the exercise.
    """
    import watchfiles

    task = find_task(n)
    path = require_file(task)
    saves = watchfiles.watch(
        path.parent,  # the folder, because editors may replace the file
        watch_filter=lambda _, changed: Path(changed).name == path.name,
        rust_timeout=500,
        yield_on_timeout=True,
    )
    seen, before = None, ""  # the first time-out starts the first check
    for _ in saves:
        # While an editor replaces the file, it may be missing or locked.
        with contextlib.suppress(FileNotFoundError, PermissionError):
            saved = path.stat().st_mtime_ns
            if saved != seen:
                seen = saved
                before = check_save(task, before)


def check_save(task: Task, before: str) -> str:
    """Check a file that was just saved; return the verdict.

    before: the verdict of the previous check; "" for the first check.
    """
    saved = "saved " if before else ""
    now = time.strftime("%H:%M:%S")
    print(f"---- {saved}{now}, checking ...", flush=True)
    report = examine_and_remember(task)
    found = verdict(report)
    print()
    if before == found:
        say(f"Still: {found}")
    elif before:
        say(f"Now: {found} (before: {before})")
    show_report(task, report)
    print()
    say(f"waiting for {show_path(task.path)} to be saved; Ctrl-C ends")
    sys.stdout.flush()
    return found


def progress() -> None:
    """Print how many exercises pass, in one line to paste into the chat."""
    known, tasks = read_progress(), find_tasks()
    passing, begun = [], []
    for number, task in tasks.items():
        if task.path.is_file():
            passed = known.get(str(number), {}).get("passed")
            if passed == fingerprint(task.path):
                passing.append(str(number))
            else:
                begun.append(str(number))
    line = f"progress: {len(passing)} of {len(tasks)} pass"
    if passing:
        line += f" ({', '.join(passing)})"
    if begun:
        line += f", working on {', '.join(begun)}"
    say(line)
