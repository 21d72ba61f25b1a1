"""Compare what two programs return: integers exactly, floats nearly.

A result is an array, a number or a string, or a tuple, list, dict, NamedTuple
or dataclass of these.
"""

import dataclasses
import numbers
import re
from typing import Any, NamedTuple

import numpy as np
from jax import Array, tree_util
from jax.core import Tracer
from jax.numpy import finfo

from workshop.port.advice import words

# To NumPy, the narrow floats of JAX (bfloat16 for example) are of kind V.
KINDS = {"u": "i", "V": "f", "S": "U"}
Arrays = dict[str, np.ndarray]


class Difference(NamedTuple):
    """The first difference between two results, and where it is."""

    text: str
    path: str = ""
    index: tuple[int, ...] | None = None  # None: the whole array


class NotComparable(Exception):
    """A result cannot be compared; the message suggests another call."""


def flatten(result: Any, call: str = "f(x)") -> Arrays:
    """Return the arrays of a result by their paths, such as result[0].mean.

    NumPy's arrays are copied, since a program may change them later. A list
    of arrays or numbers of one shape becomes one array, as in a scan. Raise
    NotComparable for anything but arrays, numbers and strings, and if there
    are none.
    """
    # JAX explains a tracer that has left its function as soon as it is used.
    used = tree_util.tree_map(
        lambda leaf: leaf + 0 if isinstance(leaf, Tracer) else leaf, result
    )
    leaves, _ = tree_util.tree_flatten_with_path(
        unpack(used),
        is_leaf=lambda x: isinstance(x, list) and stacked_shape(x) is not None,
    )
    arrays = {}
    for keys, leaf in leaves:
        path = tree_util.keystr(keys)
        name = "result" + re.sub(r"\['(\w+)'\]", r".\1", path)
        arrays[name] = make_array(leaf, name, call + path)
    if not arrays:
        raise NotComparable(words("errors", "nothing"))
    return arrays


def unpack(node: Any) -> Any:
    """Return a result with a dict in place of each dataclass."""

    def is_made(part: Any) -> bool:
        return dataclasses.is_dataclass(part) and not isinstance(part, type)

    def convert(part: Any) -> Any:
        if not is_made(part):
            return part
        names = [field.name for field in dataclasses.fields(part)]
        return {name: unpack(getattr(part, name)) for name in names}

    return tree_util.tree_map(convert, node, is_leaf=is_made)


def make_array(leaf: Any, name: str, call: str) -> np.ndarray:
    """Return a part of a result as an array.

    `call` is code that returns this part.
    """
    if isinstance(leaf, Array):
        return np.asarray(leaf)
    dtype, kind = getattr(leaf, "dtype", None), type(leaf).__name__
    if getattr(dtype, "kind", "") == "O":
        kind += " of objects"
        call = f"list({call})"
    elif isinstance(leaf, np.ma.MaskedArray):
        call = f"np.ma.filled({call}, np.nan)"
    elif names := getattr(dtype, "names", None):
        call = f"{call}[{names[0]!r}]"
    elif stacked_shape(leaf) is not None:
        return np.array(leaf)
    else:
        call = f"{'list' if hasattr(leaf, '__iter__') else 'vars'}({call})"
    raise NotComparable(
        f"{name} is a {kind}. `port` compares arrays, numbers and strings,"
        " and tuples, lists, dicts and dataclasses of these."
        f' A call that may help: --call "{call}"'
    )


def stacked_shape(node: Any) -> tuple[int, ...] | None:
    """Return the shape of an array, number, string or a list of these.

    Return None for anything else, and for a list of different shapes.
    """
    if isinstance(node, list):
        shapes = {stacked_shape(item) for item in node}
        if len(shapes) != 1 or None in shapes:
            return None
        return (len(node), *shapes.pop())
    single = isinstance(node, numbers.Number | str | bytes)
    return np.shape(node) if single or hasattr(node, "dtype") else None


