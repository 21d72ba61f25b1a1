"""Stage 0: an elementary cellular automaton in NumPy, the reference.

Each cell of a ring is 0 or 1. At every step each cell looks at its
neighborhood (left, center, right) and reads its next value from a table of
eight bits: the rule.

What changes: nothing yet. The later stages must return these same states.
What to notice: `states` has `num_steps` rows, the initial state included.
Try --rule 90 --num-steps 40: it draws Pascal's triangle modulo 2. With more
rows, the pattern meets itself on the other side of the ring.

    python stages/stage0_numpy.py --num-steps 80
"""

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray as Array


def make_rule_table(rule: int) -> UInt8[Array, "2 2 2"]:
    """Return the eight bits of the rule, indexed [left, center, right]."""
    rule_bits = np.unpackbits(np.uint8(rule), bitorder="little")
    return rule_bits.reshape(2, 2, 2)


def make_initial_state(width: int) -> UInt8[Array, " {width}"]:
    """Return a state with one live cell, at `width // 2`."""
    state = np.zeros(width, dtype=np.uint8)
    state[width // 2] = 1
    return state


def step(
    state: UInt8[Array, " width"],
    rule_table: UInt8[Array, "2 2 2"],
) -> UInt8[Array, " width"]:
    """Return the next state: look up every neighborhood in the table."""
    padded = np.pad(state, 1, mode="wrap")
    left, center, right = padded[:-2], padded[1:-1], padded[2:]
    return rule_table[left, center, right]


def simulate(
    rule: int, width: int, num_steps: int
) -> UInt8[Array, "{num_steps} {width}"]:
    """Return one state per row; row 0 is the initial state."""
    rule_table = make_rule_table(rule)
    state = make_initial_state(width)
    states = []
    for _ in range(num_steps):
        states.append(state)
        state = step(state, rule_table)
    return np.stack(states)


if __name__ == "__main__":
    from workshop.harness import run

    run(simulate)
