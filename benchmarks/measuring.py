"""Measure a program: time its calls, and compare their results."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from workshop.compare import explain_difference
from workshop.harness import time_call
from workshop.terminal import fail

RULE = 110
MIN_CALLS, MAX_CALLS = 3, 100
ENOUGH = 0.3  # seconds in all, after which no more later calls are made
PROBES = (20, 80)  # numbers of rows from which a longer loop is extrapolated


class Program(NamedTuple):
    """A program that computes states from a rule (or rules) and a shape."""

    label: str
    simulate: Callable[..., Any]
    to_states: Callable[[Any], np.ndarray] = np.asarray  # not timed


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a table, with samples in seconds."""

    label: str
    samples: dict[str, list[float]]
    num_equations: int = 0  # of the program; only in section compile
    num_cells: int = 0  # computed by one call; only in section scale
    extrapolated: bool = False

    def seconds(self, name: str = "later") -> float:
        """Return the median of the samples with this name."""
        return float(np.median(self.samples[name]))

    def spread(self) -> float:
        """Return the interquartile range of later calls over their median."""
        low, high = np.percentile(self.samples["later"], [25, 75])
        return float(high - low) / self.seconds()


def check(label: str, states: Any, expected: np.ndarray) -> None:
    """If the states are wrong, name the first wrong cell and exit."""
    if difference := explain_difference(states, expected):
        fail(f"{label} is wrong: {difference.splitlines()[0]}", status=1)


def measure(
    program: Program, inputs: tuple, expected: np.ndarray, wait: bool = True
) -> Row:
    """Time a first call and later calls; check the first and last result."""
    label, simulate, to_states = program
    jax.clear_caches()
    result, first = time_call(simulate, *inputs, wait=wait)
    check(label, to_states(result), expected)
    later: list[float] = []
    while len(later) < MIN_CALLS or (
        len(later) < MAX_CALLS and sum(later) < ENOUGH
    ):
        del result  # so that every call finds the same memory free
        result, seconds = time_call(simulate, *inputs, wait=wait)
        later.append(seconds)
        jax.block_until_ready(result)
    check(label, to_states(result), expected)
    return Row(label, {"first": [first], "later": later})


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
            with jax.default_device("cpu"):
                row = measure(program, inputs, expected)
            yield row


def extrapolate(program: Program, inputs: tuple, expected: np.ndarray) -> Row:
    """Measure calls with few rows, and estimate a call with all rows.

    The estimate assumes that the time of a first call grows linearly with the
    number of rows, and that all rows of a later call take equally long.
    """
    rule, width, num_steps = inputs
    few, more = PROBES
    rows = [measure(program, (rule, width, n), expected[:n]) for n in PROBES]
    short, long = (row.seconds("first") for row in rows)
    a_row = max(0, long - short) / (more - few)
    first = long + a_row * (num_steps - more)
    later = rows[1].seconds() / more * num_steps
    samples = {"first": [first], "later": [later]}
    return Row(program.label, samples, extrapolated=True)