def compare_results(
    got: Arrays, want: Arrays, rtol: float | None = None, atol: float = 0
) -> Difference | None:
    """Return the first difference of two flat results, None if there is none.

    Integers, booleans and strings have to be equal. Floats may differ by atol,
    by rtol times the value, or by rtol times the mean size of all values,
    whichever is largest. The default rtol is the error to expect after some
    operations in the narrower of the two dtypes. This default is at least the
    one for 32 bits, because a Python float may come from a 32-bit value.
    """
    if got.keys() != want.keys():
        text = (
            f"structure: the port returns {', '.join(got)}, and the old"
            f" program {', '.join(want)}.\nLet both programs return the same"
            " structure, or make it the same in --call."
        )
        return Difference(text)
    # Exact values come first, because a wrong count is easiest to explain.
    paths = sorted(want, key=lambda path: want[path].dtype.kind in "fc")
    found = (compare_arrays(p, got[p], want[p], rtol, atol) for p in paths)
    return next(filter(None, found), None)


def compare_arrays(
    path: str,
    got: np.ndarray,
    want: np.ndarray,
    rtol: float | None,
    atol: float,
) -> Difference | None:
    """Return the first difference of two arrays, None if there is none."""
    text = "{}{}: the port has {}, the old program {}"
    if got.shape != want.shape:
        text = text.format(path, ", shape", got.shape, want.shape)
        return Difference(text, path)
    kinds = {KINDS.get(a.dtype.kind, a.dtype.kind) for a in (got, want)}
    if len(kinds) > 1:
        text = text.format(path, ", dtype", got.dtype, want.dtype)
        return Difference(text, path)
    wrong, note = got != want, ""
    if want.dtype.kind in "fc":
        wrong = differs_inexact(got, want, rtol, atol)
        new = np.sum(np.isnan(got) & wrong)
        note = f", {new} of them NaN" if new else ""
    if not np.any(wrong):
        return None
    index = np.unravel_index(np.argmax(wrong), got.shape)
    index = tuple(map(int, index))
    where = f"[{', '.join(map(str, index))}]" if index else ""
    text = text.format(path, where, show(got[index]), show(want[index]))
    text += f"; {np.sum(wrong)} of {got.size} differ{note}"
    return Difference(text, path, index)


def differs_inexact(
    got: np.ndarray, want: np.ndarray, rtol: float | None, atol: float
) -> np.ndarray:
    """Return which floats differ; NaN counts as equal to NaN."""
    if rtol is None:
        dtypes = np.float32, got.dtype, want.dtype
        rtol = max(float(finfo(dtype).eps) for dtype in dtypes) ** (2 / 3)
    wide = np.result_type(got, want, np.float32)
    got, want = got.astype(wide, copy=False), want.astype(wide, copy=False)
    sizes = np.abs(want[np.isfinite(want)])
    mean = sizes.mean(dtype=float) if sizes.size else 0
    allowed = np.maximum(rtol * np.maximum(np.abs(want), mean), atol)
    with np.errstate(invalid="ignore", over="ignore"):
        near = np.isfinite(want) & (np.abs(got - want) <= allowed)
    return ~((got == want) | near | (np.isnan(got) & np.isnan(want)))


def show(value: Any) -> str:
    """Return a value as a short text."""
    return f"{value:.6g}" if isinstance(value, np.inexact) else str(value)


def relate(
    got: np.ndarray, want: np.ndarray, given: Arrays
) -> tuple[str, str]:
    """Return what two arrays have in common, and a detail.

    given: the arrays that --setup made for the call, by name.
    """

    def same(a: np.ndarray, b: np.ndarray) -> bool:
        return compare_results({"": a}, {"": b}) is None

    if got.shape == want.shape:
        integers = got.dtype.kind in "iu" and want.dtype.kind in "iu"
        if integers and np.array_equal(want.astype(got.dtype), got):
            return "wrapped", str(got.dtype)
        if want.dtype.kind in "ifc" and same(np.abs(got), np.abs(want)):
            return "sign", ""
        if same(np.sort(got, axis=None), np.sort(want, axis=None)):
            return "shuffled", ""
        if got.ndim and len(got) > 2 and same(got[1:], want[:-1]):
            return "steps", "behind"
        if got.ndim and len(got) > 2 and same(got[:-1], want[1:]):
            return "steps", "ahead of"
    names = [name for name, array in given.items() if same(got, array)]
    return ("unchanged", names[0]) if names else ("", "")
