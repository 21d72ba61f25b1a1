"""The errors that a learner meets: what happened, and what to do.

ERRORS.md is the table, for people and for the check of an exercise alike.
Types and keywords are matched, never a whole message: the wording moves
between versions. Needs nothing but Python.
"""

import linecache
import re
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from workshop.stages import STAGES_FOLDER
from workshop.terminal import show_path

TABLE = STAGES_FOLDER.parent / "ERRORS.md"


class ErrorRow(NamedTuple):
    """An error, by its type and a part of its message."""

    type: str
    keyword: str
    met: str
    """What was done."""
    remedy: str
    """What to do instead."""
    stage: str
    """Where it is met, or what it is shown in."""


def read_rows() -> list[ErrorRow]:
    """The rows of the table, in order: the first that fits explains."""
    text = TABLE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", text, flags=re.MULTILINE)
    return [ErrorRow(kind, *rest.split(" | ")) for kind, rest in rows]


ROWS = read_rows()


def find_row(error: BaseException) -> ErrorRow | None:
    """The row of an error, by its type or a base of it; None if none fits."""
    names = {kind.__name__ for kind in type(error).__mro__}
    for row in ROWS:
        if row.type in names and row.keyword in str(error):
            return row
    return None


def explain_error(
    error: BaseException,
    path: Path,
    is_known: Callable[[ErrorRow], bool] = lambda row: False,
) -> str:
    """An error in the attendee's file: their own line, and what it says."""
    message = describe(error, is_known)
    if isinstance(error, SyntaxError) and error.filename == str(path):
        number, where = error.lineno, ""
    else:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if frame.filename == str(path)]
        if not own:
            return message
        number = own[-1].lineno
        where = f", in {own[-1].name}".replace(", in <module>", "")
    line = linecache.getline(str(path), number).strip()
    return f"{show_path(path)}, line {number}{where}:\n    {line}\n{message}"


def describe(
    error: BaseException, is_known: Callable[[ErrorRow], bool]
) -> str:
    """The type of the error, the first paragraph of its message, a remedy.

    No remedy for the error that an exercise is about: its hints have it.
    """
    if isinstance(error, SystemExit):
        return "The file ends the program here (SystemExit)."
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg}"
    paragraphs = re.split(r"\n\s*\n|\n-----+", str(error).strip())
    end = 2 if paragraphs[0].endswith(":") else 1
    message = "\n".join(paragraphs[:end])
    message = f"{type(error).__name__}: {message}".removesuffix(": ")
    row = find_row(error)
    if row is None or is_known(row):
        return message
    return (
        f"{message}\nWhat happened: {row.met}.\nWhat to do: {row.remedy}.\n"
        f"See {row.stage}."
    )
