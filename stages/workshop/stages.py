"""Find, load and run stages, and show what a stage changes.

No file in this repository contains a hand-written list of stages. Everything
that the workshop must know about a stage is in the stage's file: in its
docstring, or in the names and parameters of its functions.
"""

import ast
import builtins
import difflib
import importlib.util
import re
import runpy
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from workshop.terminal import bold, fail, page, shows_color

STAGES_FOLDER = Path(__file__).resolve().parents[1]
COLORS = {"+": "\x1b[32m", "-": "\x1b[31m", "@": "\x1b[36m"}
RESET = "\x1b[0m"


def find_stages(folder: Path = STAGES_FOLDER) -> dict[int, Path]:
    """Return the path of each `stage<number>_<name>.py`, keyed by number.

    The stages are in order. Files with other names are left out. If two files
    have the same number, exit with a message and status 2.
    """
    stages = {}
    for path in sorted(folder.glob("stage*.py")):
        number = stage_number(path)
        if number in stages:
            fail(
                f"stage {number} must be one file, got {stages[number].name}"
                f" and {path.name}"
            )
        if number is not None:
            stages[number] = path
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


def find_function(source: str, name: str) -> ast.FunctionDef | None:
    """Return the syntax tree of a function, None if it does not exist."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return node
    return None


def sharded_stages() -> list[int]:
    """Return the numbers of the stages whose `simulate` takes num_devices.

    The stages are parsed, not imported.
    """
    sharded = []
    for number, path in find_stages().items():
        simulate = find_function(path.read_text(encoding="utf-8"), "simulate")
        if any(arg.arg == "num_devices" for arg in simulate.args.args):
            sharded.append(number)
    return sharded


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


def strip_docstring(source: str) -> str:
    """Return the source of a stage without its module docstring."""
    docstring = ast.parse(source).body[0]
    lines = source.splitlines(keepends=True)[docstring.end_lineno :]
    return "".join(lines).lstrip("\n")


def cut_function(source: str, name: str) -> str:
    """Return the source of a function with its decorators, "" if not found."""
    node = find_function(source, name)
    if node is None:
        return ""
    first = min([node, *node.decorator_list], key=lambda n: n.lineno)
    lines = source.splitlines(keepends=True)
    return "".join(lines[first.lineno - 1 : node.end_lineno])


def diff_lines(number: int, only: str | None = None) -> list[str]:
    """Return the unified diff that leads to stage `number`.

    The diff starts from the stage that `stage_before` returns. Module
    docstrings are left out. If `only` is given, compare only the function with
    this name. Raise KeyError if one of the two stages does not exist.
    """
    stages = find_stages()
    paths = [stages[n] for n in (stage_before(number), number)]
    before, after = (path.read_text(encoding="utf-8") for path in paths)
    if only is None:
        before, after = strip_docstring(before), strip_docstring(after)
    else:
        before, after = cut_function(before, only), cut_function(after, only)
    names = [path.name for path in paths]
    return list(
        difflib.unified_diff(
            before.splitlines(), after.splitlines(), *names, lineterm="", n=2
        )
    )


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
    if line[:1] not in COLORS:
        return line
    return f"{COLORS[line[:1]]}{line}{RESET}"
