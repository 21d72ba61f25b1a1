"""Find, load and run stages, and show what a stage changes.

No file in this repository contains a hand-written list of stages. Everything
that the workshop must know about a stage is in the stage's file: in its
docstring, or in the names and parameters of its functions.
"""

import ast
import builtins
import difflib
import importlib.util
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from workshop.terminal import (
    bold,
    command,
    fail,
    interrupts_raise,
    page,
    say,
    shows_color,
    terminal_size,
    wrap,
)

STAGES_FOLDER = Path(__file__).resolve().parents[1]
COLORS = {"+": "\x1b[32m", "-": "\x1b[31m", "@": "\x1b[36m"}


def find_stages(folder: Path = STAGES_FOLDER) -> dict[int, Path]:
    """Return the path of each `stage<number>_<name>.py`, keyed by number.

    Files with other names are left out.
    """
    stages = {stage_number(path): path for path in folder.glob("stage*.py")}
    stages.pop(None, None)  # a file with another name
    return dict(sorted(stages.items()))


def stage_number(path: Path) -> int | None:
    """Return a stage's number: 5 for stage5_scan.py, None for other files."""
    match = re.fullmatch(r"stage(\d+)_\w+", path.stem)
    return None if match is None else int(match[1])


def stage_before(number: int) -> int:
    """Return the number of the stage that stage `number` is based on.

    This is the previous number, unless the stage's docstring names another:
    "What changes, from stage 5:".
    """
    source = find_stages()[number].read_text(encoding="utf-8")
    named = re.search(r"^What changes, from stage (\d+):", source, flags=re.M)
    return number - 1 if named is None else int(named[1])


def failure(text: str) -> tuple[type[Exception], str] | None:
    """Return the error that a stage raises on purpose: its type and a keyword.

    `text` is the stage's docstring, or the whole source of the stage. A line
    of the docstring declares the error: "Fails with: TypeError, immutable".
    Return None if there is no such line.
    """
    found = re.search(r"^Fails with: (\w+), (.+)$", text, flags=re.M)
    return found and (getattr(builtins, found[1]), found[2])


def load_stage(path: Path) -> ModuleType:
    """Load a stage as a new module; its main guard does not run."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_script(path: Path, arguments: Iterable[str]) -> None:
    """Run a script with these arguments, as `python PATH` would."""
    sys.argv = [str(path), *arguments]
    sys.path.insert(0, str(path.parent))
    runpy.run_path(str(path), run_name="__main__")


def stage(n: int, /, *arguments: str) -> None:
    """Run a stage.

    Args:
        n: The number of the stage.
        arguments: The options of the stage; --help lists them.
    """
    stages = find_stages()
    if n not in stages:
        fail(f"N must be between {min(stages)} and {max(stages)}, got {n}")
    run_script(stages[n], arguments)


def tour() -> int:
    """Run every stage in order, one screen at a time.

    On a terminal, the tour waits after each stage. If a stage fails, the tour
    stops and exits with the status of this stage.
    """
    stages = find_stages()
    waits = bool(sys.stdin) and sys.stdin.isatty() and sys.stdout.isatty()
    for number, path in stages.items():
        description = describe(path)
        print(description, flush=True)
        num_lines = len(description.splitlines())
        if number == max(stages):
            num_lines += 2  # for the three lines below, without a question
        status = run_with_room(number, num_lines)
        if status != 0:
            return status
        if waits and number < max(stages) and not goes_on(number + 1):
            break
    say("That was the tour.")
    say(f"To see what a stage changes: {command('diff', 1)}")
    say(f"Your turn: {command('exercise', 2)}")
    return 0


def describe(path: Path) -> str:
    """Return a stage's title and the first paragraph below it, wrapped."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    title, text, *_ = docstring.split("\n\n")
    return "\n".join([bold(wrap(title)), *map(wrap, text.splitlines())])


def run_with_room(number: int, other_lines: int) -> int:
    """Run a stage, and return its exit status.

    The picture leaves room on the screen for the other lines. If JAX runs on
    the CPU, it simulates four devices.
    """
    _, lines = terminal_size()
    chosen = {"LINES": str(lines - other_lines), "JAX_NUM_CPU_DEVICES": "4"}
    script = [sys.executable, str(STAGES_FOLDER / "workshop"), "stage"]
    script += [str(number), "--num-steps=32"]
    with interrupts_raise():
        return subprocess.run(script, env=os.environ | chosen).returncode


def goes_on(number: int) -> bool:
    """Ask whether to go on; return False if the input has ended."""
    try:
        answer = input(f"Enter: stage {number}, q: end ")
    except EOFError:
        return False
    return answer.strip().lower() not in ("q", "quit")


def strip_docstring(source: str) -> str:
    """Return the source of a stage without its module docstring."""
    docstring = ast.parse(source).body[0]
    lines = source.splitlines(keepends=True)[docstring.end_lineno :]
    return "".join(lines).lstrip("\n")


def cut_function(source: str, name: str) -> str:
    """Return the source of a function with its decorators, "" if not found."""
    lines = source.splitlines(keepends=True)
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            first = min([node, *node.decorator_list], key=lambda n: n.lineno)
            return "".join(lines[first.lineno - 1 : node.end_lineno])
    return ""


def diff_lines(number: int, only: str | None = None) -> list[str]:
    """Return the unified diff that leads to stage `number`.

    The diff starts from the stage that `stage_before` returns. Module
    docstrings are left out. If `only` is given, compare only the function with
    this name. Raise KeyError if one of the two stages does not exist.
    """
    stages = find_stages()
    paths = [stages[n] for n in (stage_before(number), number)]
    names = [path.name for path in paths]
    sources = [path.read_text(encoding="utf-8") for path in paths]
    if only is None:
        parts = [strip_docstring(source) for source in sources]
    else:
        parts = [cut_function(source, only) for source in sources]
    before, after = [part.splitlines() for part in parts]
    return list(difflib.unified_diff(before, after, *names, lineterm="", n=2))


def diff(n: int, /, only: str | None = None) -> None:
    """Show the code that a stage changes.

    Args:
        n: The number of the stage.
        only: Show only the changes in the function with this name.
    """
    _, *numbers = find_stages()
    if n not in numbers:
        fail(f"N must be between {numbers[0]} and {numbers[-1]}, got {n}")
    lines = diff_lines(n, only)
    if not lines:
        fail(f"--only must name a function that stage {n} changes, got {only}")
    if shows_color(sys.stdout):
        names, changes = lines[:2], lines[2:]
        lines = [*map(bold, names), *map(colored, changes)]
    page("\n".join(lines))


def colored(line: str) -> str:
    """Color a line of a diff; the line's first character selects the color."""
    color = COLORS.get(line[:1], "")
    return f"{color}{line}\x1b[0m" if color else line
