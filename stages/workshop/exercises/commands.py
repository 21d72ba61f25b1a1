"""What an attendee types for an exercise, but for the check itself."""

import sys
import textwrap
import time
from pathlib import Path

from workshop.exercises.tasks import (
    FOLDER,
    Task,
    find_task,
    find_tasks,
    fingerprint,
    hints_seen,
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
from workshop.terminal import fail, say, show_path, write_whole

STATES = ("passes", "passed, changed since", "begun", "not begun")


def make_exercise(task: Task) -> str:
    """The source of the stage to change, under a docstring with the task."""
    stages = find_stages()
    before = stages[stage_before(task.number)].read_text(encoding="utf-8")
    text = textwrap.fill(task.task, width=78)
    return (
        f'"""Exercise {task.number}: {task.title}\n\n{text}\n\n'
        f"    make check N={task.number}\n"
        f'    make hint N={task.number}\n"""\n\n' + strip_docstring(before)
    )


def keep_backup(path: Path) -> Path:
    """Move the file out of the way, over no other; its new path."""
    number = 1
    while (backup := path.with_name(f"{path.name}.{number}.bak")).exists():
        number += 1
    return path.rename(backup)


def exercise(n: int, /, force: bool = False) -> None:
    """Make the exercise of a stage: the one to change, and its task.

    Args:
        n: The stage to arrive at.
        force: Start again; what is there is kept beside it.
    """
    task = find_task(n)
    kept = None
    if task.path.exists() and not force:
        fail(
            f"{show_path(task.path)} is there already; to start again:"
            f" make exercise N={n} FORCE=1"
        )
    try:
        FOLDER.mkdir(exist_ok=True)
        if task.path.exists():
            kept = keep_backup(task.path)
        write_whole(task.path, make_exercise(task))
    except OSError as error:
        fail(f"exercises must be a writable folder, got {error}")
    remember(n, hints=0, passed=None)
    if kept:
        say(f"kept {show_path(kept)}")
    say(f"wrote {show_path(task.path)}")
    print()
    say(task.task)
    print(f"\nmake check N={n}   does it work?")
    print(f"make hint N={n}    one of three hints")
    print(f"make run N={n}     run it as a stage")


def hint(n: int, /) -> None:
    """Give the next of three hints, from vague to nearly there.

    Args:
        n: The stage to arrive at.
    """
    task = find_task(n)
    number = min(hints_seen(n) + 1, len(task.hints))
    say(f"Hint {number} of {len(task.hints)}: {task.hints[number - 1]}")
    if number == len(task.hints):
        print()
        say(f"That was the last. The solution: make diff N={n}")
    remember(n, hints=number)


def run(n: int, /, *arguments: str) -> None:
    """Run your exercise as a stage is run.

    Args:
        n: The stage to arrive at.
        arguments: What the stage would be given.
    """
    run_script(require_file(find_task(n)), arguments)


def watch(n: int, /) -> None:
    """Check an exercise whenever it is saved, until Ctrl-C.

    Args:
        n: The stage to arrive at.
    """
    import watchfiles

    from workshop.exercises.check import (
        examine_own,
        show_outcome,
        verdict,
    )

    task = find_task(n)
    path = require_file(task)
    saves = watchfiles.watch(
        path.parent,  # editors may replace the file
        watch_filter=lambda _, changed: Path(changed).name == path.name,
        rust_timeout=500,
        yield_on_timeout=True,
    )
    seen = before = None  # the first time-out brings the first check
    for _ in saves:
        if path.is_file() and path.stat().st_mtime_ns != seen:
            seen = path.stat().st_mtime_ns
            outcome = examine_own(task)
            print_change(before, verdict(outcome))
            before = verdict(outcome)
            show_outcome(task, outcome)
            print()
            say(f"waiting for {show_path(path)} to be saved; Ctrl-C ends")
            sys.stdout.flush()


def print_change(before: str | None, now: str) -> None:
    """Set an attempt off from the one before, and say what has changed."""
    change = f"still: {now}" if now == before else now
    if before not in (None, now):
        change += f"; before: {before}"
    say(f"---- {time.strftime('%H:%M:%S')} ---- {change}")
    print()


def progress() -> None:
    """Say which exercises pass, in one line."""
    known, tasks = read_progress(), find_tasks()
    found = {state: [] for state in STATES}
    for number, task in tasks.items():
        state = describe(task, known.get(str(number), {}))
        found[state].append(str(number))
    passing = found.pop("passes")
    parts = [f"{len(passing)} of {len(tasks)} pass"]
    parts[0] += f": {', '.join(passing)}" if passing else ""
    for state, numbers in found.items():
        if numbers:
            parts.append(f"{state}: {', '.join(numbers)}")
    say("; ".join(parts))


def describe(task: Task, known: dict) -> str:
    """How far the attendee is with an exercise: one of STATES."""
    if not task.path.is_file():
        return "not begun"
    passed = known.get("passed")
    if passed is None:
        return "begun"
    if passed != fingerprint(task.path):
        return "passed, changed since"
    return "passes"
