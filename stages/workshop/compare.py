"""Compare states with stage 0, and explain the first wrong cell."""

import functools
from types import ModuleType

import numpy as np

from workshop.stages import find_stages
from workshop.terminal import terminal_size

REACH = 12  # the most cells to show on each side of the wrong cell

# The cases for which the checks compare states: (rule, width, num_steps). The
# cases that reveal the most mistakes come first. The cases include the width
# 32 and widths close to it, prime widths, few and many rows, and rules that
# are not their own mirror image. In no case is num_steps equal to the width,
# because such a case hides swapped arguments.
CASES = [
    (30, 32, 40),
    (110, 33, 7),
    (45, 1, 3),
    (30, 64, 70),
    (57, 2, 5),
    (225, 31, 40),
    (45, 96, 50),
    (106, 12, 1),
    (30, 16, 20),
    (193, 3, 9),
    (110, 1025, 3),
    (30, 5, 200),
]


def explain_difference(states: np.ndarray, expected: np.ndarray) -> str | None:
    """Return the first difference between two arrays, None if they are equal.

    The arrays hold (num_steps, width) states. The difference is the shape, the
    dtype, or the first wrong cell in reading order. For a wrong cell, the text
    shows the rows around the cell twice: as they are, and as they should be.
    """
    states, expected = np.asarray(states), np.asarray(expected)
    if states.shape != expected.shape:
        return f"shape: got {states.shape}, want {expected.shape}"
    if states.dtype != expected.dtype:
        return f"dtype: got {states.dtype}, want {expected.dtype}"
    wrong = states != expected
    if not wrong.any():
        return None
    row, cell = map(int, np.unravel_index(wrong.argmax(), wrong.shape))
    return (
        f"row {row}, cell {cell}: got {states[row, cell]},"
        f" want {expected[row, cell]}; {explain_cell(expected, row, cell)}\n"
        + surroundings(states, expected, row, cell)
    )


def explain_cell(expected: np.ndarray, row: int, cell: int) -> str:
    """Return a note that names the rule table's entry for the cell."""
    if row == 0:
        return "row 0 is the initial state"
    ring = np.take(expected[row - 1], range(cell - 1, cell + 2), mode="wrap")
    left, center, right = map(int, ring)
    entry = 4 * left + 2 * center + right
    return (
        f"neighborhood {left} {center} {right} is entry {entry}"
        " of the rule table"
    )


def surroundings(
    states: np.ndarray, expected: np.ndarray, row: int, cell: int
) -> str:
    """Return up to three rows around the cell: got and want, side by side."""
    num_steps, width = expected.shape
    columns, _ = terminal_size()
    reach = max(1, min(REACH, (columns - 14) // 4))  # 14 columns hold no cells
    start = max(0, min(cell - reach, width - 2 * reach - 1))
    stop = min(width, start + 2 * reach + 1)
    shown = stop - start
    lines = [f"{'':8} {'got':>{shown}}  {'want':>{shown}}"]
    for t in range(max(0, row - 1), min(num_steps, row + 2)):
        got, want = draw(states[t, start:stop]), draw(expected[t, start:stop])
        lines.append(f"{f'row {t}':>8} {got}  {want}")
    mark = " " * (cell - start) + "^"
    lines.append(f"{'':8} {mark:{shown}}  {mark}")
    return "\n".join(lines)


def draw(cells: np.ndarray) -> str:
    """Return cells as text: . for a cell that is 0, # for any other."""
    return "".join("#" if cell else "." for cell in cells)


@functools.cache
def load_reference(old: str = "", new: str = "") -> ModuleType:
    """Return stage 0 as a module; `new` replaces `old` in its source."""
    path = find_stages()[0]
    source = path.read_text(encoding="utf-8")
    reference = ModuleType(path.stem)
    code = compile(source.replace(old, new), path, "exec")
    exec(code, vars(reference))
    return reference
