"""Tables on the screen: a row appears as soon as it is measured."""

import dataclasses
import math
import sys
from collections.abc import Callable, Iterable

import numpy as np

from measuring import Row, median
from workshop.terminal import moves_cursor, say, shows_color, terminal_size

GAP = "  "


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
    notes: Callable[[list[Row]], Iterable[str]]


def show(name: str, section: Section, rows: list[Row]) -> None:
    """Print a table: run each task, append its row to rows, print it."""
    margin = max(map(len, section.tasks))
    shown = fitting(section.columns, terminal_size()[0] - margin)
    missing = [c.head for c in section.columns if c not in shown]
    bold = shows_color(sys.stdout)
    print("\x1b[1m" if bold else "")
    say(f"{name}: {section.title}")
    print("\x1b[m" * bold, end="")
    if missing:
        say(f"(no room for {', '.join(missing)})")
    heads = [f"{c.head:>{c.width}}" for c in shown]
    print(GAP.join([" " * margin, *heads]).rstrip())
    for number, (label, task) in enumerate(section.tasks.items(), 1):
        rows.append(run_task(task, f"{number}/{len(section.tasks)} {label}"))
        if rows[-1].remark:
            say(f"{label:{margin}}{GAP}{rows[-1].remark}")
            continue
        cells = [f"{c.text(rows[-1], rows):>{c.width}}" for c in shown]
        print(GAP.join([f"{label:{margin}}", *cells]).rstrip(), flush=True)
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


def fitting(columns: tuple[Column, ...], width: int) -> tuple[Column, ...]:
    """The columns for which there is room: those of the lowest ranks."""
    while sum(len(GAP) + c.width for c in columns) > width:
        last = max(column.rank for column in columns)
        if last == 0:
            break
        columns = tuple(c for c in columns if c.rank < last)
    return columns


def milliseconds(seconds: float) -> str:
    """The one unit of all tables."""
    return f"{seconds * 1e3:,.2f}"


def spread(row: Row, rows: list[Row]) -> str:
    """From quartile to quartile, in percent of the median."""
    lower, upper = np.quantile(row.samples["later"], (0.25, 0.75))
    return f"{(upper - lower) / row.typical:.0%}"


def throughput(row: Row, rows: list[Row]) -> str:
    """Millions of cells in a second."""
    return three_digits(row.num_cells / row.typical / 1e6)


def speedup(row: Row, rows: list[Row]) -> str:
    """How many times as fast as the first row, by cell."""
    speeds = [r.num_cells / r.typical for r in (row, rows[0])]
    return three_digits(speeds[0] / speeds[1]) + "x"


def pays_off(row: Row, rows: list[Row]) -> str:
    """From which call on all together took no longer than NumPy's."""
    if row is rows[0] or "floor" in row.label:
        return ""
    saved = rows[0].typical - row.typical
    extra = row.samples["first"][0] - row.typical
    if saved <= 0 or extra > 999_000 * saved:
        return "never"
    call = max(1, math.ceil(extra / saved))
    return f"call {call}" if call < 1000 else f"call {math.ceil(call / 1000)}k"


def three_digits(number: float) -> str:
    """0.03, 1.25, 31.4 or 12,800."""
    decimals = 2 if number < 10 else 1 if number < 100 else 0
    return f"{number:,.{decimals}f}"


def phase_column(phase: str) -> Column:
    """The milliseconds of one phase of compilation."""
    return Column(phase, 9, lambda r, _: milliseconds(r.samples[phase][0]), 1)


def speed_column(program: str, rank: int) -> Column:
    """Billions of cells a second of one of several programs."""

    def text(row: Row, rows: list[Row]) -> str:
        return three_digits(row.num_cells / median(row.samples[program]) / 1e9)

    return Column(program, max(6, len(program)), text, rank)


FIRST = Column(
    "first ms", 9, lambda r, _: milliseconds(r.samples["first"][0]), rank=2
)
TYPICAL = Column("later ms", 9, lambda r, _: milliseconds(r.typical), 1)
SPEED = Column("Mcells/s", 8, throughput, rank=3)
LATER = (TYPICAL, Column("spread", 6, spread, rank=4), SPEED)
SPEEDUP = Column("vs NumPy", 8, speedup)
PAYS_OFF = Column("pays off", 9, pays_off, rank=2)
CALLS = (FIRST, *LATER, SPEEDUP)
COUNT = Column("equations", 9, lambda r, _: f"{r.num_equations:,}")
PHASES = (COUNT, *map(phase_column, ("trace", "lower", "compile")))
