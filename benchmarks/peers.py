"""Measure other libraries beside the stages: the same states, in one table.

A peer that would take over a minute computes fewer cells; so speeds are by
cell. A peer that is not installed is named as missing.

    make bench-peers
"""

import dataclasses
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "stages"))

import numpy as np

from machine import describe_machine, machine_line
from measuring import (
    RULE,
    MismatchError,
    Row,
    Stage,
    check_equal,
    load_stages,
    measure,
)
from sections import find_scan, variants
from tables import FIRST, LATER, THROUGHPUT, Column, Screen, three_digits
from workshop.harness import time_call
from workshop.stages import STAGES_FOLDER
from workshop.terminal import fail, parse

WORD_BITS = 64
MAX_SECONDS = 60
PROBE_SIZE = 256  # large enough that the calls themselves cost little


@dataclasses.dataclass(frozen=True)
class Arguments:
    """The command line."""

    size: int = 8000
    """Cells and rows, a multiple of 64."""


@dataclasses.dataclass(frozen=True)
class Peer:
    """A program that computes the states of RULE."""

    label: str
    make_simulate: Callable[[], Callable[[int, int], Any]]
    """Imports what it needs; returns a function of width and num_steps that
    is not compiled yet."""
    to_states: Callable[[Any], np.ndarray] = np.asarray
    """From what that returns to uint8 states; not timed."""


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
    system = Elementary(wolfram_code=code, rngs=nnx.Rngs(0))

    def simulate(width: int, num_steps: int) -> Any:
        initial = np.zeros((width, 1), np.float32)
        initial[width // 2] = 1
        system(initial, num_steps=num_steps - 1, sow=True)
        return nnx.pop(system, nnx.Intermediate)["state"][0]

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


def make_numba_packed() -> Callable:
    """Numba: a loop over words, neighboring cells in neighboring bits."""
    import numba

    entries = np.array(
        [-(RULE >> entry & 1) for entry in range(8)], np.int64
    ).view(np.uint64)
    one, last = np.uint64(1), np.uint64(WORD_BITS - 1)

    @numba.njit
    def simulate(width, num_steps):
        num_words = width // WORD_BITS
        states = np.empty((num_steps, num_words), np.uint64)
        states[0] = 0
        middle = width // 2
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
                    word |= (
                        entries[entry]
                        & (left if entry & 4 else ~left)
                        & (center if entry & 2 else ~center)
                        & (right if entry & 1 else ~right)
                    )
                states[t + 1, i] = word
        return states

    return simulate


def unpack_bits(words: np.ndarray) -> np.ndarray:
    """Bit i % 64 of word i // 64 is cell i."""
    little_endian = words.astype("<u8").view(np.uint8)
    return np.unpackbits(little_endian, axis=1, bitorder="little")


def stage_peers(stages: list[Stage], width: int) -> list[Peer]:
    """The reference, scan, and what stages pack into words."""

    def make(simulate: Callable) -> Callable:
        return lambda: partial(simulate, RULE)

    chosen = stages[:1] + find_scan(stages)
    chosen += [s for s in stages if hasattr(s.module, "simulate_packed")]
    return [
        Peer(label, make(simulate), to_states)
        for stage in chosen
        for label, simulate, to_states in variants(stage, width)
    ]


LIBRARIES = [
    Peer("CellPyLib", make_cellpylib),
    Peer("CAX", make_cax, cax_states),
    Peer("Numba, bytes", make_numba_bytes),
    Peer("Numba, packed", make_numba_packed, unpack_bits),
]


def time_peer(peer: Peer, reference: Callable, size: int) -> Row:
    """The row of a peer, on fewer cells if it would take over a minute."""
    try:
        simulate = peer.make_simulate()
    except ImportError as error:
        return Row(peer.label, remark=f"missing: {error}")
    size = affordable_size(simulate, size)
    expected = reference(size, size)

    def check(result: Any) -> None:
        states = peer.to_states(result)[:, :size]
        check_equal(peer.label, states, expected)

    return measure(
        peer.label,
        partial(peer.make_simulate(), size, size),
        check,
        num_cells=size * size,
        budget=0.5,
    )


def affordable_size(simulate: Callable, size: int) -> int:
    """The size, or a tenth of it if a call would take over a minute."""
    if size <= PROBE_SIZE:
        return size
    simulate(PROBE_SIZE, PROBE_SIZE)
    _, seconds = time_call(simulate, PROBE_SIZE, PROBE_SIZE)
    if seconds * (size / PROBE_SIZE) ** 2 <= MAX_SECONDS:
        return size
    return size // 10 // WORD_BITS * WORD_BITS or WORD_BITS


def side(row: Row, rows: list[Row]) -> str:
    """The number of cells and of rows."""
    return f"{round(row.num_cells**0.5):,}"


def speedup_by_cell(row: Row, rows: list[Row]) -> str:
    """Cells a second, as a multiple of the first row's."""
    speeds = [r.num_cells / r.typical for r in (row, rows[0])]
    return three_digits(speeds[0] / speeds[1]) + "x"


COLUMNS = (
    Column("size", 6, side),
    FIRST,
    *LATER,
    THROUGHPUT,
    Column("by cell", 8, speedup_by_cell),
)


def main() -> int:
    """Print the table; the exit status."""
    size = parse(Arguments, __doc__.partition("\n")[0]).size
    if size < WORD_BITS or size % WORD_BITS:
        fail(f"size must be a multiple of {WORD_BITS}, got {size}")
    stages = load_stages(STAGES_FOLDER)
    peers = stage_peers(stages, size) + LIBRARIES
    reference = peers[0].make_simulate()
    tasks = [
        (peer.label, partial(time_peer, peer, reference, size))
        for peer in peers
    ]
    screen = Screen()
    screen.say(machine_line(describe_machine()))
    title = f"size x size cells, rule {RULE}; by cell: speed against NumPy's"
    try:
        screen.show(title, tasks, COLUMNS, rows=[])
    except MismatchError as error:
        fail(str(error), status=1)
    except KeyboardInterrupt:
        screen.say("interrupted: what was measured stands above")
        return 130
    screen.say(
        "packed rows return one bit a cell. Conversions to bytes, of CAX's"
        " floats too, are not timed."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
