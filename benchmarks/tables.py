"""Tables on the screen: a row appears as soon as it is measured."""

import math
import sys
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from measuring import Row
from workshop.terminal import moves_cursor, say, shows_color, terminal_size

GAP = "  "


class Column(NamedTuple):
    """A column to the right of the labels."""

    head: str
    width: int
    text: Callable[[Row, Row], str]  # of a row, and the first of its section
    rank: int = 0  # the highest is left out first where the screen is narrow


class Section(NamedTuple):
    """What to measure, and what to say below when all rows are there."""

    title: str
    columns: list[Column]
    tasks: dict[str, Callable[[], Row]]  # by label, what measures its row
    notes: Callable[[list[Row]], Iterable[str]]


def show(name: str, section: Section, rows: list[Row]) -> None:
    """Print a table: run each task, append its row to rows, print it."""
    margin = max(map(len, section.tasks))
    shown = fitting(section.columns, terminal_size()[0] - margin)
    missing = [c.head for c in section.columns if c not in shown]
    title = f"{name}: {section.title}"
    print()
    say(f"\x1b[1m{title}\x1b[m" if shows_color(sys.stdout) else title)
    if missing:
        say(f"(no room for {', '.join(missing)})")
    heads = [f"{c.head:>{c.width}}" for c in shown]
    print(GAP.join([" " * margin, *heads]).rstrip())
    for label, task in section.tasks.items():
        if moves_cursor(sys.stdout):
            print(f"{label} ...", end="\r", flush=True)
        row = task()
        rows.append(row)
        cells = [row.remark]
        if row.samples:
            cells = [f"{c.text(row, rows[0]):>{c.width}}" for c in shown]
        say(GAP.join([f"{label:{margin}}", *cells]).rstrip())
        sys.stdout.flush()
    for note in section.notes(rows):
        say(note)


def fitting(columns: list[Column], width: int) -> list[Column]:
    """The columns for which there is room: those of the lowest ranks."""
    last = max(column.rank for column in columns)
    if last == 0 or sum(len(GAP) + c.width for c in columns) <= width:
        return columns
    return fitting([c for c in columns if c.rank < last], width)


def spread(row: Row, first: Row) -> str:
    """From quartile to quartile, in percent of the median."""
    lower, upper = np.quantile(row.samples["later"], (0.25, 0.75))
    return f"{(upper - lower) / row.seconds():.0%}"


def speedup(row: Row, first: Row) -> str:
    """How many times as fast as the first row, by cell."""
    speed, base = (r.num_cells / r.seconds() for r in (row, first))
    return three_digits(speed / base) + "x"


def pays_off(row: Row, first: Row) -> str:
    """From which call on all together took no longer than NumPy's."""
    if row is first or "floor" in row.label:
        return ""
    saved = first.seconds() - row.seconds()
    extra = row.seconds("first") - row.seconds()
    if saved <= 0 or extra > 999_000 * saved:
        return "never"
    call = max(1, math.ceil(extra / saved))
    return f"call {call}" if call < 1000 else f"call {math.ceil(call / 1000)}k"


def three_digits(number: float) -> str:
    """0.03, 1.25, 31.4 or 12,800."""
    decimals = 2 if number < 10 else 1 if number < 100 else 0
    return f"{number:,.{decimals}f}"


def time_column(head: str, name: str, rank: int) -> Column:
    """The milliseconds of the samples of that name."""
    return Column(head, 9, lambda r, _: f"{r.seconds(name) * 1e3:,.2f}", rank)


def speed_column(head: str, name: str, unit: float, rank: int) -> Column:
    """Cells a second, in that unit."""

    def text(row: Row, first: Row) -> str:
        return three_digits(row.num_cells / row.seconds(name) / unit)

    return Column(head, max(6, len(head)), text, rank)


FIRST = time_column("first ms", "first", 2)
LATER = time_column("later ms", "later", 1)
SPREAD = Column("spread", 6, spread, 4)
SPEED = speed_column("Mcells/s", "later", 1e6, 3)
SPEEDUP = Column("vs NumPy", 8, speedup)
PAYS_OFF = Column("pays off", 9, pays_off, 2)
COUNT = Column("equations", 9, lambda row, _: f"{row.num_equations:,}")
PHASES = [
    COUNT,
    *(time_column(phase, phase, 1) for phase in ("trace", "lower", "compile")),
]
CALLS = [FIRST, LATER, SPREAD, SPEED, SPEEDUP]
PEERS = [FIRST, LATER, SPEED, SPEEDUP]
