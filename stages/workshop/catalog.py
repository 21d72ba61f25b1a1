"""Find the stages: nothing in this repository lists them by hand."""

import ast
import importlib.util
import re
from pathlib import Path
from types import ModuleType

from workshop.terminal import fail

STAGES_FOLDER = Path(__file__).resolve().parents[1]


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


def strip_docstring(source: str) -> str:
    """The source of a stage without its module docstring: the code only."""
    docstring = ast.parse(source).body[0]
    lines = source.splitlines(keepends=True)[docstring.end_lineno :]
    return "".join(lines).lstrip("\n")
