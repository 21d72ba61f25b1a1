"""What a check asks of code: the same result, compiled once, not growing.

For exercises and notebooks alike. Each is given what was returned, or a
function with calls by their names, and raises NotYet with what is missing.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from workshop.compare import explain_difference
from workshop.jaxprs import count_compilations, count_equations, trace_call
from workshop.port.results import compare_results

DOTS = "put your answer in place of the three dots."
Calls = dict[str, tuple]  # their arguments, by what they are called


class NotYet(Exception):
    """What is missing, in words for the attendee or learner."""


def require(condition: Any, reason: str) -> None:
    """Raises NotYet for that reason, unless the condition holds."""
    if not condition:
        raise NotYet(reason)


def require_result(result: Any, call: str) -> None:
    """Raises NotYet if a function returns nothing."""
    require(result is not ..., DOTS)
    require(result is not None, f"{call}: got None, does it say `return`?")


def require_tuple(got: Any, names: str, call: str) -> None:
    """Raises NotYet unless a function returns what is named, all of it."""
    require_result(got, call)
    require(
        isinstance(got, tuple | list) and len(got) == len(names.split(", ")),
        f"{call}: want a tuple: {names}.",
    )
    require(not any(some is ... for some in got), DOTS)


def require_array(value: Any, what: str) -> None:
    """Raises NotYet unless it is an array of JAX's."""
    found = f"{what} a {type(value).__name__}"
    require(isinstance(value, jax.Array), f"{found}, want a JAX array.")


def require_shape(got: Any, want: tuple[int, ...], name: str) -> None:
    """Raises NotYet unless it has that shape."""
    shape = np.shape(got)
    require(shape == want, f"{name}: shape: got {shape}, want {want}.")


def require_states(got: Any, want: np.ndarray, call: str) -> None:
    """Raises NotYet with the first wrong cell; one state counts as row 0."""
    require_result(got, call)
    got, want = np.asarray(got), np.asarray(want)
    if want.ndim == 1 == got.ndim:
        got, want = got[None], want[None]
    difference = explain_difference(got, want)
    require(difference is None, f"{call}: {difference}")


def require_numbers(got: Any, want: Any, call: str, index: str = "") -> None:
    """Raises NotYet with the first wrong number; index says what it counts."""
    require_result(got, call)
    got, want = np.asarray(got), np.asarray(want)
    require_shape(got, want.shape, call)
    wrong = np.argwhere(~np.isclose(got, want, atol=1e-5))
    for place in map(tuple, wrong[:1]):
        where = f", {index} {', '.join(map(str, place))}" if place else ""
        raise NotYet(f"{call}{where}: got {got[place]}, want {want[place]}.")


def require_same(got: Any, want: dict[str, np.ndarray], call: str) -> None:
    """Raises NotYet with the first difference; want names what got holds.

    Floats may differ by what the narrower of the two dtypes can hold.
    """
    require_tuple(got, ", ".join(want), call)
    arrays = dict(zip(want, map(np.asarray, got), strict=True))
    difference = compare_results(arrays, want)
    require(difference is None, f"{call}: {difference and difference.text}")


def require_jitted(function: Any) -> None:
    """Raises NotYet for a function that jax.jit did not return."""
    require(hasattr(function, "lower"), "the function is not jitted.")


def require_program(function: Callable, *args: Any) -> Any:
    """The program of a call. Raises NotYet if it cannot be known."""
    program = trace_call(function, *args)
    require(program is not None, "JAX compiles nothing of it.")
    return program


def require_one_program(
    function: Callable, calls: Calls, why: str = ""
) -> None:
    """Raises NotYet if another call than the first compiles something."""
    first, *others = calls
    jax.block_until_ready(function(*calls[first]))
    for call in others:
        with count_compilations() as compiled:
            jax.block_until_ready(function(*calls[call]))
        require(not compiled, f"{call} is compiled again{why}.")


def require_no_growth(
    programs: dict[str, Any], why: str = "that is a loop", slack: float = 1
) -> str:
    """How large the two programs are, in words, by what they are called.

    Raises NotYet if the second is larger, but for so much.
    """
    few, many = map(count_equations, programs.values())
    of_few, of_many = programs
    found = f"{of_few} take {few} operations, {of_many} take {many}"
    require(many <= slack * few, f"{found}: {why}.")
    return found


def require_shares(array: Any, num_devices: int) -> None:
    """Raises NotYet if it is not spread evenly over so many devices."""
    largest = max(shard.data.nbytes for shard in array.addressable_shards)
    used = len(array.sharding.device_set)
    require(
        used == num_devices and largest * num_devices <= array.nbytes,
        f"The result of {array.nbytes} bytes lies on {used} devices, up to"
        f" {largest} bytes on one; want it on {num_devices}, and on each its"
        " share and no more.",
    )
