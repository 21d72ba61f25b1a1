"""Tables on the screen: a row appears as soon as it is measured."""

import dataclasses
import math
import sys
from collections.abc import Callable

import numpy as np

from measuring import MIN_CALLS, Row, break_even, median
from workshop.terminal import (
    moves_cursor,
    say,
    shows_blocks,
    shows_color,
    terminal_size,
)

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


@dataclasses.dataclass(frozen=True)
class Section:
    """What to measure, and what to say below when all rows are there."""

    title: str
    columns: tuple[Column, ...]
    tasks: dict[str, Callable[[], Row]]
    """By label, what measures its row."""
    notes: Callable[[list[Row]], list[str]]


def show(name: str, section: Section, rows: list[Row]) -> None:
    """Print a table: run each task, append its row to rows, print it."""
    margin = max(map(len, section.tasks))
    shown = fitting(section.columns, terminal_size()[0] - margin)
    missing = [c.head for c in section.columns if c not in shown]
    print()
    bold, plain = ("\x1b[1m", "\x1b[m") if shows_color(sys.stdout) else ("",) * 2
    print(end=bold)
    say(f"{name}: {section.title}")
    print(end=plain)
    if missing:
        say(f"(no room for {', '.join(missing)})")
    heads = [f"{c.head:>{c.width}}" for c in shown]
    print(GAP.join([" " * margin, *heads]).rstrip())
    for number, (label, task) in enumerate(section.tasks.items(), 1):
        rows.append(run_task(task, f"{number}/{len(section.tasks)} {label}"))
        say_row(rows, margin, shown)
    for note in section.notes(rows):
        say(note)


def run_task(task: Callable[[], Row], progress: str) -> Row:
    """What the task measures. On a terminal, it is said what is under way."""
    if not moves_cursor(sys.stdout):
        return task()
    try:
        print(f"measuring {progress}", end="", flush=True)
        return task()
    finally:
        print("\r\x1b[K", end="", flush=True)


def say_row(rows: list[Row], margin: int, columns: tuple[Column, ...]) -> None:
    """Print the last row, or why it has no times."""
    row = rows[-1]
    label = f"{row.label:{margin}}"
    if row.remark:
        say(f"{label}{GAP}{row.remark}")
    else:
        cells = [f"{c.text(row, rows):>{c.width}}" for c in columns]
        print(GAP.join([label, *cells]).rstrip())
    sys.stdout.flush()


def fitting(columns: tuple[Column, ...], width: int) -> tuple[Column, ...]:
    """The columns for which there is room: those of the lowest ranks."""
    while sum(len(GAP) + c.width for c in columns) > width:
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
    later = row.samples["later"]
    if len(later) < MIN_CALLS:
        return ""
    lower, upper = np.quantile(later, (0.25, 0.75))
    return f"{(upper - lower) / row.typical:.0%}"


def throughput(row: Row) -> str:
    """Millions of cells in a second."""
    return three_digits(row.num_cells / row.typical / 1e6)


def speedup(row: Row, rows: list[Row]) -> str:
    """How many times as fast as the first row, by cell."""
    speeds = [r.num_cells / r.typical for r in (row, rows[0])]
    return three_digits(speeds[0] / speeds[1]) + "x"


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


def phase_columns() -> tuple[Column, ...]:
    """The milliseconds of each phase of a compilation, and a bar of them."""

    def phase_column(phase: str) -> Column:
        head = f"{phase} {marks()[phase]}"
        text = lambda row, _: milliseconds(row.samples[phase][0])  # noqa: E731
        return Column(head, max(9, len(head)), text, rank=2)

    return (
        Column("equations", 9, lambda r, _: f"{r.counts['equations']:,}", 1),
        *map(phase_column, PHASES),
        Column("", BAR_WIDTH, draw_bar),
    )


def speed_column(program: str) -> Column:
    """Billions of cells a second of one of several programs."""

    def text(row: Row, rows: list[Row]) -> str:
        return three_digits(row.num_cells / median(row.samples[program]) / 1e9)

    return Column(program, max(7, len(program)), text)


FIRST = Column("first ms", 9, lambda row, _: milliseconds(row.first), rank=1)
LATER = (
    Column("later ms", 9, lambda row, _: milliseconds(row.typical)),
    Column("spread", 6, lambda row, _: spread(row), rank=3),
    Column("Mcells/s", 8, lambda row, _: throughput(row), rank=2),
)
SPEEDUP = Column("vs NumPy", 8, speedup)
PAYS_OFF = Column("pays off", 9, pays_off, rank=1)
CALLS = (FIRST, *LATER, SPEEDUP, PAYS_OFF)
