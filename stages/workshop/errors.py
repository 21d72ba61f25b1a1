"""Explain an error that a learner meets: what happened, and what to do.

People and commands read the same table, ERRORS.md. An error is matched by its
type and by keywords, never by its whole message, because JAX changes the
wording from version to version. This module needs nothing but Python.
"""

import linecache
import re
import sysconfig
import traceback
from pathlib import Path
from typing import NamedTuple

from workshop.stages import STAGES_FOLDER
from workshop.terminal import show_path

TABLE = STAGES_FOLDER.parent / "ERRORS.md"
STANDARD_LIBRARY = sysconfig.get_paths()["stdlib"]


class ErrorRow(NamedTuple):
    """A row of the table: how to recognize an error, and how to explain it."""

    type: str
    keyword: str  # a part of the message
    line: str  # a part of the user's line, or of the path of a called file
    met: str  # what happened
    remedy: str  # what to do instead
    stage: str  # the stage or notebook that shows this error


def read_rows() -> list[ErrorRow]:
    """Return the rows of the table, from top to bottom."""
    text = TABLE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", text, flags=re.MULTILINE)
    return [
        ErrorRow(kind, *map(str.strip, rest.split(" | ")))
        for kind, rest in rows
    ]


ROWS = read_rows()


def find_row(error: BaseException) -> ErrorRow | None:
    """Return the first row that fits an error, None if no row does."""
    names = {kind.__name__ for kind in type(error).__mro__}
    source = read_source(error)
    for row in ROWS:
        fits = row.type in names and row.keyword in str(error)
        if fits and row.line in source:
            return row
    return None


def read_source(error: BaseException) -> str:
    """Return the user's line that failed, then the files that it called.

    The user's line is the innermost line of the traceback that is neither in
    a package nor in the standard library.
    """
    source: list[str] = []
    for frame in traceback.extract_tb(error.__traceback__):
        package = "site-packages" in frame.filename
        standard = frame.filename.startswith(STANDARD_LIBRARY)
        if package or standard or not frame.line:  # compiled code has no line
            source.append(frame.filename)
        else:
            source = [frame.line]
    return "\n".join(source)


def explain_error(error: BaseException, path: Path, lesson: str = "") -> str:
    """Return the user's line that failed, the message, and a remedy.

    lesson: a word of the message that a learner has to understand alone.
    There is no remedy for this message.
    """
    message = describe(error, lesson)
    if isinstance(error, SyntaxError) and error.filename == str(path):
        number, function = error.lineno, ""
    else:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if frame.filename == str(path)]
        if not own:
            return message
        number, function = own[-1].lineno, own[-1].name
    return f"{show_line(path, number, function)}\n{message}"


def show_line(path: Path, number: int, function: str) -> str:
    """Return a line of a file, after its path, number and function."""
    where = f", in {function}" if function not in ("", "<module>") else ""
    linecache.checkcache(str(path))  # the file may have been edited
    line = linecache.getline(str(path), number).strip()
    return f"{show_path(path)}, line {number}{where}:\n    {line}"


def describe(error: BaseException, lesson: str = "") -> str:
    """Return an error's type, its message's first paragraph, and a remedy."""
    paragraphs = re.split(r"\n\s*\n|\n-----+", str(error).strip())
    end = 2 if paragraphs[0].endswith(":") else 1
    message = "\n".join(paragraphs[:end])
    message = f"{type(error).__name__}: {message}".removesuffix(": ")
    row = find_row(error)
    if row is None or (lesson and lesson in row.keyword):
        return message
    see = f"\nSee {row.stage}." if row.stage else ""
    return (
        f"{message}\nWhat happened: {row.met}.\nWhat to do: {row.remedy}.{see}"
    )
