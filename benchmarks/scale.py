"""The section scale: the speed of the last row alone, by width."""

from collections.abc import Callable
from functools import partial
from inspect import signature
from typing import Any, NamedTuple

import jax
import numpy as np

import plain_c
from measuring import RULE, Row, Stage, check_equal, median
from workshop.harness import time_call

CALLS = 5
FEW_CELLS = 2**22  # of the shorter calls, which NumPy computes as well


class Program(NamedTuple):
    """A way to the last row."""

    run: Callable[[int, int, int], Any]
    """Of rule, width and num_steps."""
    to_cells: Callable[[Any], np.ndarray]
    """From what that returns to the row; not timed."""
    num_cells: int = 2**30
    """How many the longer calls compute: some hundredths of a second."""


def last_rows(stages: list[Stage], scan: Stage) -> dict[str, Program]:
    """The loop of a stage, the stages that keep the last row alone, and C."""
    programs = {scan.label: Program(keep_last(scan), np.asarray, 2**25)}
    for stage in stages:
        if run := getattr(stage.module, "simulate_last", None):
            label = stage.label
            if "num_devices" in signature(run).parameters:
                label += f" x {jax.device_count()}"
            programs[label] = Program(run, partial(unpack_row, stage))
    try:
        plain_c.load()
    except ImportError:
        return programs
    run = partial(plain_c.simulate, only_last=True)
    return programs | {"C, 1 core": Program(run, plain_c.unpack)}


def keep_last(stage: Stage) -> Callable[[int, int, int], jax.Array]:
    """The stage's step in a loop that keeps one state."""
    module = stage.module

    @jax.jit(static_argnames=("width", "num_steps"))
    def simulate_last(rule: int, width: int, num_steps: int) -> jax.Array:
        rule_table = module.make_rule_table(rule)
        return jax.lax.fori_loop(
            *(1, num_steps),
            lambda _, state: module.step(state, rule_table),
            module.make_initial_state(width),
        )

    return simulate_last


def unpack_row(stage: Stage, words: jax.Array) -> np.ndarray:
    """The cells of words, of one device or of several, one a row."""
    shares = words.reshape(-1, words.shape[-1])
    return np.asarray(jax.vmap(stage.module.unpack)(shares)).ravel()


def time_step(
    reference: Stage, programs: dict[str, Program], exponent: int
) -> Row:
    """The row of a width: the seconds of a step of each program.

    From the difference of longer and shorter calls. The shorter ones are
    compared with the reference, the longer ones with each other.
    """
    width, samples = 2**exponent, {}
    few = max(2, FEW_CELLS // width)
    expected = {few: reference.module.simulate(RULE, width, few)[-1]}
    for label, program in programs.items():
        many, seconds = max(8 * few, program.num_cells // width), []
        for num_steps in (few, many):
            run = partial(program.run, RULE, width, num_steps)
            cells = program.to_cells(run())
            check_equal(
                f"{label}, the last of {num_steps} rows",
                cells[None],
                expected.setdefault(num_steps, cells)[None],
            )
            seconds.append(sorted(time_call(run)[1] for _ in range(CALLS)))
        samples[label] = [
            (more - fewer) / (many - few)
            for fewer, more in zip(*seconds, strict=True)
        ]
    return Row(f"2^{exponent}", samples, width)


def overtakes(rows: list[Row], slow: str, fast: str) -> str | None:
    """The width from which on fast is faster, None if it never is."""
    start = None
    for row in rows:
        faster = median(row.samples[fast]) < median(row.samples[slow])
        start = (start or row.label) if faster else None
    return start
