"""Stage 1: `np` becomes `jnp`.

What changes: every NumPy call becomes the call of the same name in jax.numpy.
The type of `rule` is wider, because it may be a JAX integer.
What to notice: it fails on purpose. `state[width // 2] = 1` raises a
TypeError, because JAX arrays are immutable. The transformations of the later
stages need functions that never change their inputs. The message itself names
the remedy. Everything else works already: `make_rule_table` and `step` compute
the same as in stage 0.
Fails with: TypeError, immutable

    python stages/stage1_jnp.py
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
    state[width // 2] = 1
    return state


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
