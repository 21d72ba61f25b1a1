"""States to pictures: on the terminal, and in image files.

On a terminal of 24-bit color matthewplotlib draws live cells dark on white,
where it is installed. Everywhere else plain characters draw them in the
terminal's text color. Both put two rows of cells on a line.
"""

import io
import signal
import struct
import sys
import time
from pathlib import Path
from typing import TextIO

import numpy as np
from PIL import Image

from workshop.terminal import (
    fail,
    say,
    shows_blocks,
    shows_true_color,
    terminal_size,
    write_whole,
)

try:
    import matthewplotlib as mp
except (ImportError, SyntaxError):  # not installed, or needs a newer Python
    mp = None

# Formats that keep every cell as it is.
LOSSLESS = (".png", ".gif", ".bmp", ".tiff")

# Indexed by upper cell + 2 * lower cell.
HALF_BLOCKS = np.array([" ", "▀", "▄", "█"])
ASCII_CELLS = np.array([".", "#"])


def print_states(
    states: np.ndarray, stream: TextIO | None = None, other_lines: int = 0
) -> None:
    """Print the space-time diagram, scaled down to the terminal's width.

    On a terminal only as many rows as fit beside so many other lines.
    """
    stream = stream or sys.stdout
    columns, lines = terminal_size()
    factor = scale_factor(states, columns)
    rows_a_line = 2 if shows_blocks(stream) else 1
    num_rows = len(states)
    if stream.isatty():
        room = max(2, lines - other_lines - 2)  # a note, and the prompt
        states = states[: room * rows_a_line * factor]
    print(draw(scale_down(states, factor), stream), file=stream)
    notes = []
    if factor > 1:
        notes.append(f"scaled down: a point stands for {factor} x {factor}")
    if len(states) < num_rows:
        notes.append(f"the first {len(states)} of {num_rows} rows")
        if rows_a_line > 1:
            notes.append("two rows on a line")
    if notes:
        say(", ".join(notes), stream)


def draw(density: np.ndarray, stream: TextIO) -> str:
    """The picture of a (rows, columns) array, as text for this stream.

    Entries are 0 or 1, or anything between for a scaled picture, where plain
    characters show as live what is at least as dense as the picture's mean.
    """
    if mp is not None and shows_true_color(stream) and shows_blocks(stream):
        return str(mp.image((1.2 - density) / 1.2))
    threshold = density.mean() if density.dtype.kind == "f" else 1
    cells = ((density >= threshold) & (density > 0)).astype(np.uint8)
    characters = ASCII_CELLS[cells]
    if shows_blocks(stream):  # two rows to a line; a missing last one is dead
        even = np.pad(cells, ((0, len(cells) % 2), (0, 0)))
        characters = HALF_BLOCKS[even[0::2] + 2 * even[1::2]]
    return "\n".join("".join(row) for row in characters)


def scale_factor(
    states: np.ndarray, columns: int, max_rows: int = sys.maxsize
) -> int:
    """The least whole factor by which the picture has to shrink to fit."""
    num_rows, width = states.shape
    return max(-(-width // columns), -(-num_rows // max_rows))


def scale_down(states: np.ndarray, factor: int) -> np.ndarray:
    """The mean of each factor x factor block; factor 1 changes nothing."""
    states = np.asarray(states)
    if factor == 1:
        return states
    num_rows, width = states.shape
    row_starts = np.arange(0, num_rows, factor)
    column_starts = np.arange(0, width, factor)
    totals = np.add.reduceat(states, row_starts, axis=0, dtype=np.int64)
    totals = np.add.reduceat(totals, column_starts, axis=1)
    heights = np.diff(row_starts, append=num_rows)
    widths = np.diff(column_starts, append=width)
    return totals / np.outer(heights, widths)


def play_flip_book(states: np.ndarray, seconds_each: float = 0.4) -> None:
    """Show one diagram after the other in place, until the end or Ctrl-C.

    From dark to bright, and fewer than three in a second: so nothing flashes
    (WCAG 2.3.1). Needs a terminal that moves its cursor; a picture fits into
    it whole.
    """
    columns, lines = terminal_size()
    rows_a_line = 2 if shows_blocks(sys.stdout) else 1
    factor = scale_factor(states[0], columns, max(1, lines - 3) * rows_a_line)
    shown = ""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        for rule in states.mean(axis=(1, 2)).argsort(kind="stable"):
            if shown:
                time.sleep(seconds_each)
                num_lines = len(shown.splitlines())
                print(f"\x1b[{num_lines}A\x1b[J", end="")
            picture = draw(scale_down(states[rule], factor), sys.stdout)
            shown = f"rule {rule} of 0 to {len(states) - 1}\n{picture}"
            print(shown, flush=True)
    except KeyboardInterrupt:
        print("\r")
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def print_sheet(states: np.ndarray, first: int = 0) -> None:
    """Print as many diagrams as fit the screen, from that rule on.

    Of each its beginning: the rows, and the cells around the middle, that one
    live cell reaches in them.
    """
    columns, lines = terminal_size()
    rows_a_line = 2 if shows_blocks(sys.stdout) else 1
    num_rules, num_steps, width = states.shape
    height = max(1, min(8, num_steps, columns // 2))
    start = max(0, width // 2 - height + 1)
    panels = states[:, :height, start : width // 2 + height]
    gap = max(1, len("255 ") - panels.shape[2])  # its number is above it
    panels = np.pad(panels, ((0, 0), (0, 0), (0, gap)))
    num_columns = max(1, columns // panels.shape[2])
    num_rows = max(1, (lines - 4) // (1 + height // rows_a_line))
    rules = (first + np.arange(num_columns * num_rows)) % num_rules
    for row in rules.reshape(num_rows, num_columns):
        print("".join(f"{rule:<{panels.shape[2]}}" for rule in row).rstrip())
        print(draw(np.hstack(panels[row]), sys.stdout))


def make_grid(states: np.ndarray, num_columns: int = 16) -> np.ndarray:
    """(num_rules, num_steps, width) to one picture, num_columns to a row."""
    num_rules, num_steps, width = states.shape
    grid = np.asarray(states).reshape(-1, num_columns, num_steps, width)
    num_rows = num_rules // num_columns
    return grid.swapaxes(1, 2).reshape(
        num_rows * num_steps, num_columns * width
    )


def save_image(states: np.ndarray, output: Path) -> None:
    """Write live cells black on white, one pixel a cell, and say where.

    The suffix chooses the format. The file appears whole or not at all.
    """
    num_rows, width = states.shape
    try:
        write_whole(output, encode_image(states, output.suffix))
    except (OSError, ValueError) as error:
        fail(f"output {output} cannot hold {width} x {num_rows}: {error}")
    say(f"wrote {output} ({width} x {num_rows} pixels)")


def encode_image(states: np.ndarray, suffix: str) -> bytes:
    """The bytes of that image file; ValueError if Pillow cannot make them."""
    if suffix.lower() not in LOSSLESS:
        raise ValueError(f"the suffix must be one of {' '.join(LOSSLESS)}")
    encoded = io.BytesIO()
    image_format = Image.registered_extensions()[suffix.lower()]
    try:
        Image.fromarray(np.asarray(states) == 0).save(encoded, image_format)
    except (OSError, OverflowError, ValueError, struct.error) as error:
        raise ValueError(f"the format cannot hold it: {error}") from error
    return encoded.getvalue()
