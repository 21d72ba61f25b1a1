"""The sections of the benchmark: their rows, and what those teach."""

import dataclasses
import math
from collections.abc import Iterable, Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

import measuring
import programs
import tables
from measuring import RULE, RefusedError, Row, Stage, Way, check_equal, measure
from programs import find_scan, installed, last_rows, rule_ways, ways
from tables import Section, speed_column
from workshop.harness import ALL_RULES, time_call
from workshop.tracing import count_equations


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
    wide: tuple[int, int] = (2**18, 16)  # to fill a device: few long rows
    rings: int = 4096


QUICK = Settings(40, 960, (16, 24), (10, 40), (10**4, 100), (10, 40), (13, 16))
BYTES_A_CELL = 7  # of a section: states, reference, comparison


def choose_settings(quick: bool, platform: str, memory: int) -> Settings:
    """Sizes for a platform: what is not a CPU has more cells to fill it.

    So many that the bytes of memory, the host's, hold the reference.
    """
    settings = QUICK if quick else Settings()
    if quick or platform == "cpu":
        return settings
    most = int(math.log2(memory / BYTES_A_CELL))
    exponents = tuple(e for e in (16, 20, 24, 26, 28, 30) if e <= most)
    wide = 2 ** min(28, most - 4), 16
    return dataclasses.replace(settings, exponents=exponents, wide=wide)


def timed(ways: Iterable[Way], inputs: tuple, expected: list) -> dict:
    """By label, what measures each way; the first tells what is expected."""
    return {
        way.label: partial(measure, way, inputs, expected)
        for way in programs.beside(ways)
    }


def plan_size(name: str, stages: list[Stage], settings: Settings) -> Section:
    """All stages on few cells, or on many and beside the floors."""
    size, probes = getattr(settings, name), settings.probe_steps
    tasks, traced, expected, inputs = {}, {}, [], (RULE, size, size)
    for stage in stages:
        label = stage.label
        if stage.fails_with:
            tasks[label] = partial(confirm_failure, stage, size)
            continue
        same = traced.setdefault(str(stage.trace(size, 16)), label)
        if same != label:
            remark = f"the same program as {same}"
            tasks[label] = partial(Row, label, remark=remark)
        elif stage.unrolls and max(probes) < size:
            tasks[label] = partial(extrapolate, stage, size, expected, probes)
        else:
            tasks |= timed(ways(stage, size), inputs, expected)
    if name == "large":
        written = np.ones((size, size), np.uint8)
        tasks |= timed(floors(np.uint8), inputs, [written])
    title = f"{size} x {size} cells, rule {RULE}"
    notes = partial(size_notes, stages, size)
    return Section(title, [*tables.CALLS, tables.PAYS_OFF], tasks, notes)


def floors(dtype: type) -> list[Way]:
    """To write as many bytes, with nothing to compute."""
    full = jax.jit(jnp.full, static_argnums=(0, 1, 2))
    return [
        Way("floor: np.full", lambda _, *shape: np.full(shape, 1, dtype)),
        Way("floor: jnp.full", lambda _, *shape: full(shape, 1, dtype)),
    ]


def size_notes(stages: list[Stage], size: int, rows: list[Row]) -> Iterator:
    """What the rows of stages teach."""
    times = {row.label: row.seconds() for row in rows if row.samples}
    for stage in stages[1:]:
        label, time = stage.label, times.get(stage.label, 0)
        if not stage.is_jitted and time > rows[0].seconds():
            sent = len(stage.trace(size, size).eqns)
            yield f"{label} loses: JAX sends {sent:,} operations, one by one."
        if f"{label}, packed" in times:
            for floor in (name for name in times if "floor" in name):
                yield f"{label}: {time / times[floor]:.1f} times {floor[7:]}."
    if measuring.accelerator() and (scan := find_scan(stages)).label in times:
        compiled = scan.module.simulate.lower(RULE, size, size).compile()
        launches = size * programs.count_kernels(compiled.as_text())
        each = times[scan.label] / launches * 1e6
        yield (
            f"{scan.label}: {size:,} steps launch {launches:,} kernels,"
            f" {each:.1f} µs each."
        )
    yield "pays off: from that call on, all together beat NumPy's calls."


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
    note = "equations: of the traced program, nested ones too. One sample."
    title = f"first call in ms, by number of rows; width {width}"
    return Section(title, tables.PHASES, tasks, lambda _: [note])


