"""Compare what two programs return: integers exactly, floats nearly.

A result is an array, a number or a text, or a tuple, list, dict, NamedTuple or
dataclass of them.
"""

import dataclasses
import numbers
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jax import Array, tree_util
from jax.core import Tracer
from jax.numpy import finfo

from workshop.terminal import terminal_size

# To NumPy, the narrow floats of JAX (bfloat16 for example) are of kind V.
KINDS = {"b": "boolean", "u": "integer", "i": "integer", "f": "inexact"}
KINDS |= {"V": "inexact", "c": "inexact complex", "U": "text", "S": "text"}


class Difference(NamedTuple):
    """The first difference between two results, and where it is."""

    text: str
    path: str = ""
    index: tuple[int, ...] | None = None  # None: the whole array


class NotComparable(TypeError):
    """A result that is not compared, and a call whose result is."""


def flatten(result: Any, call: str = "f(x)") -> dict[str, np.ndarray]:
    """Return every array of a result by its path.

    NumPy's arrays are copied, since a program may change them later. A list
    of arrays or numbers of one shape is stacked, as a scan stacks them. Raises
    NotComparable for anything that is no array, number or text.
    """
    return dict(find_arrays(result, "", call))


def find_arrays(
    node: Any, path: str, call: str
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the path and the array of each part of a result."""
    if dataclasses.is_dataclass(node) and not isinstance(node, type):
        fields = [field.name for field in dataclasses.fields(node)]
        children = {f".{name}": getattr(node, name) for name in fields}
    elif stacked_shape(node) is not None:
        children = {"": node}
    else:
        pairs, _ = tree_util.tree_flatten_with_path(
            node, is_leaf=lambda part: part is not node
        )
        children = {tree_util.keystr(keys): part for keys, part in pairs}
    for key, part in children.items():
        if key:
            yield from find_arrays(part, path + key, call)
        else:
            yield f"result{path}", make_array(part, path, call)


def make_array(leaf: Any, path: str, call: str) -> np.ndarray:
    """Return a leaf as an array; raise NotComparable if it cannot be one."""
    remedy = ""
    if isinstance(leaf, np.ma.MaskedArray):
        remedy = f"np.ma.filled({call}{path}, np.nan)"
    elif getattr(getattr(leaf, "dtype", None), "names", None):
        remedy = f"{call}{path}[{leaf.dtype.names[0]!r}]"
    elif isinstance(leaf, Array) and not isinstance(leaf, Tracer):
        return np.asarray(leaf)
    elif stacked_shape(leaf) is not None:
        return np.array(tree_util.tree_map(touch, leaf))
    elif hasattr(leaf, "__iter__"):
        remedy = f"list({call}{path})"
    elif hasattr(leaf, "__dict__") and not callable(leaf):
        remedy = f"vars({call}{path})"
    kind = type(leaf).__name__
    raise NotComparable(
        f"The result is not compared: result{path} is a {kind}. Only arrays,"
        " numbers and texts are compared, and tuples, lists, dicts and"
        " dataclasses of them."
        + (f' A call that helps: --call "{remedy}"' if remedy else "")
    )


def touch(value: Any) -> Any:
    """Return the value; JAX raises an error if it is a leaked tracer."""
    return value + 0 if isinstance(value, Tracer) else value


def stacked_shape(node: Any) -> tuple[int, ...] | None:
    """Return the shape of an array, a number, a text or a list of them."""
    if isinstance(node, list):
        shapes = {stacked_shape(item) for item in node}
        if len(shapes) != 1 or None in shapes:
            return None
        return (len(node), *shapes.pop())
    single = isinstance(node, numbers.Number | str | bytes)
    return np.shape(node) if single or hasattr(node, "dtype") else None


def compare_results(
    got: dict[str, np.ndarray],
    want: dict[str, np.ndarray],
    rtol: float | None = None,
    least: float = 0,
) -> Difference | None:
    """Return the first difference of two flat results, None if there is none.

    Integers, booleans and texts have to be equal. Floats may differ by rtol
    times the value, or times the mean of all values where that is larger. The
    default rtol is what the narrower of the two dtypes can hold after some
    operations, and not below `least`.
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
    rtol: float | None = None,
    least: float = 0,
) -> Difference | None:
    """Return the first difference of two arrays, None if there is none."""
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
    """Return the kind of an array's values, whatever their width."""
    return KINDS.get(array.dtype.kind, array.dtype.kind)


def tolerance(*arrays: np.ndarray) -> float:
    """Return the relative error that the narrowest dtype may accumulate."""
    return max(float(finfo(array.dtype).eps) for array in arrays) ** (2 / 3)


def compare_inexact(
    got: np.ndarray, want: np.ndarray, rtol: float
) -> tuple[np.ndarray, str]:
    """Return which values differ, and a note on NaN; NaN equals NaN."""
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


def relate(
    got: np.ndarray, want: np.ndarray, given: dict[str, np.ndarray]
) -> tuple[str, str]:
    """Return what two different arrays have in common: its name, a detail.

    given: the arrays that the call was made with, by name.
    """

    def same(a: np.ndarray, b: np.ndarray) -> bool:
        return compare_arrays("", a, b) is None

    for name, array in given.items():
        if same(got, array):
            return "unchanged", name
    if got.shape != want.shape or got.size < 2:
        return "", ""
    if want.dtype.kind in "ifc" and same(np.abs(got), np.abs(want)):
        return "negated" if same(-got, want) else "sign", ""
    ordered = np.sort(want, axis=None)
    if same(np.sort(got, axis=None), ordered):
        moved = (how for how, array in arrangements(got) if same(array, want))
        return "order", next(moved, "")
    if len(got) > 2 and same(got[1:], want[:-1]):
        return "steps", "behind"
    if len(got) > 2 and same(got[:-1], want[1:]):
        return "steps", "ahead of"
    return "", ""


def arrangements(array: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield an array in other orders, each with what was done."""
    if array.ndim == 2:
        yield "rows and columns are exchanged", array.T
    for axis in range(array.ndim):
        yield f"axis {axis} runs the other way", np.flip(array, axis)
        for by in (1, -1):
            how = f"they are moved by {-by} along axis {axis}"
            yield how, np.roll(array, by, axis)


def neighbors(
    got: np.ndarray, want: np.ndarray, index: tuple[int, ...]
) -> str:
    """Return lines with the values beside one, along the last axis, in both.

    A long value makes its column wider, so that columns never touch.
    """
    if not index:
        return ""
    *row, i = index
    reach = 2 if terminal_size()[0] >= 60 else 1
    start, rows = max(0, i - reach), []
    for array in got, want:
        values = array[tuple(row)][start : i + reach + 1]
        shown = [f" {number(value)} " for value in values]
        shown[i - start] = f"[{shown[i - start].strip()}]"
        rows.append(shown)
    width = max(len(value) for shown in rows for value in shown)
    return "".join(
        f"\n    {name:5}" + "".join(f"{value:>{width}}" for value in shown)
        for name, shown in zip(("got", "want"), rows, strict=True)
    )


def number(value: Any) -> str:
    """Return a value in few characters."""
    return f"{value:.6g}" if isinstance(value, np.inexact) else str(value)
