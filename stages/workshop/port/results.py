"""Compare what two programs return: integers exactly, floats nearly.

A result is an array, a number or a string, or a tuple, list, dict, NamedTuple
or dataclass of these.
"""

import numbers
import re
from typing import Any, NamedTuple

import numpy as np
from jax import Array, tree_util
from jax.core import Tracer
from jax.numpy import finfo

# To NumPy, the narrow floats of JAX (bfloat16 for example) are of kind V.
KINDS = {"u": "i", "V": "f", "S": "U"}
Arrays = dict[str, np.ndarray]


class Difference(NamedTuple):
    """The first difference between two results, and where it is."""

    text: str
    path: str = ""
    index: tuple[int, ...] | None = None  # None: the whole array


class NotComparable(TypeError):
    """A result cannot be compared; the message suggests another call."""


def flatten(result: Any, call: str = "f(x)") -> Arrays:
    """Return the arrays of a result by their paths, such as result[0].mean.

    NumPy's arrays are copied, since a program may change them later. A list
    of arrays or numbers of one shape becomes one array, as in a scan. Raise
    NotComparable for anything but arrays, numbers and strings.
    """
    leaves, _ = tree_util.tree_flatten_with_path(
        unpack(result),
        is_leaf=lambda x: isinstance(x, list) and stacked_shape(x) is not None,
    )
    arrays = {}
    for keys, leaf in leaves:
        path = tree_util.keystr(keys)
        name = "result" + re.sub(r"\['(\w+)'\]", r".\1", path)
        arrays[name] = make_array(leaf, name, call + path)
    return arrays


def unpack(node: Any) -> Any:
    """Return a result with a dict in place of each dataclass."""

    def is_made(part: Any) -> bool:
        fields = hasattr(part, "__dataclass_fields__")
        return fields and not isinstance(part, type)

    def convert(part: Any) -> Any:
        names = part.__dataclass_fields__ if is_made(part) else ()
        return {n: unpack(getattr(part, n)) for n in names} if names else part

    return tree_util.tree_map(convert, node, is_leaf=is_made)


def make_array(leaf: Any, name: str, call: str) -> np.ndarray:
    """Return a part of a result as an array.

    `call` is code that returns this part.
    """
    names = getattr(getattr(leaf, "dtype", None), "names", None)
    if isinstance(leaf, Array) and not isinstance(leaf, Tracer):
        return np.asarray(leaf)
    kind = type(leaf).__name__
    if getattr(getattr(leaf, "dtype", None), "kind", "") == "O":
        kind += " of objects"
        call = f"list({call})"
    elif isinstance(leaf, np.ma.MaskedArray):
        call = f"np.ma.filled({call}, np.nan)"
    elif names:
        call = f"{call}[{names[0]!r}]"
    elif stacked_shape(leaf) is not None:
        # A tracer that has left its function raises an error here.
        return np.array(
            tree_util.tree_map(
                lambda x: x + 0 if isinstance(x, Tracer) else x, leaf
            )
        )
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
        names = ", ".join(got), ", ".join(want)
        return Difference(
            "structure: got {}, want {}\nLet both programs return the same"
            " structure, or make it the same in --call.".format(*names)
        )
    for path in want:
        if unlike := compare_kinds(path, got[path], want[path]):
            return unlike
    # Exact values come first, because a wrong count is easiest to explain.
    paths = sorted(want, key=lambda path: want[path].dtype.kind in "fc")
    found = (compare_values(p, got[p], want[p], rtol, atol) for p in paths)
    return next(filter(None, found), None)


def find_tolerance(got: Arrays, want: Arrays) -> str:
    """Return the option that allows for the differences, "" if none does."""
    for rtol in 1e-4, 1e-3, 0.01, 0.1:
        if compare_results(got, want, rtol) is None:
            return f"--rtol {rtol:g}"
    for atol in 1e-12, 1e-10, 1e-8, 1e-6, 1e-4:
        if compare_results(got, want, atol=atol) is None:
            return f"--atol {atol:g}"
    return ""


def compare_kinds(
    path: str, got: np.ndarray, want: np.ndarray
) -> Difference | None:
    """Return how the shape or dtype differs, or None if neither differs."""
    kinds = [KINDS.get(a.dtype.kind, a.dtype.kind) for a in (got, want)]
    for what, pair in ("shape", (got.shape, want.shape)), ("dtype", kinds):
        if pair[0] != pair[1]:
            pair = getattr(got, what), getattr(want, what)
            text = f"{path}, {what}: got {pair[0]}, want {pair[1]}"
            return Difference(text, path)
    return None


