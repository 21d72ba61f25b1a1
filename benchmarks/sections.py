"""The sections of the benchmark: their rows, and what those teach."""

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from inspect import signature
from typing import Any

import jax
import numpy as np

from measuring import (
    RULE,
    MismatchError,
    Row,
    Stage,
    check_equal,
    measure,
)
from workshop.harness import time_call
from workshop.jaxprs import count_equations
from workshop.shows import ALL_RULES


@dataclasses.dataclass(frozen=True)
class Settings:
    """How large, and for how long."""

    small: int = 80
    """Cells and rows of the small section."""
    large: int = 8000
    """Cells and rows of the large section."""
    each_rule: int = 80
    """Cells and rows of each of all rules."""
    compile_steps: tuple[int, ...] = (20, 40, 80, 160, 320)
    """Rows of the programs that are compiled."""
    waiting_width: int = 20000
    waiting_steps: int = 200
    """One call of that shape takes long enough to see the wait."""
    probe_steps: tuple[int, int] = (160, 640)
    """Rows of the two first calls that an extrapolation rests on."""
    patience: float = 10
    """Seconds: a longer first call is not run, but extrapolated."""
    budget: float = 0.5
    """Seconds for the later calls of a row."""


QUICK = Settings(
    small=40,
    large=1000,
    each_rule=20,
    compile_steps=(10, 40),
    waiting_width=10000,
    waiting_steps=100,
    probe_steps=(10, 40),
    patience=1,
    budget=0.1,
)


@dataclasses.dataclass(frozen=True)
class Section:
    """What to measure, and what to say below when all rows are there."""

    title: str
    tasks: list[tuple[str, Callable[[], Row]]]
    """A label, and what measures its row."""
    notes: Callable[[list[Row]], Iterator[str]]


class Reference:
    """What every row of a section must return.

    The first result that comes is expected of all others: a section's first
    row is that of the reference itself.
    """

    def __init__(self) -> None:
        """Nothing is expected yet."""
        self.states: np.ndarray | None = None

    def check(
        self, label: str, states: Any, num_rows: int | None = None
    ) -> None:
        """MismatchError unless the states are those of the reference.

        num_rows: how many were asked for, if not all.
        """
        if self.states is None:
            self.states = np.array(states)
        check_equal(label, states, self.states[:num_rows])


def plan_small(stages: list[Stage], settings: Settings) -> Section:
    """Every stage on few cells: where compiling pays, and where it does not.

    A stage that fails on purpose is called too, and must fail as declared.
    """
    size, reference = settings.small, Reference()
    tasks = [
        (
            stage.label,
            partial(confirm_failure, stage, size)
            if stage.fails_with
            else partial(time_stage, stage, size, reference, settings),
        )
        for stage in stages
    ]

    def notes(rows: list[Row]) -> Iterator[str]:
        for stage, row in zip(stages, rows, strict=True):
            if stage.fails_with or stage.is_jitted or row is rows[0]:
                continue
            num_operations = len(stage.trace(size, size).eqns)
            ratio = row.typical / rows[0].typical
            if ratio > 1 and num_operations > size:
                yield (
                    f"{stage.label} loses: JAX sends its {num_operations:,}"
                    " operations to the device one by one, and sending one"
                    " takes longer than computing so few cells."
                )
        yield (
            "pays off: from that call on, all calls together, the first one"
            " included, take no longer than NumPy's."
        )

    return Section(f"{size} x {size} cells, rule {RULE}", tasks, notes)


def plan_large(stages: list[Stage], settings: Settings) -> Section:
    """Many cells: what each stage gains, and how near the floor it comes.

    A stage whose simulate is the same program as one before has no row.
    """
    size, reference = settings.large, Reference()
    tasks, programs = [], set()
    for stage in stages:
        if stage.fails_with:
            continue
        program = str(stage.trace(size, 16))
        if program in programs:
            continue
        programs.add(program)
        if stage.unrolls:
            run = partial(extrapolate, stage, size, reference, settings)
            tasks.append((stage.label, run))
            continue
        for label, simulate, to_states in variants(stage, size):
            run = partial(
                time_simulate,
                *(label, simulate, size, reference, settings, to_states),
            )
            tasks.append((label, run))
    tasks.append(("floor: np.full", partial(time_floor, size, settings)))

    def notes(rows: list[Row]) -> Iterator[str]:
        yield (
            f"floor: writing as many bytes, {size * size:,}, with nothing to"
            " compute."
        )
        if any(row.label.endswith(", packed") for row in rows):
            yield "packed: one bit a cell, so an eighth of the bytes."
        if any(row.remark for row in rows):
            yield (
                "extrapolated: not run; on a straight line through two first"
                " calls of fewer rows. Compiling grows faster than that, so"
                " this is the least it takes."
            )

    return Section(f"{size} x {size} cells, rule {RULE}", tasks, notes)


