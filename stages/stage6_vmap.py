"""Stage 6: all rules at once, with `jax.vmap`.

What changes: `simulate_rules` maps `simulate` over many rules. `in_axes` says
which arguments have the new leading axis: `rule` has it (0), `width` and
`num_steps` do not (None). No other function changes or knows of that axis.
What to notice: one compiled call computes all 256 rules. --save-image writes
them as a grid of 16 by 16, with rule = 16 * row + column.

    python stages/stage6_vmap.py --save-image
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


@jax.jit(static_argnames=("width", "num_steps"))
def simulate_rules(
    rules: UInt8[Array, " num_rules"], width: int, num_steps: int
) -> UInt8[Array, "num_rules {num_steps} {width}"]:
    """Map `simulate` over the rules; vmap runs only when jit traces."""
    simulate_each = jax.vmap(simulate, in_axes=(0, None, None))
    return simulate_each(rules, width, num_steps)


if __name__ == "__main__":
    from workshop.harness import run

    run(simulate)
