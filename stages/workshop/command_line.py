"""Command lines by tyro, with errors of one line."""

import io
import re
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TypeVar

import tyro

from workshop.terminal import fail

Arguments = TypeVar("Arguments")


def parse(arguments: type[Arguments], description: str) -> Arguments:
    """Read the command line into a dataclass of arguments.

    One that does not fit ends the program with one line and status 2; --help
    prints and ends it with status 0.
    """
    usage, explanation = io.StringIO(), io.StringIO()
    try:
        with redirect_stdout(usage), redirect_stderr(explanation):
            return tyro.cli(
                arguments,
                prog=Path(sys.argv[0]).name,
                description=description,
            )
    except SystemExit as end:
        if not end.code:
            print(usage.getvalue(), end="")
            raise
    sentence = first_sentence(explanation.getvalue())
    if sentence.startswith("Unrecognized"):
        sentence += " (--help lists the options)"
    fail(sentence)


def first_sentence(box: str) -> str:
    """What stands in tyro's box between its title and the next rule."""
    lines = [line.strip("│| ") for line in box.splitlines()]
    sentence = []
    for line in lines[1:]:
        if re.search(r"\w", line):
            sentence.append(line)
        elif sentence:
            break
    return re.sub(
        r"Error parsing (\S+): invalid literal for int\(\).*: (.*)",
        r"\1 must be an integer, got \2",
        " ".join(sentence or lines),
    )
