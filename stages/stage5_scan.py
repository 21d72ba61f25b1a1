"""Stage 5: the loop becomes part of the program, with `jax.lax.scan`.

What changes: the body of the Python loop becomes a function. It takes
the carry (the state). It returns the next carry, and what to record: the state
before the step. scan stacks the records.
What to notice: compiling takes as long for 8000 rows as for 80, because `step`
is traced only once. With more rows, only the run takes longer.

    python stages/stage5_scan.py --width 8000 --num-steps 8000 --no-print-image
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


@jax.jit(static_argnames=("width", "num_steps"))
def simulate(
    rule: ArrayLike, width: int, num_steps: int
) -> UInt8[Array, "{num_steps} {width}"]:
    """Return one state per row; row 0 is the initial state."""
    rule_table = make_rule_table(rule)
    initial_state = make_initial_state(width)

    def advance(state, _):
        return step(state, rule_table), state

    _, states = jax.lax.scan(advance, initial_state, length=num_steps)
    return states


if __name__ == "__main__":
    from workshop.harness import run

    run(simulate)
