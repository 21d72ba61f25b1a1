"""The ways in which stages, and C, compute states."""

import ctypes
import functools
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from measuring import Stage
from workshop.terminal import say

C_SOURCE = Path(__file__).with_name("automaton.c")
C_FLAGS = ("-O3", "-march=native", "-shared", "-fPIC")


class Way(NamedTuple):
    """One way in which a program computes states."""

    label: str
    simulate: Callable[[int, int, int], Any]
    """Of rule, width and num_steps."""
    to_states: Callable[[Any], np.ndarray] = np.asarray
    """From what that returns; not timed."""


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
            devices = f"{n} device" if n == 1 else f"{n} devices"
            run = partial(simulate, num_devices=n)
            yield Way(f"{label}, {devices}", run)
        return
    yield Way(label, simulate)
    if hasattr(stage.module, "simulate_packed"):
        to_states = partial(unpack, stage, width)
        yield Way(f"{label}, packed", stage.module.simulate_packed, to_states)


def last_rows(stages: list[Stage]) -> Iterator[Way]:
    """What keeps one state: the step of scan, loops over words, and C."""
    scan = find_scan(stages)
    yield Way(scan.label, keep_last(scan), np.atleast_2d)
    for stage in stages:
        if hasattr(stage.module, "scan_words"):
            several = hasattr(stage.module, "make_mesh")
            label = f"{stage.label} x {jax.device_count()}" * several
            run = keep_last_words(stage)
            yield Way(label or stage.label, run, partial(unpack_row, stage))
    try:
        load_c()
    except ImportError as error:
        say(f"C is missing: {error}")
    else:
        yield Way("C, 1 core", partial(run_c, only_last=True), unpack_c)


def rule_ways(stages: list[Stage], width: int) -> Iterator[Way]:
    """For all rules: a call for each, one call, one of what is packed."""
    for stage in (stages[0], find_scan(stages)):
        each = partial(call_each, stage.module.simulate)
        yield Way(f"{stage.label}, loop", each)
    for stage in stages:
        if run := getattr(stage.module, "simulate_rules", None):
            yield Way(f"{stage.label}, one call", run)
        if hasattr(stage.module, "simulate_packed"):
            for way in ways(stage, width):
                run = map_rules(way.simulate)
                yield Way(f"vmap {way.label}", run, way.to_states)


def call_each(simulate: Callable, rules: np.ndarray, *shape: int) -> list:
    """The states of each rule, by a loop in Python."""
    return [simulate(int(rule), *shape) for rule in rules]


def map_rules(simulate: Callable) -> Callable:
    """That simulate, of all rules in one program."""

    @jax.jit(static_argnames=("width", "num_steps"))
    def simulate_rules(rules, width, num_steps):
        return jax.vmap(lambda rule: simulate(rule, width, num_steps))(rules)

    return simulate_rules


def keep_last(stage: Stage) -> Callable[[int, int, int], jax.Array]:
    """The stage's step in a loop that keeps one state.

    It starts from an argument: XLA would fold a constant for seconds.
    """
    module = stage.module

    @jax.jit
    def advance(rule: int, state: jax.Array, num_updates: int) -> jax.Array:
        rule_table = module.make_rule_table(rule)
        next_state = lambda _, state: module.step(state, rule_table)  # noqa: E731
        return jax.lax.fori_loop(0, num_updates, next_state, state)

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


def unpack(stage: Stage, width: int, words: jax.Array) -> np.ndarray:
    """The cells of packed states, one state a row."""
    lanes = jax.jit(jax.vmap(stage.module.unpack))(words)
    return np.asarray(lanes).reshape(len(words), -1)[:, :width]


def unpack_row(stage: Stage, words: jax.Array) -> np.ndarray:
    """The same of one state whose shares fill their words."""
    return unpack(stage, None, words).reshape(1, -1)


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


def run_c(
    rule: int, width: int, num_steps: int, *, only_last: bool = False
) -> np.ndarray:
    """The states, or the last one's words; width must divide by 32."""
    last = np.empty(width // 32, np.uint32)
    states = np.empty((0 if only_last else num_steps, width), np.uint8)
    pointers = (last.ctypes.data, states.ctypes.data if states.size else None)
    sizes = map(ctypes.c_size_t, (last.size, num_steps))
    if load_c().simulate(rule, *sizes, *map(ctypes.c_void_p, pointers)):
        raise MemoryError(f"no memory for {width} cells")
    return last if only_last else states


def unpack_c(words: np.ndarray) -> np.ndarray:
    """Cell lane * num_words + word is bit `lane` of that word."""
    lanes = np.arange(32, dtype=np.uint32)[:, None]
    return (words >> lanes & 1).astype(np.uint8).reshape(1, -1)
