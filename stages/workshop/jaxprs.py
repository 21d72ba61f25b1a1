"""What a traced program consists of."""

from collections.abc import Iterator
from typing import Any

from jax.extend.core import jaxprs_in_params


def equations(jaxpr: Any) -> Iterator[Any]:
    """Its equations, those of inner programs included, a loop's body once."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jaxprs_in_params(equation.params):
            yield from equations(inner)


def count_equations(jaxpr: Any) -> int:
    """How many there are."""
    return sum(1 for _ in equations(jaxpr))
