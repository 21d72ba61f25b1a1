"""Make the programs to measure: the stages, C, and other libraries."""

import ctypes
import functools
import inspect
import math
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType

from measuring import RULE, Program
from workshop.stages import failure, find_stages, load_stage
from workshop.terminal import say
from workshop.tracing import primitives

LANES = 32  # cells in a full word
C_SOURCE = Path(__file__).with_name("automaton.c")
C_FLAGS = ("-O3", "-march=native", "-shared", "-fPIC")
Stages = dict[str, ModuleType]


def load_stages(folder: Path) -> Stages:
    """Import the stages of a folder; the keys are labels such as "5 scan"."""
    return {
        f"{number} {path.stem.partition('_')[2]}": load_stage(path)
        for number, path in find_stages(folder).items()
    }


def trace(stage: ModuleType) -> Any:
    """Return the jaxpr of a short call."""
    simulate = partial(stage.simulate, RULE, LANES, 8)
    return jax.make_jaxpr(simulate)().jaxpr


def is_unrolled(stage: ModuleType) -> bool:
    """Return whether JAX traces each step of the loop separately."""
    jaxpr = trace(stage)
    return bool(jaxpr.eqns) and "scan" not in primitives(jaxpr)


def find_scan(stages: Stages) -> str:
    """Return the label of the first stage whose program has a scan."""
    working = [k for k, s in stages.items() if not failure(s.__doc__)]
    return next(k for k in working if "scan" in primitives(trace(stages[k])))


def takes_devices(stage: ModuleType) -> bool:
    """Return whether a stage divides the ring among devices."""
    return "num_devices" in inspect.signature(stage.simulate).parameters


def most_devices(num_parts: int) -> int:
    """Return the largest number of devices that divides num_parts."""
    counts = range(1, jax.device_count() + 1)
    return max(n for n in counts if num_parts % n == 0)


def ways(label: str, stage: ModuleType, width: int) -> Iterator[Program]:
    """Yield the programs of a stage: on one device, on several, or packed."""
    if takes_devices(stage):
        for n in sorted({1, most_devices(width)}):
            name = f"{label}, 1 device" if n == 1 else f"{label}, {n} devices"
            yield Program(name, partial(stage.simulate, num_devices=n))
        return
    yield Program(label, stage.simulate)
    if run := getattr(stage, "simulate_packed", None):
        yield Program(f"{label}, packed", run, unpack(stage, width))


