"""The sections of the benchmark: their rows, and what those teach."""

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from inspect import signature
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from measuring import RULE, RefusedError, Row, Stage, check_equal, measure
from scale import last_rows, overtakes, time_step
from tables import CALLS, LATER, Section, phase_columns, speed_column
from workshop.harness import ALL_RULES, time_call
from workshop.jaxprs import count_equations


@dataclasses.dataclass(frozen=True)
class Settings:
    """How large, and for how long. A shape is a width and a num_steps."""

    small: int = 80
    """Cells and rows of the small section."""
    large: int = 8000
    """Cells and rows of the large section."""
    each_rule: tuple[int, int] = (64, 96)
    """Shape of the states of each of all rules."""
    compile_steps: tuple[int, ...] = (20, 40, 80, 160, 320)
    """Rows of the programs that are compiled."""
    waiting: tuple[int, int] = (20000, 200)
    """Shape of a call that takes long enough to see the wait."""
    probe_steps: tuple[int, int] = (20, 80)
    """Rows of the two first calls that an extrapolation rests on."""
    exponents: tuple[int, ...] = (13, 14, 16, 18, 20, 22, 24)
    """Of two: the widths of the section scale."""
    budget: float = 0.5
    """Seconds for the later calls of a row."""


QUICK = Settings(
    small=40,
    large=1000,
    each_rule=(16, 24),
    compile_steps=(10, 40),
    waiting=(10000, 100),
    probe_steps=(10, 40),
    exponents=(13, 16),
    budget=0.1,
)


@dataclasses.dataclass
class Reference:
    """What every row of a section must return."""

    states: np.ndarray | None = None
    """If there are none yet: the first result that comes. A section's first
    row is that of the reference itself."""

    def check(
        self, label: str, states: Any, num_rows: int | None = None
    ) -> None:
        """RefusedError unless these are the first num_rows, or all, of it."""
        if self.states is None:
            self.states = np.array(states)
        check_equal(label, states, self.states[:num_rows])


def plan_small(stages: list[Stage], settings: Settings) -> Section:
    """Every stage on few cells: where compiling pays, and where it does not."""
    size = settings.small
    tasks = size_tasks(stages, size, settings, one_way)

    def notes(rows: list[Row]) -> Iterator[str]:
        for stage, row in zip(stages, rows, strict=True):
            if row.remark or stage.is_jitted or row is rows[0]:
                continue
            num_operations = len(stage.trace(size, size).eqns)
            if row.typical > rows[0].typical and num_operations > size:
                yield (
                    f"{stage.label} loses: JAX sends its {num_operations:,}"
                    " operations to the device one by one, and sending one"
                    " takes longer than computing so few cells."
                )
        yield (
            "pays off: from that call on, all calls together, the first one"
            " included, take no longer than NumPy's."
        )

    return Section(f"{size} x {size} cells, rule {RULE}", CALLS, tasks, notes)


def plan_large(stages: list[Stage], settings: Settings) -> Section:
    """Many cells: what each stage gains, and how near the floors it comes."""
    shape, num_cells = (settings.large, settings.large), settings.large**2
    tasks = size_tasks(stages, settings.large, settings, every_way)
    jnp_full = jax.jit(lambda: jnp.full(shape, 1, jnp.uint8))
    np_full = partial(np.full, shape, 1, np.uint8)
    for name, write in {"np.full": np_full, "jnp.full": jnp_full}.items():
        label = f"floor: {name}"
        tasks[label] = partial(
            *(measure, label, write, partial(check_ones, label)),
            *(num_cells, settings.budget),
        )

    def notes(rows: list[Row]) -> Iterator[str]:
        yield f"floor: writing {num_cells:,} bytes with nothing to compute."
        times = {row.label: row.typical for row in rows if not row.remark}
        for label in times:
            if f"{label}, packed" in times:
                ratios = [
                    f"{times[label] / times[floor]:.1f} times {floor[7:]}"
                    for floor in times
                    if floor.startswith("floor: ")
                ]
                yield f"{label} takes {' and '.join(ratios)}."
                yield f"{label}, packed: a bit a cell, an eighth of the bytes."
        if any("at least" in row.remark for row in rows):
            few, many = settings.probe_steps
            yield (
                f"at least: not run, but on a line through first calls of {few}"
                f" and {many} rows. The time grows faster than that."
            )

    title = f"{settings.large} x {settings.large} cells, rule {RULE}"
    return Section(title, CALLS, tasks, notes)


