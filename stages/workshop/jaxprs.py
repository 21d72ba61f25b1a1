"""What JAX makes of a function: the traced program, and what it compiles."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
from jax.extend.core import jaxprs_in_params

COMPILED = "/jax/core/compile/backend_compile_duration"


def equations(jaxpr: Any) -> Iterator[Any]:
    """Its equations, those of inner programs included, a loop's body once."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jaxprs_in_params(equation.params):
            yield from equations(inner)


def loops(jaxpr: Any) -> Iterator[Any]:
    """Its loops, those within others included."""
    for equation in equations(jaxpr):
        if equation.primitive.name in ("scan", "while"):
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
    """How many there are."""
    return sum(1 for _ in equations(jaxpr))


@contextlib.contextmanager
def count_compilations() -> Iterator[list[float]]:
    """List the seconds of everything that JAX compiles inside the block."""
    seconds: list[float] = []

    def listen(event: str, duration: float, **_: Any) -> None:
        if event == COMPILED:
            seconds.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seconds
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
