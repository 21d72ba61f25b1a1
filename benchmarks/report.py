"""Report rows as text: on the screen, and in a README."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from measuring import Row
from workshop.terminal import bold, say, terminal_size, wrap

WRITING = "only writing (np.full)"
ASIDE = (WRITING, ", CPU", ", 1 device")  # rows that a summary leaves out
MARGIN = len(WRITING)
# The width of these columns. Other columns are at least 10 wide.
WIDTHS = {"first": 9, "later": 9, "vs NumPy": 13, "pays off": 9}
# In a README: the sections of each table, side by side, and their columns.
IN_README = {
    "bench": (["small", "large"], ["later", "vs NumPy", "pays off"]),
    "peers": (["peers"], ["first", "later", "vs NumPy"]),
}


class Table(NamedTuple):
    """A measured section."""

    title: str
    rows: list[Row]


def show(name: str, lines: Iterator[str | Row]) -> Table:
    """Print a section: its title, then each line once it is measured."""
    table = Table(next(lines), [])
    print()
    print(bold(wrap(f"{name}: {table.title}")))
    for line in lines:
        if isinstance(line, str):
            say(line)
            continue
        cells = make_cells(line, (table.rows or [line])[0])
        if cells and not any(row.samples for row in table.rows):
            print_row("", {head: head for head in cells})
        print_row(line.label, cells, line.remark)
        table.rows.append(line)
    show_spread(table.rows)
    return table


def show_spread(rows: list[Row]) -> None:
    """Print how much the later calls of the rows differ."""
    spreads = {row.label: row.spread() for row in rows if row.is_repeated()}
    if spreads:
        worst = max(spreads, key=spreads.get)
        typical = np.median(list(spreads.values()))
        say(
            "In a typical row, the middle half of the later calls spans"
            f" {typical:.0%} of their median. The largest span is"
            f" {spreads[worst]:.0%}, in row {worst}."
        )


def summarize(table: Table) -> None:
    """Print what the audience should remember: a line for each stage."""
    first, *others = table.rows
    heads = {head: head for head in make_cells(first, first)}
    print()
    print_row(f"NumPy: {show_time(first)}", heads)
    for row in others:
        if row.samples and not row.label.endswith(ASIDE):
            print_row(row.label, make_cells(row, first))


def print_row(label: str, cells: dict[str, str], remark: str = "") -> None:
    """Print a label and its cells, on two lines if the screen is narrow."""
    widths = [WIDTHS.get(head, max(10, len(head) + 1)) for head in cells]
    pairs = zip(cells.values(), widths, strict=True)
    text = "".join(f"{cell:>{width}}" for cell, width in pairs)
    start = f"{label:{MARGIN}}"
    if MARGIN + sum(widths) > terminal_size()[0]:
        start = f"{start}\n" if label else ""
    if remark:
        say(f"{start}  {remark}")
    else:
        print(start + text.rstrip(), flush=True)


def make_cells(row: Row, first: Row) -> dict[str, str]:
    """Return the cells of a row, by the name of their column."""
    if "later" not in row.samples and row.num_cells:  # in section scale
        speeds = {k: row.num_cells / row.seconds(k) for k in row.samples}
        return {k: f"{speed / 1e6:,.0f}" for k, speed in speeds.items()}
    mark = "~" if row.extrapolated else ""
    cells = {k: mark + show_time(row, k) for k in row.samples}
    if row.num_equations:
        cells["equations"] = f"{row.num_equations:,}"
    if "later" in row.samples:
        cells["vs NumPy"] = mark + show_ratio(speedup(row, first))
        is_program = row is not first and row.label != WRITING
        cells["pays off"] = show_call(row, first) if is_program else ""
    return cells


def show_time(row: Row, name: str = "later") -> str:
    """Return a text such as "0.021 ms", "31.4 ms" or "1.25 s"."""
    number, unit = row.seconds(name), "s"
    if number < 1:
        number, unit = 1e3 * number, "ms"
    whole = len(str(int(number)))  # digits before the point
    decimals = 3 if number < 0.1 else max(0, 3 - whole)
    return f"{number:,.{decimals}f} {unit}"


def speedup(row: Row, first: Row) -> float:
    """Return how many times as fast a row is as the first row."""
    return first.seconds() / row.seconds()


def show_ratio(ratio: float) -> str:
    """Return a text such as "764x" or "40x slower"."""
    factor, slower = (ratio, "") if ratio >= 1 else (1 / ratio, " slower")
    return f"{factor:,.{1 if factor < 10 else 0}f}x{slower}"


def show_call(row: Row, first: Row) -> str:
    """Return after which call the total time is less than NumPy's."""
    extra = row.seconds("first") - row.seconds()
    saved = first.seconds() - row.seconds()
    if saved <= 0 or extra > 99_000 * saved:
        return "never"
    call = max(1, math.ceil(extra / saved))
    if call < 1000:
        return f"call {call}"
    return f"call {math.ceil(call / 1000)}k"


def rewrite(text: str, tables: dict[str, Table], below: str) -> str:
    """Return the text of a README, with its tables replaced by this run's.

    Raise ValueError if a marker is missing.
    """
    for name, (sections, columns) in IN_README.items():
        start, end = f"<!-- {name}:start -->\n", f"<!-- {name}:end -->"
        before, _, rest = text.partition(start)
        _, marker, after = rest.partition(end)
        if not marker:
            raise ValueError(f"it needs {start.strip()}, and {end} below it")
        if set(sections) <= set(tables):
            lines = make_table([tables[s] for s in sections], columns)
            new = "\n".join([*lines, "", below, ""])
            text = before + start + new + end + after
    return text


def make_table(tables: list[Table], columns: list[str]) -> list[str]:
    """Return the lines of a README's table: sections side by side."""
    head, labels = ["program"], {}
    for title, rows in tables:
        head += [f"{title}: {columns[0]}", *columns[1:]]
        labels |= dict.fromkeys(row.label for row in rows if row.samples)
    lines = [head, [":--", *("--:" for _ in head[1:])]]
    for label in labels:
        lines.append([label])
        for _, rows in tables:
            row = next((r for r in rows if r.label == label), Row(label))
            cells = make_cells(row, rows[0])
            lines[-1] += [cells.get(column, "") for column in columns]
    return [f"| {' | '.join(line)} |" for line in lines]
