"""The ways in which stages, C and libraries compute states."""

import ctypes
import functools
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import jax
import numpy as np

import measuring
from measuring import RULE, Stage, Way
from workshop.inspection import ONLY_NAMES, Program
from workshop.terminal import say

C_SOURCE = Path(__file__).with_name("automaton.c")
C_FLAGS = ("-O3", "-march=native", "-shared", "-fPIC")
LANES = 32


def find_scan(stages: list[Stage]) -> Stage:
    """The first compiled stage whose program holds the loop."""
    compiled = [s for s in stages if s.is_jitted and not s.fails_with]
    return next(stage for stage in compiled if not stage.unrolls)


def ways(stage: Stage, width: int) -> Iterator[Way]:
    """On one device, and on as many as divide the width; also packed."""
    label, simulate = stage.label, stage.module.simulate
    if "num_devices" in signature(simulate).parameters:
        counts = range(1, jax.device_count() + 1)
        for n in sorted({1, max(n for n in counts if width % n == 0)}):
            devices = "1 device" if n == 1 else f"{n} devices"
            yield Way(f"{label}, {devices}", partial(simulate, num_devices=n))
        return
    yield Way(label, simulate, anywhere=stage.is_jitted)
    if packed := getattr(stage.module, "simulate_packed", None):
        to_states = partial(unpack, stage, width)
        yield Way(f"{label}, packed", packed, to_states, anywhere=True)
        if measuring.accelerator():
            label += ", packed, to host"
            yield Way(label, lambda *a: np.asarray(packed(*a)), to_states)


def beside(ways: Iterable[Way]) -> Iterator[Way]:
    """The ways; where JAX computes elsewhere, after each the same on a CPU."""
    for way in ways:
        yield way
        if way.anywhere and measuring.accelerator():
            run = partial(on_cpu, way.simulate)
            yield way._replace(label=f"{way.label}, CPU", simulate=run)


def on_cpu(simulate: Callable, *arguments: Any) -> Any:
    """What it computes, on the first CPU device."""
    with jax.default_device(jax.devices("cpu")[0]):
        return simulate(*arguments)


def count_kernels(hlo: str) -> int:
    """What the body of the first loop of a compiled program launches."""
    program = Program(hlo)
    bodies = [it.attribute("body") for it in program.instructions.values()]
    body = program.computations[next(filter(None, bodies))]
    return sum(it.operation not in ONLY_NAMES for it in body)


def last_rows(stages: list[Stage], width: int | None = None) -> Iterator[Way]:
    """What keeps one state: the step of scan, loops over words, and C.

    Without a width: for those whose words are full on all devices.
    """
    scan = find_scan(stages)
    yield Way(scan.label, keep_last(scan), np.atleast_2d)
    on_words = [s for s in stages if hasattr(s.module, "scan_words")]
    for stage in on_words:
        several = hasattr(stage.module, "make_mesh")
        label = stage.label + several * f" x {jax.device_count()}"
        to_states = partial(unpack_row, stage, width)
        yield Way(label, keep_last_words(stage), to_states, not several)
    same = partial(unpack_row, on_words[0], width)  # C has stage 8's words
    yield from installed({"C, 1 core": (partial(make_c, True), same)})


def installed(makers: dict[str, tuple]) -> Iterator[Way]:
    """Those whose maker raises no ImportError; what another raises is said."""
    for label, (make_simulate, to_states) in makers.items():
        try:
            yield Way(label, make_simulate(), to_states)
        except ImportError as error:
            say(f"{label} is missing: {error}")


def rule_ways(stages: list[Stage], width: int) -> Iterator[Way]:
    """For all rules: a call for each, one call, one of what is packed."""
    for stage in (stages[0], find_scan(stages)):
        run = partial(call_each, stage.module.simulate)
        yield Way(f"{stage.label}, loop", run, join)
    for stage in stages:
        if run := getattr(stage.module, "simulate_rules", None):
            yield Way(f"{stage.label}, one call", run, join, anywhere=True)
        if hasattr(stage.module, "simulate_packed"):
            for way in (way for way in ways(stage, width) if way.anywhere):
                run, to = map_rules(way.simulate), way.to_states
                yield Way(f"vmap {way.label}", run, partial(join, to=to), True)


def call_each(simulate: Callable, rules: np.ndarray, *shape: int) -> list:
    """The states of each rule, by a loop in Python."""
    return [simulate(int(rule), *shape) for rule in rules]


def map_rules(simulate: Callable) -> Callable:
    """That simulate, of all rules in one program."""
    return jax.jit(
        lambda rules, *shape: jax.vmap(lambda r: simulate(r, *shape))(rules),
        static_argnums=(1, 2),
    )


def join(results: Any, to: Callable = np.asarray) -> np.ndarray:
    """The states of all rules, below each other."""
    return to(np.concatenate(jax.tree.map(np.asarray, results)))


