"""Command lines by tyro, with errors of one line."""

import io
import re
from contextlib import redirect_stderr
from typing import TypeVar

import tyro

from workshop.terminal import fail

Arguments = TypeVar("Arguments")


def parse(arguments: type[Arguments], description: str) -> Arguments:
    """Read the command line into a dataclass of arguments.

    One that does not fit ends the program with one line and status 2; --help
    prints and ends it with status 0.
    """
    explanation = io.StringIO()
    try:
        with redirect_stderr(explanation):
            return tyro.cli(arguments, description=description)
    except SystemExit as end:
        if not end.code:
            raise
    fail(first_sentence(explanation.getvalue()))


def first_sentence(box: str) -> str:
    """What stands in tyro's box between its title and its first rule."""
    lines = [line.strip("│| ") for line in box.splitlines()]
    sentence = []
    for line in lines[1:]:
        if re.fullmatch(r"\W*", line):
            break
        sentence.append(line)
    return " ".join(sentence or lines)
