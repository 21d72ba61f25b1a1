"""Draw states as pictures, on the terminal and in image files.

On a terminal of 24-bit color matthewplotlib draws live cells dark on white,
where it is installed. Everywhere else plain characters draw them in the
terminal's text color. Both put two rows of cells on a line.
"""

import io
import struct
import sys
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
# The brightness of a pixel for a dead cell, a live one, a line between.
GRAY = 2
PIXELS = np.array([255, 0, 128], np.uint8)

# Indexed by upper cell + 2 * lower cell.
HALF_BLOCKS = np.array([" ", "▀", "▄", "█"])
ASCII_CELLS = np.array([".", "#"])


def print_states(
    states: np.ndarray,
    stream: TextIO | None = None,
    other_lines: int = 0,
    num_shares: int = 1,
) -> None:
    """Print the space-time diagram, scaled down to the terminal's width.

    On a terminal, only as many rows are printed as fit along with that number
    of other lines. If there are several shares, a line above marks where each
    begins.
    """
    stream = stream or sys.stdout
    columns, lines = terminal_size()
    rows_a_line = 2 if shows_blocks(stream) else 1
    num_rows, width = states.shape
    factor = -(-width // columns)
    if stream.isatty():
        room = max(2, lines - other_lines - 1)  # the prompt
        rows_a_room = rows_a_line * factor
        if num_rows > room * rows_a_room:  # a note says so
            states = states[: max(1, room - 1) * rows_a_room]
    if 1 < num_shares <= width / factor / 2:
        print(mark_shares(num_shares, width / factor), file=stream)
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


def mark_shares(num_shares: int, columns: float) -> str:
    """Return a line that marks where each device's share begins."""
    starts = [int(i * columns / num_shares) for i in range(num_shares)]
    form = "|"
    for longer in ("|{}", "|device {}"):
        if len(longer.format(num_shares)) < columns / num_shares:
            form = longer
    line = ""
    for share, start in enumerate(starts):
        line = line[:start].ljust(start) + form.format(share)
    return line


def draw(density: np.ndarray, stream: TextIO) -> str:
    """Return the picture of a (rows, columns) array, as text for a stream.

    Entries are 0 or 1, or anything between in a scaled picture. There, plain
    characters show an entry as live if it is at least the picture's mean.
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


def scale_down(states: np.ndarray, factor: int) -> np.ndarray:
    """Return the mean of each factor x factor block of cells."""
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


def print_sheet(
    states: np.ndarray, first: int = 0, other_lines: int = 0
) -> None:
    """Print as many diagrams as fit the screen, from that rule on.

    A diagram is cut: to its first rows, and to the cells around the middle
    that one live cell can reach in them.
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
    panel_lines = 1 + -(-height // rows_a_line)
    num_rows = max(1, (lines - other_lines - 1) // panel_lines)
    rules = (first + np.arange(num_columns * num_rows)) % num_rules
    for row in rules.reshape(num_rows, num_columns):
        print("".join(f"{rule:<{panels.shape[2]}}" for rule in row).rstrip())
        print(draw(np.hstack(panels[row]), sys.stdout))


def make_grid(
    states: np.ndarray, num_columns: int = 16, line: int | None = None
) -> np.ndarray:
    """Return (num_rules, num_steps, width) as one picture.

    It has num_columns diagrams in a row. If line is given, lines of that value
    separate them.
    """
    states = np.asarray(states)
    if line is not None:
        gaps = ((0, 0), (0, 1), (0, 1))
        states = np.pad(states, gaps, constant_values=line)
    num_rules, height, width = states.shape
    grid = states.reshape(-1, num_columns, height, width).swapaxes(1, 2)
    picture = grid.reshape(num_rules // num_columns * height, -1)
    return picture if line is None else picture[:-1, :-1]


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
    """Return the bytes of an image file.

    Raises ValueError if Pillow cannot make them.
    """
    if suffix.lower() not in LOSSLESS:
        raise ValueError(f"the suffix must be one of {' '.join(LOSSLESS)}")
    encoded = io.BytesIO()
    image_format = Image.registered_extensions()[suffix.lower()]
    pixels = PIXELS[np.asarray(states, np.uint8)]
    if not np.any(pixels == PIXELS[GRAY]):
        pixels = pixels > 0  # one bit a pixel
    try:
        Image.fromarray(pixels).save(encoded, image_format)
    except (OSError, OverflowError, ValueError, struct.error) as error:
        raise ValueError(f"the format cannot hold it: {error}") from error
    return encoded.getvalue()