def plan_compile(stages: list[Stage], settings: Settings) -> Section:
    """Where the first call goes: the unrolled loop beside scan."""
    unrolled = [
        stage
        for stage in stages
        if stage.is_jitted and not stage.fails_with and stage.unrolls
    ]
    reference = Reference()
    compared = stages[0].module.simulate(
        RULE, width=settings.small, num_steps=max(settings.compile_steps)
    )
    reference.check(stages[0].label, compared)
    tasks = [
        (
            f"{stage.label}, {num_steps}",
            partial(time_phases, stage, num_steps, reference, settings),
        )
        for stage in unrolled + find_scan(stages)
        for num_steps in settings.compile_steps
    ]

    def notes(rows: list[Row]) -> Iterator[str]:
        yield (
            "equations: operations of the traced program, nested ones"
            " included, a loop's body once. One sample each."
        )

    title = f"ms, by number of rows; width {settings.small}"
    return Section(title, tasks, notes)


def plan_rules(stages: list[Stage], settings: Settings) -> Section:
    """All rules: one call for each, or one call."""
    size, reference = settings.each_rule, Reference()
    shape = {"width": size, "num_steps": size}

    def loop(stage: Stage) -> list:
        simulate = stage.module.simulate
        return [simulate(rule, **shape) for rule in range(len(ALL_RULES))]

    def map_rules(stage: Stage) -> list:
        return [stage.module.simulate_rules(ALL_RULES, **shape)]

    def make_task(label: str, call: Callable[[], list]) -> tuple:
        def check(states: list) -> None:
            rows = np.concatenate([np.asarray(s) for s in states], axis=None)
            reference.check(label, rows.reshape(-1, size))

        num_cells = len(ALL_RULES) * size * size
        budget = settings.budget
        return label, partial(
            measure, label, call, check, num_cells=num_cells, budget=budget
        )

    tasks = [
        make_task(f"{stage.label}, loop", partial(loop, stage))
        for stage in stages[:1] + find_scan(stages)
    ]
    tasks += [
        make_task(f"{stage.label}, one call", partial(map_rules, stage))
        for stage in stages
        if hasattr(stage.module, "simulate_rules")
    ]

    def notes(rows: list[Row]) -> Iterator[str]:
        yield (
            f"loop: {len(ALL_RULES)} calls, one for each rule. one call: the"
            " program computes all rules at once."
        )

    title = f"{len(ALL_RULES)} rules, {size} x {size} cells each"
    return Section(title, tasks, notes)


def plan_waiting(stages: list[Stage], settings: Settings) -> Section:
    """One call, timed without waiting for its result, and with."""
    width, num_steps = settings.waiting_width, settings.waiting_steps
    shape = {"width": width, "num_steps": num_steps}
    reference = Reference()
    reference.check(stages[0].label, stages[0].module.simulate(RULE, **shape))
    stage = find_scan(stages)[0]
    tasks = [
        (
            label,
            partial(
                measure,
                label,
                partial(stage.module.simulate, RULE, **shape),
                partial(reference.check, stage.label),
                num_cells=width * num_steps,
                budget=settings.budget,
                wait=wait,
            ),
        )
        for label, wait in (("WRONG: not waiting", False), ("waiting", True))
    ]

    def notes(rows: list[Row]) -> Iterator[str]:
        wrong, right = (row.typical for row in rows)
        yield (
            "JAX returns before it has computed. Without block_until_ready"
            " the clock stops when the work is handed over: here it shows"
            f" {right / wrong:.0f} times too little."
        )

    title = f"{stage.label}, {num_steps} rows of {width} cells"
    return Section(title, tasks, notes)


PLANS = {
    "small": plan_small,
    "large": plan_large,
    "compile": plan_compile,
    "rules": plan_rules,
    "waiting": plan_waiting,
}


def find_scan(stages: list[Stage]) -> list[Stage]:
    """The first compiled stage whose program holds the loop."""
    return [
        stage
        for stage in stages
        if stage.is_jitted and not stage.fails_with and not stage.unrolls
    ][:1]


