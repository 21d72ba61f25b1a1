"""Measure a row: compare its result, believe nothing, then tell its time."""

import dataclasses
import functools
import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np

from machine import num_cores
from workshop.catalog import find_stages, load_stage
from workshop.compare import explain_difference
from workshop.harness import time_call
from workshop.jaxprs import count_equations
from workshop.terminal import fail

RULE = 110
MIN_CALLS, MAX_CALLS = 3, 100


class RefusedError(Exception):
    """A row's result is wrong, or its time cannot be true."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a section."""

    label: str
    samples: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    """Seconds, all that were taken: of the "first" call and of "later" ones,
    of the phases of a compilation, or of a step of several programs."""
    num_cells: int = 0
    """Cells that one call, or one step, computes."""
    counts: dict[str, int] = dataclasses.field(default_factory=dict)
    """What was counted, not timed."""
    remark: str = ""
    """Why there are no samples."""

    @property
    def first(self) -> float | None:
        """Seconds of the first call, None if it was not timed."""
        return self.samples.get("first", [None])[0]

    @property
    def typical(self) -> float | None:
        """The median later call, or all phases of a compilation together."""
        phases = [self.samples[k] for k in self.samples if k != "first"]
        return sum(map(median, phases)) if phases else None


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
        return getattr(self.module, "FAILS_WITH", None)

    def trace(self, width: int, num_steps: int) -> Any:
        """The jaxpr of simulate; without equations if it is NumPy's.

        For an eager stage: all operations that it hands to JAX in turn.
        Raises RefusedError if it is jitted and does not depend on the rule.
        """
        simulate = functools.partial(
            self.module.simulate, width=width, num_steps=num_steps
        )
        if not self.is_jitted:
            return jax.make_jaxpr(lambda: simulate(RULE))().jaxpr
        traced = self.module.simulate.trace(RULE, **simulate.keywords)
        jaxpr = traced.jaxpr.jaxpr
        taken = [v for equation in jaxpr.eqns for v in equation.invars]
        if not any(v in taken for v in jaxpr.invars):
            raise RefusedError(
                f"{self.label} is refused: its program does not take the"
                " rule, so the answer was computed when it was traced"
            )
        return jaxpr

    @functools.cached_property
    def unrolls(self) -> bool:
        """Whether Python runs the loop, so that JAX sees every iteration."""
        few, many = (count_equations(self.trace(32, n)) for n in (8, 16))
        return many > 1.5 * few


def load_stages(folder: Path) -> list[Stage]:
    """The stages of a folder, in order.

    A file that is none ends the program with one line that names it.
    """
    stages = []
    for number, path in find_stages(folder).items():
        try:
            module = load_stage(path)
            is_jitted = hasattr(module.simulate, "lower")
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            fail(f"{path.name} cannot be imported: {reason}", status=1)
        name = path.stem.partition("_")[2]
        stages.append(Stage(f"{number} {name}", module, is_jitted))
    return stages


def measure(
    label: str,
    call: Callable[[], Any],
    check: Callable[[Any], None],
    num_cells: int,
    budget: float,
    wait: bool = True,
) -> Row:
    """Time the first call, and later ones until budget seconds are spent.

    JAX's caches are cleared before the first call. check gets the result of
    the first and of the last call; it raises RefusedError if that is wrong,
    and so does this if the second call returns the first one's result again,
    or if calls are faster than memory.
    """
    jax.clear_caches()
    result, first = time_call(call, wait=wait)
    check(result)
    before, later = result, []
    while len(later) < MIN_CALLS or (
        len(later) < MAX_CALLS and sum(later) < budget
    ):
        del result  # every call finds the same memory free
        result, seconds = time_call(call, wait=wait)
        jax.block_until_ready(result)  # no call computes into the next one
        later.append(seconds)
        if before is not None:
            refuse_the_same(label, before, result)
        before = None
    check(result)
    if wait:
        refuse_the_impossible(label, result, median(later))
    return Row(label, {"first": [first], "later": later}, num_cells)


def refuse_the_same(label: str, before: Any, after: Any) -> None:
    """RefusedError if what a call returned is what one before returned."""
    pairs = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    for old, new in pairs:
        if old is new or np.may_share_memory(np.asarray(old), np.asarray(new)):
            raise RefusedError(
                f"{label} is refused: a later call returns the first one's"
                " result again, so a cache would be timed"
            )


def refuse_the_impossible(label: str, result: Any, seconds: float) -> None:
    """RefusedError if all cores together cannot write the result so fast."""
    num_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(result))
    write = functools.partial(np.full, num_bytes, 1, np.uint8)
    floor = min(time_call(write)[1] for _ in range(MIN_CALLS))
    if seconds < floor / num_cores() / 2:  # half, for the noise
        raise RefusedError(
            f"{label} is refused: a call takes {seconds:.1e} seconds, only"
            f" writing its {num_bytes:,} bytes takes {floor:.1e} on one core"
        )


def check_equal(label: str, states: Any, expected: np.ndarray) -> None:
    """RefusedError, with the first wrong cell, unless they are equal."""
    difference = explain_difference(states, expected)
    if difference is not None:
        raise RefusedError(f"{label} is wrong: {difference}")


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
