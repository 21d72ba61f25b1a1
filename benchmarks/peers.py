"""Make programs that compute the same states: in C, with CAX, with Numba."""

import ctypes
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from measuring import RULE, Program
from workshop.terminal import say


def installed() -> Iterator[Program]:
    """Yield the programs that can be made here; print what is missing."""
    makers = {"C": make_c, "CAX": make_cax, "Numba": make_numba}
    for name, make_program in makers.items():
        try:
            yield make_program()
        except Exception as error:  # other versions raise other errors
            say(f"{name} cannot be measured: {error}")


def make_c() -> Program:
    """Return the program of automaton.c. 32 must divide the width."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        library = str(Path(folder, "automaton.so"))
        source = str(Path(__file__).with_name("automaton.c"))
        command = ["cc", "-O3", "-march=native", "-shared", "-fPIC", source]
        subprocess.run([*command, "-o", library], check=True)
        run = ctypes.CDLL(library).simulate
    size, array = ctypes.c_size_t, np.ctypeslib.ndpointer()
    run.argtypes = (ctypes.c_int, size, size, array, array, array)

    def simulate(rule: int, width: int, num_steps: int) -> np.ndarray:
        num_words = width // 32
        words, next_words = np.zeros((2, num_words + 2), np.uint32)
        states = np.empty((num_steps, width), np.uint8)
        run(rule, num_words, num_steps, words, next_words, states)
        return states

    return Program("C, bytes", simulate)


def make_cax() -> Program:
    """Return CAX's program, which uses JAX. Its cells are floats.

    CAX does not return row 0, so `to_states` adds this row.
    """
    from cax.cs.elementary import Elementary

    code = Elementary.wolfram_code_from_rule_number(RULE)
    system = Elementary(wolfram_code=code)

    def simulate(_: int, width: int, num_steps: int) -> tuple:
        state = np.eye(width, 1, -(width // 2), np.float32)
        steps = {"num_steps": num_steps - 1, "return_states": True}
        return state, system(state, **steps)[1]

    def to_states(result: tuple) -> np.ndarray:
        state, later = result
        return np.vstack([state.T, later[..., 0]]).astype(np.uint8)

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
