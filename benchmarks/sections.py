"""Measure the sections: each yields a title, then rows and remarks."""

import dataclasses
import itertools
from collections.abc import Iterator
from types import ModuleType

import jax
import numpy as np

import programs
from measuring import (
    RULE,
    Program,
    Row,
    check,
    extrapolate,
    measure,
    measure_each,
)
from programs import Stages, find_scan, is_unrolled
from report import WRITING
from workshop.compare import load_reference
from workshop.harness import ALL_RULES, time_call
from workshop.stages import failure
from workshop.tracing import count_equations

Lines = Iterator[str | Row]


@dataclasses.dataclass(frozen=True)
class Sizes:
    """The sizes of the sections. A shape is (width, num_steps)."""

    small: int = 80
    large: int = 8000
    probes: tuple[int, int] = (20, 80)  # rows to extrapolate from
    compile_steps: tuple[int, ...] = (20, 40, 80, 160)
    rules_shape: tuple[int, int] = (64, 96)
    waiting_shape: tuple[int, int] = (20_000, 200)
    exponents: tuple[int, ...] = (13, 16, 18, 20, 22, 24)  # width: 2**13


QUICK = Sizes(40, 960, (20, 80), (10, 40), (16, 24), (10_000, 100), (13, 16))


def show_small(stages: Stages, sizes: Sizes) -> Lines:
    """Yield the rows of all stages, for a small ring."""
    yield f"{sizes.small} x {sizes.small} cells"
    yield from size_rows(stages, sizes.small)


def show_large(stages: Stages, sizes: Sizes) -> Lines:
    """Yield the rows of all stages, for a large ring.

    Remarks compare the stages on many devices with each other.
    """
    yield f"{sizes.large} x {sizes.large} cells"
    sharded = []
    for row in size_rows(stages, sizes.large, sizes.probes):
        yield row
        if row.label.endswith(" devices"):
            sharded.append(row)
    for before, row in itertools.pairwise(sharded):
        ratio = before.seconds() / row.seconds()
        yield f"{row.label}: {ratio:.1f} times as fast as {before.label}."


def size_rows(stages: Stages, size: int, probes: tuple = ()) -> Iterator[Row]:
    """Yield the rows of all stages, and a row that only writes the result.

    If probes are given, unrolled loops are measured with these numbers of
    rows, and the times are extrapolated.
    """
    inputs, seen = (RULE, size, size), {}
    expected = load_reference().simulate(*inputs)
    for label, stage in stages.items():
        if fails_with := failure(stage.__doc__):
            error = fails_with[0].__name__
            yield Row(label, remark=f"fails on purpose: {error}")
            continue
        same = seen.setdefault(str(programs.trace(stage)), label)
        if same != label:
            yield Row(label, remark=f"the same program as {same}")
        elif probes and is_unrolled(stage):
            program = Program(label, stage.simulate)
            yield extrapolate(program, inputs, expected, probes)
        else:
            ways = programs.ways(label, stage, size)
            yield from measure_each(ways, inputs, expected)
    write = Program(WRITING, lambda _, *shape: np.full(shape, 1, np.uint8))
    yield measure(write, inputs, np.ones_like(expected))


def show_compile(stages: Stages, sizes: Sizes) -> Lines:
    """Yield the phases of a first call, for unrolled loops and for a scan."""
    yield f"where the time of a first call goes; {sizes.small} cells wide"
    most, scan = sizes.compile_steps[-1], find_scan(stages)
    expected = load_reference().simulate(RULE, sizes.small, most)
    for label, stage in stages.items():
        is_jitted = hasattr(stage.simulate, "lower")
        if not is_jitted or failure(stage.__doc__):
            continue
        if is_unrolled(stage) or label == scan:
            for n in sizes.compile_steps:
                name = f"{label}, {n} rows"
                yield measure_phases(name, stage, expected[:n])


