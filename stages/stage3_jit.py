"""Stage 3: compile the whole simulation with `jax.jit`.

What changes: one decorator on `simulate`.
What to notice: it fails on purpose. jit calls `simulate` once with tracers:
stand-ins that have a shape and a dtype, but no value. `jnp.zeros(width)` then
asks for a shape that is only known when the program runs. It raises a
TypeError: shapes must be concrete. Without the decorator nothing is wrong.
Fails with: TypeError, concrete

    python stages/stage3_jit.py
"""

import jax
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


@jax.jit
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
