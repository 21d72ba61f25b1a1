"""Compare results of any shape: integers exactly, floats as far as they hold.

What a program returns: arrays and numbers, and tuples, lists, dicts of them.
"""

import numbers
from typing import Any, NamedTuple

import numpy as np
from jax import tree_util
from jax.core import Tracer
from jax.numpy import finfo

from workshop.terminal import terminal_size

# JAX's narrow floats, bfloat16 say, are V to NumPy.
KINDS = {"b": "boolean", "u": "integer", "i": "integer", "f": "inexact"}
KINDS |= {"V": "inexact", "c": "inexact complex"}


class Difference(NamedTuple):
    """The first difference between two results, and where it is."""

    text: str
    path: str = ""
    index: tuple[int, ...] | None = None  # None if it is all of the array


def flatten(result: Any) -> dict[str, np.ndarray]:
    """Every array of a result, by its path; copied, so that it stays.

    A list of alike arrays or numbers is stacked, as a scan stacks them.
    Raises TypeError if something in it is neither an array nor a number.
    """
    leaves, _ = tree_util.tree_flatten_with_path(
        result,
        is_leaf=lambda x: isinstance(x, list) and stacked_shape(x) is not None,
    )
    arrays = {}
    for path, leaf in leaves:
        name = "result" + tree_util.keystr(path)
        if stacked_shape(leaf) is None:
            raise TypeError(
                f"{name} is a {type(leaf).__name__}: only arrays, numbers and"
                " tuples, lists and dicts of them can be compared"
            )
        arrays[name] = np.array(tree_util.tree_map(touch, leaf))
    return arrays


def touch(value: Any) -> Any:
    """The same; what has left the function that traced it fails, JAX's way."""
    return value + 0 if isinstance(value, Tracer) else value


def stacked_shape(node: Any) -> tuple[int, ...] | None:
    """The shape of an array, a number or a list of alike ones, else None."""
    if isinstance(node, list):
        shapes = {stacked_shape(item) for item in node}
        if len(shapes) != 1 or None in shapes:
            return None
        return (len(node), *shapes.pop())
    is_number = isinstance(node, numbers.Number)
    return np.shape(node) if is_number or hasattr(node, "dtype") else None


def compare_results(
    got: dict[str, np.ndarray],
    want: dict[str, np.ndarray],
    rtol: float | None = None,
    least: float = 0,
) -> Difference | None:
    """The first difference of two flat results, None if they are the same.

    Integers and booleans have to be equal. Floats may differ by rtol times
    the value, or times the mean of all values where that is larger. Without
    rtol it is what the narrower of the two dtypes can hold after some steps,
    and the least that is given.
    """
    if got.keys() != want.keys():
        shown = (", ".join(arrays) or "nothing" for arrays in (got, want))
        return Difference("structure: got {}, want {}".format(*shown))
    differences = (
        compare_arrays(path, got[path], want[path], rtol, least)
        for path in want
    )
    return next(filter(None, differences), None)


def compare_arrays(
    path: str,
    got: np.ndarray,
    want: np.ndarray,
    rtol: float | None,
    least: float,
) -> Difference | None:
    """The first difference of two arrays, None if they are the same."""
    if got.shape != want.shape:
        text = f"{path}, shape: got {got.shape}, want {want.shape}"
        return Difference(text, path)
    if kind_of(got) != kind_of(want):
        text = f"{path}, dtype: got {got.dtype}, want {want.dtype}"
        return Difference(text, path)
    if "inexact" in kind_of(want):
        rtol = max(least, tolerance(got, want)) if rtol is None else rtol
        wrong, notes = compare_inexact(got, want, rtol)
    else:
        wrong, notes = got != want, ""
    if not np.any(wrong):
        return None
    index = np.unravel_index(np.argmax(wrong), got.shape)
    index = tuple(map(int, index))
    where = f"{path}[{', '.join(map(str, index))}]" if index else path
    text = (
        f"{where}: got {number(got[index])}, want {number(want[index])};"
        f" {np.sum(wrong)} of {got.size} differ{notes}"
    )
    return Difference(text + neighbors(got, want, index), path, index)


def kind_of(array: np.ndarray) -> str:
    """Of what kind its values are, whatever their width."""
    return KINDS.get(array.dtype.kind, array.dtype.kind)


def tolerance(*arrays: np.ndarray) -> float:
    """The relative error that the narrowest dtype may make in a while."""
    return max(float(finfo(array.dtype).eps) for array in arrays) ** (2 / 3)


def compare_inexact(
    got: np.ndarray, want: np.ndarray, rtol: float
) -> tuple[np.ndarray, str]:
    """Which values differ, and how many are no numbers; NaN equals NaN."""
    wide = np.result_type(want, np.float64)
    got, want = got.astype(wide), want.astype(wide)
    sizes = np.abs(want[np.isfinite(want)])
    allowed = rtol * np.maximum(
        np.abs(want), sizes.mean() if sizes.size else 0
    )
    with np.errstate(invalid="ignore"):
        near = np.isfinite(want) & (np.abs(got - want) <= allowed)
    wrong = ~((got == want) | near | np.isnan(got) & np.isnan(want))
    notes = ""
    for name, test in ("NaN", np.isnan), ("infinite", np.isinf):
        new = np.sum(test(got) & wrong)
        notes += f", {new} of them {name}" if new else ""
    return wrong, notes


def neighbors(
    got: np.ndarray, want: np.ndarray, index: tuple[int, ...]
) -> str:
    """Lines of what stands beside a value, along the last axis, in both."""
    if not index:
        return ""
    *row, i = index
    reach = 2 if terminal_size()[0] >= 60 else 1
    start, lines = max(0, i - reach), ""
    for name, array in ("got", got), ("want", want):
        values = array[tuple(row)][start : i + reach + 1]
        shown = [f" {number(value)} " for value in values]
        shown[i - start] = f"[{shown[i - start].strip()}]"
        lines += f"\n    {name:4}" + "".join(f"{v:>11}" for v in shown)
    return lines


def number(value: Any) -> str:
    """A value in few characters."""
    return f"{value:.6g}" if isinstance(value, np.inexact) else str(value)
