"""Stage 4: static arguments make the shapes known when jit compiles.

What changes: `width` and `num_steps` are declared static. jit passes them as
plain ints and compiles once for each pair of values. `rule` stays dynamic:
all 256 rules share one compilation.
What to notice: the first call is slow, later calls are fast. The first call
takes longer for more rows, because Python runs the loop while jit traces it:
the program holds a copy of `step` for every row. Compare --num-steps 20, 80
and 320.

    python stages/stage4_static_args.py --num-steps 320
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
    state = make_initial_state(width)
    states = []
    for _ in range(num_steps):
        states.append(state)
        state = step(state, rule_table)
    return jnp.stack(states)


if __name__ == "__main__":
    from workshop.harness import run

    run(simulate)