def plan_compile(stages: list[Stage], settings: Settings) -> Section:
    """Where the first call goes: the unrolled loop beside scan."""
    chosen = [
        stage
        for stage in stages
        if stage.is_jitted and not stage.fails_with and stage.unrolls
    ] + [find_scan(stages)]
    width, most = settings.small, max(settings.compile_steps)
    reference = Reference(stages[0].module.simulate(RULE, width, most))
    tasks = {
        f"{stage.label}, {n}": partial(time_phases, stage, width, n, reference)
        for stage in chosen
        for n in settings.compile_steps
    }

    def notes(rows: list[Row]) -> Iterator[str]:
        yield (
            "equations: operations of the traced program, nested ones"
            " included, a loop's body once. One sample each."
        )

    title = f"ms, by number of rows; width {width}"
    return Section(title, phase_columns(), tasks, notes)


def plan_rules(stages: list[Stage], settings: Settings) -> Section:
    """All rules: a call for each, and all in one call."""
    width, num_steps = settings.each_rule
    shape = {"width": width, "num_steps": num_steps}
    reference, calls = Reference(), {}
    for stage in (stages[0], find_scan(stages)):
        one = partial(stage.module.simulate, **shape)
        calls[f"{stage.label}, loop"] = partial(call_each, one), np.asarray
    for stage in stages:
        if hasattr(stage.module, "simulate_rules"):
            call = partial(stage.module.simulate_rules, ALL_RULES, **shape)
            calls[f"{stage.label}, one call"] = call, np.asarray
        if hasattr(stage.module, "simulate_packed"):
            for label, simulate, to_states in every_way(stage, width):
                mapped = jax.jit(jax.vmap(partial(simulate, **shape)))
                calls[f"vmap {label}"] = partial(mapped, ALL_RULES), to_states

    def check(label: str, to_states: Callable, result: Any) -> None:
        rows = np.concatenate([to_states(states) for states in result])
        reference.check(label, rows[:, :width])

    def notes(rows: list[Row]) -> Iterator[str]:
        yield "loop: a call for each rule. one call, vmap: one for all rules."
        calls = [row for row in rows if not row.label.endswith("loop")]
        for row in calls[1:]:
            ratio = calls[0].typical / row.typical
            yield f"{row.label}: {ratio:.1f} times as fast as {calls[0].label}."

    num_cells = len(ALL_RULES) * width * num_steps
    tasks = {
        label: partial(
            *(measure, label, call, partial(check, label, to_states)),
            *(num_cells, settings.budget),
        )
        for label, (call, to_states) in calls.items()
    }
    title = f"{len(ALL_RULES)} rules, {num_steps} rows of {width} cells each"
    return Section(title, CALLS[:-1], tasks, notes)


def plan_waiting(stages: list[Stage], settings: Settings) -> Section:
    """One call, timed without waiting for its result, and with."""
    (width, num_steps), stage = settings.waiting, find_scan(stages)
    shape = {"width": width, "num_steps": num_steps}
    reference = Reference(stages[0].module.simulate(RULE, **shape))
    call = partial(stage.module.simulate, RULE, **shape)
    check = partial(reference.check, stage.label)
    tasks = {
        label: partial(
            *(measure, label, call, check),
            *(width * num_steps, settings.budget, wait),
        )
        for label, wait in (("WRONG: not waiting", False), ("waiting", True))
    }

    def notes(rows: list[Row]) -> Iterator[str]:
        wrong, right = (row.typical for row in rows)
        yield (
            "JAX returns before it has computed. Without block_until_ready"
            " the clock stops when the work is handed over: here it shows"
            f" {right / wrong:.0f} times too little."
        )

    title = f"{stage.label}, {num_steps} rows of {width} cells"
    return Section(title, LATER, tasks, notes)


def plan_scale(stages: list[Stage], settings: Settings) -> Section:
    """Where caches end, and where several devices begin to pay."""
    programs = last_rows(stages, find_scan(stages))
    columns = [speed_column(label) for label in programs]
    tasks = {
        f"2^{exponent}": partial(time_step, stages[0], programs, exponent)
        for exponent in settings.exponents
    }

    def notes(rows: list[Row]) -> Iterator[str]:
        yield (
            "From the difference of calls of many and of few rows: what a call"
            " does once is not in it."
        )
        sharded = [label for label in programs if " x " in label]
        for label, before in zip(sharded, list(programs)[1:], strict=False):
            start = overtakes(rows, before, label)
            since = f"from {start} cells on" if start else "nowhere here"
            yield f"{label} devices: faster than {before} {since}."

    title = "billions of cells a second, by width; only the last row is kept"
    return Section(title, tuple(columns), tasks, notes)


PLANS = {
    "small": plan_small,
    "large": plan_large,
    "compile": plan_compile,
    "rules": plan_rules,
    "waiting": plan_waiting,
    "scale": plan_scale,
}


def find_scan(stages: list[Stage]) -> Stage:
    """The first compiled stage whose program holds the loop."""
    for stage in stages:
        if stage.is_jitted and not stage.fails_with and not stage.unrolls:
            return stage
    raise RefusedError("no stage has its loop in a compiled program")


def call_each(simulate: Callable) -> list:
    """The states of each rule, by a loop in Python."""
    return [simulate(rule) for rule in range(len(ALL_RULES))]


