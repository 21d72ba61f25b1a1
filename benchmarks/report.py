"""Report rows: on the screen, in a README, and in a picture."""

import io
import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from measuring import Row
from workshop.terminal import bold, say, terminal_size, wrap

MARGIN = 23  # columns for the label of a row
WIDTHS = {"vs NumPy": 13, "pays off": 12}
IN_README = {"bench": ["small", "large"], "peers": ["peers"]}
README_COLUMNS = ["later", "vs NumPy", "pays off"]
NOTE = (
    "pays off, call n: n calls together take less time than n calls of NumPy."
    " ~: extrapolated from few rows."
)


class Table(NamedTuple):
    """A measured section."""

    title: str
    rows: list[Row]


def show(name: str, title: str, rows: Iterator[Row]) -> Table:
    """Print a section: its title, then each row once it is measured."""
    table = Table(title, [])
    print(f"\n{bold(wrap(f'{name}: {title}'))}")
    for row in rows:
        table.rows.append(row)
        cells = make_cells(row, table.rows[0])
        if len(table.rows) == 1:
            print_row("", {head: head for head in cells})
        print_row(row.label, cells)
    return table


def print_row(label: str, cells: dict[str, str]) -> None:
    """Print a label and its cells, as a sentence if the screen is narrow."""
    line = f"{label:{MARGIN}}"
    for head, cell in cells.items():
        width = WIDTHS.get(head, max(10, len(head) + 2))
        line += f"{cell:>{width}}"
    columns, _ = terminal_size()
    if len(line) <= columns:
        print(line.rstrip(), flush=True)
    elif label:
        pairs = [f"{head} {cell}" for head, cell in cells.items() if cell]
        say(f"{label}: {', '.join(pairs)}")


def make_cells(row: Row, baseline: Row) -> dict[str, str]:
    """Return the cells of a row, keyed by the names of the columns."""
    if row.num_cells:
        speeds = {k: row.num_cells / row.seconds(k) for k in row.samples}
        return {k: f"{speed / 1e6:,.0f}" for k, speed in speeds.items()}
    mark = "~" if row.extrapolated else ""
    cells = {k: mark + show_time(row.seconds(k)) for k in row.samples}
    if row.num_equations:
        cells["equations"] = f"{row.num_equations:,}"
    if "later" in row.samples:
        ratio = baseline.seconds() / row.seconds()
        cells["vs NumPy"] = mark + show_ratio(ratio)
        cells["pays off"] = "" if row is baseline else show_call(row, baseline)
        cells["spread"] = "" if row.extrapolated else f"{row.spread():.0%}"
    return cells


def show_time(seconds: float) -> str:
    """Return a text such as "0.021 ms", "31.4 ms" or "1.25 s"."""
    number, unit = (seconds, "s") if seconds >= 1 else (1e3 * seconds, "ms")
    whole = len(str(int(number)))  # digits before the point
    decimals = 3 if number < 0.1 else max(0, 3 - whole)
    return f"{number:,.{decimals}f} {unit}"


def show_ratio(ratio: float) -> str:
    """Return a text such as "764x" or "40x slower"."""
    factor, slower = (ratio, "") if ratio >= 1 else (1 / ratio, " slower")
    return f"{factor:,.{1 if factor < 10 else 0}f}x{slower}"


def show_call(row: Row, baseline: Row) -> str:
    """Return the call after which the row pays off, such as "call 12".

    Return "never" if its later calls are not faster than NumPy's.
    """
    extra = row.seconds("first") - row.seconds()
    saved = baseline.seconds() - row.seconds()
    if saved <= 0:
        return "never"
    return f"call {max(1, math.ceil(extra / saved)):,}"


def rewrite(text: str, tables: dict[str, Table], machine: str) -> str:
    """Return the text of a README, with its tables replaced by this run's.

    Raise ValueError if a marker is missing.
    """
    for name, sections in IN_README.items():
        start, end = f"<!-- {name}:start -->\n", f"<!-- {name}:end -->"
        around = re.split(f"(?s)(?<={start}).*?(?={end})", text)
        if len(around) != 2:
            raise ValueError(f"{start.strip()} and {end} must occur once")
        if set(sections) <= set(tables):
            table = make_table([tables[section] for section in sections])
            text = f"{around[0]}{table}\n\n{machine}\n{around[1]}"
    return text


def make_table(tables: list[Table]) -> str:
    """Return the table of a README, with sections side by side."""
    head, labels = ["program"], {}
    for title, rows in tables:
        head += [f"{title}: {README_COLUMNS[0]}", *README_COLUMNS[1:]]
        labels |= dict.fromkeys(row.label for row in rows)
    lines = [head, [":--", *("--:" for _ in head[1:])]]
    for label in labels:
        lines.append([label])
        for _, rows in tables:
            row = next((r for r in rows if r.label == label), Row(label, {}))
            cells = make_cells(row, rows[0])
            lines[-1] += [cells.get(column, "") for column in README_COLUMNS]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def draw(table: Table, machine: str) -> bytes:
    """Return a PNG picture with a bar for each row."""
    from matplotlib.figure import Figure  # slow to import

    figure = Figure((6.4, 3.6), dpi=250, layout="none")
    draw_bars(figure.add_axes((0.22, 0.2, 0.74, 0.7)), table)
    figure.text(0.02, 0.1, f"{NOTE}\n{machine}", size=6, va="top", wrap=True)
    image = io.BytesIO()
    figure.savefig(image, format="png")
    return image.getvalue()


def draw_bars(panel: Any, table: Table) -> None:
    """Draw the speed of each row relative to NumPy, on a log axis."""
    baseline = table.rows[0]
    for row in table.rows:
        speed = baseline.seconds() / row.seconds()
        cells = make_cells(row, baseline)
        color = "none" if row.extrapolated else "gray"
        panel.barh(row.label, speed - 1, left=1, color=color, edgecolor="k")
        text = f"  {cells['vs NumPy']}  {cells['pays off']}"
        panel.text(max(1, speed), row.label, text, va="center")
    panel.axvline(1, color="k")
    panel.set(xscale="log", title=f"{table.title}: times as fast as NumPy")
    panel.margins(x=0.4)
    panel.invert_yaxis()
    panel.xaxis.set_major_formatter("{x:g}x")
