"""Compare states with the reference, and show the first wrong cell."""

import numpy as np

from workshop.terminal import terminal_size

CELLS = np.array([".", "#"])
REACH = 12  # cells shown on each side of the wrong one, where there is room


def explain_difference(states: np.ndarray, expected: np.ndarray) -> str | None:
    """What is wrong with (num_steps, width) states, None if they are equal.

    One thing at a time: first the shape, then the dtype, then the first wrong
    cell in reading order, with the rows around it in both diagrams.
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
    """From which entry of the rule table the cell gets its value."""
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
    """Up to three rows around the cell, of both diagrams, got beside want."""
    num_steps, width = expected.shape
    rows = range(max(0, row - 1), min(num_steps, row + 2))
    reach = min(REACH, (terminal_size()[0] - 14) // 4)
    start, stop = max(0, cell - reach), min(width, cell + reach + 1)
    indent = " " * (9 + cell - start)
    gap = " " * (stop - start + 2)
    lines = [f"{'got':>{stop - start + 9}}  {'want':>{stop - start}}"]
    for t in rows:
        got, want = (
            "".join(CELLS[(a[t, start:stop] != 0).astype(int)])
            for a in (states, expected)
        )
        lines.append(f"{f'row {t}':>8} {got}  {want}")
    lines.append(f"{indent}^{gap[1:]}^")
    return "\n".join(lines)
