"""Show what a stage changes.

python stages/workshop/diff.py 5
"""

import dataclasses
import difflib
import sys
from pathlib import Path

if not __package__:  # run as a script
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from workshop.catalog import find_stages, stage_before, strip_docstring
from workshop.command_line import StageNumber, parse
from workshop.terminal import fail, reader_may_leave, shows_color

COLORS = {"+": "\x1b[32m", "-": "\x1b[31m", "@": "\x1b[36m"}
COLORS |= dict.fromkeys(("+++", "---"), "\x1b[1m")  # names: bold
RESET = "\x1b[0m"


def diff_lines(number: int, docstrings: bool = False) -> list[str]:
    """The unified diff from the stage that this one changes.

    Without docstrings, the two modules' docstrings are left out: code only.
    KeyError if there is no such stage, or none before it.
    """
    stages = find_stages()
    paths = [stages[n] for n in (stage_before(number), number)]
    before, after = (path.read_text(encoding="utf-8") for path in paths)
    if not docstrings:
        before, after = strip_docstring(before), strip_docstring(after)
    names = [path.name for path in paths]
    return list(
        difflib.unified_diff(
            before.splitlines(), after.splitlines(), *names, lineterm="", n=2
        )
    )


@dataclasses.dataclass(frozen=True)
class Arguments:
    """The command line."""

    number: StageNumber
    """The stage."""
    docstrings: bool = False
    """Show also what changes in the text on top of the file."""


def main() -> None:
    """Print the diff, colored where the terminal shows color."""
    arguments = parse(Arguments, "Show what a stage changes: code only.")
    last = max(find_stages())
    if arguments.number not in range(1, last + 1):
        fail(f"N must be between 1 and {last}, got {arguments.number}")
    color = shows_color(sys.stdout)
    with reader_may_leave():
        for line in diff_lines(arguments.number, arguments.docstrings):
            kind = line[:3] if line[:3] in COLORS else line[:1]
            start = COLORS.get(kind) if color else None
            print(f"{start}{line}{RESET}" if start else line)


if __name__ == "__main__":
    main()
