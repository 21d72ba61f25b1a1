"""Measure a row: compare with the reference first, then report the time."""

import dataclasses
import functools
import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np

from workshop.compare import explain_difference
from workshop.harness import time_call
from workshop.jaxprs import count_equations
from workshop.stages import failure, find_stages, load_stage

RULE = 110
MIN_CALLS, MAX_CALLS = 3, 100


class MismatchError(Exception):
    """A row's result is not the reference's; the message shows where."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a section."""

    label: str
    samples: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    """Seconds, all that were taken: of the "first" call and of "later" ones,
    or of the phases of a compilation."""
    num_cells: int = 0
    """Cells that one call computes."""
    counts: dict[str, int] = dataclasses.field(default_factory=dict)
    """What was counted, not timed."""
    remark: str = ""
    """Why there are no samples."""

    @property
    def first(self) -> float | None:
        """Seconds of the first call, None if it was not timed."""
        return self.samples.get("first", [None])[0]

    @property
    def repeated(self) -> list[list[float]]:
        """The samples without the first call."""
        return [self.samples[k] for k in self.samples if k != "first"]

    @property
    def typical(self) -> float | None:
        """The median later call, or all phases of a compilation together."""
        return sum(map(median, self.repeated)) if self.repeated else None

    @property
    def quartiles(self) -> tuple[float, float] | None:
        """The middle half of the later calls, None for a single sample."""
        if not self.repeated or len(self.repeated[0]) < MIN_CALLS:
            return None
        lower, upper = np.quantile(self.repeated[0], (0.25, 0.75))
        return float(lower), float(upper)


@dataclasses.dataclass(frozen=True)
class Stage:
    """A stage, imported from its file."""

    label: str
    module: ModuleType
    is_jitted: bool
    """Whether simulate is compiled as a whole."""

    @property
    def fails_with(self) -> tuple[type[Exception], str] | None:
        """The type and a keyword of what the stage raises on purpose."""
        return failure(self.module.__doc__)

    def trace(self, width: int, num_steps: int) -> Any:
        """The jaxpr of simulate, as JAX sees it; without equations if NumPy.

        For an eager stage: all operations that it hands to JAX in turn.
        """
        if self.is_jitted:
            traced = self.module.simulate.trace(
                RULE, width=width, num_steps=num_steps
            )
            return traced.jaxpr.jaxpr
        simulate = self.module.simulate
        return jax.make_jaxpr(
            lambda: simulate(RULE, width=width, num_steps=num_steps)
        )().jaxpr

    @functools.cached_property
    def unrolls(self) -> bool:
        """Whether Python runs the loop, so that JAX sees every iteration."""
        few, many = (count_equations(self.trace(32, n)) for n in (8, 16))
        return many > 1.5 * few


def load_stages(folder: Path) -> list[Stage]:
    """The stages of a folder, in order."""
    stages = []
    for number, path in find_stages(folder).items():
        module = load_stage(path)
        name = path.stem.partition("_")[2]
        is_jitted = hasattr(module.simulate, "lower")
        stages.append(Stage(f"{number} {name}", module, is_jitted))
    return stages


def measure(
    label: str,
    call: Callable[[], Any],
    check: Callable[[Any], None],
    *,
    num_cells: int,
    budget: float,
    wait: bool = True,
) -> Row:
    """Time the first call, and later ones until budget seconds are spent.

    JAX's caches are cleared before the first call. check gets the result of
    the first and of the last call, and raises MismatchError if it is wrong.
    """
    jax.clear_caches()
    result, first = time_call(call, wait=wait)
    check(result)
    later = []
    while len(later) < MIN_CALLS or (
        len(later) < MAX_CALLS and sum(later) < budget
    ):
        del result  # every call finds the same memory free
        result, seconds = time_call(call, wait=wait)
        jax.block_until_ready(result)  # no call computes into the next one
        later.append(seconds)
    check(result)
    return Row(label, {"first": [first], "later": later}, num_cells)


def check_equal(label: str, states: Any, expected: np.ndarray) -> None:
    """MismatchError, with the first wrong cell, unless they are equal."""
    difference = explain_difference(states, expected)
    if difference is not None:
        raise MismatchError(f"{label} is wrong: {difference}")


def median(samples: list[float]) -> float:
    """The middle of the samples: a few slow ones do not move it."""
    return float(np.median(samples))


def break_even(row: Row, baseline: Row) -> float:
    """From which call on all calls together take no longer than baseline's.

    The first call is included; math.inf if it never pays off.
    """
    saved = baseline.typical - row.typical
    if saved <= 0:
        return math.inf
    return max(1, math.ceil((row.first - row.typical) / saved))