def keep_last(stage: Stage) -> Callable[[int, int, int], jax.Array]:
    """The stage's step in a loop, from an argument: XLA folds constants."""
    module = stage.module

    @jax.jit
    def advance(rule: int, state: jax.Array, num_updates: int) -> jax.Array:
        table = module.make_rule_table(rule)
        return jax.lax.fori_loop(
            0, num_updates, lambda _, state: module.step(state, table), state
        )

    return lambda rule, width, num_steps: advance(
        rule, module.make_initial_state(width), num_steps - 1
    )


def keep_last_words(stage: Stage) -> Callable[[int, int, int], jax.Array]:
    """The stage's loop over words, of each device a row, without records."""
    module = stage.module

    @jax.jit(static_argnames=("width", "num_steps"))
    def simulate_last(rule: int, width: int, num_steps: int) -> jax.Array:
        def scan_share() -> jax.Array:
            shape = width, num_steps - 1
            last, _ = module.scan_words(rule, *shape, record=lambda _: None)
            return last[None]

        if hasattr(module, "make_mesh"):
            mesh = module.make_mesh(width, None)
            specs = {"in_specs": (), "out_specs": jax.P("ring")}
            scan_share = jax.shard_map(scan_share, mesh=mesh, **specs)
        return scan_share()

    return simulate_last


def unpack(stage: Stage, width: int | None, words: jax.Array) -> np.ndarray:
    """The cells of packed states, one state a row."""
    lanes = jax.jit(jax.vmap(stage.module.unpack))(words)
    return np.asarray(lanes).reshape(len(words), -1)[:, :width]


def unpack_row(
    stage: Stage, width: int | None, words: jax.Array
) -> np.ndarray:
    """The same of one state, whose shares stand below each other."""
    share = width and width // len(words)
    return unpack(stage, share, words).reshape(1, -1)


@functools.cache
def load_c() -> ctypes.CDLL:
    """automaton.c, compiled. Raises ImportError if that cannot be."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise ImportError("no C compiler is named cc")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        library = str(Path(folder, "automaton.so"))
        command = [compiler, *C_FLAGS, str(C_SOURCE), "-o", library]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise ImportError((done.stderr.splitlines() or ["cc failed"])[0])
        return ctypes.CDLL(library)


def make_c(only_last: bool = False) -> Callable[[int, int, int], np.ndarray]:
    """C: the states as bytes, or the last one's words; for whole words."""
    library = load_c()

    def simulate(rule: int, width: int, num_steps: int) -> np.ndarray:
        last = np.empty(width // LANES, np.uint32)
        states = np.empty((0 if only_last else num_steps, width), np.uint8)
        pointers = last.ctypes.data, None if only_last else states.ctypes.data
        sizes = map(ctypes.c_size_t, (last.size, num_steps))
        if library.simulate(rule, *sizes, *map(ctypes.c_void_p, pointers)):
            raise MemoryError(f"no memory for {width} cells")
        return last[None] if only_last else states

    return simulate


def make_cellpylib() -> Callable:
    """CellPyLib: a dictionary remembers the rule, as memoize has it."""
    import cellpylib

    return lambda rule, width, num_steps: cellpylib.evolve(
        cellpylib.init_simple(width, dtype=np.uint8),
        timesteps=num_steps,
        apply_rule=lambda cells, i, t: cellpylib.nks_rule(cells, rule),
        memoize=True,
    )


def make_cax() -> Callable:
    """CAX: on JAX, a cell is a float; returns all states but the first."""
    from cax.cs.elementary import Elementary
    from flax import nnx

    code = Elementary.wolfram_code_from_rule_number(RULE)
    sows = "rngs" in signature(Elementary.__init__).parameters  # before 0.4
    rngs = {"rngs": nnx.Rngs(0)} if sows else {}
    system = Elementary(wolfram_code=code, **rngs)
    option = {"sow" if sows else "return_states": True}

    def simulate(_: int, width: int, num_steps: int) -> Any:
        initial = np.zeros((width, 1), np.float32)
        initial[width // 2] = 1
        last_and_all = system(initial, num_steps=num_steps - 1, **option)
        if sows:
            return nnx.pop(system, nnx.Intermediate)["state"][0]
        return last_and_all[1]

    return simulate


def cax_states(later: Any) -> np.ndarray:
    """With the initial state, and as uint8."""
    later = np.asarray(later)[..., 0].astype(np.uint8)
    initial = np.zeros_like(later[:1])
    initial[0, initial.size // 2] = 1
    return np.concatenate([initial, later])


def make_numba() -> Callable:
    """Numba: a loop over cells, one byte each."""
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

    return simulate


LIBRARIES = {
    "CAX": (make_cax, cax_states),
    "Numba, bytes": (make_numba, np.asarray),
    "C, bytes": (make_c, np.asarray),
}
CELLPYLIB = make_cellpylib, np.asarray
