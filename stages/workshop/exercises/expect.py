"""Raise NotYet if a result is wrong, or if a function is compiled wrongly.

The checks of the exercises and of the notebooks use these functions. Some of
them get a returned value to examine. Others get a function and the calls to
make.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from workshop.compare import explain_difference
from workshop.tracing import count_compilations, count_equations, trace_call

DOTS = "put your answer in place of the three dots."
Calls = dict[str, tuple]  # the arguments of each call, keyed by its name


class NotYet(Exception):
    """The reason why a result is not right yet, for the attendee or learner.

    The key names the kind of reason. Tests compare only keys, so the wording
    of a reason can be changed.
    """

    def __init__(self, reason: str, key: str = "") -> None:
        """Store the reason and its key."""
        super().__init__(reason)
        self.key = key


def that(condition: Any, reason: str, key: str = "") -> None:
    """Raise NotYet with this reason unless the condition holds."""
    if not condition:
        raise NotYet(reason, key)


def result(got: Any, call: str) -> None:
    """Raise NotYet if a function returned None or three dots."""
    that(got is not ..., DOTS, "dots")
    reason = f"{call}: got None. Is a `return` missing?"
    that(got is not None, reason, "none")


def one_array(got: Any, call: str) -> None:
    """Raise NotYet for None, three dots, and a tuple or list of arrays."""
    result(got, call)
    that(
        not isinstance(got, tuple | list),
        f"{call}: got a {type(got).__name__}, want one array. (A scan returns"
        " a pair: the last carry and the records.)",
        "array",
    )


def tuple_of(got: Any, names: str, call: str) -> None:
    """Raise NotYet unless a function returned one value for each name."""
    result(got, call)
    fits = isinstance(got, tuple | list) and len(got) == len(names.split(", "))
    that(fits, f"{call}: want a tuple: {names}.", "tuple")
    that(not any(some is ... for some in got), DOTS, "dots")


def jax_array(value: Any, what: str) -> None:
    """Raise NotYet unless a value is a JAX array."""
    found = f"{what} a {type(value).__name__}, want a JAX array."
    that(isinstance(value, jax.Array), found, "type")


def shape(got: Any, want: tuple[int, ...], name: str) -> None:
    """Raise NotYet unless an array has the shape `want`."""
    found = np.shape(got)
    that(found == want, f"{name}: shape: got {found}, want {want}.", "shape")


def states(got: Any, want: np.ndarray, call: str) -> None:
    """Raise NotYet for the first wrong cell; a single state is row 0."""
    one_array(got, call)
    got, want = np.asarray(got), np.asarray(want)
    if want.ndim == 1 == got.ndim:
        got, want = got[None], want[None]
    difference = explain_difference(got, want)
    that(difference is None, f"{call}: {difference}", "states")


def numbers(got: Any, want: Any, call: str) -> None:
    """Raise NotYet for the first wrong number."""
    one_array(got, call)
    got, want = np.asarray(got), np.asarray(want)
    shape(got, want.shape, call)
    wrong = np.argwhere(~np.isclose(got, want, atol=1e-5))
    if len(wrong):
        first = tuple(map(int, wrong[0]))
        where = f", index {', '.join(map(str, first))}" if first else ""
        found = f"{call}{where}: got {got[first]}, want {want[first]}."
        raise NotYet(found, "numbers")


def same(names: str, got: Any, want: tuple, call: str) -> None:
    """Raise NotYet for the first wrong number in a tuple of named values."""
    tuple_of(got, names, call)
    for name, some, wanted in zip(names.split(", "), got, want, strict=True):
        numbers(some, wanted, f"{call}, {name}")


def program(function: Callable, *args: Any, **kwargs: Any) -> Any:
    """Return the program of a call; raise NotYet if JAX compiles nothing."""
    traced = trace_call(function, *args, **kwargs)
    that(traced is not None, "JAX does not compile any of it.", "not_compiled")
    return traced


def compiles(function: Callable, *args: Any) -> bool:
    """Return whether JAX compiles anything during this call."""
    with count_compilations() as seconds:
        jax.block_until_ready(function(*args))
    return bool(seconds)


def one_program(function: Callable, calls: Calls) -> None:
    """Raise NotYet unless all calls run the same compiled program."""
    first, *others = calls
    traced = program(function, *calls[first])
    whole = all(each.primitive.name in ("jit", "pjit") for each in traced.eqns)
    reason = "the result is right, but not compiled: use jax.jit."
    that(whole, reason, "not_compiled")
    function(*calls[first])
    for call in others:
        again = compiles(function, *calls[call])
        that(not again, f"{call} is compiled again.", "recompiled")


def no_growth(function: Callable, calls: Calls, allow: float = 1) -> str:
    """Raise NotYet if the second of two calls has too large a program.

    It may be at most `allow` times as large as the program of the first call.
    Return a sentence that gives both sizes.
    """
    few, many = (
        count_equations(program(function, *args)) for args in calls.values()
    )
    small, large = calls
    found = f"{small} take {few} operations, {large} take {many}"
    loop = "Python runs a loop during tracing, or `unroll` repeats its body."
    that(many <= allow * few, f"{found}: {loop}", "grows")
    return found


def shares(array: Any, num_devices: int) -> None:
    """Raise NotYet unless the array is divided evenly over the devices."""
    jax_array(array, "The result is")
    largest = max(shard.data.nbytes for shard in array.addressable_shards)
    used = len(array.sharding.device_set)
    that(
        used == num_devices and largest * num_devices <= array.nbytes,
        f"The result has {array.nbytes} bytes, on {used} devices, with up to"
        f" {largest} bytes on one. It should be on {num_devices} devices, and"
        " each should hold only its own share.",
        "shares",
    )
