"""What JAX makes of a function: the traced program, and what it compiles."""

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun, jaxprs_in_params

LOOPS = {"scan": "jaxpr", "while": "body_jaxpr"}  # and where the body is
COMPILED = "/jax/core/compile/backend_compile_duration"
TRACED = "/jax/core/compile/jaxpr_trace_duration"
COMPILING = "XLA is compiling"
LONG = 100  # equations; fewer are no loop that was unrolled


def trace_call(function: Callable, *args: Any, **kwargs: Any) -> Any | None:
    """The program that this call makes, None if it cannot be known.

    A function that looks at values that JAX computes, to print a loss say,
    runs and cannot be traced: then it is the largest program that XLA
    compiles while it runs.
    """
    with contextlib.suppress(Exception):
        return jax.make_jaxpr(lambda: function(*args, **kwargs))().jaxpr
    jax.clear_caches()
    programs: list[ClosedJaxpr] = []
    with count_compilations(programs):
        jax.block_until_ready(function(*args, **kwargs))
    if not programs:
        return None
    largest = max(programs, key=count_equations)
    compiled = jax.jit(jaxpr_as_fun(largest))
    return jax.make_jaxpr(compiled)(*largest.in_avals).jaxpr


def equations(jaxpr: Any) -> Iterator[Any]:
    """Its equations, those of inner programs included, a loop's body once."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jaxprs_in_params(equation.params):
            yield from equations(inner)


def primitives(jaxpr: Any) -> set[str]:
    """The names of all that it does."""
    return {equation.primitive.name for equation in equations(jaxpr)}


def loops(jaxpr: Any) -> Iterator[Any]:
    """Its loops, those within others included."""
    for equation in equations(jaxpr):
        if equation.primitive.name in LOOPS:
            yield equation


def largest_value(loop: Any) -> int:
    """The most elements of a value that the body of a loop computes."""
    sizes = (
        variable.aval.size
        for body in jaxprs_in_params(loop.params)
        for equation in equations(body)
        for variable in equation.outvars
    )
    return max(sizes, default=0)


def takes_a_gradient(jaxpr: Any) -> bool:
    """Whether some of it was made by one of JAX's derivatives.

    They leave their mark, jvp(...), in the names of what they make.
    """
    return "jvp(" in jaxpr.pretty_print(name_stack=True)


def count_equations(jaxpr: Any) -> int:
    """The number of its equations; a loop's body counts once, or unrolled."""
    return len(jaxpr.eqns) + sum(
        equation.params.get("unroll", 1) * count_equations(inner)
        for equation in jaxpr.eqns
        for inner in jaxprs_in_params(equation.params)
    )


def compiled_part(jaxpr: Any) -> float:
    """How much of it is inside the largest of its jitted functions."""
    counts = (
        count_equations(equation.params["jaxpr"])
        for equation in jaxpr.eqns
        if equation.primitive.name in ("jit", "pjit")
    )
    return max(counts, default=0) / max(count_equations(jaxpr), 1)


def loop_depth(jaxpr: Any) -> int:
    """How many loops are inside one another."""
    return max(
        (
            loop_depth(inner) + (equation.primitive.name in LOOPS)
            for equation in jaxpr.eqns
            for inner in jaxprs_in_params(equation.params)
        ),
        default=0,
    )


def loop_results(loop: Any) -> Iterator[tuple[Any, bool]]:
    """The shape and dtype of each result, whether it is stacked by turns.

    What scan stacks has one axis more outside than inside; the carry has not.
    """
    inside = loop.params[LOOPS[loop.primitive.name]].out_avals
    for variable, before in zip(loop.outvars, inside, strict=True):
        yield variable.aval, variable.aval.shape != before.shape


def find_program(frame: FrameType | None) -> ClosedJaxpr | None:
    """The program that the frame works on, or one of those that called it."""
    while frame:
        for value in frame.f_locals.values():
            if isinstance(value, ClosedJaxpr):
                return value
        frame = frame.f_back
    return None


def describe_compilation() -> str:
    """What XLA is compiling in the main thread, nothing if it is not."""
    frame = sys._current_frames()[threading.main_thread().ident]
    while frame and "backend_compile" not in frame.f_code.co_name:
        frame = frame.f_back
    program = find_program(frame)
    if program is None or count_equations(program) < LONG:
        return ""
    return (
        f"{COMPILING} a program of {count_equations(program):,}"
        " equations. So long a program comes from a Python loop that jit"
        " unrolls, or from `unroll=`: make the loop a part of the program."
    )


@contextlib.contextmanager
def count_compilations(
    programs: list[ClosedJaxpr] | None = None, what: str = COMPILED
) -> Iterator[list[float]]:
    """List the seconds of everything that JAX compiles inside the block.

    Or of what else JAX tells. Into the other list, if there is one, go the
    programs.
    """
    seconds: list[float] = []

    def listen(event: str, duration: float, **_: Any) -> None:
        if event != what:
            return
        seconds.append(duration)
        program = find_program(sys._getframe())
        if programs is not None and program is not None:
            programs.append(program)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seconds
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
