"""What the notebooks share: diffs, expected failures, pictures, an explorer.

Pictures are made to be read in gray: what differs, differs in shape.
"""

import base64
import contextlib
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from IPython.display import Markdown, display

from workshop.harness import time_call
from workshop.rendering import encode_image, make_grid
from workshop.stages import diff_lines

LONGEST_MESSAGE = 300  # characters of an error that are shown
PICTURE_PIXELS = 480  # the least size to which the explorer's picture grows

plt.rcParams.update(
    {
        "axes.grid": True,
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


@contextlib.contextmanager
def expect_failure(error_type: type[Exception], keyword: str) -> Iterator:
    """Show the beginning of the error that a cell is there for, and go on.

    AssertionError if there is none; one of another type, or without the
    keyword, is raised as it is.
    """
    try:
        yield
    except error_type as error:
        if type(error) is not error_type or keyword not in str(error):
            raise
        message = textwrap.shorten(str(error), LONGEST_MESSAGE)
        print(textwrap.fill(f"{error_type.__name__}: {message}", 79))
    else:
        expected = f"{error_type.__name__} with the word {keyword!r}"
        raise AssertionError(f"this cell has to fail with {expected}")


def show_states(diagrams: Mapping[str, np.ndarray]) -> None:
    """Show space-time diagrams side by side, each under its title."""
    panel_width = 9 / len(diagrams)
    tallest = max(
        len(states) / states.shape[1] for states in diagrams.values()
    )
    size = 9, panel_width * tallest + 0.7
    figure, axes = plt.subplots(1, len(diagrams), figsize=size, squeeze=False)
    for panel, (title, states) in zip(
        axes.flat, diagrams.items(), strict=True
    ):
        draw_states(panel, states)
        panel.set_title(title)
    display_figure(figure, f"space-time diagrams: {', '.join(diagrams)}")


def draw_states(panel: plt.Axes, states: np.ndarray) -> None:
    """Draw live cells black, time downwards, with an axis for either."""
    panel.imshow(states, cmap="binary", vmin=0, vmax=1, interpolation="none")
    panel.grid(visible=False)
    panel.set_xlabel("cell")
    panel.set_ylabel("row")


def show_curves(
    curves: Mapping[str, tuple[Iterable, Iterable]],
    xlabel: str,
    ylabel: str,
    scale: str = "linear",
) -> None:
    """Plot a line with markers for each name."""
    figure, panel = plt.subplots()
    for name, (x, y) in curves.items():
        panel.plot(x, y, label=name)
    panel.set(xlabel=xlabel, ylabel=ylabel, xscale=scale, yscale=scale)
    panel.legend()
    display_figure(figure, f"{ylabel} against {xlabel}: {', '.join(curves)}")


def show_points(
    x: np.ndarray,
    y: np.ndarray,
    xlabel: str,
    ylabel: str,
    named: Mapping[str, int],
) -> None:
    """Plot a point for each index, the named ones large and with a name."""
    figure, panel = plt.subplots()
    panel.plot(x, y, "o", color="0.55", markersize=3)
    for name, index in named.items():
        panel.plot(x[index], y[index], "o", color="black")
        panel.annotate(
            name,
            (x[index], y[index]),
            (7, 4),
            textcoords="offset points",
            bbox={"fc": "white", "ec": "none", "pad": 1},
        )
    panel.set(xlabel=xlabel, ylabel=ylabel)
    display_figure(figure, f"{ylabel} against {xlabel}")


def show_rates(
    rates: Mapping[str, float], floors: Mapping[str, float], xlabel: str
) -> None:
    """Show a dot for each rate on a log axis, the floors as lines."""
    figure, panel = plt.subplots()
    for height, rate in enumerate(rates.values()):
        panel.plot(rate, height, "o", color="black")
    for name, rate in floors.items():
        panel.axvline(rate, color="0.35", linestyle="--", marker="")
        panel.annotate(
            name, (rate, 0), (-6, 0), textcoords="offset points", ha="right"
        )
    panel.set_yticks(range(len(rates)), rates)
    panel.invert_yaxis()
    panel.margins(0.1, 0.15)
    panel.set(xlabel=xlabel, ylabel="program", xscale="log")
    display_figure(figure, f"{xlabel} of {', '.join(rates)}")


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
    figure, panel = plt.subplots(figsize=(10, 2.2))
    panel.imshow(shades.T, cmap="binary", vmin=0, vmax=1, aspect="auto")
    for lane, word in np.ndindex(lanes, num_words):
        style = {"ha": "center", "va": "center", "fontsize": 8}
        panel.text(lane, word, cells[lane, word], **style)
    panel.set_xticks(range(0, lanes, 4))
    panel.set_yticks(range(num_words))
    panel.grid(visible=False)
    panel.set_title(f"shaded: the neighborhoods of {' and '.join(marked)}")
    panel.set(xlabel="lane (bit of the word)", ylabel="word")
    display_figure(figure, "the number of the cell in each lane of each word")


def show_halo(wrong: np.ndarray, halo: int) -> None:
    """Show at which step which cells are wrong, and where the share is."""
    num_steps, num_cells = wrong.shape
    figure, panel = plt.subplots(figsize=(8, 3))
    edges = -halo - 0.5, num_cells - halo - 0.5, num_steps - 0.5, -0.5
    panel.imshow(
        wrong, cmap="binary", vmax=1.4, extent=edges, interpolation="none"
    )
    for edge in (-0.5, num_cells - 2 * halo - 0.5):
        panel.axvline(edge, color="black", linestyle="--", marker="")
    panel.grid(visible=False)
    for x in (-halo / 2, num_cells - 1.5 * halo):
        panel.text(x, -1, "halo", ha="center")
    panel.text(num_cells / 2 - halo, -1, "share", ha="center")
    panel.set_yticks(range(0, num_steps, 2))
    panel.set(xlabel="cell of the share", ylabel="steps")
    display_figure(figure, "the cells that go wrong: a triangle in each halo")


def show_grid(states: np.ndarray, xlabel: str, ylabel: str) -> None:
    """Show the states of 256 rules, 16 to a row."""
    _, num_steps, width = states.shape
    figure, panel = plt.subplots(figsize=(9, 9))
    panel.imshow(make_grid(states), cmap="binary", interpolation="none")
    panel.set_xticks(np.arange(16) * width + width // 2, range(16))
    panel.set_yticks(np.arange(16) * num_steps + num_steps // 2, range(16))
    panel.set(xlabel=xlabel, ylabel=ylabel)
    for i in range(1, 16):
        panel.axvline(i * width, color="0.6", lw=0.5, ls="-", marker="")
        panel.axhline(i * num_steps, color="0.6", lw=0.5, ls="-", marker="")
    panel.grid(visible=False)
    display_figure(figure, "space-time diagrams of all 256 rules")


def display_figure(figure: plt.Figure, description: str) -> None:
    """Show a figure; the description is read to those who do not see it."""
    display(figure, metadata={"image/png": {"alt": description}})
    plt.close(figure)


def explore(simulate: Callable) -> None:
    """Show sliders for rule, width and num_steps above the picture of them."""
    explorer = make_explorer(simulate)
    picture = explorer.children[-2]
    encoded = base64.b64encode(picture.value).decode()
    # Where no kernel can answer the sliders, the picture alone is shown.
    bundle = {**explorer._repr_mimebundle_(), "image/png": encoded}
    metadata = {"image/png": {"alt": "rule 110", "width": PICTURE_PIXELS}}
    display(bundle, raw=True, metadata=metadata)


def make_explorer(simulate: Callable) -> widgets.VBox:
    """The sliders, the picture that follows them, and what a frame took."""
    sliders = {
        "rule": widgets.IntSlider(110, 0, 255),
        "width": widgets.IntSlider(160, 1, 400),
        "num_steps": widgets.IntSlider(160, 1, 400),
    }
    picture, caption = widgets.Image(), widgets.Label()

    def draw_frame() -> bytes:
        states = simulate(**{name: s.value for name, s in sliders.items()})
        scale = -(-PICTURE_PIXELS // max(states.shape))
        pixels = np.asarray(states).repeat(scale, axis=0).repeat(scale, axis=1)
        return encode_image(pixels, ".png")

    def redraw(_: Any = None) -> None:
        picture.value, seconds = time_call(draw_frame)
        caption.value = f"this frame took {1000 * seconds:.0f} ms"

    for name, slider in sliders.items():
        slider.description = name
        slider.layout.width = f"{PICTURE_PIXELS}px"
        slider.observe(redraw, names="value")
    redraw()
    return widgets.VBox([*sliders.values(), picture, caption])
