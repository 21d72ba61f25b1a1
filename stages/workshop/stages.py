"""Find the stages, load one, show what one changes.

Nothing in this repository lists them by hand. What the workshop has to know of
a stage stands in the stage's docstring.
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

from workshop.terminal import fail, page, shows_color

STAGES_FOLDER = Path(__file__).resolve().parents[1]
COLORS = {"+": "\x1b[32m", "-": "\x1b[31m", "@": "\x1b[36m"}
COLORS |= dict.fromkeys(("+++", "---"), "\x1b[1m")  # names: bold
RESET = "\x1b[0m"


def find_stages(folder: Path = STAGES_FOLDER) -> dict[int, Path]:
    """Number to file, in order, of the `stage<number>_<name>.py` in folder.

    Files that are named otherwise are left out; two of one number end the
    program with one line and status 2.
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
    """The 5 of stage5_scan.py, None if the file is no stage."""
    match = re.fullmatch(r"stage(\d+)_\w+", path.stem)
    return None if match is None else int(match[1])


def stage_before(number: int) -> int:
    """The stage that this one changes: a neighbor, unless it names another.

    It does so in its docstring, by "What changes, from stage 5:".
    """
    source = find_stages()[number].read_text(encoding="utf-8")
    named = re.search(r"^What changes, from stage (\d+):", source, flags=re.M)
    return number - 1 if named is None else int(named[1])


def load_stage(path: Path) -> ModuleType:
    """The stage as a module of its own, its main guard not run."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_script(path: Path, arguments: Iterable[str]) -> None:
    """Run it as Python would, with those arguments."""
    sys.argv = [str(path), *arguments]
    runpy.run_path(str(path), run_name="__main__")


def stage(n: int, /, *arguments: str) -> None:
    """Run a stage.

    Args:
        n: The stage.
        arguments: What it takes: --help lists that.
    """
    stages = find_stages()
    if n not in stages:
        fail(f"N must be between {min(stages)} and {max(stages)}, got {n}")
    run_script(stages[n], arguments)


def strip_docstring(source: str) -> str:
    """The source of a stage without its module docstring: the code only."""
    docstring = ast.parse(source).body[0]
    lines = source.splitlines(keepends=True)[docstring.end_lineno :]
    return "".join(lines).lstrip("\n")


def failure(docstring: str) -> tuple[type[Exception], str] | None:
    """What a stage fails with on purpose: a type, a word of the message.

    Read from its docstring, "Fails with: TypeError, immutable"; None if it
    declares none.
    """
    found = re.search(r"^Fails with: (\w+), (.+)$", docstring, flags=re.M)
    return found and (getattr(builtins, found[1]), found[2])


def diff_lines(
    number: int, docstrings: bool = False, only: str | None = None
) -> list[str]:
    """The unified diff from the stage that this one changes.

    Without docstrings, the two modules' docstrings are left out: code only.
    only: of a function of that name; one that is not there is empty. Raises
    KeyError if there is no such stage, or none before it.
    """
    stages = find_stages()
    paths = [stages[n] for n in (stage_before(number), number)]
    before, after = (path.read_text(encoding="utf-8") for path in paths)
    if only is not None:
        before, after = cut_function(before, only), cut_function(after, only)
    elif not docstrings:
        before, after = strip_docstring(before), strip_docstring(after)
    names = [path.name for path in paths]
    return list(
        difflib.unified_diff(
            before.splitlines(), after.splitlines(), *names, lineterm="", n=2
        )
    )


def cut_function(source: str, name: str) -> str:
    """The source of a function with its decorators, "" if it is not there."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            first = min([node, *node.decorator_list], key=lambda n: n.lineno)
            lines = source.splitlines(keepends=True)
            return "".join(lines[first.lineno - 1 : node.end_lineno])
    return ""


def diff(n: int, /, docstrings: bool = False, only: str | None = None) -> None:
    """Show the code that a stage changes.

    Args:
        n: The stage.
        docstrings: Show also what changes in the text on top of the file.
        only: Show what changes in this function alone.
    """
    last = max(find_stages())
    if n not in range(1, last + 1):
        fail(f"N must be between 1 and {last}, got {n}")
    lines = diff_lines(n, docstrings, only)
    if only is not None and not lines:
        fail(f"only must be a function that stage {n} changes, got {only}")
    page("\n".join(map(colored, lines)))


def colored(line: str) -> str:
    """A line of a diff, colored where the terminal shows color."""
    kind = line[:3] if line[:3] in COLORS else line[:1]
    if kind not in COLORS or not shows_color(sys.stdout):
        return line
    return f"{COLORS[kind]}{line}{RESET}"
