"""Run every stage in order, one screen at a time."""

import ast
import os
import subprocess
import sys
from pathlib import Path

from workshop.stages import STAGES_FOLDER, find_stages, sharded_stages
from workshop.terminal import (
    bold,
    command,
    interrupts_raise,
    say,
    terminal_size,
    wrap,
)

FIRST_LINES = 4  # besides the picture: three by stage 0, one for the question
LATER_LINES = 12  # the most that a later stage prints, picture included
MOST_ROWS = 80


def tour() -> int:
    """Run every stage in order, one screen at a time.

    On a terminal, the tour waits after each stage. If a stage fails, the tour
    stops and exits with the status of this stage.
    """
    stages = find_stages()
    waits = bool(sys.stdin) and sys.stdin.isatty() and sys.stdout.isatty()
    _, lines = terminal_size()
    room = lines - FIRST_LINES - len(describe(stages[0]).splitlines())
    num_steps = max(2, min(2 * room, MOST_ROWS))  # two rows per line
    for number, path in stages.items():
        status = show_stage(number, path, num_steps)
        if status:
            return status if status > 0 else 128 - status
        left = [later for later in stages if later > number]
        if waits and left and not goes_on(left):
            break
    say("That was the tour.")
    say(f"To see what a stage changes: {command('diff', 1)}")
    say(f"Your turn: {command('exercise', 2)}")
    return 0


def show_stage(number: int, path: Path, num_steps: int) -> int:
    """Describe a stage on the screen, and run it; return its exit status."""
    text = describe(path)
    print(text, flush=True)
    _, lines = terminal_size()
    room = lines - len(text.splitlines())
    script = [sys.executable, str(STAGES_FOLDER / "workshop"), "stage"]
    script += [str(number), f"--num-steps={num_steps}", "--no-print-rule"]
    if number in sharded_stages():
        script.append("--num-devices=4")
    if number > 0:
        room = min(room, LATER_LINES)
    with interrupts_raise():
        done = subprocess.run(script, env={**os.environ, "LINES": str(room)})
    return done.returncode


def describe(path: Path) -> str:
    """Return a stage's title and the first paragraph below it, wrapped."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    title, text, *_ = docstring.split("\n\n")
    lines = [
        line for line in text.splitlines() if not line.startswith("Fails with")
    ]
    columns, _ = terminal_size()
    if max(map(len, lines)) > columns:
        lines = [wrap(" ".join(lines))]
    return "\n".join([bold(wrap(title)), *lines])


def goes_on(left: list[int]) -> bool:
    """Ask whether to go on; return False if the input has ended."""
    try:
        answer = input(f"Enter: stage {left[0]}, q: end ({len(left)} left) ")
    except EOFError:
        return False
    return answer.strip().lower() not in ("q", "quit")
