"""Draw the speed of each stage relative to NumPy."""

import io
import textwrap
from typing import Any

from report import ASIDE, Table, make_cells, speedup

INK, GRAY = "#1f2328", "#59636e"


def draw(table: Table, below: str) -> bytes:
    """Return a PNG picture: a white card for a slide of any color."""
    from matplotlib import rc_context, rcParamsDefault  # slow to import
    from matplotlib.figure import Figure
    from matplotlib.patches import FancyBboxPatch

    with rc_context({**rcParamsDefault, "font.size": 18}):
        figure = Figure((12.8, 7.2), facecolor="none")
        card = FancyBboxPatch((0.02, 0.02), 0.96, 0.96, facecolor="white")
        card.set(boxstyle="round,pad=0.02", edgecolor="none", zorder=-1)
        figure.add_artist(card)
        panel = figure.add_axes((0.21, 0.2, 0.76, 0.7), facecolor="none")
        draw_rows(panel, table)
        note = "hollow: extrapolated from few rows. call n: after n calls, all"
        note += " calls together took less time than NumPy's."
        text = f"{note}\n{textwrap.fill(below, 110)}"
        figure.text(0.02, 0.03, text, fontsize=12, color=GRAY)
        image = io.BytesIO()
        figure.savefig(image, format="png", dpi=125)
    return image.getvalue()


def draw_rows(panel: Any, table: Table) -> None:
    """Draw a dot for each row on a log axis, or write why there is no dot."""
    rows = [row for row in table.rows if not row.label.endswith(ASIDE)]
    for y, row in enumerate(rows):
        x, text, color = 1, row.remark, GRAY
        if row.samples:
            cells = make_cells(row, rows[0])
            text = f"{cells['vs NumPy']}  {cells['pays off']}"
            x, color = speedup(row, rows[0]), INK
            face = "white" if row.extrapolated else INK
            panel.plot(x, y, "o", color=INK, markerfacecolor=face, ms=15)
        offset = {"xytext": (15, -6), "textcoords": "offset points"}
        white = {"facecolor": "white", "edgecolor": "none", "pad": 2}
        panel.annotate(text, (x, y), color=color, bbox=white, **offset)
    panel.axvline(1, color=GRAY, zorder=0)
    panel.set_title(f"{table.title}: times as fast as NumPy")
    panel.set_yticks(range(len(rows)), [row.label for row in rows])
    panel.set(xscale="log", ylim=(len(rows) - 0.4, -0.6))
    panel.margins(x=0.3)
    panel.xaxis.set_major_formatter(name_tick)
    panel.tick_params(left=False)
    panel.spines[["top", "right", "left"]].set_visible(False)


def name_tick(x: float, _: int) -> str:
    """Return a label such as "1/10x", "1x" or "1,000x"."""
    return f"{x:,.0f}x" if x >= 1 else f"1/{1 / x:,.0f}x"
