"""Run every stage, each between what it changes and what to notice."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

from workshop.stages import STAGES_FOLDER, find_stages, stage_number
from workshop.terminal import terminal_size

DOOR = STAGES_FOLDER / "workshop"
LINES_BESIDE = 4  # a title, two empty lines, the question


def tour() -> int:
    """Run every stage in order, one screen each.

    On a terminal it waits after each. The exit status is that of the first
    stage that does not end with 0.
    """
    stages = find_stages()
    waits = sys.stdin.isatty() and sys.stdout.isatty()
    for number, path in stages.items():
        status = show_stage(path, first=number == min(stages))
        if status:
            return status if status > 0 else 128 - status
        left = [later for later in stages if later > number]
        if waits and left and not goes_on(left):
            break
    print("\nThat was the tour. What each stage changes: make diff N=1")
    print("Your turn: make exercise N=2")
    return 0


def show_stage(path: Path, first: bool) -> int:
    """Run a stage; its exit status. Only the first prints the whole rule."""
    about, notice = split_docstring(path)
    _, lines = terminal_size()
    texts = len(about.splitlines()) + len(notice.splitlines())
    print(f"\n=== stages/{path.name}\n{about}\n", flush=True)
    command = [sys.executable, str(DOOR), "stage", f"{stage_number(path)}"]
    command += [] if first else ["--no-print-rule"]
    room = max(1, lines - texts - LINES_BESIDE)
    done = subprocess.run(command, env={**os.environ, "LINES": f"{room}"})
    print(f"\n{notice}")
    return done.returncode


def split_docstring(path: Path) -> tuple[str, str]:
    """What a stage says that it changes, and what there is to notice."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    text, _, _ = docstring.rpartition("\n\n")  # without the command
    text = re.sub(r"\nFails with: .*", "", text)
    about, mark, notice = text.partition("What to notice: ")
    return about.strip(), mark + notice


def goes_on(left: list[int]) -> bool:
    """Ask whether to go on; the end of the input is a no."""
    try:
        answer = input(f"Enter: stage {left[0]}, q: end ({len(left)} left) ")
    except EOFError:
        return False
    return answer.strip().lower() not in ("q", "quit")
