"""The errors that a learner meets: what happened, and what to do.

ERRORS.md is the table, for people and for the check of an exercise alike.
Types and keywords are matched, never a whole message: the wording moves
between versions. Needs nothing but Python.
"""

import re
from typing import NamedTuple

from workshop.stages import STAGES_FOLDER

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
