"""Check the answers in notebook 5 against gray_scott.py."""

import contextlib
import io
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import gray_scott as reference
from answers import (
    answer_check,
    check_function,
    compare_tuples,
    require_gradient,
    require_one_program,
)
from workshop.exercises import expect

SPOTS = 0.03, 0.061  # feed and kill
STRIPES = 0.046, 0.062
DIES_OUT = 0.03, 0.07
FILLS = 0.054, 0.05
FEEDS = np.linspace(0.02, 0.06, 8, dtype=np.float32)
KILLS = np.array([0.057, 0.06, 0.063], dtype=np.float32)


def make_start() -> tuple[np.ndarray, np.ndarray]:
    """Return u and v: some squares of v, and noise in both."""
    rng = np.random.default_rng(1)
    squares = rng.random((2, 3)) < 0.4
    v = 0.5 * np.kron(squares, np.ones((8, 8)))
    u = 1 - v + 0.02 * rng.random(v.shape)
    return u, v + 0.02 * rng.random(v.shape)


START = make_start()


def simulate(
    u: Any, v: Any, feed: float, kill: float, *how: float
) -> tuple[np.ndarray, np.ndarray, int]:
    """Run the reference on copies; return u, v and the number of steps."""
    return reference.simulate(u.copy(), v.copy(), feed, kill, *how)


