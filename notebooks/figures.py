"""What the notebooks share: diffs, expected failures, pictures, an explorer.

Pictures are made to be read in gray: what differs, differs in shape.
"""

import base64
import statistics
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from IPython.display import Markdown, display

from workshop.harness import time_call
from workshop.rendering import encode_image, make_grid
from workshop.stages import diff_lines

LONGEST_SIDE = 480  # pixels of a screen, of the explorer's picture

plt.rcParams.update(
    {
        "axes.prop_cycle": cycler(
            color=["black", "0.35", "0.55", "0.2"],
            linestyle=["-", "--", ":", "-."],
            marker=["o", "s", "^", "D"],
        ),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "figure.constrained_layout.use": True,
        "figure.dpi": 100,
        "figure.figsize": (7, 3.6),
        "grid.color": "0.88",
        "lines.markersize": 7,
    }
)


def show_diff(number: int) -> None:
    """Show the code that a stage changes."""
    lines = "\n".join(diff_lines(number))
    display(Markdown(f"```diff\n{lines}\n```"))


def show_table(titles: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Show a table."""
    lines = [tuple(titles), *rows]
    lines.insert(1, ["---"] * len(lines[0]))
    text = "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
    display(Markdown(text))


@contextmanager
def expect_failure(error_type: type[Exception], keyword: str) -> Iterator:
    """Show the beginning of the error that a cell is there for, and go on.

    Raises AssertionError if there is none; one of another type, or without
    the keyword, is raised as it is.
    """
    try:
        yield
    except error_type as error:
        if type(error) is not error_type or keyword not in str(error):
            raise
        text = textwrap.shorten(f"{error_type.__name__}: {error}", 300)
        print(textwrap.fill(text, 79))
    else:
        expected = f"{error_type.__name__} with the word {keyword!r}"
        raise AssertionError(f"this cell has to fail with {expected}")


def median_time(
    function: Callable, *args: Any, num_calls: int = 9, **kwargs: Any
) -> float:
    """The median of the seconds of the calls, after one that compiles."""
    time_call(function, *args, **kwargs)
    calls = (time_call(function, *args, **kwargs) for _ in range(num_calls))
    return statistics.median(seconds for _, seconds in calls)


@contextmanager
def draw(
    alt: str, figsize: tuple[float, float] | None = None, **settings: Any
) -> Iterator[plt.Axes]:
    """A panel to draw in, shown at the end; alt is read aloud instead."""
    figure, panel = plt.subplots(figsize=figsize)
    yield panel
    panel.set(**settings)
    display(figure, metadata={"image/png": {"alt": alt}})
    plt.close(figure)


def show_states(
    diagrams: Mapping[str, np.ndarray],
    kind: str = "space-time diagrams",
    darkest: float = 1,
    **labels: str,
) -> None:
    """Show space-time diagrams side by side, each under its title.

    Or fields of another kind, with labels of their own, black from darkest on.
    """
    labels = {"xlabel": "cell", "ylabel": "row"} | labels
    states = list(diagrams.values())
    tallest = max(len(rows) / rows.shape[1] for rows in states)
    size = 9, 9 / len(states) * tallest + 0.7
    figure, panels = plt.subplots(1, len(states), figsize=size, squeeze=False)
    for panel, title in zip(panels.flat, diagrams, strict=True):
        panel.imshow(diagrams[title], cmap="binary", vmin=0, vmax=darkest)
        panel.set(title=title, **labels)
    alt = f"{kind}: {', '.join(diagrams)}"
    display(figure, metadata={"image/png": {"alt": alt}})
    plt.close(figure)


def show_curves(
    curves: Mapping[str, tuple[Iterable, Iterable]],
    xlabel: str,
    ylabel: str,
    scale: str = "linear",
) -> None:
    """Plot a line with markers for each name."""
    alt = f"{ylabel} against {xlabel}: {', '.join(curves)}"
    labels = {"xlabel": xlabel, "ylabel": ylabel}
    with draw(alt, **labels, xscale=scale, yscale=scale) as panel:
        for name, (x, y) in curves.items():
            panel.plot(x, y, label=name)
        panel.legend()
        panel.grid()


def show_points(
    x: np.ndarray,
    y: np.ndarray,
    xlabel: str,
    ylabel: str,
    named: Mapping[str, int],
) -> None:
    """Plot a point for each index, the named ones large and with a name."""
    alt = f"{ylabel} against {xlabel}"
    with draw(alt, xlabel=xlabel, ylabel=ylabel) as panel:
        panel.plot(x, y, "o", color="0.55", markersize=3)
        panel.grid()
        box = {"fc": "white", "ec": "none", "pad": 1}
        offset = {"xytext": (7, 4), "textcoords": "offset points"}
        for name, i in named.items():
            panel.plot(x[i], y[i], "o", color="black")
            panel.annotate(name, (x[i], y[i]), bbox=box, **offset)


def show_scan(states: np.ndarray) -> None:
    """Show how the carry goes from turn to turn, and what each records."""
    num_turns = len(states) - 1
    alt = "scan: the carry goes from turn to turn, each leaves an output"
    limits = {"xlim": (-0.1, 3 * num_turns + 1.3), "ylim": (-0.2, 2.5)}
    box = {"boxstyle": "round", "fc": "white"}
    middle = {"ha": "center", "va": "center", "fontsize": 9}
    arrow = {"arrowstyle": "->"}
    with draw(alt, (9, 2.1), **limits) as panel:
        panel.axis("off")

        def show(state: np.ndarray, x: float, y: float, name: str) -> None:
            edges = np.linspace(x, x + 1.2, len(state) + 1), [y, y + 0.3]
            style = {"cmap": "binary", "edgecolors": "0.6", "vmax": 1.2}
            panel.pcolormesh(*edges, state[None], linewidth=0.5, **style)
            panel.text(x + 0.6, y + 0.5, name, **middle)

        for turn, state in enumerate(states[:-1]):
            x = 3 * turn
            show(state, x, 1.75, "carry" if turn else "initial_state")
            show(state, x + 1.5, 0, "")
            panel.text(x + 2.1, 1.9, "advance", **middle, bbox=box)
            panel.text(x + 2.2, 0.8, "output", ha="left", fontsize=9)
            ends = [((x + dx, 1.9), (x + dx + 0.4, 1.9)) for dx in (1.2, 2.6)]
            for tail, head in [*ends, ((x + 2.1, 1.6), (x + 2.1, 0.35))]:
                panel.annotate("", head, tail, arrowprops=arrow)
        show(states[-1], 3 * num_turns, 1.75, "last carry")
        panel.text(0.6, 0.15, "states:", **middle)


def show_lanes(
    cells: np.ndarray, marked: Mapping[str, tuple[int, int, int]]
) -> None:
    """Show which cell is in which bit of which word.

    marked: neighborhoods, with the name of each; their cells are shaded.
    """
    lanes, num_words = cells.shape
    shades = np.zeros_like(cells, dtype=float)
    for shade, neighborhood in zip((0.25, 0.45), marked.values(), strict=True):
        shades[np.isin(cells, neighborhood)] = shade
    alt = "the number of the cell in each lane of each word"
    labels = {"xlabel": "lane (bit of the word)", "ylabel": "word"}
    title = f"shaded: the neighborhoods of {' and '.join(marked)}"
    with draw(alt, (10, 2.2), **labels, title=title) as panel:
        panel.imshow(shades.T, cmap="binary", vmin=0, vmax=1, aspect="auto")
        style = {"ha": "center", "va": "center", "fontsize": 8}
        for lane, word in np.ndindex(lanes, num_words):
            panel.text(lane, word, cells[lane, word], **style)
        panel.set(xticks=range(0, lanes, 4), yticks=range(num_words))


def show_halo(wrong: np.ndarray, halo: int) -> None:
    """Show at which step which cells are wrong, and where the share is."""
    num_steps, num_cells = wrong.shape
    edges = -halo - 0.5, num_cells - halo - 0.5, num_steps - 0.5, -0.5
    alt = "the cells that go wrong: a triangle in each halo"
    labels = {"xlabel": "cell of the share", "ylabel": "steps"}
    with draw(alt, (8, 3), **labels) as panel:
        panel.imshow(wrong, cmap="binary", vmax=1.4, extent=edges)
        for edge in (-0.5, num_cells - 2 * halo - 0.5):
            panel.axvline(edge, color="black", linestyle="--", marker="")
        for x in (-halo / 2, num_cells - 1.5 * halo):
            panel.text(x, -1, "halo", ha="center")
        panel.text(num_cells / 2 - halo, -1, "share", ha="center")
        panel.set_yticks(range(0, num_steps, 2))


def show_grid(states: np.ndarray, xlabel: str, ylabel: str) -> None:
    """Show the states of 256 rules, 16 to a row."""
    _, num_steps, width = states.shape
    alt = "space-time diagrams of all 256 rules"
    with draw(alt, (9, 9), xlabel=xlabel, ylabel=ylabel) as panel:
        panel.imshow(make_grid(states), cmap="binary", interpolation="none")
        panel.set_xticks(np.arange(16) * width + width // 2, range(16))
        panel.set_yticks(np.arange(16) * num_steps + num_steps // 2, range(16))
        style = {"color": "0.6", "lw": 0.5, "ls": "-", "marker": ""}
        for i in range(1, 16):
            panel.axvline(i * width, **style)
            panel.axhline(i * num_steps, **style)


def show_patterns(v: np.ndarray, feeds: np.ndarray, kills: np.ndarray) -> None:
    """Show a field for each kill and feed, a row for each kill."""
    gap = 3
    padded = np.pad(v, [(0, 0), (0, 0), (0, gap), (0, gap)])
    num_kills, num_feeds, height, width = padded.shape
    picture = make_grid(padded.reshape(-1, height, width), num_feeds)
    alt = "patterns for each kill and feed: spots, stripes, mazes, holes"
    with draw(alt, (9, 9.6), xlabel="feed", ylabel="kill") as panel:
        panel.imshow(picture, cmap="binary", vmin=0, vmax=0.4)
        places = [np.arange(n) for n in (num_feeds, num_kills)]
        names = [[f"{x:.4f}" for x in some] for some in (feeds, kills)]
        panel.set_xticks(places[0] * width + width // 2, names[0])
        panel.set_yticks(places[1] * height + height // 2, names[1])


def explore(simulate: Callable) -> None:
    """Show sliders for rule, width and num_steps above the picture of them."""
    explorer = make_explorer(simulate)
    picture = explorer.children[-2]
    # Where no kernel can answer the sliders, the picture alone is shown.
    bundle = {**explorer._repr_mimebundle_(), "text/html": picture.value}
    display(bundle, raw=True)


def make_explorer(simulate: Callable) -> widgets.VBox:
    """The sliders, the picture that follows them, and what a frame took."""
    sliders = {
        "rule": widgets.IntSlider(110, 0, 255),
        "width": widgets.IntSlider(160, 1, 400),
        "num_steps": widgets.IntSlider(160, 1, 400),
    }
    picture, caption = widgets.HTML(), widgets.Label()

    def redraw(_: Any = None) -> None:
        values = {name: slider.value for name, slider in sliders.items()}
        picture.value, seconds = time_call(
            lambda: make_image(np.asarray(simulate(**values)), values)
        )
        caption.value = f"this frame took {1000 * seconds:.0f} ms"

    for name, slider in sliders.items():
        slider.description = name
        slider.layout.width = f"{LONGEST_SIDE}px"
        slider.observe(redraw, names="value")
    redraw()
    return widgets.VBox([*sliders.values(), picture, caption])


def make_image(states: np.ndarray, values: Mapping[str, int]) -> str:
    """States as HTML, a cell a square of whole pixels, bounded both ways."""
    scale = max(1, LONGEST_SIDE // max(states.shape))
    height, width = (scale * side for side in states.shape)
    alt = ", ".join(f"{name} {value}" for name, value in values.items())
    data = base64.b64encode(encode_image(states, ".png")).decode()
    return (
        f'<img alt="{alt}" width="{width}" height="{height}"'
        ' style="image-rendering: pixelated; max-width: none"'
        f' src="data:image/png;base64,{data}">'
    )
