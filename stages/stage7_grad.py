"""Stage 7: learn the rule from its states, with `jax.value_and_grad`.

What changes, from stage 5: `step` also accepts a table of floats. We
differentiate the prediction error with respect to this table, and run gradient
descent in a scan.
What to notice: the gradient is with respect to the table, not to the cells
that index it. Integers have no gradient: for a uint8 table JAX raises a
TypeError. If a neighborhood never occurs, its entry has gradient 0 and stays
at its initial value, 0.5.

    python stages/stage7_grad.py --rule 110
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float32, Real, UInt8

NUM_UPDATES = 300
LEARNING_RATE = 0.5


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
    rule_table: Real[Array, "2 2 2"],
) -> Real[Array, " width"]:
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


def prediction_error(
    rule_table: Float32[Array, "2 2 2"],
    states: UInt8[Array, "num_steps width"],
) -> Float32[Array, ""]:
    """Predict each row from the one before; return the mean squared error."""
    predict = jax.vmap(step, in_axes=(0, None))
    errors = predict(states[:-1], rule_table) - states[1:].astype(jnp.float32)
    return jnp.mean(errors**2)


@jax.jit
def learn_rule(
    states: UInt8[Array, "num_steps width"],
) -> tuple[Float32[Array, "2 2 2"], Float32[Array, " num_updates"]]:
    """Return the table learned by gradient descent, and the losses."""
    compute_loss = jax.value_and_grad(prediction_error)

    def update(rule_table, _):
        loss, gradient = compute_loss(rule_table, states)
        return rule_table - LEARNING_RATE * gradient, loss

    undecided = jnp.full((2, 2, 2), 0.5)
    return jax.lax.scan(update, undecided, length=NUM_UPDATES)


if __name__ == "__main__":
    from workshop.harness import run

    run(simulate)
