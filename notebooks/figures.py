"""Show diffs, tables, errors, plots and pictures in the notebooks.

All drawings are gray on a transparent background, so that they can be seen on
a light page and on a dark one.
"""

import base64
import io
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML, Markdown, display
from matplotlib.colors import LinearSegmentedColormap

from workshop.harness import time_call
from workshop.stages import diff_lines

plt.style.use(Path(__file__).with_name("gray.mplstyle"))
INK = plt.rcParams["text.color"]
SHADES = LinearSegmentedColormap.from_list("shades", [f"{INK}00", INK])
BOX = 480  # pixels of each side of the explorer's box
WIDEST = 720  # pixels; an output in JupyterLab is about this wide
BLOCK = "display: grid; overflow-x: auto; white-space: pre; line-height: 1.4"
# These colors are transparent, so they suit light and dark backgrounds.
BACKGROUNDS = {
    "ins": "background: #2da04c38",
    "del": "background: #f0504638",
    "span": "",
}


def show_diff(number: int, only: str | None = None) -> None:
    """Show the code that a stage changes, in all functions or only in one."""
    changes = "\n".join(diff_lines(number, only=only))
    _, *hunks = re.split(r"(?m)^@@.*\n", changes)  # without file names
    if not hunks:
        raise ValueError(f"stage {number} does not change {only}")
    blank_edges = r"\A( \n)+|(\n )*\n?\Z"
    text = "\n⋯\n".join(re.sub(blank_edges, "", hunk) for hunk in hunks)
    marked = "".join(map(mark_line, text.splitlines()))
    block = f'<pre class="diff" style="{BLOCK}">{marked}</pre>'
    display({"text/plain": text, "text/html": block}, raw=True)


def mark_line(line: str) -> str:
    """Return a line of a diff as HTML."""
    tag = {"+": "ins", "-": "del"}.get(line[0], "span")
    style = f"display: block; text-decoration: none; {BACKGROUNDS[tag]}"
    return f'<{tag} style="{style}">{escape(line)}</{tag}>'


def show_table(titles: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Show a table with columns of numbers aligned on the right."""
    rows = [list(row) for row in rows]
    sides = [":---" if isinstance(x, str) else "---:" for x in rows[0]]
    lines = [titles, sides, *(map(format_value, row) for row in rows)]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    display(Markdown(text))


def format_value(value: Any) -> str:
    """Return a value as text; a fraction gets three significant digits."""
    if isinstance(value, str):
        return value
    value = np.asarray(value).item()
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


@contextmanager
def show_error() -> Iterator[None]:
    """Print the beginning of an error that the block raises, and continue."""
    try:
        yield
    except Exception as error:
        text = textwrap.shorten(f"{type(error).__name__}: {error}", 300)
        print(textwrap.fill(text, 79))


def best_time(
    function: Callable, *args: Any, num_calls: int = 9, **kwargs: Any
) -> float:
    """Return the seconds of the fastest call, after a call that compiles.

    Other programs can only make a call slower, so the shortest time is the
    best estimate of the time that a call needs.
    """
    time_call(function, *args, **kwargs)
    calls = (time_call(function, *args, **kwargs) for _ in range(num_calls))
    return min(seconds for _, seconds in calls)


def show_curves(
    curves: Mapping[str, tuple[Iterable, Iterable]],
    xlabel: str,
    ylabel: str,
    alt: str = "",
    **scales: str,
) -> None:
    """Plot a line with markers for each name.

    The scales may be xscale="log" and yscale="log".
    """
    figure, panel = plt.subplots()
    for name, (x, y) in curves.items():
        panel.plot(x, y, label=name)
    panel.set(xlabel=xlabel, ylabel=ylabel, **scales)
    panel.legend()
    panel.grid()
    if "yscale" not in scales:
        panel.set_ylim(bottom=0)
    alt = alt or f"{ylabel} against {xlabel}: {', '.join(curves)}"
    display(figure, metadata={"image/png": {"alt": alt}})
    plt.close(figure)


def make_image(cells: np.ndarray, alt: str, scale: int) -> str:
    """Return a framed HTML image, with `scale` x `scale` pixels per cell.

    The largest value is drawn darkest.
    """
    file, darkest = io.BytesIO(), np.max(cells) or 1
    plt.imsave(file, cells, cmap=SHADES, vmin=0, vmax=darkest, format="png")
    data = base64.b64encode(file.getvalue()).decode()
    height, width = (scale * side for side in np.shape(cells))
    size = f"width: {width}px; height: {height}px; max-width: none"
    return (
        f'<img class="cells" alt="{escape(alt)}" style="{size};'
        f" max-height: none; image-rendering: pixelated;"
        f' outline: 1px solid {INK}" src="data:image/png;base64,{data}">'
    )


def show_states(diagrams: Mapping[str, np.ndarray], *alts: str) -> None:
    """Show space-time diagrams, or other arrays, side by side with titles.

    Each needs a description, for readers who cannot see the picture.
    """
    room = WIDEST - 8 * len(diagrams)
    width = sum(a.shape[1] for a in diagrams.values())
    scale = min(6, max(1, room // width))
    figures = []
    for (title, a), alt in zip(diagrams.items(), alts, strict=True):
        image = make_image(a, f"{title}: {alt}", scale)
        figures.append(f"<div>{escape(title)}<br>{image}</div>")
    row = "display: flex; flex-wrap: wrap; gap: 8px; padding: 1px"
    display(HTML(f'<div style="{row}">{"".join(figures)}</div>'))


def explore(simulate: Callable) -> None:
    """Show sliders for rule, width and num_steps, and a picture below them."""
    explorer = make_explorer(simulate)
    # Without a kernel, for example on a web page, only the picture is shown.
    picture = explorer.children[-1].value
    bundle = {**explorer._repr_mimebundle_(), "text/html": picture}
    display(bundle, raw=True)


def make_explorer(simulate: Callable) -> widgets.VBox:
    """Return a number field and a slider for each argument, and a picture."""
    limits = {"rule": (110, 0, 255)}
    limits |= dict.fromkeys(("width", "num_steps"), (160, 1, 400))
    numbers, rows, picture = {}, [], widgets.HTML()
    for name, values in limits.items():
        # Only the label of a number field is visible to screen readers.
        numbers[name] = widgets.BoundedIntText(*values, description=name)
        slider = widgets.IntSlider(*values, readout=False)
        widgets.jslink((slider, "value"), (numbers[name], "value"))
        rows.append(widgets.HBox([numbers[name], slider]))

    def redraw(**values: int) -> None:
        states, seconds = time_call(lambda: np.asarray(simulate(**values)))
        took = f"simulated in {1000 * seconds:.0f} ms"
        picture.value = make_box(states, values) + took

    widgets.interactive_output(redraw, numbers)
    return widgets.VBox([*rows, picture])


def make_box(states: np.ndarray, values: Mapping[str, int]) -> str:
    """Return the states in a box of fixed size, above the rule's entries."""
    alt = ", ".join(f"{name} {value}" for name, value in values.items())
    image = make_image(states, alt, max(1, BOX // max(states.shape)))
    style = f"width: {BOX + 8}px; height: {BOX + 8}px; display: grid"
    entries = " &nbsp; ".join(
        f"{entry:03b}&rarr;<b>{values['rule'] >> entry & 1}</b>"
        for entry in range(7, -1, -1)
    )
    return (
        f'<div style="{style}; place-items: center; border: 1px solid {INK}">'
        f"{image}</div><code>{entries}</code><br>"
    )
