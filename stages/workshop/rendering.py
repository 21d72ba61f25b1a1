"""Draw states as pictures, on the terminal and in image files.

If matthewplotlib is installed and the terminal has 24-bit color, live cells
are dark on white. Otherwise, plain characters show the cells in the terminal's
text color. A line shows two rows of cells. If the output has no block
characters, a line shows one row.
"""

import io
import math
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from workshop.terminal import (
    say,
    shows_blocks,
    shows_true_color,
    terminal_size,
    write_asked,
)

try:
    import matthewplotlib as mp
except (ImportError, SyntaxError):  # not installed, or needs a newer Python
    mp = None

# The brightness of a pixel with the value 0 (dead), 1 (alive) or 2 (GRAY).
GRAY = 2  # for lines between pictures
PIXELS = np.array([255, 0, 128], np.uint8)

NOTE_LENGTH = 60  # the most characters that the note below a picture has
# The character for two cells has the index: upper cell + 2 * lower cell.
HALF_BLOCKS = np.array([" ", "▀", "▄", "█"])
ASCII_CELLS = np.array([".", "#"])


def print_states(states: np.ndarray, other_lines: int = 0) -> None:
    """Print the space-time diagram, scaled down to the terminal's width.

    On a terminal, print only as many rows as leave room for `other_lines`
    other lines.
    """
    columns, lines = terminal_size()
    num_rows, width = states.shape
    factor = -(-width // columns)
    if sys.stdout.isatty():
        note_lines = math.ceil(NOTE_LENGTH / columns)
        room = lines - other_lines - note_lines - 1  # the prompt needs a line
        rows_a_line = factor * (2 if shows_blocks(sys.stdout) else 1)
        states = states[: max(1, room) * rows_a_line]
    print(draw(scale_down(states, factor)))
    notes = []
    if factor > 1:
        notes.append(f"a point is {factor} x {factor} cells")
    if len(states) < num_rows:
        notes.append(f"the first {len(states)} of {num_rows} rows")
    if notes:
        say(", ".join(notes))


def draw(density: np.ndarray) -> str:
    """Return a picture of a (rows, columns) array, as text.

    Entries are 0 or 1. If the picture is scaled down, entries can also lie
    between 0 and 1. Then plain characters show an entry as live if it is not 0
    and at least the mean of all entries.
    """
    blocks = shows_blocks(sys.stdout)
    if mp is not None and shows_true_color(sys.stdout) and blocks:
        return str(mp.image((1.2 - density) / 1.2))
    threshold = density.mean() if density.dtype.kind == "f" else 1
    cells = ((density >= threshold) & (density > 0)).astype(np.uint8)
    characters = ASCII_CELLS[cells]
    if blocks:  # two rows per line; a dead row makes the number even
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
    """Print as many diagrams as fit the screen, starting with rule `first`.

    Each diagram shows only its first rows. In these rows, it shows only the
    cells that the live cell in the middle of row 0 can influence.
    """
    columns, lines = terminal_size()
    num_rules, num_steps, width = states.shape
    height = min(8, num_steps)
    start = max(0, width // 2 - height + 1)
    panels = states[:, :height, start : width // 2 + height]
    gap = max(1, len("255 ") - panels.shape[2])  # room for the rule
    panels = np.pad(panels, ((0, 0), (0, 0), (0, gap)))
    panel_width = panels.shape[2]
    rows_a_line = 2 if shows_blocks(sys.stdout) else 1
    panel_lines = 1 + math.ceil(height / rows_a_line)
    num_columns = max(1, columns // panel_width)
    num_rows = max(1, (lines - other_lines - 1) // panel_lines)
    rules = (first + np.arange(num_columns * num_rows)) % num_rules
    for row in rules.reshape(num_rows, num_columns):
        print("".join(f"{rule:<{panel_width}}" for rule in row).rstrip())
        print(draw(np.hstack(panels[row])))


def make_grid(states: np.ndarray, num_columns: int = 16) -> np.ndarray:
    """Return (num_rules, num_steps, width) states as one picture.

    The picture has num_columns diagrams in each row.
    """
    num_rules, height, width = states.shape
    grid = states.reshape(-1, num_columns, height, width).swapaxes(1, 2)
    return grid.reshape(num_rules // num_columns * height, -1)


def save_image(states: np.ndarray, output: Path) -> None:
    """Write a PNG file with one pixel per cell: live cells black on white.

    The file is written completely or not at all.
    """
    num_rows, width = states.shape
    pixels = PIXELS[np.asarray(states, np.uint8)]
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG")
    write_asked(output, encoded.getvalue())
    say(f"wrote {output} ({width} x {num_rows} pixels)")
