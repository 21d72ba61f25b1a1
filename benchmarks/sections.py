"""The sections of the benchmark: their rows, and what those teach."""

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from measuring import RULE, RefusedError, Row, Stage, check_equal, measure
from programs import Way, find_scan, last_rows, rule_ways, ways
from tables import CALLS, LATER, PAYS_OFF, PHASES, Section, speed_column
from workshop.harness import time_call
from workshop.jaxprs import count_equations
from workshop.shows import ALL_RULES


@dataclasses.dataclass(frozen=True)
class Settings:
    """How large. A shape is a width and a num_steps."""

    small: int = 80
    large: int = 8000
    each_rule: tuple[int, int] = (64, 96)
    compile_steps: tuple[int, ...] = (20, 40, 80, 160)
    waiting: tuple[int, int] = (20000, 200)  # long enough to see the wait
    probe_steps: tuple[int, int] = (20, 80)  # to extrapolate from
    exponents: tuple[int, ...] = (13, 16, 18, 20, 22, 24)  # of 2, in scale


QUICK = Settings(
    *(40, 960, (16, 24), (10, 40), (10000, 100), (10, 40), (13, 16))
)


def plan_size(name: str, stages: list[Stage], settings: Settings) -> Section:
    """All stages on few cells, or on many and beside the floors."""
    tasks, programs, expected = {}, {}, []
    size, probes = getattr(settings, name), settings.probe_steps
    for stage in stages:
        label, same = stage.label, None
        if not stage.fails_with:
            same = programs.setdefault(str(stage.trace(size, 16)), label)
        if same is None:
            tasks[label] = partial(confirm_failure, stage, size)
        elif same != label:
            remark = f"the same program as {same}"
            tasks[label] = partial(Row, label, remark=remark)
        elif stage.unrolls and max(probes) < size:
            tasks[label] = partial(extrapolate, stage, size, expected, probes)
        else:
            for way, run, to_states in ways(stage, size):
                call = partial(run, RULE, size, size)
                tasks[way] = partial(
                    measure, way, call, expected, size * size, to_states
                )
    if name == "large":
        tasks |= floors(size)
    title = f"{size} x {size} cells, rule {RULE}"
    notes = partial(size_notes, stages, size)
    return Section(title, (*CALLS, PAYS_OFF), tasks, notes)


def floors(size: int) -> dict[str, Callable[[], Row]]:
    """The rows of writing size x size bytes with nothing to compute."""
    ones, tasks = [np.ones((size, size), np.uint8)], {}
    jnp_full = jax.jit(jnp.full, static_argnums=(0, 1, 2))
    for name, full in {"np.full": np.full, "jnp.full": jnp_full}.items():
        call = partial(full, (size, size), 1, np.uint8)
        label = f"floor: {name}"
        tasks[label] = partial(measure, label, call, ones, size * size)
    return tasks


def size_notes(
    stages: list[Stage], size: int, rows: list[Row]
) -> Iterator[str]:
    """What the rows of stages teach."""
    times = {row.label: row.typical for row in rows if row.samples}
    for stage in stages[1:]:
        time = times.get(stage.label, 0)
        if not stage.is_jitted and time > rows[0].typical:
            yield (
                f"{stage.label} loses: JAX sends its"
                f" {len(stage.trace(size, size).eqns):,} operations to the"
                " device one by one, and sending one takes longer than"
                " computing so few cells."
            )
        if f"{stage.label}, packed" in times:
            for floor in (label for label in times if "floor" in label):
                ratio = time / times[floor]
                yield f"{stage.label} takes {ratio:.1f} times {floor[7:]}."
    yield (
        "packed: a bit for each cell. pays off: from that call on, all calls"
        " together, the first one included, take no longer than NumPy's."
    )


def plan_compile(stages: list[Stage], settings: Settings) -> Section:
    """Where the first call goes: the unrolled loop beside scan."""
    compiled = [stage for stage in stages if stage.is_jitted]
    width, most = settings.small, max(settings.compile_steps)
    expected = stages[0].module.simulate(RULE, width, most)
    tasks = {
        f"{stage.label}, {n}": partial(time_phases, stage, expected[:n])
        for stage in compiled[: compiled.index(find_scan(stages)) + 1]
        if not stage.fails_with
        for n in settings.compile_steps
    }
    note = (
        "equations: operations of the traced program, nested ones included, a"
        " loop's body once. One sample each."
    )
    title = f"first call in ms, by number of rows; width {width}"
    return Section(title, PHASES, tasks, lambda _: [note])


