"""Draw the results, to be read from the back of a room, and in gray."""

import io
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from machine import machine_line
from measuring import Row
from tables import pays_off, speedup

GRAY = "#8c8c8c"  # on white and on black
INKED = (
    *("text.color", "axes.labelcolor", "axes.edgecolor"),
    *("xtick.color", "ytick.color"),
)
INKS = {"bench-light.png": "#1f2328", "bench-dark.png": "#f0f6fc"}


def draw(record: dict) -> bytes:
    """A panel for each section that times calls, as a PNG image."""
    with rc_context({"font.size": 13}):
        figure = Figure(layout="constrained")
        timed = [
            section
            for section in record["sections"].values()
            if any("later" in row.samples for row in section["rows"])
        ]
        figure.set_size_inches(8, 5 * len(timed))
        for place, section in enumerate(timed, 1):
            draw_bars(figure.add_subplot(len(timed), 1, place), **section)
        figure.supxlabel(machine_line(record["machine"]), fontsize=7)
        return to_png(figure)


def draw_pictures(record: dict) -> dict[str, bytes]:
    """By file name: the section large, for light and for dark pages."""
    pictures = {}
    for name, ink in INKS.items():
        with rc_context({"font.size": 16, **dict.fromkeys(INKED, ink)}):
            figure = Figure((7.5, 4.5), layout="constrained")
            draw_bars(figure.subplots(), **record["sections"]["large"])
            pictures[name] = to_png(figure, transparent=True)
    return pictures


def to_png(figure: Figure, **options: Any) -> bytes:
    """The figure as an image."""
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120, **options)
    return image.getvalue()


def draw_bars(panel: Any, title: str, rows: list[Row]) -> None:
    """How many times as fast as the first row, on a logarithmic axis."""
    rows = [row for row in rows if row.samples]
    speeds = [rows[0].typical / row.typical for row in rows]
    bars = panel.barh([row.label for row in rows], speeds, color=GRAY)
    texts = [f"{speedup(row, rows)}  {pays_off(row, rows)}" for row in rows]
    panel.bar_label(bars, texts, padding=4)
    panel.set_xscale("log")
    panel.margins(x=0.35)
    panel.invert_yaxis()
    panel.set_title(title)
    panel.set_xlabel(f"times as fast as {rows[0].label}; pays off from call")
    panel.spines[["top", "right"]].set_visible(False)
