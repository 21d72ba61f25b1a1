"""Draw the results, to be read from the back of a room, and in gray."""

import io
from itertools import cycle
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from machine import machine_line
from measuring import Row, median
from tables import pays_off, speedup

GRAY = "#8b949e"  # on white and on black
STYLES = cycle(("o-", "s--", "^:", "D-."))
INKED = ("text.color", "axes.labelcolor", "xtick.color", "ytick.color")
INKS = {"bench-light.png": "#1f2328", "bench-dark.png": "#f0f6fc"}


def draw(record: dict) -> bytes:
    """A panel for each section, as a PNG image."""
    sections = record["sections"]
    height, width = (len(sections) + 1) // 2, min(2, len(sections))
    with rc_context({"font.size": 13}):
        figure = Figure((8 * width, 5 * height), layout="constrained")
        for place, (name, section) in enumerate(sections.items(), 1):
            panel = figure.add_subplot(height, width, place)
            draw_section(panel, **section)
            panel.set_title(f"{name}: {section['title'].partition(';')[0]}")
        figure.supxlabel(machine_line(record["machine"]), fontsize=11)
        return to_png(figure)


def draw_pictures(section: dict) -> dict[str, bytes]:
    """By file name: a section, for light pages and for dark ones."""
    pictures = {}
    for name, ink in INKS.items():
        with rc_context({"font.size": 14, **dict.fromkeys(INKED, ink)}):
            figure = Figure((7.5, 4.5), layout="constrained")
            draw_section(figure.subplots(), **section)
            pictures[name] = to_png(figure, transparent=True)
    return pictures


def to_png(figure: Figure, transparent: bool = False) -> bytes:
    """The figure; if transparent, on whatever is behind it."""
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120, transparent=transparent)
    return image.getvalue()


def draw_section(panel: Any, title: str, rows: list[Row]) -> None:
    """Bars of calls; lines of what has many samples in a row."""
    rows = [row for row in rows if row.samples]
    (draw_bars if "later" in rows[0].samples else draw_lines)(panel, rows)
    panel.set_title(title)
    panel.spines[["top", "right"]].set_visible(False)


def draw_bars(panel: Any, rows: list[Row]) -> None:
    """How many times as fast as the first row, on a logarithmic axis."""
    speeds = [rows[0].typical / row.typical for row in rows]
    bars = panel.barh([row.label for row in rows], speeds, color=GRAY)
    texts = [f"{speedup(row, rows)}  {pays_off(row, rows)}" for row in rows]
    panel.bar_label(bars, texts, padding=4)
    panel.set_xscale("log")
    panel.margins(x=0.35)
    panel.invert_yaxis()
    panel.set_xlabel(f"times as fast as {rows[0].label}; pays off from call")


def draw_lines(panel: Any, rows: list[Row]) -> None:
    """Cells a second by width; or seconds to compile by number of rows."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        if row.counts:
            points = {row.label.partition(",")[0]: row.typical}
        else:
            points = {
                k: row.num_cells / median(row.samples[k]) for k in row.samples
            }
        for label, y in points.items():
            x = row.counts.get("num_steps", row.num_cells)
            lines.setdefault(label, []).append((x, y))
    for label, points in lines.items():
        panel.plot(
            *zip(*points, strict=True),
            next(STYLES),
            color="black",
            ms=9,
            label=label,
        )
    panel.set_xscale("log", base=2)
    panel.set_yscale("log")
    panel.set_xlabel("rows" if rows[0].counts else "cells of a row")
    panel.set_ylabel("seconds" if rows[0].counts else "cells a second")
    panel.grid(color="0.85")
    panel.legend()