def plan_rules(stages: list[Stage], settings: Settings) -> Section:
    """All rules: a call for each, and all in one call."""
    shape = settings.each_rule
    expected, tasks = [], {}
    for label, run, to_one in rule_ways(stages, shape[0]):

        def to_states(results: list, to_one: Callable = to_one) -> np.ndarray:
            return to_one(np.concatenate(jax.tree.map(np.asarray, results)))

        call = partial(run, ALL_RULES, *shape)
        num_cells = len(ALL_RULES) * shape[0] * shape[1]
        tasks[label] = partial(
            measure, label, call, expected, num_cells, to_states
        )

    def notes(rows: list[Row]) -> Iterator[str]:
        yield "loop: a call for each rule. one call, vmap: one for all rules."
        for row in rows[3:]:
            ratio = rows[2].typical / row.typical
            yield f"{row.label}: {ratio:.1f} times as fast as {rows[2].label}."

    title = f"256 rules, {shape[1]} rows of {shape[0]} cells each"
    return Section(title, CALLS, tasks, notes)


def plan_waiting(stages: list[Stage], settings: Settings) -> Section:
    """One call, timed without waiting for its result, and with."""
    (width, num_steps), stage = settings.waiting, find_scan(stages)
    expected = [stages[0].module.simulate(RULE, width, num_steps)]
    call = partial(stage.module.simulate, RULE, width, num_steps)
    tasks = {
        label: partial(
            measure, label, call, expected, width * num_steps, wait=wait
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
    programs = list(last_rows(stages))
    labels = [program.label for program in programs]
    columns = map(speed_column, labels, range(len(labels), 0, -1))
    tasks = {
        f"2^{exponent}": partial(time_step, stages[0], programs, exponent)
        for exponent in settings.exponents
    }
    note = (
        "From the difference of calls of many and of few rows: what a call"
        " does once is not in it."
    )
    title = "billions of cells a second, by width; only the last row is kept"
    return Section(title, tuple(columns), tasks, lambda _: [note])


PLANS = {
    "small": partial(plan_size, "small"),
    "large": partial(plan_size, "large"),
    "compile": plan_compile,
    "rules": plan_rules,
    "waiting": plan_waiting,
    "scale": plan_scale,
}


def confirm_failure(stage: Stage, size: int) -> Row:
    """The row of a stage that must fail; RefusedError if it does not."""
    error_type, keyword = stage.fails_with
    try:
        stage.module.simulate(RULE, size, size)
    except error_type as error:
        if keyword not in str(error):
            raise
        remark = f"fails on purpose: {error_type.__name__}, {keyword}"
        return Row(stage.label, remark=remark)
    raise RefusedError(f"{stage.label} has to fail, but ran")


def extrapolate(
    stage: Stage,
    size: int,
    expected: list[np.ndarray],
    probes: tuple[int, int],
) -> Row:
    """The row of a stage whose first call grows with the number of rows.

    On the line through two first calls of fewer rows; in proportion to the
    longer one if noise makes that line flat.
    """
    seconds = []
    for num_steps in probes:
        jax.clear_caches()
        simulate = stage.module.simulate
        states, first = time_call(simulate, RULE, size, num_steps)
        check_equal(stage.label, states, expected[0][:num_steps])
        seconds.append(first)
    (few, many), (fewer, more) = probes, seconds
    a_row = (more - fewer) / (many - few) if more > fewer else more / many
    total = more + a_row * (size - many)
    about = f"{total:.0f} s" if total < 60 else f"{total / 60:.1f} min"
    remark = f"at least {about}, from {few} and {many} rows"
    return Row(stage.label, remark=remark)


def time_phases(stage: Stage, expected: np.ndarray) -> Row:
    """The row of a first call taken apart."""
    num_steps, width = expected.shape
    label, simulate = f"{stage.label}, {num_steps}", stage.module.simulate
    jax.clear_caches()
    traced, trace = time_call(simulate.trace, RULE, width, num_steps)
    lowered, lower = time_call(traced.lower)
    compiled, compile_ = time_call(lowered.compile)
    check_equal(label, compiled(RULE), expected)
    samples = {"trace": [trace], "lower": [lower], "compile": [compile_]}
    return Row(label, samples, 0, count_equations(traced.jaxpr.jaxpr))


def time_step(reference: Stage, programs: list[Way], exponent: int) -> Row:
    """The row of a width: the seconds of a step of each program.

    From the difference of longer and shorter calls. The shorter ones are
    compared with the reference, the longer ones with each other.
    """
    width, samples = 2**exponent, {}
    few = max(2, 2**22 // width) + 1  # that many updates: a power of two
    expected = {few: reference.module.simulate(RULE, width, few)[-1:]}
    for label, simulate, to_states in programs:
        cells = 2**25 if label == programs[0].label else 2**30
        many, seconds = max(8 * (few - 1), cells // width) + 1, []
        for num_steps in (few, many):
            run = partial(simulate, RULE, width, num_steps)
            row = to_states(run())
            name = f"{label}, the last of {num_steps} rows,"
            check_equal(name, row, expected.setdefault(num_steps, row))
            seconds.append(sorted(time_call(run)[1] for _ in range(5)))
        pairs = zip(*seconds, strict=True)
        samples[label] = [(b - a) / (many - few) for a, b in pairs]
    return Row(f"2^{exponent}", samples, width)
