"""What a check expects of code: the same result, compiled once, no growth.

For exercises and notebooks alike: `expect.states(got, want, call)`. Each is
given what was returned, or a function and its calls by name.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from workshop.compare import explain_difference
from workshop.port.results import compare_results
from workshop.tracing import count_compilations, count_equations, trace_call

DOTS = "put your answer in place of the three dots."
Calls = dict[str, tuple]  # their arguments, by what they are called


class NotYet(Exception):
    """What is missing, in words for the attendee or learner."""


def that(condition: Any, reason: str) -> None:
    """Raises NotYet for that reason, unless the condition holds."""
    if not condition:
        raise NotYet(reason)


def result(got: Any, call: str) -> None:
    """Raises NotYet if a function returns nothing."""
    that(got is not ..., DOTS)
    that(got is not None, f"{call}: got None, does it say `return`?")


def tuple_of(got: Any, names: str, call: str) -> None:
    """Raises NotYet unless a function returns what is named, all of it."""
    result(got, call)
    that(
        isinstance(got, tuple | list) and len(got) == len(names.split(", ")),
        f"{call}: want a tuple: {names}.",
    )
    that(not any(some is ... for some in got), DOTS)


def jax_array(value: Any, what: str) -> None:
    """Raises NotYet unless it is an array of JAX's."""
    found = f"{what} a {type(value).__name__}"
    that(isinstance(value, jax.Array), f"{found}, want a JAX array.")


def shape(got: Any, want: tuple[int, ...], name: str) -> None:
    """Raises NotYet unless it has that shape."""
    found = np.shape(got)
    that(found == want, f"{name}: shape: got {found}, want {want}.")


def states(got: Any, want: np.ndarray, call: str) -> None:
    """Raises NotYet with the first wrong cell; one state counts as row 0."""
    result(got, call)
    got, want = np.asarray(got), np.asarray(want)
    if want.ndim == 1 == got.ndim:
        got, want = got[None], want[None]
    difference = explain_difference(got, want)
    that(difference is None, f"{call}: {difference}")


def numbers(got: Any, want: Any, call: str, index: str = "") -> None:
    """Raises NotYet with the first wrong number; index says what it counts."""
    result(got, call)
    got, want = np.asarray(got), np.asarray(want)
    shape(got, want.shape, call)
    wrong = np.argwhere(~np.isclose(got, want, atol=1e-5))
    for place in map(tuple, wrong[:1]):
        where = f", {index} {', '.join(map(str, place))}" if place else ""
        raise NotYet(f"{call}{where}: got {got[place]}, want {want[place]}.")


def same(got: Any, want: tuple, names: str, call: str) -> None:
    """Raises NotYet with the first difference of what is named in both.

    Floats may differ by what the narrower of the two dtypes can hold.
    """
    tuple_of(got, names, call)
    pair = (
        dict(zip(names.split(", "), map(np.asarray, some), strict=True))
        for some in (got, want)
    )
    difference = compare_results(*pair)
    that(difference is None, f"{call}: {difference and difference.text}")


def jitted(function: Any) -> None:
    """Raises NotYet for a function that jax.jit did not return."""
    that(hasattr(function, "lower"), "the function is not jitted.")


def program(function: Callable, *args: Any, **kwargs: Any) -> Any:
    """The program of a call. Raises NotYet if it cannot be known."""
    traced = trace_call(function, *args, **kwargs)
    that(traced is not None, "JAX compiles nothing of it.")
    return traced


def one_program(function: Callable, calls: Calls, why: str = "") -> None:
    """Raises NotYet if another call than the first compiles something."""
    first, *others = calls
    jax.block_until_ready(function(*calls[first]))
    for call in others:
        with count_compilations() as compiled:
            jax.block_until_ready(function(*calls[call]))
        that(not compiled, f"{call} is compiled again{why}.")


def no_growth(function: Callable, calls: Calls) -> None:
    """Raises NotYet if the program of the second call is larger."""
    programs = {call: program(function, *args) for call, args in calls.items()}
    no_larger(programs, "that is a loop")


def no_larger(programs: dict[str, Any], why: str, slack: float = 1) -> str:
    """How large the two programs are, in words, by what they are called.

    Raises NotYet if the second is larger, but for so much.
    """
    few, many = map(count_equations, programs.values())
    of_few, of_many = programs
    found = f"{of_few} take {few} operations, {of_many} take {many}"
    that(many <= slack * few, f"{found}: {why}.")
    return found


def shares(array: Any, num_devices: int) -> None:
    """Raises NotYet if it is not spread evenly over so many devices."""
    jax_array(array, "The result is")
    largest = max(shard.data.nbytes for shard in array.addressable_shards)
    used = len(array.sharding.device_set)
    that(
        used == num_devices and largest * num_devices <= array.nbytes,
        f"The result of {array.nbytes} bytes lies on {used} devices, up to"
        f" {largest} bytes on one; want it on {num_devices}, and on each its"
        " share and no more.",
    )