def take_steps(
    u: Any, v: Any, feed: float, kill: float, num_steps: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Return u and v of the reference after this number of steps."""
    return simulate(u, v, feed, kill, 0, num_steps)[:2]


@answer_check
def check_is_same(is_same: Any) -> str:
    """Check a function that compares two arrays up to rounding."""
    want = take_steps(*START, *STRIPES, 100)[1]
    narrow = [np.float32(x) for x in (*START, *STRIPES)]
    more_feed = 1.001 * STRIPES[0], STRIPES[1]
    one_cell = np.zeros_like(want)
    one_cell[3, 5] = 1
    wrong_feed = take_steps(*START, *more_feed, 100)[1]
    cases = {
        "an equal array": (want, True),
        "a run in 32 bits": (take_steps(*narrow, 100)[1], True),
        "an array of its mean": (0 * want + want.mean(), False),
        "a feed off by a thousandth": (wrong_feed, False),
        "a cell off by 0.01": (want + 0.01 * one_cell, False),
        "a cell of NaN": (np.where(one_cell, np.nan, want), False),
        "a stack of two copies": (np.stack([want, want]), False),
    }
    for name, (got, right) in cases.items():
        answer = is_same(got, want)
        expect.result(answer, f"is_same for {name}")
        reason = f"is_same should return {right} for {name}."
        expect.that(bool(answer) == right, reason, name)
    return "it accepts rounding and refuses every mistake."


@answer_check
def check_initial_state(make_initial_state: Any) -> str:
    """Check a function that draws u and v from a key."""
    keys = jax.random.split(jax.random.key(0), 20)
    drawn = np.array([draw_fields(make_initial_state, key) for key in keys])
    again = draw_fields(make_initial_state, keys[0])
    expect.that(
        np.array_equal(drawn[0], again),
        "two calls with the same key differ: draw only from the key.",
        "other state",
    )
    expect.that(
        (drawn[0] != drawn[1]).any(axis=(1, 2)).all(),
        "two keys give the same u or the same v: draw from the key.",
        "ignores key",
    )
    require_distribution(*drawn.swapaxes(0, 1))
    with jax.debug_key_reuse(True):
        make_initial_state(jax.random.key(0), 64)
    return "the same key gives the same numbers, and no key is used twice."


def draw_fields(make_initial_state: Any, key: Any) -> tuple:
    """Return u and v of 64 x 64 cells; raise NotYet if either is wrong."""
    fields = make_initial_state(key, 64)
    expect.tuple_of(fields, "u, v", "the call")
    for name, a in zip("uv", fields, strict=True):
        expect.jax_array(a, f"{name} is")
        expect.shape(a, (64, 64), name)
    return fields


def require_distribution(u: np.ndarray, v: np.ndarray) -> None:
    """Raise NotYet unless the squares and the noise of u and v are right."""
    squares = np.round(2 * v)
    alike = squares == np.kron(squares[:, ::8, ::8], np.ones((8, 8)))
    share = squares.mean()
    noise = np.array([u - 1 + squares / 2, v - squares / 2])
    low, high, means = noise.min(), noise.max(), noise.mean(axis=(1, 2, 3))
    in_range = low > -1e-6 and high < 0.02 + 1e-6
    expect.that(
        alike.all()
        and abs(share - 0.2) < 0.05
        and in_range
        and np.allclose(means, 0.01, atol=1e-3),
        f"{share:.0%} of v is 0.5, want 20 %, in squares of 8 x 8 cells. The"
        f" noise is from {low:.3f} to {high:.3f}, want 0 to 0.02. Its mean is"
        f" {means[0]:.3f} in u and {means[1]:.3f} in v, want 0.01.",
        "distribution",
    )


AS_JAX = [jnp.asarray(a) for a in START]

check_step = check_function(
    take_steps,
    {f"step(u, v, {f}, {k})": (*AS_JAX, f, k) for f, k in (STRIPES, SPOTS)},
    "it returns new arrays, and does not change its arguments.",
    compare=compare_tuples("u, v"),
    also=lambda step: jax.jit(step)(*START, *STRIPES),
)


@answer_check
def check_step_and_print(step_and_print: Any) -> str:
    """Check a jitted step that prints the mean of v at every call."""
    calls = {"a first call": (*START, *STRIPES)}
    calls["a call with another feed and kill"] = *START, *SPOTS
    with contextlib.redirect_stdout(io.StringIO()):
        require_one_program(step_and_print, calls)
        jax.effects_barrier()
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        got = step_and_print(*START, *STRIPES)
        jax.effects_barrier()
    want, call = take_steps(*START, *STRIPES), "a later call"
    expect.same(got, want, "u, v", call)
    text, mean = printed.getvalue().strip(), want[1].mean()
    numbers = [float(x) for x in re.findall(r"\d*\.\d+(?:e-\d+)?", text)]
    expect.that(
        np.isclose(numbers, mean, rtol=1e-2).any(),
        f"{call} prints {text!r}, but the mean of the new v is {mean:.4f}."
        " (`print` runs only during tracing.)",
        "print",
    )
    return "the compiled program prints the mean at every call."


def record_steps(u: Any, v: Any, feed: float, kill: float, n: int) -> tuple:
    """Return u, v, and how much v changes in each of n steps."""
    changes = []
    for _ in range(n):
        before = v
        u, v = take_steps(u, v, feed, kill)
        changes.append(np.abs(v - before).max())
    return u, v, changes


check_advance = check_function(
    record_steps,
    {f"{n} steps": (*START, *STRIPES, n) for n in (1, 3)},
    "the program for 12 steps has no more operations than that for 4.",
    compare=compare_tuples("u, v, changes"),
    larger={f"{n} steps": (*START, *SPOTS, n) for n in (4, 12)},
    similar={
        "a first call": (*START, *SPOTS, 5),
        "a call with another feed and kill": (*START, *STRIPES, 5),
    },
)

STILL = np.ones((16, 24)), np.zeros((16, 24))

check_run_until_still = check_function(
    simulate,
    {
        "until v changes by less than 1e-4": (*START, *FILLS, 1e-4, 400),
        "until v changes by less than 1e-3": (*START, *DIES_OUT, 1e-3, 400),
        "at most 9 steps": (*START, *STRIPES, 1e-5, 9),
        "from u = 1 and v = 0": (*STILL, *STRIPES, 1e-5, 9),
    },
    "the loop stops on the device, and no argument is static.",
    compare=compare_tuples("u, v, num_steps"),
    similar={
        "a first call": (*START, *FILLS, 5e-4, 7),
        "a call with another tolerance": (*START, *FILLS, 6e-4, 7),
        "a call with another feed and kill": (*START, *SPOTS, 6e-4, 7),
        "a call with other max_steps": (*START, *SPOTS, 6e-4, 8),
    },
)


def grow_one_by_one(
    u: Any, v: Any, feeds: Any, kills: Any, num_steps: int
) -> np.ndarray:
    """Return v for each kill and each feed."""
    grown = [
        take_steps(u, v, feed, kill, num_steps)[1]
        for kill in kills
        for feed in feeds
    ]
    return np.reshape(grown, (len(kills), len(feeds), *u.shape))


check_grow_all = check_function(
    grow_one_by_one,
    {"3 kills, 2 feeds": (*START, FEEDS[:2], KILLS, 30)},
    "it is one program, and 8 feeds make it no larger than 2.",
    larger={f"{n} feeds": (*START, FEEDS[:n], KILLS, 30) for n in (2, 8)},
)


@answer_check
def check_find_feed(find_feed: Any) -> str:
    """Check a function that finds the feed by a gradient."""
    kill = STRIPES[1]
    for feed in (0.03, 0.05, 0.042):
        seen = jnp.asarray(take_steps(*START, feed, kill, 100)[1])
        got = find_feed(*START, seen)
        expect.shape(got, (), "the feed")
        expect.that(
            abs(float(got) - feed) < 0.01 * feed,
            f"for feed {feed} it returns {float(got):.4f}. If the error grows,"
            " use a smaller rate. If it falls, use more updates.",
            "feed",
        )
    require_gradient(find_feed, *START, seen)
    return "gradient descent finds the feed."
