"""Compare results of any shape: integers exactly, floats as far as they hold.

What a program returns: arrays and numbers, and tuples, lists, dicts of them.
"""

import dataclasses
import numbers
from typing import Any

import numpy as np

from workshop.terminal import terminal_size


@dataclasses.dataclass(frozen=True)
class Difference:
    """The first difference between two results."""

    text: str
    path: str = ""
    """Which array of the result it is in."""
    index: tuple[int, ...] | None = None
    """Which value of the array; None if all of it is another one."""


def flatten(result: Any) -> dict[str, np.ndarray]:
    """Every array of a result, by its path; copied, so that it stays.

    A list of alike arrays or numbers is stacked, as a scan stacks them.
    Raises TypeError if something in it is neither an array nor a number.
    """
    from jax import tree_util

    leaves, _ = tree_util.tree_flatten_with_path(
        result,
        is_leaf=lambda node: (
            isinstance(node, list) and stacked_shape(node) is not None
        ),
    )
    arrays = {}
    for path, leaf in leaves:
        name = "result" + tree_util.keystr(path)
        if stacked_shape(leaf) is None:
            raise TypeError(
                f"{name} is a {type(leaf).__name__}: only arrays, numbers and"
                " tuples, lists and dicts of them can be compared"
            )
        arrays[name] = np.array(leaf)
    return arrays


def stacked_shape(node: Any) -> tuple[int, ...] | None:
    """The shape of an array, a number or a list of alike ones, else None."""
    if isinstance(node, list):
        shapes = {stacked_shape(item) for item in node}
        if len(shapes) != 1 or None in shapes:
            return None
        return (len(node), *shapes.pop())
    is_number = isinstance(node, numbers.Number | bool)
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
    for path in want:
        allowed = rtol
        if rtol is None and kind_of(want[path]) in ("float", "complex"):
            allowed = max(least, tolerance(got[path], want[path]))
        difference = compare_arrays(path, got[path], want[path], allowed)
        if difference:
            return difference
    return None


def compare_arrays(
    path: str, got: np.ndarray, want: np.ndarray, rtol: float
) -> Difference | None:
    """The first difference of two arrays, None if they are the same."""
    if got.shape != want.shape:
        text = f"{path}, shape: got {got.shape}, want {want.shape}"
        return Difference(text, path)
    if kind_of(got) != kind_of(want):
        text = f"{path}, dtype: got {got.dtype}, want {want.dtype}"
        return Difference(text, path)
    wrong = ~np.atleast_1d(are_close(got, want, rtol))
    if not wrong.any():
        return None
    first = np.unravel_index(wrong.argmax(), wrong.shape)
    index = tuple(map(int, first))[: got.ndim]
    where = f"{path}[{', '.join(map(str, index))}]" if index else path
    text = (
        f"{where}: got {number(got[index])}, want {number(want[index])};"
        f" {count_wrong(got, want, wrong)}\n" + neighbors(got, want, index)
    )
    return Difference(text.rstrip(), path, index)


def kind_of(array: np.ndarray) -> str:
    """Of what kind its values are, whatever their width."""
    # JAX's narrow floats, bfloat16 say, are V to NumPy.
    kinds = {"b": "boolean", "u": "integer", "i": "integer", "V": "float"}
    kinds |= {"f": "float", "c": "complex", "U": "text"}
    return kinds.get(array.dtype.kind, str(array.dtype))


def tolerance(*arrays: np.ndarray) -> float:
    """The relative error that the narrowest dtype may make in a while."""
    from jax.numpy import finfo

    floats = (a.dtype for a in arrays if kind_of(a) in ("float", "complex"))
    return max(float(finfo(dtype).eps) for dtype in floats) ** (2 / 3)


def are_close(got: np.ndarray, want: np.ndarray, rtol: float) -> np.ndarray:
    """Which values are the same; NaN is the same as NaN."""
    if kind_of(want) not in ("float", "complex"):
        return got == want
    wide = np.complex128 if kind_of(want) == "complex" else np.float64
    got, want = got.astype(wide), want.astype(wide)
    sizes = np.abs(want[np.isfinite(want)])
    allowed = rtol * np.maximum(
        np.abs(want), sizes.mean() if sizes.size else 0
    )
    both_nan = np.isnan(got) & np.isnan(want)
    with np.errstate(invalid="ignore"):
        near = np.isfinite(want) & (np.abs(got - want) <= allowed)
    return (got == want) | near | both_nan


def count_wrong(got: np.ndarray, want: np.ndarray, wrong: np.ndarray) -> str:
    """How many values are wrong, and whether some are not even numbers."""
    text = f"{wrong.sum()} of {wrong.size} differ"
    if kind_of(want) in ("float", "complex"):
        for name, test in ("NaN", np.isnan), ("infinite", np.isinf):
            new = np.sum(test(got.astype(complex)) & wrong.reshape(got.shape))
            text += f", {new} of them {name}" if new else ""
    return text


def neighbors(
    got: np.ndarray, want: np.ndarray, index: tuple[int, ...]
) -> str:
    """What stands beside a value, along the last axis, in both arrays."""
    if not index:
        return ""
    *row, i = index
    reach = 2 if terminal_size()[0] >= 60 else 1
    start = max(0, i - reach)
    lines = []
    for name, array in ("got", got), ("want", want):
        values = array[tuple(row)][start : i + reach + 1]
        shown = [f" {number(value)} " for value in values]
        shown[i - start] = f"[{shown[i - start].strip()}]"
        lines.append(f"    {name:4}" + "".join(f"{v:>11}" for v in shown))
    return "\n".join(lines)


def number(value: Any) -> str:
    """A value in few characters."""
    if isinstance(value, np.str_ | np.bool_ | np.integer):
        return str(value)
    kind = complex if isinstance(value, np.complexfloating) else float
    return f"{kind(value):.6g}"
