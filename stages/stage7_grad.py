"""Stage 7: learn the rule back from its states, by `jax.value_and_grad`.

What changes: the table lookup becomes arithmetic. A cell x weighs a table
entry by x or by 1 - x, which is exact on 0 and 1, and smooth in between. So
the error of a guessed table has a gradient; following it downhill is a scan.
Integers have no gradient: for a uint8 table JAX raises a TypeError.
What to notice: a neighborhood that never occurs has gradient 0: its entry
stays at 0.5, undetermined. `jax.vmap(learn_rule)` learns many rules at once.

    python stages/stage7_grad.py --rule 110 --seed 1
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float32, Integer, UInt8

NUM_UPDATES = 300
LEARNING_RATE = 0.5


def make_rule_table(rule: Integer[ArrayLike, ""]) -> UInt8[Array, "2 2 2"]:
    """The eight bits of the rule, indexed [left, center, right]."""
    rule_bits = jnp.unpackbits(jnp.uint8(rule), bitorder="little")
    return rule_bits.reshape(2, 2, 2)


def make_initial_state(width: int) -> UInt8[Array, " {width}"]:
    """One live cell, at `width // 2`."""
    state = jnp.zeros(width, dtype=jnp.uint8)
    return state.at[width // 2].set(1)


def make_random_state(
    width: int, seed: Integer[ArrayLike, ""]
) -> UInt8[Array, " {width}"]:
    """Each cell is live with probability 1/2; a seed gives one state."""
    live = jax.random.bernoulli(jax.random.key(seed), shape=width)
    return live.astype(jnp.uint8)


def step(
    state: Float32[Array, " width"],
    rule_table: Float32[Array, "2 2 2"],
) -> Float32[Array, " width"]:
    """Multilinear interpolation of the table: exact for cells 0 and 1."""
    padded = jnp.pad(state, 1, mode="wrap")
    neighborhood = padded[:-2], padded[1:-1], padded[2:]
    left, center, right = (jnp.stack([1 - x, x]) for x in neighborhood)
    weights = (
        left[:, None, None] * center[None, :, None] * right[None, None, :]
    )
    return jnp.sum(rule_table[..., None] * weights, axis=(0, 1, 2))


@jax.jit(static_argnames=("width", "num_steps"))
def simulate(
    rule: Integer[ArrayLike, ""],
    width: int,
    num_steps: int,
    seed: Integer[ArrayLike, ""] | None = None,
) -> UInt8[Array, "{num_steps} {width}"]:
    """All states, one a row: row 0 is random if there is a seed."""
    rule_table = make_rule_table(rule).astype(jnp.float32)
    if seed is None:
        initial_state = make_initial_state(width)
    else:
        initial_state = make_random_state(width, seed)

    def advance(state, _):
        return step(state, rule_table), state.astype(jnp.uint8)

    _, states = jax.lax.scan(
        advance, initial_state.astype(jnp.float32), length=num_steps
    )
    return states


def prediction_error(
    rule_table: Float32[Array, "2 2 2"],
    states: Float32[Array, "num_steps width"],
) -> Float32[Array, ""]:
    """The squared errors of predicting each row from the one before.

    Divided by all cells, so that a single row has no error.
    """
    predict = jax.vmap(step, in_axes=(0, None))
    errors = predict(states[:-1], rule_table) - states[1:]
    return jnp.sum(errors**2) / states.size


@jax.jit
def learn_rule(
    states: UInt8[Array, "num_steps width"],
) -> tuple[Float32[Array, "2 2 2"], Float32[Array, " num_updates"]]:
    """The rule table learned by gradient descent, and the loss on the way.

    An entry above 0.5 means live, one below means dead. One that is still
    0.5 is undetermined: its neighborhood never occurs. float32 resolves one
    occurrence among fewer than 2**24 cells.
    """
    undecided = jnp.full((2, 2, 2), 0.5)

    def update(rule_table, _):
        loss, gradient = jax.value_and_grad(prediction_error)(
            rule_table, states.astype(jnp.float32)
        )
        return rule_table - LEARNING_RATE * gradient, loss

    return jax.lax.scan(update, undecided, length=NUM_UPDATES)


if __name__ == "__main__":
    from workshop.harness import run

    run(simulate)