def plan_rules(name: str, stages: list[Stage], settings: Settings) -> Section:
    """All rules, or as many rings: a call for each, and all in one call."""
    width, num_steps = shape = settings.each_rule
    rings = ALL_RULES
    if name == "rings":
        rings = np.resize(ALL_RULES, settings.rings)
    loops, others = [], []
    for way in rule_ways(stages, width):
        (loops if "loop" in way.label else others).append(way)
    states = loops[0].to_states(loops[0].simulate(ALL_RULES, *shape))
    repeated = np.tile(states, (len(rings) // len(ALL_RULES), 1))
    tasks = timed(loops, (ALL_RULES, *shape), [states])
    tasks |= timed(others, (rings, *shape), [repeated])
    note = "loop: a call for each rule. one call, vmap: one for all rules."
    title = f"{len(rings)} {name}, {num_steps} rows of {width} cells each"
    return Section(title, tables.CALLS, tasks, lambda _: [note])


def plan_wide(stages: list[Stage], settings: Settings) -> Section:
    """Rows that fill a device: how near to only writing them is packed?"""
    (width, num_steps), fewer = settings.wide, 2**16
    packed = [
        way
        for stage in stages
        for way in ways(stage, width)
        if "packed" in way.label
    ]
    base = [Way(f"{stages[0].label}, 2^16", stages[0].module.simulate)]
    tasks = timed(base, (RULE, fewer, num_steps), [])
    expected = [states_of(stages[0], width, num_steps)]
    tasks |= timed(packed, (RULE, width, num_steps), expected)
    written = np.ones((num_steps, width // programs.LANES), np.uint32)
    inputs = RULE, *written.shape
    tasks |= timed(floors(np.uint32), inputs, [written])

    def notes(rows: list[Row]) -> Iterator[str]:
        floor, row = rows[-1].seconds(), rows[1]
        speed = written.nbytes / floor / 1e9
        yield f"{rows[-1].label} writes {speed:,.0f} GB/s."
        yield f"{row.label}: {floor / row.seconds():.0%} of that."

    title = (
        f"{num_steps} rows of {width:,} cells, rule {RULE}; vs NumPy: by cell"
    )
    return Section(title, tables.CALLS, tasks, notes)


def states_of(reference: Stage, width: int, num_steps: int) -> np.ndarray:
    """Stage 0's states, of the cells alone that the live one can reach."""
    near = min(width, 4 * num_steps)
    start = width // 2 - near // 2
    states = np.zeros((num_steps, width), np.uint8)
    cells = reference.module.simulate(RULE, near, num_steps)
    states[:, start : start + near] = cells
    return states


def plan_waiting(stages: list[Stage], settings: Settings) -> Section:
    """One call, timed without waiting for its result, and with."""
    (width, num_steps), stage = settings.waiting, find_scan(stages)
    inputs = RULE, width, num_steps
    expected = [stages[0].module.simulate(*inputs)]
    tasks = {}
    for label, wait in (("WRONG: not waiting", False), ("waiting", True)):
        way = Way(label, stage.module.simulate)
        tasks[label] = partial(measure, way, inputs, expected, wait)

    def notes(rows: list[Row]) -> Iterator[str]:
        ratio = rows[1].seconds() / rows[0].seconds()
        yield f"Without block_until_ready: {ratio:.0f} times too little."

    title = f"{stage.label}, {num_steps} rows of {width} cells"
    return Section(title, tables.CALLS[1:4], tasks, notes)


def plan_scale(stages: list[Stage], settings: Settings) -> Section:
    """Where caches end, and where several devices begin to pay."""
    kept = list(programs.beside(last_rows(stages)))
    columns = [
        speed_column(way.label, way.label, 1e9, len(kept) - i)
        for i, way in enumerate(kept)
    ]
    tasks = {
        f"2^{exponent}": partial(time_step, stages[0], kept, exponent)
        for exponent in settings.exponents
    }
    note = "By the difference of calls of many and of few rows."
    title = "billions of cells a second, by width; only the last row is kept"
    return Section(title, columns, tasks, lambda _: [note])


def plan_peers(stages: list[Stage], settings: Settings) -> Section:
    """The reference, scan, what stages pack, last rows, and libraries."""
    simulate, size = stages[0].module.simulate, settings.large
    packing = [s for s in stages if hasattr(s.module, "simulate_packed")]
    chosen = [stages[0], find_scan(stages), *packing]
    whole = [way for stage in chosen for way in ways(stage, size)]
    whole += installed(programs.LIBRARIES)
    last = [
        way._replace(label=f"{way.label}, last row")
        for way in list(last_rows(stages, size))[1:]
    ]
    fewer = max(size // 10, programs.LANES)  # it would take over a minute
    slow = {f"CellPyLib, {fewer} x {fewer}": programs.CELLPYLIB}
    inputs, states = (RULE, size, size), simulate(RULE, size, size)
    tasks = timed(whole, inputs, [states])
    tasks |= timed(last, inputs, [states[-1:]])
    smaller = simulate(RULE, fewer, fewer)
    tasks |= timed(installed(slow), (RULE, fewer, fewer), [smaller])
    note = "last row: returns that alone. To make bytes of it is not timed."
    title = f"{size} x {size} cells, rule {RULE}; vs NumPy: by cell"
    return Section(title, tables.PEERS, tasks, lambda _: [note])


PLANS = {name: partial(plan_size, name) for name in ("small", "large")}
PLANS["compile"] = plan_compile
PLANS |= {name: partial(plan_rules, name) for name in ("rules", "rings")}
PLANS |= {"waiting": plan_waiting, "wide": plan_wide, "scale": plan_scale}
PLANS["peers"] = plan_peers
ELSEWHERE = {"rings", "wide"}  # where JAX has another device than a CPU


def confirm_failure(stage: Stage, size: int) -> Row:
    """The row of a stage that must fail; RefusedError if it does not."""
    error_type, keyword = stage.fails_with
    try:
        stage.module.simulate(RULE, size, size)
    except error_type as error:
        if keyword in str(error):
            remark = f"fails on purpose: {error_type.__name__}, {keyword}"
            return Row(stage.label, remark=remark)
    raise RefusedError(f"{stage.label} has to fail, by {keyword}, but did not")


def extrapolate(
    stage: Stage, size: int, expected: list, probes: tuple[int, int]
) -> Row:
    """The row of a stage whose first call grows with the number of rows.

    On the line through two shorter ones; through 0 if noise makes that fall.
    """
    seconds, simulate = [], stage.module.simulate
    for num_steps in probes:
        jax.clear_caches()
        states, first = time_call(simulate, RULE, size, num_steps)
        check_equal(stage.label, states, expected[0][:num_steps])
        seconds.append(first)
    (few, many), (fewer, more) = probes, seconds
    a_row = (more - fewer) / (many - few) if more > fewer else more / many
    total = more + a_row * (size - many)
    remark = f"at least {total:,.0f} s, from {few} and {many} rows"
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

    Shorter calls are compared with the reference, longer with each other.
    """
    width, samples = 2**exponent, {}
    few = max(2, 2**22 // width) + 1  # that many updates: a power of two
    expected = {few: states_of(reference, width, few)[-1:]}
    for label, simulate, to_states, _ in programs:
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
