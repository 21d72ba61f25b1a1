"""Gray-Scott in JAX: what notebook 5 makes of gray_scott.py, idea by idea.

python notebooks/gray_scott_jax.py
"""

import jax
import jax.numpy as jnp

SPREAD_U, SPREAD_V = 0.16, 0.08


def make_initial_state(key, width):
    """Return u, some squares of v, and noise; 8 must divide the width."""
    for_squares, for_u, for_v = jax.random.split(key, 3)
    shape = width // 8, width // 8
    squares = jax.random.bernoulli(for_squares, 0.2, shape)
    v = jnp.kron(jnp.where(squares, 0.5, 0.0), jnp.ones((8, 8)))
    u = 1 - v + 0.02 * jax.random.uniform(for_u, v.shape)
    return u, v + 0.02 * jax.random.uniform(for_v, v.shape)


def laplacian(a):
    """Return the sum of the four neighbors, minus four times the cell."""
    moved = [jnp.roll(a, by, axis) for axis in (0, 1) for by in (1, -1)]
    return sum(moved) - 4 * a


def step(u, v, feed, kill):
    """Return the next u and v."""
    reaction = u * v**2
    next_u = u + SPREAD_U * laplacian(u) - reaction + feed * (1 - u)
    next_v = v + SPREAD_V * laplacian(v) + reaction - (feed + kill) * v
    return next_u, next_v


@jax.jit
def simulate(u, v, feed, kill, tolerance=1e-5, max_steps=3000):
    """Advance u and v until v hardly changes."""

    def goes_on(carry):
        _, _, change, num_steps = carry
        return (change >= tolerance) & (num_steps < max_steps)

    def advance(carry):
        u, v, _, num_steps = carry
        next_u, next_v = step(u, v, feed, kill)
        change = jnp.abs(next_v - v).max()
        return next_u, next_v, change, num_steps + 1

    start = jnp.asarray(u), jnp.asarray(v), jnp.inf, 0
    u, v, _, num_steps = jax.lax.while_loop(goes_on, advance, start)
    return u, v, num_steps


def main():
    """Run many feeds and kills, all at once."""
    feeds, kills = (
        jnp.array([0.022, 0.038, 0.054]),
        jnp.array([0.057, 0.060, 0.063]),
    )
    u, v = make_initial_state(jax.random.key(0), 64)
    with_each_feed = jax.vmap(simulate, (None, None, 0, None))
    with_both = jax.vmap(with_each_feed, (None, None, None, 0))
    _, v, num_steps = with_both(u, v, feeds, kills)
    print(v.mean(axis=(2, 3)), num_steps)


if __name__ == "__main__":
    main()