def unpack(stage: ModuleType, width: int, num_devices: int = 1) -> Callable:
    """Return a function that turns words into cells.

    Each device has words of its own.
    """
    share = width // num_devices
    num_lanes = math.gcd(share, LANES)

    def to_states(words: Any) -> np.ndarray:
        shares = np.asarray(words).reshape(-1, share // num_lanes)
        cells = jax.vmap(partial(stage.unpack, num_lanes=num_lanes))(shares)
        return np.asarray(cells).reshape(-1, width)

    return to_states


def rule_programs(stages: Stages, width: int) -> Iterator[Program]:
    """Yield programs that loop over all rules, and programs that use vmap."""
    for label in (next(iter(stages)), find_scan(stages)):
        run = partial(call_each, stages[label].simulate)
        yield Program(f"{label}, loop", run, join)
    for label, stage in stages.items():
        if run := getattr(stage, "simulate_rules", None):
            yield Program(f"{label}, one call", run, join)
        if packed := getattr(stage, "simulate_packed", None):
            each = jax.vmap(packed, in_axes=(0, None, None))
            run = jax.jit(each, static_argnums=(1, 2))
            yield Program(f"vmap {label}, packed", run, unpack(stage, width))


def call_each(simulate: Callable, rules: np.ndarray, *shape: int) -> list:
    """Return the states of each rule, computed in a Python loop."""
    return [simulate(int(rule), *shape) for rule in rules]


def join(states: Any) -> np.ndarray:
    """Return the states of all rules, one below the other."""
    return np.concatenate(jax.tree.map(np.asarray, states))


def last_rows(stages: Stages, width: int) -> Iterator[Program]:
    """Yield programs that return only the words after num_steps steps.

    The programs are the last stage that uses words on one device, the last
    stage that uses words on many devices, and C if there is a compiler.
    """
    on_words = [k for k, s in stages.items() if hasattr(s, "scan_words")]
    *_, one = [k for k in on_words if not takes_devices(stages[k])]
    *_, many = [k for k in on_words if takes_devices(stages[k])]
    to_states = unpack(stages[one], width)
    yield Program(one, keep_last(stages[one]), to_states)
    n = most_devices(width // LANES)
    run = partial(keep_last_shares, stages[many], n)
    yield Program(f"{many} x {n}", run, unpack(stages[many], width, n))
    if load_c():
        yield Program("C, 1 core", run_c, to_states)


def keep_last(stage: ModuleType) -> Callable:
    """Return a program that runs a one-device stage and records no rows."""

    def simulate_last(rule: Any, width: int, num_steps: int) -> jax.Array:
        return stage.scan_words(rule, width, num_steps, lambda *_: None)[0]

    return jax.jit(simulate_last, static_argnums=(1, 2))


@partial(jax.jit, static_argnums=(0, 1, 3, 4))
def keep_last_shares(
    stage: ModuleType, num_devices: int, rule: Any, width: int, num_steps: int
) -> jax.Array:
    """Return the words after the last step of a stage on many devices."""
    num_lanes = math.gcd(width // num_devices, LANES)
    all_lanes = jnp.uint32(2**num_lanes - 1)
    rule_table = jnp.where(stage.make_rule_table(rule), all_lanes, 0)
    words = stage.make_initial_state(width, num_devices, num_lanes)
    auto, ring = (AxisType.Auto,), jax.P("ring")

    @jax.shard_map(
        mesh=jax.make_mesh((num_devices,), ("ring",), axis_types=auto),
        in_specs=(ring, jax.P()),
        out_specs=ring,
    )
    def scan_share(words: jax.Array, rule_table: jax.Array) -> jax.Array:
        loop = num_lanes, num_steps, lambda *_: None
        return stage.scan_words(words, rule_table, *loop)[0]

    return scan_share(words, rule_table)


def installed() -> Iterator[Program]:
    """Yield programs in C and installed libraries; print what is missing."""
    if load_c():
        yield Program("C, bytes", partial(run_c, keeps_states=True))
    for name, make_program in (("CAX", make_cax), ("Numba", make_numba)):
        try:
            yield make_program()
        except Exception as error:  # another version may raise anything
            say(f"{name} cannot be measured: {error}")


@functools.cache
def load_c() -> ctypes.CDLL | None:
    """Compile and load automaton.c; print why if this fails."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        library = str(Path(folder, "automaton.so"))
        command = ["cc", *C_FLAGS, str(C_SOURCE), "-o", library]
        try:
            subprocess.run(command, capture_output=True, check=True)
            return ctypes.CDLL(library)
        except (OSError, subprocess.CalledProcessError) as error:
            say(f"C cannot be measured: {error}")
            return None


def run_c(
    rule: int, width: int, num_steps: int, keeps_states: bool = False
) -> np.ndarray:
    """Return the states as bytes, or only the words after num_steps steps.

    The width must be a multiple of 32.
    """
    words = np.empty(width // LANES, np.uint32)
    states = np.empty((num_steps if keeps_states else 0, width), np.uint8)
    sizes = ctypes.c_size_t(words.size), ctypes.c_size_t(num_steps)
    pointers = words.ctypes.data, states.ctypes.data if keeps_states else None
    if load_c().scan_words(rule, *sizes, *map(ctypes.c_void_p, pointers)):
        raise MemoryError(f"no memory for {width} cells")
    return states if keeps_states else words


def make_cax() -> Program:
    """Return CAX's program. It uses JAX and float cells, and omits row 0."""
    from cax.cs.elementary import Elementary

    code = Elementary.wolfram_code_from_rule_number(RULE)
    system = Elementary(wolfram_code=code)

    def make_initial_state(width: int) -> np.ndarray:
        return np.eye(width, 1, -(width // 2), np.float32)

    def simulate(_: int, width: int, num_steps: int) -> Any:
        steps = {"num_steps": num_steps - 1, "return_states": True}
        return system(make_initial_state(width), **steps)[1]

    def to_states(later: Any) -> np.ndarray:
        states = [make_initial_state(later.shape[1])[None], later]
        return np.concatenate(states)[..., 0].astype(np.uint8)

    return Program("CAX", simulate, to_states)


def make_numba() -> Program:
    """Return Numba's program: a compiled loop over cells of one byte."""
    import numba

    @numba.njit
    def simulate(rule, width, num_steps):
        states = np.zeros((num_steps, width), np.uint8)
        states[0, width // 2] = 1
        for t in range(num_steps - 1):
            state, next_state = states[t], states[t + 1]
            padded = np.concatenate((state[-1:], state, state[:1]))
            for i in range(width):
                entry = 4 * padded[i] + 2 * padded[i + 1] + padded[i + 2]
                next_state[i] = rule >> entry & 1
        return states

    return Program("Numba, bytes", simulate)
