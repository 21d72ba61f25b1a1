"""Record the program of a call, look at it, and watch what XLA compiles."""

import contextlib
import math
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, jaxprs_in_params

LOOPS = {"scan": "jaxpr", "while": "body_jaxpr"}  # and where the body is
COMPILED = "/jax/core/compile/backend_compile_duration"
COMPILING = "XLA is compiling"
LONG = 1000  # equations: no program is so long without an unrolled loop


def trace(function: Callable, *args: Any, **kwargs: Any) -> Any | None:
    """Return the program of this call, None if it cannot be traced.

    A function that looks at values, to print a loss for example, cannot.
    """
    with contextlib.suppress(Exception):
        return jax.make_jaxpr(lambda: function(*args, **kwargs))().jaxpr
    return None


def trace_call(function: Callable, *args: Any, **kwargs: Any) -> Any | None:
    """Return the program of this call, None if JAX compiles nothing.

    If the function cannot be traced, return the largest program that XLA
    compiles while it runs.
    """
    if traced := trace(function, *args, **kwargs):
        return traced
    jax.clear_caches()
    program = largest_compiled(function, *args, **kwargs)
    return program and program.jaxpr


def largest_compiled(
    function: Callable, *args: Any, **kwargs: Any
) -> ClosedJaxpr | None:
    """Return the largest program that this call compiles, None for none."""
    programs: list[ClosedJaxpr] = []
    with count_compilations(programs):
        jax.block_until_ready(function(*args, **kwargs))
    return max(programs, key=count_equations, default=None)


def equations(jaxpr: Any) -> Iterator[Any]:
    """Yield all equations; those in the body of a loop come once."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jaxprs_in_params(equation.params):
            yield from equations(inner)


def primitives(jaxpr: Any) -> set[str]:
    """Return the names of all operations."""
    return {equation.primitive.name for equation in equations(jaxpr)}


def loops(jaxpr: Any) -> Iterator[Any]:
    """Yield the equations that are loops, also those inside other loops."""
    for equation in equations(jaxpr):
        if equation.primitive.name in LOOPS:
            yield equation


def largest_value(loop: Any) -> int:
    """Return the size of the largest value that a loop's body computes."""
    sizes = (
        variable.aval.size
        for body in jaxprs_in_params(loop.params)
        for equation in equations(body)
        for variable in equation.outvars
    )
    return max(sizes, default=0)


def largest_result(jaxpr: Any) -> int:
    """Return the size of the largest value that a program returns."""
    return max((result.aval.size for result in jaxpr.outvars), default=0)


def takes_a_gradient(jaxpr: Any) -> bool:
    """Return whether JAX differentiated a part of the program.

    The names of such operations contain jvp(...).
    """
    return "jvp(" in jaxpr.pretty_print(name_stack=True)


def count_equations(jaxpr: Any) -> int:
    """Return the number of equations.

    Those in the body of a loop count as often as `unroll` says.
    """
    return len(jaxpr.eqns) + sum(
        equation.params.get("unroll", 1) * count_equations(inner)
        for equation in jaxpr.eqns
        for inner in jaxprs_in_params(equation.params)
    )


def count_runs(jaxpr: Any, name: str) -> float:
    """Return how often an operation runs in one call of the program.

    A while loop counts as infinitely many iterations: nothing says when it
    ends. Of several branches, the one with the fewest runs counts.
    """
    total: float = 0
    for equation in jaxpr.eqns:
        kind = equation.primitive.name
        inner = [
            count_runs(program, name)
            for program in jaxprs_in_params(equation.params)
        ]
        if kind == name:
            total += 1
        elif kind == "cond":
            total += min(inner)
        elif kind == "while":
            total += math.inf if any(inner) else 0
        elif kind == "scan":
            total += equation.params["length"] * sum(inner)
        else:
            total += sum(inner)
    return total


def carried(loop: Any) -> list[Any]:
    """Return the shapes and dtypes of what a loop carries.

    A stacked result has one more axis outside the loop than inside.
    """
    inside = loop.params[LOOPS[loop.primitive.name]].out_avals
    outside = [variable.aval for variable in loop.outvars]
    pairs = zip(inside, outside, strict=True)
    return [after for before, after in pairs if before.shape == after.shape]


def find_program(frame: FrameType | None) -> ClosedJaxpr | None:
    """Return the program that a frame, or one of its callers, works on."""
    while frame:
        for value in frame.f_locals.values():
            if isinstance(value, ClosedJaxpr):
                return value
        frame = frame.f_back
    return None


def describe_compilation() -> str:
    """Return a note if the main thread waits for XLA on a long program."""
    frame = sys._current_frames()[threading.main_thread().ident]
    while frame and "backend_compile" not in frame.f_code.co_name:
        frame = frame.f_back
    program = find_program(frame)
    if program is None or count_equations(program) < LONG:
        return ""
    return (
        f"{COMPILING} a program of {count_equations(program):,}"
        " equations. A program of this length comes from a Python loop that"
        " jit unrolls, or from `unroll=`: move the loop into the program."
    )


@contextlib.contextmanager
def count_compilations(
    programs: list[ClosedJaxpr] | None = None,
) -> Iterator[list[float]]:
    """Collect the seconds of each compilation inside the block.

    programs: a list to which the compiled programs are added.
    """
    seconds: list[float] = []

    def listen(event: str, duration: float, **_: Any) -> None:
        if event == COMPILED:
            seconds.append(duration)
            program = find_program(sys._getframe())
            if programs is not None and program is not None:
                programs.append(program)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seconds
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
