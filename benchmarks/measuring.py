"""Measure a row: compare its result, believe nothing, then tell its time."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np

from machine import num_cores
from workshop.compare import explain_difference
from workshop.harness import time_call
from workshop.jaxprs import count_equations
from workshop.stages import failure, find_stages, load_stage
from workshop.terminal import fail

RULE = 110
MIN_CALLS, MAX_CALLS, BUDGET = 3, 100, 0.3


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
    num_equations: int = 0
    remark: str = ""
    """Why there are no samples."""

    @property
    def typical(self) -> float:
        """The median later call, or all phases of a compilation together."""
        return sum(median(s) for k, s in self.samples.items() if k != "first")


@dataclasses.dataclass(frozen=True)
class Stage:
    """A stage, imported from its file."""

    label: str
    module: ModuleType

    @property
    def is_jitted(self) -> bool:
        """Whether simulate is compiled as a whole."""
        return hasattr(self.module.simulate, "lower")

    @property
    def fails_with(self) -> tuple[type[Exception], str] | None:
        """The type and a keyword of what the stage raises on purpose."""
        return failure(self.module.__doc__)

    def trace(self, width: int, num_steps: int) -> Any:
        """The jaxpr of simulate; of an eager one, all that it asks JAX to do.

        Raises RefusedError if it is compiled and does not take the rule.
        """
        simulate, shape = self.module.simulate, (width, num_steps)
        if not self.is_jitted:
            return jax.make_jaxpr(lambda: simulate(RULE, *shape))().jaxpr
        jaxpr = simulate.trace(RULE, *shape).jaxpr.jaxpr
        used = [v for equation in jaxpr.eqns for v in equation.invars]
        if not any(v in used for v in jaxpr.invars):
            raise RefusedError(
                f"{self.label} is refused: its program does not depend on the"
                " rule, so the answer was computed when it was traced"
            )
        return jaxpr

    @functools.cached_property
    def unrolls(self) -> bool:
        """Whether Python runs the loop, so that JAX sees every iteration."""
        few, many = (count_equations(self.trace(32, n)) for n in (8, 16))
        return many > 1.5 * few


def load_stages(folder: Path) -> list[Stage]:
    """The stages of a folder; ends with one line that names a broken one."""
    stages = []
    for number, path in find_stages(folder).items():
        stage = f"{number} {path.stem.partition('_')[2]}"
        try:
            stages.append(Stage(stage, load_stage(path)))
            stages[-1].module.simulate  # noqa: B018
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            fail(f"{path.name} cannot be imported: {reason}", status=1)
    return stages


def measure(
    label: str,
    call: Callable[[], Any],
    expected: list[np.ndarray],
    num_cells: int,
    to_states: Callable[[Any], np.ndarray] = np.asarray,
    wait: bool = True,
) -> Row:
    """Time the first call, and later ones until BUDGET seconds are spent.

    Raises RefusedError if a result is not what is expected, the first one if
    nothing is yet, or if the time cannot be true.
    """
    jax.clear_caches()
    result, first = time_call(call, wait=wait)
    expected += [] if expected else [to_states(result)]
    check_equal(label, to_states(result), expected[0])
    before, later = result, []
    while len(later) < MIN_CALLS or (
        len(later) < MAX_CALLS and sum(later) < BUDGET
    ):
        del result  # every call finds the same memory free
        result, seconds = time_call(call, wait=wait)
        later.append(seconds)
        refuse_the_same(label, before, jax.block_until_ready(result))
        before = None
    check_equal(label, to_states(result), expected[0])
    if wait:
        refuse_the_impossible(label, result, median(later))
    return Row(label, {"first": [first], "later": later}, num_cells)


def refuse_the_same(label: str, before: Any, after: Any) -> None:
    """RefusedError if two calls returned the same memory."""
    for old, new in zip(*map(jax.tree.leaves, (before, after)), strict=False):
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