def check_ones(label: str, written: Any) -> None:
    """RefusedError unless all cells are 1."""
    check_equal(label, written, np.ones_like(written))


Way = tuple[str, Callable, Callable]


def one_way(stage: Stage, width: int) -> Iterator[Way]:
    """The stage's simulate: a label, itself, how to get states from it."""
    yield stage.label, stage.module.simulate, np.asarray


def every_way(stage: Stage, width: int) -> Iterator[Way]:
    """On one device and on as many as divide the width; also packed."""
    if "num_devices" in signature(stage.module.simulate).parameters:
        counts = range(1, jax.device_count() + 1)
        most = max(n for n in counts if width % n == 0)
        for n in sorted({1, most}):
            devices = f"{n} device" if n == 1 else f"{n} devices"
            run = partial(stage.module.simulate, num_devices=n)
            yield f"{stage.label}, {devices}", run, np.asarray
        return
    yield from one_way(stage, width)
    if hasattr(stage.module, "simulate_packed"):
        run, to_states = stage.module.simulate_packed, partial(unpack, stage)
        yield f"{stage.label}, packed", run, to_states


def unpack(stage: Stage, words: jax.Array) -> np.ndarray:
    """What the stage packed, as rows of cells; longer than width perhaps."""
    lanes = jax.jit(jax.vmap(stage.module.unpack))(words)
    return np.asarray(lanes).reshape(len(words), -1)


def size_tasks(
    stages: list[Stage], size: int, settings: Settings, ways: Callable
) -> dict[str, Callable[[], Row]]:
    """By label: the rows of all stages for size x size cells.

    A stage that fails on purpose must fail as declared; one that is the same
    program as one before is not measured again.
    """
    tasks, programs, reference = {}, {}, Reference()
    for stage in stages:
        label = stage.label
        if stage.fails_with:
            tasks[label] = partial(confirm_failure, stage, size)
            continue
        same = programs.setdefault(str(stage.trace(size, 16)), label)
        if same != label:
            remark = f"the same program as {same}"
            tasks[label] = partial(Row, label, remark=remark)
        elif stage.unrolls and max(settings.probe_steps) < size:
            steps = settings.probe_steps
            tasks[label] = partial(extrapolate, stage, size, reference, steps)
        else:
            for way, simulate, to_states in ways(stage, size):
                call = partial(simulate, RULE, width=size, num_steps=size)
                check = partial(check_states, reference, way, to_states, size)
                tasks[way] = partial(
                    *(measure, way, call, check),
                    *(size * size, settings.budget),
                )
    return tasks


def check_states(
    reference: Reference,
    label: str,
    to_states: Callable,
    width: int,
    result: Any,
) -> None:
    """RefusedError unless the result is the reference's states."""
    reference.check(label, to_states(result)[:, :width])


def confirm_failure(stage: Stage, size: int) -> Row:
    """The row of a stage that must fail; RefusedError if it does not."""
    error_type, keyword = stage.fails_with
    try:
        stage.module.simulate(RULE, width=size, num_steps=size)
    except error_type as error:
        if keyword in str(error):
            remark = f"fails on purpose: {error_type.__name__}, {keyword}"
            return Row(stage.label, remark=remark)
        raise
    raise RefusedError(f"{stage.label} has to fail, but ran")


def extrapolate(
    stage: Stage, size: int, reference: Reference, probes: tuple[int, int]
) -> Row:
    """The row of a stage whose first call grows with the number of rows.

    On the line through two first calls of fewer rows; in proportion to the
    longer one if noise makes that line flat.
    """
    seconds = []
    for num_steps in probes:
        jax.clear_caches()
        states, first = time_call(
            stage.module.simulate, RULE, width=size, num_steps=num_steps
        )
        reference.check(stage.label, states, num_steps)
        seconds.append(first)
    (few, many), (fewer, more) = probes, seconds
    a_row = (more - fewer) / (many - few) if more > fewer else more / many
    total = more + a_row * (size - many)
    about = f"{total:.0f} s" if total < 60 else f"{total / 60:.1f} min"
    return Row(stage.label, remark=f"first call: at least {about}")


def time_phases(
    stage: Stage, width: int, num_steps: int, reference: Reference
) -> Row:
    """The row of a first call taken apart."""
    label = f"{stage.label}, {num_steps}"
    jax.clear_caches()
    traced, trace = time_call(
        stage.module.simulate.trace, RULE, width=width, num_steps=num_steps
    )
    lowered, lower = time_call(traced.lower)
    compiled, compile_ = time_call(lowered.compile)
    reference.check(label, compiled(RULE), num_steps)
    samples = {"trace": [trace], "lower": [lower], "compile": [compile_]}
    equations = count_equations(traced.jaxpr.jaxpr)
    counts = {"num_steps": num_steps, "equations": equations}
    return Row(label, samples, counts=counts)
