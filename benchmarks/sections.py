"""Measure the stages: each section of the bench yields rows."""

import inspect
import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType

import measuring
import peers
from measuring import RULE, Program, Row, measure, measure_each
from workshop.harness import ALL_RULES, time_call
from workshop.stages import failure, find_stages, load_stage
from workshop.tracing import count_equations, primitives

# The stages that a section picks out, by their labels.
NUMPY, UNROLLED, SCAN, VMAP = "0 numpy", "4 static_args", "5 scan", "6 vmap"
PACKED, SHARDED = "8 bitpack", "10 halo"
LANES = 32  # cells in a full word
Stages = dict[str, ModuleType]


def load_stages(folder: Path) -> Stages:
    """Import the stages of a folder; the keys are labels such as "5 scan"."""
    return {
        f"{number} {path.stem.partition('_')[2]}": load_stage(path)
        for number, path in find_stages(folder).items()
    }


def size_rows(stages: Stages, size: int) -> Iterator[Row]:
    """Yield the rows of all stages.

    A stage has no row if it fails on purpose, or if an earlier stage has the
    same program. A long unrolled loop is extrapolated.
    """
    inputs, seen = (RULE, size, size), set()
    expected = stages[NUMPY].simulate(*inputs)
    for label, stage in stages.items():
        if failure(stage.__doc__):
            continue
        jaxpr = jax.make_jaxpr(partial(stage.simulate, RULE, LANES, 8))().jaxpr
        if str(jaxpr) in seen:
            continue
        seen.add(str(jaxpr))
        # Stage 0 has no equations, because JAX does not run it.
        is_unrolled = jaxpr.eqns and "scan" not in primitives(jaxpr)
        if is_unrolled and size > max(measuring.PROBES):
            program = Program(label, stage.simulate)
            yield measuring.extrapolate(program, inputs, expected)
        else:
            yield from measure_each(ways(label, stage, size), inputs, expected)


def ways(label: str, stage: ModuleType, width: int) -> Iterator[Program]:
    """Yield a stage's program, and a second one if it can return words."""
    if "num_devices" in inspect.signature(stage.simulate).parameters:
        n = math.gcd(width, jax.device_count())
        yield Program(f"{label} x {n}", partial(stage.simulate, num_devices=n))
        return
    yield Program(label, stage.simulate)
    if hasattr(stage, "simulate_packed"):
        unpack = partial(stage.unpack, num_lanes=math.gcd(width, LANES))

        def to_states(words: Any) -> np.ndarray:
            return np.asarray(jax.vmap(unpack)(words)).reshape(-1, width)

        yield Program(f"{label}, packed", stage.simulate_packed, to_states)


def compile_rows(stages: Stages, width: int, *num_rows: int) -> Iterator[Row]:
    """Yield rows that time the phases of a first call.

    The programs are an unrolled loop and a scan.
    """
    expected = stages[NUMPY].simulate(RULE, width, max(num_rows))
    for label in (UNROLLED, SCAN):
        simulate = stages[label].simulate
        for n in num_rows:
            jax.clear_caches()
            traced, tracing = time_call(simulate.trace, RULE, width, n)
            lowered, lowering = time_call(traced.lower)
            compiled, compiling = time_call(lowered.compile)
            measuring.check(label, compiled(RULE), expected[:n])
            times = {"trace": tracing, "lower": lowering, "compile": compiling}
            samples = {name: [seconds] for name, seconds in times.items()}
            num_equations = count_equations(traced.jaxpr.jaxpr)
            yield Row(f"{label}, {n} rows", samples, num_equations)


def waiting_rows(stages: Stages, width: int, num_steps: int) -> Iterator[Row]:
    """Yield rows that time a call without and with waiting for its result."""
    inputs, scan = (RULE, width, num_steps), stages[SCAN].simulate
    expected = stages[NUMPY].simulate(*inputs)
    yield measure(Program(NUMPY, stages[NUMPY].simulate), inputs, expected)
    wrong = Program(f"{SCAN}, not waiting", scan)
    yield measure(wrong, inputs, expected, wait=False)
    yield measure(Program(SCAN, scan), inputs, expected)


