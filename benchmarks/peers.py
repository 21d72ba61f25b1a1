"""The section peers: other programs beside the stages, the same states.

CellPyLib would take over a minute and computes fewer cells; so speeds are by
cell. A peer that is not installed is named as missing.
"""

from collections.abc import Callable
from functools import partial
from inspect import signature
from typing import Any

import numpy as np

from measuring import RULE, Row, Stage, measure
from programs import find_scan, last_rows, load_c, run_c, ways
from sections import Settings
from tables import FIRST, SPEED, SPEEDUP, TYPICAL, Column, Section

WORD_BITS = 64


def side(row: Row, rows: list[Row]) -> str:
    """The number of cells and of rows."""
    return f"{round(row.num_cells**0.5):,}"


COLUMNS = (Column("size", 6, side), FIRST, TYPICAL, SPEED, SPEEDUP)


def plan_peers(stages: list[Stage], settings: Settings) -> Section:
    """The reference, scan, what stages pack, last rows, and libraries."""
    size, reference = settings.large, stages[0].module.simulate
    packing = [s for s in stages if hasattr(s.module, "simulate_packed")]
    chosen = [stages[0], find_scan(stages), *packing]
    programs = [way for stage in chosen for way in ways(stage, size)]
    for way in list(last_rows(stages))[1:]:
        programs.append(way._replace(label=f"{way.label}, last row"))
    # By label: what imports a program and makes a function of width and
    # num_steps, not compiled yet; and how to get states from its results.
    makers = {
        label: (partial(partial, simulate, RULE), to_states)
        for label, simulate, to_states in programs
    } | LIBRARIES
    tasks = {
        label: partial(time_peer, label, *maker, reference, size)
        for label, maker in makers.items()
    }
    note = (
        "packed: returns a bit for each cell. last row: returns that alone."
        " Conversions to bytes, of CAX's floats too, are not timed."
    )
    title = f"size x size cells, rule {RULE}; vs NumPy: by cell"
    return Section(title, COLUMNS, tasks, lambda _: [note])


def time_peer(
    label: str,
    make_simulate: Callable,
    to_states: Callable,
    reference: Callable,
    size: int,
) -> Row:
    """The row of a program; or why there is none, if it is missing."""
    if make_simulate is make_cellpylib:
        size = max(size // 10, WORD_BITS)
    try:
        call = partial(make_simulate(), size, size)
    except ImportError as error:
        return Row(label, remark=f"missing: {error}")
    states = reference(RULE, size, size)
    expected = states[-1:] if "last row" in label else states
    return measure(label, call, [expected], size * size, to_states)


def make_cellpylib() -> Callable:
    """CellPyLib: a dictionary remembers the rule, as memoize has it."""
    import cellpylib

    def simulate(width: int, num_steps: int) -> np.ndarray:
        return cellpylib.evolve(
            cellpylib.init_simple(width, dtype=np.uint8),
            timesteps=num_steps,
            apply_rule=lambda cells, i, t: cellpylib.nks_rule(cells, RULE),
            memoize=True,
        )

    return simulate


def make_cax() -> Callable:
    """CAX: on JAX, a cell is a float; returns all states but the first."""
    from cax.cs.elementary import Elementary
    from flax import nnx

    code = Elementary.wolfram_code_from_rule_number(RULE)
    sows = (
        "rngs" in signature(Elementary.__init__).parameters
    )  # before CAX 0.4
    rngs = {"rngs": nnx.Rngs(0)} if sows else {}
    system = Elementary(wolfram_code=code, **rngs)
    option = {"sow" if sows else "return_states": True}

    def simulate(width: int, num_steps: int) -> Any:
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


def make_numba_bytes() -> Callable:
    """Numba: a loop over cells, one byte each."""
    import numba

    @numba.njit
    def simulate(width, num_steps):
        states = np.zeros((num_steps, width), np.uint8)
        states[0, width // 2] = 1
        for t in range(num_steps - 1):
            state, next_state = states[t], states[t + 1]
            padded = np.concatenate((state[-1:], state, state[:1]))
            for i in range(width):
                entry = 4 * padded[i] + 2 * padded[i + 1] + padded[i + 2]
                next_state[i] = RULE >> entry & 1
        return states

    return simulate


def rule_words() -> np.ndarray:
    """The entries of the rule table, each repeated in all bits of a word."""
    bits = [-(RULE >> entry & 1) for entry in range(8)]
    return np.array(bits, np.int64).view(np.uint64)


def make_numba_packed() -> Callable:
    """Numba: a loop over words, neighboring cells in neighboring bits."""
    import numba

    entries, one, last = rule_words(), np.uint64(1), np.uint64(WORD_BITS - 1)

    @numba.njit
    def simulate(width, num_steps):
        num_words, middle = width // WORD_BITS, width // 2
        states = np.empty((num_steps, num_words), np.uint64)
        states[0] = 0
        states[0, middle // WORD_BITS] = one << np.uint64(middle % WORD_BITS)
        for t in range(num_steps - 1):
            state = states[t]
            for i in range(num_words):
                center = state[i]
                after = state[i + 1] if i + 1 < num_words else state[0]
                left = center << one | state[i - 1] >> last
                right = center >> one | after << last
                word = np.uint64(0)
                for entry in range(8):
                    matches = left if entry & 4 else ~left
                    matches &= center if entry & 2 else ~center
                    matches &= right if entry & 1 else ~right
                    word |= entries[entry] & matches
                states[t + 1, i] = word
        return states

    return simulate


def unpack_bits(words: np.ndarray) -> np.ndarray:
    """Bit i % 64 of word i // 64 is cell i."""
    little_endian = words.astype("<u8").view(np.uint8)
    return np.unpackbits(little_endian, axis=1, bitorder="little")


def make_c() -> Callable:
    """C: packed words, each row unpacked into bytes."""
    load_c()
    return partial(run_c, RULE)


LIBRARIES = {
    "CellPyLib": (make_cellpylib, np.asarray),
    "CAX": (make_cax, cax_states),
    "Numba, bytes": (make_numba_bytes, np.asarray),
    "Numba, packed": (make_numba_packed, unpack_bits),
    "C, bytes": (make_c, np.asarray),
}
