"""Measure a program: time its calls, and compare their results."""

import dataclasses
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from workshop.compare import explain_difference
from workshop.harness import time_call
from workshop.terminal import fail, moves_cursor

RULE = 110
MIN_CALLS, MAX_CALLS = 3, 100
ENOUGH, TOO_LONG = 0.3, 3.0  # seconds that a row's later calls take together


class Program(NamedTuple):
    """A program that computes states from a rule (or rules) and a shape."""

    label: str
    simulate: Callable[..., Any]
    to_states: Callable[[Any], np.ndarray] = np.asarray  # not timed


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a table: samples in seconds, or a remark."""

    label: str
    samples: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    num_cells: int = 0  # computed by one call
    num_equations: int = 0  # of the program
    remark: str = ""
    extrapolated: bool = False

    def seconds(self, name: str = "later") -> float:
        """Return the median of the samples with this name."""
        return float(np.median(self.samples[name]))

    def is_repeated(self) -> bool:
        """Return whether more than one later call was measured."""
        return len(self.samples.get("later", [])) > 1

    def spread(self) -> float:
        """Return the interquartile range of later calls over their median."""
        low, high = np.percentile(self.samples["later"], [25, 75])
        return float(high - low) / self.seconds()


def check(label: str, states: Any, expected: np.ndarray) -> None:
    """End the program and name the first wrong cell, if there is one."""
    if difference := explain_difference(states, expected):
        fail(f"{label} is wrong: {difference.splitlines()[0]}", status=1)


def measure(
    program: Program, inputs: tuple, expected: np.ndarray, wait: bool = True
) -> Row:
    """Time a first call and later calls; check the first and last result."""
    label, simulate, to_states = program
    if moves_cursor(sys.stdout):
        print(f"{label} ...", end="\r", flush=True)
    call = partial(time_call, simulate, *inputs, wait=wait)
    jax.clear_caches()
    result, first = call()
    check(label, to_states(result), expected)
    later: list[float] = []
    while len(later) < MIN_CALLS or sum(later) < ENOUGH:
        if len(later) == MAX_CALLS or sum(later) > TOO_LONG:
            break
        del result  # so that every call finds the same memory free
        result, seconds = call()
        later.append(seconds)
        jax.block_until_ready(result)
    check(label, to_states(result), expected)
    num_cells = np.size(inputs[0]) * inputs[1] * inputs[2]
    return Row(label, {"first": [first], "later": later}, num_cells)


def measure_each(
    programs: Iterable[Program], inputs: tuple, expected: np.ndarray
) -> Iterator[Row]:
    """Yield a row for each program.

    With a GPU or TPU, a jitted program gets a second row, on the CPU.
    """
    for program in programs:
        yield measure(program, inputs, expected)
        is_jitted = hasattr(program.simulate, "lower")  # runs on any device
        if is_jitted and jax.devices()[0].platform != "cpu":
            program = program._replace(label=f"{program.label}, CPU")
            with jax.default_device(jax.devices("cpu")[0]):
                row = measure(program, inputs, expected)
            yield row


def extrapolate(
    program: Program, inputs: tuple, expected: np.ndarray, probes: tuple
) -> Row:
    """Measure calls with few rows, and estimate a call with all rows.

    The estimate assumes that all rows of a later call take equally long, and
    that the time to compile grows linearly with the number of rows.
    """
    rule, width, num_steps = inputs
    few, more = probes
    rows = [measure(program, (rule, width, n), expected[:n]) for n in probes]
    short, long = (row.seconds("first") - row.seconds() for row in rows)
    a_row = max(0, long - short) / (more - few)
    later = rows[1].seconds() / more * num_steps
    first = long + a_row * (num_steps - more) + later
    samples = {"first": [first], "later": [later]}
    return Row(program.label, samples, width * num_steps, extrapolated=True)
