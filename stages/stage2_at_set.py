"""Stage 2: a new array with one cell changed, by `.at[].set`.

What changes: `state[i] = 1` becomes `state.at[i].set(1)`. It leaves `state`
as it is and returns a changed copy. Use the result: the line does nothing on
its own.
What to notice: the states equal stage 0's, but this stage is slower than
NumPy. JAX sends hundreds of operations to the device, one at a time. The first
call also compiles each kind of operation once.

    python stages/stage2_at_set.py
"""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import UInt8


def make_rule_table(rule: ArrayLike) -> UInt8[Array, "2 2 2"]:
    """Return the eight bits of the rule, indexed [left, center, right]."""
    rule_bits = jnp.unpackbits(jnp.uint8(rule), bitorder="little")
    return rule_bits.reshape(2, 2, 2)


def make_initial_state(width: int) -> UInt8[Array, " {width}"]:
    """Return a state with one live cell, at `width // 2`."""
    state = jnp.zeros(width, dtype=jnp.uint8)
    return state.at[width // 2].set(1)


def step(
    state: UInt8[Array, " width"],
    rule_table: UInt8[Array, "2 2 2"],
) -> UInt8[Array, " width"]:
    """Return the next state: look up every neighborhood in the table."""
    padded = jnp.pad(state, 1, mode="wrap")
    left, center, right = padded[:-2], padded[1:-1], padded[2:]
    return rule_table[left, center, right]


def simulate(
    rule: ArrayLike, width: int, num_steps: int
) -> UInt8[Array, "{num_steps} {width}"]:
    """Return one state per row; row 0 is the initial state."""
    rule_table = make_rule_table(rule)
    state = make_initial_state(width)
    states = []
    for _ in range(num_steps):
        states.append(state)
        state = step(state, rule_table)
    return jnp.stack(states)


if __name__ == "__main__":
    from workshop.harness import run

    run(simulate)
