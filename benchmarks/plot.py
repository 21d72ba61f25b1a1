"""Draw the results, to be read from the back of a room, and in gray."""

import io
from itertools import cycle
from typing import Any

from matplotlib.figure import Figure

from machine import machine_line
from measuring import Row
from records import Record

LINE_STYLES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D")


def draw(record: Record) -> bytes:
    """One panel for each section, as a PNG image."""
    panels = {
        name: section
        for name, section in record.sections.items()
        if any(row.samples for row in section["rows"])
    }
    num_rows = (len(panels) + 1) // 2
    num_columns = min(2, len(panels))
    figure = Figure((8 * num_columns, 5 * num_rows), layout="constrained")
    axes = figure.subplots(num_rows, num_columns, squeeze=False).flat
    for panel, (name, section) in zip(axes, panels.items(), strict=False):
        rows = [row for row in section["rows"] if row.samples]
        draw_panel = draw_phases if name == "compile" else draw_times
        draw_panel(panel, rows)
        panel.set_title(f"{name}: {section['title']}", fontsize=15)
        panel.tick_params(labelsize=13)
        panel.grid(axis="x", color="0.85")
        panel.legend(fontsize=13)
    for panel in list(figure.axes)[len(panels) :]:
        panel.set_axis_off()
    figure.supxlabel(machine_line(record.machine), fontsize=11)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=100)
    return image.getvalue()


def draw_times(panel: Any, rows: list[Row]) -> None:
    """First and later calls on a logarithmic axis, the first row on top."""
    heights = range(len(rows))
    later = [row.typical * 1e3 for row in rows]
    panel.plot(later, heights, "o", color="black", ms=10, label="later call")
    first = [(row.first or row.typical) * 1e3 for row in rows]
    panel.plot(
        first, heights, "D", color="black", mfc="white", ms=9, label="first"
    )
    panel.set_xscale("log")
    panel.set_yticks(heights, [row.label for row in rows])
    panel.margins(y=0.1)
    panel.invert_yaxis()
    panel.set_xlabel("milliseconds", fontsize=13)


def draw_phases(panel: Any, rows: list[Row]) -> None:
    """How the first call grows with the number of rows, for each stage."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        stage = row.label.partition(",")[0]
        point = row.counts["num_steps"], row.typical
        curves.setdefault(stage, []).append(point)
    styles = zip(cycle(LINE_STYLES), cycle(MARKERS), strict=False)
    for (stage, points), (line, marker) in zip(
        curves.items(), styles, strict=False
    ):
        panel.plot(
            *zip(*points, strict=True),
            line,
            marker=marker,
            color="black",
            ms=9,
            label=stage,
        )
    panel.set_ylim(bottom=0)
    panel.set_xlabel("rows", fontsize=13)
    panel.set_ylabel("seconds to trace, lower, compile", fontsize=13)