def measure_phases(label: str, stage: ModuleType, expected: np.ndarray) -> Row:
    """Return a row with the phases of a first call."""
    num_steps, width = expected.shape
    jax.clear_caches()
    traced, tracing = time_call(stage.simulate.trace, RULE, width, num_steps)
    lowered, lowering = time_call(traced.lower)
    compiled, compiling = time_call(lowered.compile)
    check(label, compiled(RULE), expected)
    times = {"trace": [tracing], "lower": [lowering], "compile": [compiling]}
    return Row(label, times, 0, count_equations(traced.jaxpr.jaxpr))


def show_rules(stages: Stages, sizes: Sizes) -> Lines:
    """Yield rows that compute all rules: a call for each, or one for all."""
    width, num_steps = sizes.rules_shape
    yield f"256 rules, {num_steps} rows of {width} cells each"
    inputs = ALL_RULES, width, num_steps
    expected = programs.call_each(load_reference().simulate, *inputs)
    ways = programs.rule_programs(stages, width)
    yield from measure_each(ways, inputs, np.concatenate(expected))


def show_waiting(stages: Stages, sizes: Sizes) -> Lines:
    """Yield rows that time a call without and with waiting for its result."""
    width, num_steps = sizes.waiting_shape
    yield f"{num_steps} rows of {width} cells"
    inputs, scan = (RULE, width, num_steps), find_scan(stages)
    expected = load_reference().simulate(*inputs)
    numpy = Program(next(iter(stages)), load_reference().simulate)
    yield measure(numpy, inputs, expected)
    wrong = Program(f"{scan}, not waiting", stages[scan].simulate)
    yield measure(wrong, inputs, expected, wait=False)
    yield measure(wrong._replace(label=scan), inputs, expected)
    yield "Without waiting, the clock stops before the result is there."


def show_scale(stages: Stages, sizes: Sizes) -> Lines:
    """Yield the speed at each width, and the widths where many devices win."""
    yield "Mcells/s by width; only the last row is kept"
    faster = []
    for exponent in sizes.exponents:
        row = measure_width(f"2^{exponent}", stages, 2**exponent)
        yield row
        one, *_, many = [k for k in row.samples if not k.startswith("C,")]
        if row.seconds(many) < row.seconds(one):
            faster.append(row.label)
    widths = ", ".join(faster) or "no width"
    yield f"{many} is faster than {one} at {widths}."


def measure_width(label: str, stages: Stages, width: int) -> Row:
    """Return the row for one width.

    The reference simulates only the cells that the live cell can reach. The
    others stay dead.
    """
    num_steps = min(4096, max(256, 2**32 // width))  # a multiple of 256
    near = min(width, 2 * num_steps)
    start = width // 2 - near // 2
    expected = np.zeros((1, width), np.uint8)
    states = load_reference().simulate(RULE, near, num_steps + 1)
    expected[0, start : start + near] = states[-1]
    ways = programs.last_rows(stages, width)
    rows = measure_each(ways, (RULE, width, num_steps), expected)
    samples = {row.label: row.samples["later"] for row in rows}
    return Row(label, samples, width * num_steps)


def show_peers(stages: Stages, sizes: Sizes) -> Lines:
    """Yield programs that compute the same states: stages, C, libraries."""
    yield f"{sizes.large} x {sizes.large} cells"
    inputs = RULE, sizes.large, sizes.large
    expected = load_reference().simulate(*inputs)
    packed = [k for k, s in stages.items() if hasattr(s, "simulate_packed")]
    for label in (next(iter(stages)), find_scan(stages), *packed):
        ways = programs.ways(label, stages[label], sizes.large)
        yield from measure_each(ways, inputs, expected)
    yield from measure_each(programs.installed(), inputs, expected)


SECTIONS = {
    "small": show_small,
    "large": show_large,
    "compile": show_compile,
    "rules": show_rules,
    "waiting": show_waiting,
    "scale": show_scale,
    "peers": show_peers,
}
