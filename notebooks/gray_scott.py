"""Gray-Scott: two substances that react and spread on a torus.

Where they meet, one u and two v become three v. Some u is fed in everywhere,
and some of both is taken out.

python notebooks/gray_scott.py
"""

import numpy as np

SPREAD_U, SPREAD_V = 0.16, 0.08


def make_initial_state(width):
    """Return u, some squares of v, and noise; 8 must divide the width."""
    squares = np.random.rand(width // 8, width // 8) < 0.2
    v = 0.5 * np.kron(squares, np.ones((8, 8)))
    u = 1 - v
    u += 0.02 * np.random.rand(width, width)
    v += 0.02 * np.random.rand(width, width)
    return u, v


def laplacian(a):
    """Return the sum of the four neighbors, minus four times the cell."""
    total = -4 * a
    total[1:] += a[:-1]
    total[:-1] += a[1:]
    total[0] += a[-1]
    total[-1] += a[0]
    total[:, 1:] += a[:, :-1]
    total[:, :-1] += a[:, 1:]
    total[:, 0] += a[:, -1]
    total[:, -1] += a[:, 0]
    return total


def step(u, v, feed, kill):
    """Advance u and v, in place."""
    reaction = u * v**2
    u += SPREAD_U * laplacian(u) - reaction + feed * (1 - u)
    v += SPREAD_V * laplacian(v) + reaction - (feed + kill) * v


def simulate(u, v, feed, kill, tolerance=1e-5, max_steps=3000):
    """Advance u and v, in place, until v hardly changes."""
    for num_steps in range(1, max_steps + 1):
        before = v.copy()
        step(u, v, feed, kill)
        change = np.abs(v - before).max()
        if num_steps % 500 == 0:
            print(f"step {num_steps}: v changes by up to {change:.1e}")
        if change < tolerance:
            break
    return u, v, num_steps


def main():
    """Run many feeds and kills, one after the other."""
    for kill in (0.057, 0.060, 0.063):
        for feed in (0.022, 0.038, 0.054):
            u, v = make_initial_state(64)
            u, v, num_steps = simulate(u, v, feed, kill)
            print(f"feed {feed}, kill {kill}, {num_steps} steps: {v.mean()}")


if __name__ == "__main__":
    main()
