"""Tables on the screen: a row appears as soon as it is measured."""

import dataclasses
import math
import sys
import textwrap
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from measuring import Row, break_even
from workshop.terminal import shows_blocks, shows_color, terminal_size

LABEL_WIDTH = 19
BAR_WIDTH = 14
GAP = "  "
PHASES = ("trace", "lower", "compile")
SHADES = dict(zip(PHASES, "░▒█", strict=True))
LETTERS = dict(zip(PHASES, "tlc", strict=True))


@dataclasses.dataclass(frozen=True)
class Column:
    """A column to the right of the labels."""

    head: str
    width: int
    text: Callable[[Row, list[Row]], str]
    """What to show of a row; the list ends with it, and starts with NumPy's
    or whichever is first."""
    rank: int = 0
    """Where the screen is narrow, the highest rank is left out first."""


class Screen:
    """Prints tables line by line, above a progress bar if on a terminal."""

    def __init__(self) -> None:
        """What the terminal shows is asked once."""
        self.live = shows_color(sys.stdout)
        self.width, _ = terminal_size()
        self.console = Console(force_terminal=True)
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.completed}/{task.total}"),
            console=self.console,
            transient=True,
            disable=not self.live,
        )

    def line(self, text: str = "", style: str | None = None) -> None:
        """Print one line as it is."""
        if self.live:
            self.console.print(Text(text, style=style or ""), soft_wrap=True)
        else:
            print(text, flush=True)

    def say(self, text: str, style: str | None = None) -> None:
        """Print a sentence, wrapped to the terminal."""
        for line in textwrap.wrap(text, self.width, subsequent_indent=GAP):
            self.line(line, style)

    def show(
        self,
        title: str,
        tasks: list[tuple[str, Callable[[], Row]]],
        columns: tuple[Column, ...],
        rows: list[Row],
    ) -> None:
        """Print a table: run each task, append its row to rows, print it."""
        shown = fitting(columns, self.width)
        missing = [c.head for c in columns if c not in shown]
        heads = [f"{c.head:>{c.width}}" for c in shown]
        self.line()
        self.say(title, style="bold")
        if missing:
            self.say(f"(no room for {', '.join(missing)})")
        self.line(GAP.join([" " * LABEL_WIDTH, *heads]).rstrip())
        with self.progress:
            bar = self.progress.add_task("", total=len(tasks))
            for label, task in tasks:
                self.progress.update(bar, description=label)
                row = task()
                rows.append(row)
                self.progress.advance(bar)
                self.say_row(row, rows, shown)
            self.progress.remove_task(bar)

    def say_row(
        self, row: Row, rows: list[Row], columns: tuple[Column, ...]
    ) -> None:
        """Print a row, or why it has no times."""
        label = f"{row.label:{LABEL_WIDTH}}"
        if row.remark:
            self.say(f"{label}{GAP}{row.remark}")
        else:
            cells = [f"{c.text(row, rows):>{c.width}}" for c in columns]
            self.line(GAP.join([label, *cells]).rstrip())


def fitting(columns: tuple[Column, ...], width: int) -> tuple[Column, ...]:
    """The columns for which there is room: those of the lowest ranks."""

    def line_width(shown: tuple[Column, ...]) -> int:
        return LABEL_WIDTH + sum(len(GAP) + c.width for c in shown)

    while line_width(columns) > width:
        last = max(column.rank for column in columns)
        if last == 0:
            break
        columns = tuple(c for c in columns if c.rank < last)
    return columns


def milliseconds(seconds: float | None) -> str:
    """The one unit of all tables."""
    return "" if seconds is None else f"{seconds * 1e3:,.2f}"


def spread(row: Row) -> str:
    """From quartile to quartile, in percent of the median."""
    if row.quartiles is None:
        return ""
    lower, upper = row.quartiles
    return f"{(upper - lower) / row.typical:.0%}"


def throughput(row: Row) -> str:
    """Millions of cells in a second."""
    return three_digits(row.num_cells / row.typical / 1e6)


def speedup(row: Row, rows: list[Row]) -> str:
    """How many times as fast as the first row."""
    return three_digits(rows[0].typical / row.typical) + "x"


def pays_off(row: Row, rows: list[Row]) -> str:
    """From which call on it was worth its first one, in a million calls."""
    if row is rows[0]:
        return ""
    call = break_even(row, rows[0])
    if call > 999_000:
        return "never"
    return f"call {call}" if call < 1000 else f"call {math.ceil(call / 1000)}k"


def three_digits(number: float) -> str:
    """0.03, 1.25, 31.4 or 12,800."""
    decimals = 2 if number < 10 else 1 if number < 100 else 0
    return f"{number:,.{decimals}f}"


def marks() -> dict[str, str]:
    """What the phases are drawn with: letters if there are no blocks."""
    return SHADES if shows_blocks(sys.stdout) else LETTERS


def draw_bar(row: Row, rows: list[Row]) -> str:
    """The phases end to end; a bar that is cut off ends in ">".

    The first row takes an eighth of the width.
    """
    unit = rows[0].typical * 8 / BAR_WIDTH
    bar, end = "", 0.0
    for phase, mark in marks().items():
        end += row.samples[phase][0]
        bar += mark * (max(1, round(end / unit)) - len(bar))
    cut = bar if len(bar) <= BAR_WIDTH else bar[: BAR_WIDTH - 1] + ">"
    return f"{cut:{BAR_WIDTH}}"


def phase_column(phase: str) -> Column:
    """The milliseconds of one phase of compilation."""
    head = f"{phase} {marks()[phase]}"

    def text(row: Row, rows: list[Row]) -> str:
        return milliseconds(row.samples[phase][0])

    return Column(head, max(9, len(head)), text, rank=2)


def count_column(name: str) -> Column:
    """Something counted."""

    def text(row: Row, rows: list[Row]) -> str:
        return f"{row.counts[name]:,}"

    return Column(name, len(name), text, rank=1)


FIRST = Column("first ms", 9, lambda row, _: milliseconds(row.first), rank=1)
LATER = (
    Column("later ms", 9, lambda row, _: milliseconds(row.typical)),
    Column("spread", 6, lambda row, _: spread(row), rank=3),
)
THROUGHPUT = Column("Mcells/s", 8, lambda row, _: throughput(row), rank=2)
SPEEDUP = Column("vs NumPy", 8, speedup)
PAYS_OFF = Column("pays off", 9, pays_off, rank=1)
COLUMNS = {
    "small": (FIRST, *LATER, THROUGHPUT, SPEEDUP, PAYS_OFF),
    "large": (FIRST, *LATER, THROUGHPUT, SPEEDUP),
    "compile": (
        count_column("equations"),
        *map(phase_column, PHASES),
        Column("", BAR_WIDTH, draw_bar),
    ),
    "rules": (FIRST, *LATER, THROUGHPUT, SPEEDUP),
    "waiting": (*LATER, THROUGHPUT),
}
