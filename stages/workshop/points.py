"""Each stage's own point: is it in the attendee's file?

A check gets the attendee's module, returns in a few words what it found, or
raises NotYet. It asks JAX what the file does; how it is written is free.
"""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np

from workshop.compare import explain_difference
from workshop.mistakes import load_reference

SHAPE = {"width": 16, "num_steps": 16}


class NotYet(Exception):
    """What is missing, in words for the attendee."""


def no_numpy_left(module: ModuleType) -> str:
    """NumPy is not imported, and the states are a JAX array."""
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        if any(name.split(".")[0] == "numpy" for name in names):
            raise NotYet(
                f"Line {node.lineno} imports NumPy: {ast.unparse(node)}\n"
                "The states are right, but all of it can be jax.numpy."
            )
    states = module.simulate(30, **SHAPE)
    if not isinstance(states, jax.Array):
        raise NotYet(f"simulate returns a {type(states)}, not a jax.Array.")
    return "the states are a jax.Array"


def one_trace_for_two_rules(module: ModuleType) -> str:
    """A second rule of the same width and num_steps is not traced again."""
    require_jit(module.simulate, "simulate")
    shape = {"width": 17, "num_steps": 3}  # not yet seen
    events = count_traces()
    jax.block_until_ready(module.simulate(30, **shape))
    first = len(events)
    jax.block_until_ready(module.simulate(110, **shape))
    if len(events) > first:
        raise NotYet(
            "simulate(30, ...) was traced, and simulate(110, ...) of the same"
            " shape was traced again. The rule is data, not a shape: leave it"
            " out of the static arguments."
        )
    return "the second rule used the compiled program of the first"


def no_growth_with_num_steps(module: ModuleType) -> str:
    """The program of more rows has no more equations."""
    require_jit(module.simulate, "simulate")
    few, many = (
        count_equations(
            module.simulate.trace(30, width=16, num_steps=num_steps).jaxpr
        )
        for num_steps in (8, 16)
    )
    if many > few:
        raise NotYet(
            f"The program has {few} equations for 8 rows, {many} for 16: the"
            " loop still runs in Python while jit traces. Each row adds a copy"
            " of `step`."
        )
    return f"{few} equations for 8 rows, {many} for 16"


def one_call_for_all_rules(module: ModuleType) -> str:
    """All 256 rules, right, in a program that does not grow with them."""
    rules = np.arange(256, dtype=np.uint8)
    try:
        few, many = (
            count_equations(
                jax.make_jaxpr(
                    lambda some: module.simulate_rules(some, **SHAPE)
                )(rules[:num_rules])
            )
            for num_rules in (2, 8)
        )
    except jax.errors.ConcretizationTypeError as error:
        raise NotYet(
            "simulate_rules takes the rules out one by one, in Python. Map"
            " over all of them in one call."
        ) from error
    if many > few:
        raise NotYet(
            f"The program has {few} equations for 2 rules, {many} for 8: a"
            " Python loop copies `simulate` for each. Map over all rules in"
            " one call."
        )
    states = np.asarray(module.simulate_rules(rules, **SHAPE))
    shape = (len(rules), SHAPE["num_steps"], SHAPE["width"])
    if states.shape != shape:
        raise NotYet(
            f"simulate_rules of 256 rules: shape is {states.shape},"
            f" want {shape}"
        )
    reference = load_reference()
    for rule in rules:
        expected = reference.simulate(rule, **SHAPE)
        difference = explain_difference(states[rule], expected)
        if difference:
            raise NotYet(f"simulate_rules, rule {rule}:\n{difference}")
    return f"{few} equations for 2 rules, {many} for 8"


def require_jit(function: Callable, name: str) -> None:
    """NotYet if it is not what jax.jit returns."""
    if not hasattr(function, "trace"):
        raise NotYet(f"{name} is not compiled: jax.jit is missing on it.")


def count_traces() -> list[str]:
    """A list that from now on grows by one entry at each trace."""
    events = []

    def listen(event: str, duration: float, **_: Any) -> None:
        if "trace" in event:
            events.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    return events


def count_equations(jaxpr: Any) -> int:
    """Equations of the program, those of its inner programs included."""
    return sum(1 for _ in equations(jaxpr))


def equations(jaxpr: Any) -> Iterator[Any]:
    """The equations of a jaxpr and of all jaxprs in their parameters."""
    for equation in jaxpr.eqns:
        yield equation
        for parameter in equation.params.values():
            inner = parameter if isinstance(parameter, tuple) else (parameter,)
            for value in inner:
                if hasattr(value, "eqns"):
                    yield from equations(value)


POINTS = {
    "no NumPy left": no_numpy_left,
    "one trace for two rules": one_trace_for_two_rules,
    "the program does not grow with num_steps": no_growth_with_num_steps,
    "one call for all rules, no Python loop": one_call_for_all_rules,
}