def compare_values(
    path: str,
    got: np.ndarray,
    want: np.ndarray,
    rtol: float | None,
    atol: float,
) -> Difference | None:
    """Return the first difference of two arrays of the same shape and kind."""
    wrong, notes = got != want, ""
    if want.dtype.kind in "fc":
        wrong, notes = compare_inexact(got, want, rtol, atol)
    if not np.any(wrong):
        return None
    index = np.unravel_index(np.argmax(wrong), got.shape)
    index = tuple(map(int, index))
    notes = f"; {np.sum(wrong)} of {got.size} differ{notes}"
    text = show_difference(path, index, got, want, notes)
    return Difference(text, path, index)


def show_difference(
    path: str,
    index: tuple[int, ...],
    got: np.ndarray,
    want: np.ndarray,
    notes: str,
) -> str:
    """Return a text with both values, and their neighbors on the last axis."""
    where = f"{path}[{', '.join(map(str, index))}]" if index else path
    text = f"{where}: got {show(got[index])}, want {show(want[index])}{notes}"
    if index:
        *row, i = index
        around = (*row, slice(max(0, i - 2), i + 3))
        for name, array in ("got ", got), ("want", want):
            text += f"\n    {name} {' '.join(map(show, array[around]))}"
    return text


def compare_inexact(
    got: np.ndarray, want: np.ndarray, rtol: float | None, atol: float
) -> tuple[np.ndarray, str]:
    """Return which floats differ, and notes on NaN and infinite values.

    NaN counts as equal to NaN.
    """
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
    wrong = ~((got == want) | near | (np.isnan(got) & np.isnan(want)))
    notes = ""
    for name, test in ("NaN", np.isnan), ("infinite", np.isinf):
        new = np.sum(test(got) & wrong)
        notes += f", {new} of them {name}" if new else ""
    return wrong, notes


def show(value: Any) -> str:
    """Return a value as a short text."""
    return f"{value:.6g}" if isinstance(value, np.inexact) else str(value)


def relate(got: np.ndarray, want: np.ndarray, given: Arrays) -> list[str]:
    """Return the name of the relation between two arrays, and a detail.

    given: the arrays that --setup made for the call, by name.
    """
    if got.shape == want.shape:
        found = find_wrapped(got, want)
        if got.size > 1:
            found = (
                found
                or find_sign(got, want)
                or find_order(got, want)
                or find_change(got, want)
            )
        if found:
            return found
    names = [name for name, array in given.items() if same(got, array)]
    return ["unchanged", names[0]] if names else ["", ""]


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Return whether two arrays are the same up to rounding."""
    return compare_results({"": a}, {"": b}) is None


def find_wrapped(got: np.ndarray, want: np.ndarray) -> list[str]:
    """Return the dtype if integers differ only because they wrap around."""
    integers = got.dtype.kind in "iu" and want.dtype.kind in "iu"
    if integers and np.array_equal(want.astype(got.dtype), got):
        return ["wrapped", str(got.dtype)]
    return []


def find_sign(got: np.ndarray, want: np.ndarray) -> list[str]:
    """Return whether all values, or only some, have the other sign."""
    if want.dtype.kind not in "ifc" or not same(np.abs(got), np.abs(want)):
        return []
    return ["negated" if same(-got, want) else "sign", ""]


def find_order(got: np.ndarray, want: np.ndarray) -> list[str]:
    """Return how the order differs if both arrays have the same values."""
    if not same(np.sort(got, axis=None), np.sort(want, axis=None)):
        return []
    ways = {"rows and columns are exchanged": got.T}
    for axis in range(got.ndim):
        ways[f"axis {axis} is reversed"] = np.flip(got, axis)
        for by in (1, -1, 2, -2):
            way = f"rolled along axis {axis} by {-by}"
            ways[way] = np.roll(got, by, axis)
    found = [way for way, array in ways.items() if same(array, want)]
    return ["order", found[0]] if found else ["shuffled", ""]


def find_change(got: np.ndarray, want: np.ndarray) -> list[str]:
    """Return a constant factor, a constant offset, or a shift by one step."""
    if want.dtype.kind in "if" and np.isfinite(got).all() and np.all(want):
        factor, offset = got / want, got.astype(float) - want
        for name, values in ("factor", factor), ("offset", offset):
            if same(values, np.full(got.shape, values.mean())):
                return [name, f"{values.mean():.6g}"]
    if len(got) > 2 and same(got[1:], want[:-1]):
        return ["steps", "behind"]
    if len(got) > 2 and same(got[:-1], want[1:]):
        return ["steps", "ahead of"]
    return []
