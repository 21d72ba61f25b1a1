"""Find the stages: nothing in this repository lists them by hand."""

import ast
import re
from pathlib import Path

STAGES_FOLDER = Path(__file__).resolve().parents[1]


def find_stages(folder: Path = STAGES_FOLDER) -> dict[int, Path]:
    """Number to file, in order, of the `stage<number>_<name>.py` in folder."""
    numbers = {stage_number(path): path for path in folder.glob("stage*.py")}
    return dict(sorted(numbers.items()))


def stage_number(path: Path) -> int:
    """The 5 of stage5_scan.py; ValueError if the file is named otherwise."""
    match = re.fullmatch(r"stage(\d+)_\w+", path.stem)
    if match is None:
        raise ValueError(f"a stage is named stage<number>_<name>, got {path}")
    return int(match[1])


def strip_docstring(source: str) -> str:
    """The source of a stage without its module docstring: the code only."""
    docstring = ast.parse(source).body[0]
    lines = source.splitlines(keepends=True)[docstring.end_lineno :]
    return "".join(lines).lstrip("\n")
