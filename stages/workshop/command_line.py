"""Command lines by tyro, with errors of one line."""

import io
import re
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Annotated, TypeVar

import tyro
from tyro.conf import Positional, arg

from workshop.terminal import fail

Arguments = TypeVar("Arguments")
StageNumber = Positional[Annotated[int, arg(metavar="N")]]

# tyro's sentences, and what is said instead.
PLAINER = [
    (
        r"Error parsing (\S+): invalid literal for int\(\).*: (.*)",
        r"\1 must be an integer, got \2",
    ),
    (
        r"Error parsing (\S+): no type matching \S*INT .* from \[(.*)\]\.",
        r"\1 must be an integer, got \2",
    ),
    (
        r"Error parsing (\S+): could not convert string to float: (.*)",
        r"\1 must be a number, got \2",
    ),
    (r"Missing value for argument '(\S+)'\..*", r"\1 needs a value"),
    (r"Missing from \S+: (\S+) .*", r"\1 is missing (--help says what it is)"),
    (r"(Unrecognized options: .*)", r"\1 (--help lists the options)"),
]


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
    for pattern, plainer in PLAINER:
        sentence = re.sub(pattern, plainer, sentence)
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
    return " ".join(sentence or lines)