def variants(
    stage: Stage, width: int
) -> Iterator[tuple[str, Callable, Callable]]:
    """The ways in which a stage simulates: label, how, how to get states.

    On one device and on as many as divide the width, if it can choose; and
    packed, if it can.
    """
    label, simulate = stage.label, stage.module.simulate
    if "num_devices" in signature(simulate).parameters:
        counts = range(1, jax.device_count() + 1)
        most = max(n for n in counts if width % n == 0)
        for n in sorted({1, most}):
            devices = f"{n} device" if n == 1 else f"{n} devices"
            run = partial(simulate, num_devices=n)
            yield f"{label}, {devices}", run, np.asarray
        return
    yield label, simulate, np.asarray
    if hasattr(stage.module, "simulate_packed"):
        run, to_states = stage.module.simulate_packed, partial(unpack, stage)
        yield f"{label}, packed", run, to_states


def unpack(stage: Stage, words: jax.Array) -> np.ndarray:
    """What the stage packed, as rows of cells; longer than width perhaps."""
    lanes = jax.jit(jax.vmap(stage.module.unpack))(words)
    return np.asarray(lanes).reshape(len(words), -1)


def time_stage(
    stage: Stage, size: int, reference: Reference, settings: Settings
) -> Row:
    """The row of simulate as it stands in the stage."""
    label, simulate = stage.label, stage.module.simulate
    return time_simulate(label, simulate, size, reference, settings)


def time_simulate(
    label: str,
    simulate: Callable,
    size: int,
    reference: Reference,
    settings: Settings,
    to_states: Callable = np.asarray,
) -> Row:
    """The row of a function like simulate, for size x size cells."""

    def check(result: Any) -> None:
        reference.check(label, to_states(result)[:, :size])

    return measure(
        label,
        partial(simulate, RULE, width=size, num_steps=size),
        check,
        num_cells=size * size,
        budget=settings.budget,
    )


def confirm_failure(stage: Stage, size: int) -> Row:
    """The row of a stage that must fail; MismatchError if it does not."""
    error_type, keyword = stage.fails_with
    try:
        stage.module.simulate(RULE, width=size, num_steps=size)
    except error_type as error:
        if keyword in str(error):
            remark = f"fails on purpose: {error_type.__name__}, {keyword}"
            return Row(stage.label, remark=remark)
        raise
    raise MismatchError(f"{stage.label} has to fail, but ran")


def extrapolate(
    stage: Stage, size: int, reference: Reference, settings: Settings
) -> Row:
    """The row of a stage whose first call grows with the number of rows.

    If that call would take too long, it is not run but extrapolated.
    """
    few, many = settings.probe_steps
    if many >= size:
        return time_stage(stage, size, reference, settings)
    seconds = []
    for num_steps in (few, many):
        jax.clear_caches()
        states, first = time_call(
            stage.module.simulate, RULE, width=size, num_steps=num_steps
        )
        reference.check(stage.label, states, num_steps)
        seconds.append(first)
    # The line through the probes can be flat by noise, and a call of minutes
    # would look short: whether to run it is decided in proportion instead.
    if seconds[1] * size / many <= settings.patience:
        return time_stage(stage, size, reference, settings)
    a_row = max(0, seconds[1] - seconds[0]) / (many - few)
    estimate = seconds[1] + a_row * (size - many)
    about = (
        f"{estimate / 60:.1f} min" if estimate > 60 else f"{estimate:.0f} s"
    )
    remark = f"at least {about}, extrapolated from {few} and {many} rows"
    return Row(stage.label, remark=remark)


def time_floor(size: int, settings: Settings) -> Row:
    """The row of a program that writes as many bytes and computes nothing."""

    def check(written: np.ndarray) -> None:
        check_equal("np.full", written, np.ones_like(written))

    return measure(
        "floor: np.full",
        partial(np.full, (size, size), 1, np.uint8),
        check,
        num_cells=size * size,
        budget=settings.budget,
    )


def time_phases(
    stage: Stage, num_steps: int, reference: Reference, settings: Settings
) -> Row:
    """The row of a first call taken apart, for that many rows."""
    label = f"{stage.label}, {num_steps}"
    simulate, width = stage.module.simulate, settings.small
    jax.clear_caches()
    traced, trace = time_call(
        simulate.trace, RULE, width=width, num_steps=num_steps
    )
    lowered, lower = time_call(traced.lower)
    compiled, compile_ = time_call(lowered.compile)
    reference.check(label, compiled(RULE), num_steps)
    return Row(
        label,
        {"trace": [trace], "lower": [lower], "compile": [compile_]},
        counts={
            "num_steps": num_steps,
            "equations": count_equations(traced.jaxpr.jaxpr),
        },
    )
