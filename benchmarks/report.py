"""What is kept of a run: tables in the README, and pictures, in gray."""

import io
from typing import Any

from measuring import Row
from tables import LATER, PAYS_OFF, PEERS, SPEEDUP, pays_off, speedup

# In the README: the sections of each table, and its columns.
TABLES = {
    "bench": (("small", "large"), [LATER, SPEEDUP, PAYS_OFF]),
    "peers": (("peers",), PEERS),
}
GRAY = "#8c8c8c"  # on white and on black
INKS = {"bench-light.png": "#1f2328", "bench-dark.png": "#f0f6fc"}
INKED = ("text.color", "axes.labelcolor", "axes.edgecolor")
INKED += ("xtick.color", "ytick.color")


def rewrite(text: str, record: dict) -> str:
    """The text with the tables of this run; others stay as they are."""
    for name, (sections, columns) in TABLES.items():
        if set(sections) <= record["sections"].keys():
            text = replace(text, name, to_table(record, sections, columns))
    return text


def replace(text: str, name: str, table: list[str]) -> str:
    """The text with a table between its markers.

    Raises ValueError if a marker is missing.
    """
    start, end = f"<!-- {name}:start -->\n", f"<!-- {name}:end -->"
    before, _, rest = text.partition(start)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"it has no {start.strip()} followed by {end}")
    return before + start + "\n".join([*table, ""]) + end + after


def to_table(record: dict, names: tuple[str, ...], columns: list) -> list[str]:
    """The lines of a table of sections side by side, and the machine.

    Rows of what fails on purpose, or is another's program, are left out;
    so are the floors, which the pictures show.
    """
    sections = [record["sections"][name] for name in names]
    heads, lines = ["program"], {}
    for section in sections:
        size = section["title"].partition(" cells")[0]
        heads += [f"{size}: {columns[0].head}", *(c.head for c in columns[1:])]
        told = [
            row
            for row in section["rows"]
            if (row.samples or row.remark[:2] == "at")
            and "floor" not in row.label
        ]
        lines |= {row.label: [row.label] for row in told}
    for label, cells in lines.items():
        for rows in (section["rows"] for section in sections):
            row = next((r for r in rows if r.label == label), Row(label))
            shown = [c.text(row, rows[0]) for c in columns if row.samples]
            cells += shown or [row.remark, *[""] * (len(columns) - 1)]
    rule = [":--"] + ["--:"] * (len(heads) - 1)
    table = [f"| {' | '.join(x)} |" for x in (heads, rule, *lines.values())]
    return [*table, "", f"Later: the median. {record['machine']}."]


def plot(record: dict) -> bytes:
    """A panel for each section that times calls."""
    sections = record["sections"].values()
    timed = [s for s in sections if "later" in s["rows"][0].samples]
    return draw(timed, 13, "black", record["machine"])


def draw_pictures(record: dict) -> dict[str, bytes]:
    """By file name: the section large, for light and for dark pages."""
    large = [record["sections"]["large"]]
    return {name: draw(large, 16, ink) for name, ink in INKS.items()}


def draw(sections: list[dict], font: int, ink: str, below: str = "") -> bytes:
    """A panel for each section, as a PNG image; the page is its ground."""
    from matplotlib import rc_context, rcParamsDefault  # slow to import
    from matplotlib.figure import Figure

    own = {"font.size": font, **dict.fromkeys(INKED, ink)}
    with rc_context({**rcParamsDefault, **own}):
        figure = Figure((8, 5 * len(sections)), layout="constrained")
        panels = figure.subplots(len(sections), squeeze=False)
        for panel, section in zip(panels.flat, sections, strict=True):
            draw_bars(panel, **section)
        figure.supxlabel(below, fontsize=7)
        image = io.BytesIO()
        figure.savefig(image, format="png", dpi=120, transparent=not below)
        return image.getvalue()


def draw_bars(panel: Any, title: str, rows: list[Row]) -> None:
    """How many times as fast as the first row, on a logarithmic axis."""
    first, rows = rows[0], [row for row in rows if row.samples]
    speeds = [first.seconds() / row.seconds() for row in rows]
    bars = panel.barh([row.label for row in rows], speeds, color=GRAY)
    texts = [f"{speedup(row, first)}  {pays_off(row, first)}" for row in rows]
    panel.bar_label(bars, texts, padding=4)
    panel.set(xscale="log", title=title)
    panel.set_xlabel(f"times as fast as {first.label}; pays off from call")
    panel.margins(x=0.35)
    panel.invert_yaxis()
    panel.spines[["top", "right"]].set_visible(False)