def rules_rows(stages: Stages, width: int, num_steps: int) -> Iterator[Row]:
    """Yield rows that compute all rules: a call for each, or one for all."""

    def call_each(simulate: Callable, rules: np.ndarray, *shape: int) -> list:
        return [simulate(int(rule), *shape) for rule in rules]

    def join(states: Any) -> np.ndarray:
        return np.vstack(jax.device_get(states))

    inputs = ALL_RULES, width, num_steps
    expected = join(call_each(stages[NUMPY].simulate, *inputs))
    for label in (NUMPY, SCAN):
        simulate = partial(call_each, stages[label].simulate)
        program = Program(f"{label}, loop", simulate, join)
        yield measure(program, inputs, expected)
    simulate_rules = stages[VMAP].simulate_rules
    at_once = Program(f"{VMAP}, one call", simulate_rules, join)
    yield from measure_each([at_once], inputs, expected)


def scale_rows(
    stages: Stages, num_steps: int, *exponents: int
) -> Iterator[Row]:
    """Yield the speeds at each width, 2^exponent, on one device and on many.

    The reference simulates only the cells that the live cell can reach. The
    others stay dead.
    """
    near = 2 * num_steps
    last = stages[NUMPY].simulate(RULE, near, num_steps + 1)[-1:]
    many = math.gcd(2 ** min(exponents), jax.device_count())
    shares = partial(last_row_of_shares, stages[SHARDED], many)
    programs = [
        Program(PACKED, partial(last_row, stages[PACKED])),
        Program(f"{SHARDED} x {many}", shares),
    ]
    for exponent in exponents:
        width = 2**exponent
        inputs, dead = (RULE, width, num_steps), (width - near) // 2
        expected = np.pad(last, [(0, 0), (dead, dead)])
        rows = [measure(program, inputs, expected) for program in programs]
        samples = {row.label: row.samples["later"] for row in rows}
        yield Row(f"2^{exponent}", samples, num_cells=width * num_steps)


@partial(jax.jit, static_argnums=(0, 2, 3))
def last_row(
    stage: ModuleType, rule: Any, width: int, num_steps: int
) -> jax.Array:
    """Return the state after num_steps steps, computed on one device."""
    words, _ = stage.scan_words(rule, width, num_steps, lambda *_: None)
    return stage.unpack(words, LANES).reshape(1, width)


@partial(jax.jit, static_argnums=(0, 1, 3, 4))
def last_row_of_shares(
    stage: ModuleType, num_devices: int, rule: Any, width: int, num_steps: int
) -> jax.Array:
    """Return the state after num_steps steps, computed on many devices."""
    all_lanes = jnp.uint32(2**LANES - 1)
    rule_table = jnp.where(stage.make_rule_table(rule), all_lanes, 0)
    words = stage.make_initial_state(width, num_devices, LANES)
    auto = (AxisType.Auto,)

    @jax.shard_map(
        mesh=jax.make_mesh((num_devices,), ("ring",), axis_types=auto),
        in_specs=(jax.P("ring"), jax.P()),
        out_specs=jax.P(None, "ring"),
    )
    def scan_share(words: jax.Array, rule_table: jax.Array) -> jax.Array:
        loop = LANES, num_steps, lambda *_: None
        words, _ = stage.scan_words(words, rule_table, *loop)
        return stage.unpack(words, LANES).reshape(1, -1)

    return scan_share(words, rule_table)


def peers_rows(stages: Stages, size: int) -> Iterator[Row]:
    """Yield rows for stages, C and libraries that compute the same states."""
    few = {label: stages[label] for label in (NUMPY, SCAN, PACKED)}
    yield from size_rows(few, size)
    inputs = RULE, size, size
    expected = stages[NUMPY].simulate(*inputs)
    yield from measure_each(peers.installed(), inputs, expected)


# The title of each section, with {} for its sizes, and what yields its rows.
SECTIONS: dict[str, tuple[str, Callable[..., Iterator[Row]]]] = {
    "compile": ("the phases of a first call; {} cells wide", compile_rows),
    "waiting": ("timed with and without waiting; {} x {} cells", waiting_rows),
    "rules": ("256 rules, {1} rows of {0} cells each", rules_rows),
    "scale": ("Mcells/s by width; only the last row is kept", scale_rows),
    "small": ("{0} x {0} cells", size_rows),
    "large": ("{0} x {0} cells", size_rows),
    "peers": ("{0} x {0} cells", peers_rows),
}
SIZES = {
    "compile": (80, 20, 40, 80, 160),
    "waiting": (20_000, 200),
    "rules": (64, 96),
    "scale": (4096, 13, 16, 18, 20, 22, 24),
    "small": (80,),
    "large": (8000,),
    "peers": (8000,),
}
QUICK = SIZES | {"scale": (4096, 13, 16), "large": (960,), "peers": (960,)}
