"""Stage 6: all rules at once, by `jax.vmap`.

What changes: `simulate_rules` maps `simulate` over many rules. `in_axes` says
which arguments have the new leading axis: `rule` has it (0), `width` and
`num_steps` do not (None). No other function changes or knows of that axis.
What to notice: one compiled call computes all 256 rules. A terminal shows
them as a flip-book (Ctrl-C ends it); --save-image writes them as a grid, with
rule = 16 * row + column.

    python stages/stage6_vmap.py --save-image
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Integer, UInt8


def make_rule_table(rule: Integer[ArrayLike, ""]) -> UInt8[Array, "2 2 2"]:
    """The eight bits of the rule, indexed [left, center, right]."""
    rule_bits = jnp.unpackbits(jnp.uint8(rule), bitorder="little")
    return rule_bits.reshape(2, 2, 2)


def make_initial_state(width: int) -> UInt8[Array, " {width}"]:
    """One live cell, at `width // 2`."""
    state = jnp.zeros(width, dtype=jnp.uint8)
    return state.at[width // 2].set(1)


def step(
    state: UInt8[Array, " width"],
    rule_table: UInt8[Array, "2 2 2"],
) -> UInt8[Array, " width"]:
    """The next state: every cell looks its neighborhood up in the table."""
    padded = jnp.pad(state, 1, mode="wrap")
    left, center, right = padded[:-2], padded[1:-1], padded[2:]
    return rule_table[left, center, right]


@jax.jit(static_argnames=("width", "num_steps"))
def simulate(
    rule: Integer[ArrayLike, ""], width: int, num_steps: int
) -> UInt8[Array, "{num_steps} {width}"]:
    """All states, one a row: row 0 is the initial state."""
    rule_table = make_rule_table(rule)
    initial_state = make_initial_state(width)

    def advance(state, _):
        return step(state, rule_table), state

    _, states = jax.lax.scan(advance, initial_state, length=num_steps)
    return states


@jax.jit(static_argnames=("width", "num_steps"))
def simulate_rules(
    rules: Integer[Array, " num_rules"], width: int, num_steps: int
) -> UInt8[Array, "num_rules {num_steps} {width}"]:
    """The states of every rule: `simulate` mapped over `rule`."""
    simulate_each = jax.vmap(simulate, in_axes=(0, None, None))
    return simulate_each(rules, width, num_steps)


if __name__ == "__main__":
    from workshop.harness import run

    run(simulate)
