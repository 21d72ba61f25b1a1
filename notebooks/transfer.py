"""Check the answers in notebook 5 against gray_scott.py."""

import contextlib
import functools
import io
import itertools
import re
from typing import Any

import jax
import numpy as np

import gray_scott as reference
from answers import answer_check, require_gradient, require_one_array
from workshop.exercises import expect

SPOTS = 0.03, 0.061  # feed and kill
STRIPES = 0.046, 0.062
DIES_OUT = 0.03, 0.07
FILLS = 0.054, 0.05


def make_start(height: int = 16, width: int = 24) -> list[np.ndarray]:
    """Return u and v, which have the same values at every call."""
    return [a[:height, :width].copy() for a in draw_start(max(height, width))]


@functools.cache
def draw_start(width: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw u and v with seed 1, and restore the state of the generator."""
    before = np.random.get_state()
    np.random.seed(1)
    drawn = reference.make_initial_state(width)
    np.random.set_state(before)
    return drawn


def run_reference(
    start: list[np.ndarray], feed: float, kill: float, *how: float
) -> tuple[np.ndarray, np.ndarray, int]:
    """Run the reference on copies; return u, v and the number of steps."""
    with contextlib.redirect_stdout(io.StringIO()):
        return reference.simulate(*(a.copy() for a in start), feed, kill, *how)


@answer_check
def check_is_same(is_same: Any) -> str:
    """Check a function that compares two arrays up to rounding."""
    want = run_reference(make_start(64, 64), *STRIPES, 0, 100)[1]
    for number, (got, right, name) in enumerate(make_cases(want)):
        answer = is_same(got, want)
        expect.result(answer, f"is_same for {name}")
        if got.shape == want.shape:
            off = f"It differs by up to {np.abs(got - want).max():.0e}."
        else:
            off = f"Its shape is {got.shape}, not {want.shape}."
        expect.that(
            bool(answer) == right,
            f"is_same should return {right} for {name}. {off}",
            f"case {number}",
        )
    return "it accepts rounding and refuses every mistake."


def make_cases(want: np.ndarray) -> list[tuple[np.ndarray, bool, str]]:
    """Return arrays, whether each equals `want` up to rounding, and names."""
    start, (feed, kill) = make_start(64, 64), STRIPES
    narrow = [a.astype(np.float32) for a in start]
    rounded = run_reference(narrow, *map(np.float32, STRIPES), 0, 100)[1]
    more_feed = run_reference(start, 1.001 * feed, kill, 0, 100)[1]
    one_cell, one_nan = want.copy(), want.copy()
    one_cell[3, 5] += 0.01
    one_nan[3, 5] = np.nan
    return [
        (want, True, "an array and itself"),
        (rounded, True, "the same program in 32 bits, after 100 steps"),
        (np.full_like(want, want.mean()), False, "an array full of its mean"),
        (more_feed, False, "a run whose feed is too large by a thousandth"),
        (one_cell, False, "an array with one cell that is too large by 0.01"),
        (one_nan, False, "an array with one cell that is NaN"),
        (want[:, :63], False, "an array with one column less"),
        (want[:, :1], False, "an array with only the first column"),
        (np.stack([want, want]), False, "an array of two copies"),
    ]


@answer_check
def check_initial_state(make_initial_state: Any) -> str:
    """Check a function that draws u and v from a key."""
    keys = jax.random.split(jax.random.key(0), 20)
    first = require_fields(make_initial_state(keys[0], 64), (64, 64))
    drawn = np.stack([np.stack(make_initial_state(key, 64)) for key in keys])
    expect.that(
        np.array_equal(first, drawn[0]),
        "two calls with the same key differ: draw only from the key.",
        "other state",
    )
    for name, a, b in zip("uv", *drawn[:2], strict=True):
        expect.that(
            not np.array_equal(a, b),
            f"two keys give the same {name}: draw from the key.",
            "ignores key",
        )
    require_distribution(*drawn.swapaxes(0, 1))
    try:
        with jax.debug_key_reuse(True):
            make_initial_state(jax.random.key(0), 64)
    except jax.errors.KeyReuseError:
        text = "a key is used twice: split the key, and use each part once."
        raise expect.NotYet(text, "key used twice") from None
    return "the same key gives the same numbers, and no key is used twice."


def require_fields(got: Any, shape: tuple[int, ...]) -> list[np.ndarray]:
    """Return u and v as NumPy arrays; raise NotYet if either is wrong."""
    expect.tuple_of(got, "u, v", "the call")
    for name, a in zip("uv", got, strict=True):
        expect.jax_array(a, f"{name} is")
        expect.shape(a, shape, name)
    return [*map(np.asarray, got)]


def require_distribution(u: np.ndarray, v: np.ndarray) -> None:
    """Raise NotYet unless the squares and the noise of u and v are right."""
    squares = np.round(2 * v)
    alike = squares == np.kron(squares[:, ::8, ::8], np.ones((8, 8)))
    expect.that(
        set(squares.flat) == {0, 1} and alike.all(),
        "v must be 0.5 in squares of 8 x 8 cells and 0 elsewhere, plus noise.",
        "squares",
    )
    share = squares.mean()
    expect.that(
        abs(share - 0.2) < 0.05,
        f"v is in {share:.0%} of the squares, want about 20 %.",
        "share",
    )
    noises = {"u": u - (1 - squares / 2), "v": v - squares / 2}
    for name, noise in noises.items():
        low, high, mean = noise.min(), noise.max(), noise.mean()
        expect.that(
            low > -1e-6 and high < 0.02 + 1e-6 and abs(mean - 0.01) < 1e-3,
            f"the noise of {name} goes from {low:.3f} to {high:.3f} with mean"
            f" {mean:.3f}, want 0 to 0.02 with mean 0.01.",
            "noise",
        )


@answer_check
def check_step(step: Any) -> str:
    """Check a step that returns new arrays."""
    for feed, kill in (STRIPES, SPOTS):
        start = make_start()
        given = [a.copy() for a in start]
        got, call = step(*given, feed, kill), "one step of NumPy arrays"
        expect.result(got, call)
        for name, a, b in zip("uv", given, start, strict=True):
            expect.that(
                np.array_equal(a, b),
                f"step changes its argument {name}. Return new arrays.",
                "in place",
            )
        given = [*map(jax.numpy.asarray, start)]
        call = f"step(u, v, {feed}, {kill})"
        want = run_reference(start, feed, kill, 0, 1)[:2]
        expect.same(step(*given, feed, kill), want, "u, v", call)
    got = require_fields(jax.jit(step)(*given, feed, kill), start[0].shape)
    expect.same(got, want, "u, v", "step under jit")
    return "it returns new arrays, and does not change its arguments."


@answer_check
def check_step_and_print(step_and_print: Any) -> str:
    """Check a jitted step that prints the mean of v at every call."""
    expect.jitted(step_and_print)
    args = make_start()
    for number in (1, 2, 3):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            next_args = step_and_print(*args, *STRIPES)
            jax.block_until_ready(next_args)
            jax.effects_barrier()
        want = run_reference([*map(np.array, args)], *STRIPES, 0, 1)[:2]
        expect.same(next_args, want, "u, v", f"call {number}")
        require_mean(printed.getvalue(), want[1], number)
        args = next_args
    with contextlib.redirect_stdout(io.StringIO()):
        calls = {"a first call": (*args, *STRIPES)}
        calls["a call with another feed and kill"] = *args, *SPOTS
        expect.one_program(step_and_print, calls)
        jax.effects_barrier()
    return "the compiled program prints the mean at every call."


def require_mean(printed: str, v: np.ndarray, number: int) -> None:
    """Raise NotYet unless the mean of the new v was printed."""
    text = printed.strip()
    expect.that(
        text,
        f"call {number} prints nothing: `print` runs only during tracing.",
        "no print",
    )
    tracer = f"call {number} prints a tracer: {text}"
    expect.that("Tracer" not in text, tracer, "tracer")
    numbers = [float(x) for x in re.findall(r"\d*\.\d+(?:e-\d+)?", text)]
    right = np.isclose(numbers, v.mean(), rtol=1e-2).any()
    expect.that(
        right,
        f"call {number} prints {text!r}, but the mean of the new v is"
        f" {v.mean():.4f}.",
        "other mean",
    )


@answer_check
def check_advance(advance: Any) -> str:
    """Check a scan of many steps that records how much v changes."""
    expect.jitted(advance)
    start = make_start()
    require_advance(advance, STRIPES, 1)
    # Trace first: compiling an unrolled loop would take minutes.
    calls = {f"{n} steps": (*start, *SPOTS, n) for n in (4, 12)}
    expect.no_growth(advance, calls)
    require_advance(advance, STRIPES, 7)
    require_advance(advance, SPOTS, 60)
    calls = {"a first call": (*start, *SPOTS, 5)}
    calls["a call with another feed and kill"] = *start, *STRIPES, 5
    expect.one_program(advance, calls)
    return "the program for 12 steps has no more operations than that for 4."


def require_advance(advance: Any, where: tuple, num_steps: int) -> None:
    """Raise NotYet unless u, v and the changes equal NumPy's."""
    start, changes = make_start(), []
    want = start
    for _ in range(num_steps):
        _, before = want
        want = run_reference(want, *where, 0, 1)[:2]
        changes.append(np.abs(want[1] - before).max())
    feed, kill = where
    call = f"advance(u, v, {feed}, {kill}, {num_steps})"
    got = advance(*start, feed, kill, num_steps)
    expect.tuple_of(got, "u, v, changes", call)
    expect.same(got[:2], want, "u, v", call)
    expect.numbers(got[2], changes, f"{call}, changes", "step")


@answer_check
def check_run_until_still(run_until_still: Any) -> str:
    """Check a while_loop that steps until v hardly changes."""
    expect.jitted(run_until_still)
    start = make_start()
    still = [np.ones_like(start[0]), np.zeros_like(start[1])]
    for args, call in [
        ((*start, *FILLS, 1e-4, 1000), "until v changes by less than 1e-4"),
        ((*start, *DIES_OUT, 1e-3, 1000), "until v changes by less than 1e-3"),
        ((*start, *STRIPES, 1e-5, 9), "at most 9 steps"),
        ((*still, *STRIPES, 1e-5, 9), "from u = 1 and v = 0"),
    ]:
        got = run_until_still(*args)
        expect.tuple_of(got, "u, v, num_steps", call)
        u, v, num_steps = run_reference(args[:2], *args[2:])
        expect.numbers(got[2], num_steps, f"{call}, number of steps")
        expect.same(got[:2], (u, v), "u, v", call)
    calls = {
        "a first call": (*start, *FILLS, 1e-4, 1000),
        "a call with another tolerance": (*start, *FILLS, 5e-4, 1000),
        "a call with another feed": (*start, *DIES_OUT, 5e-4, 1000),
        "a call with other max_steps": (*start, *DIES_OUT, 5e-4, 8),
    }
    expect.one_program(run_until_still, calls)
    return "the loop stops on the device, and no argument is static."


@answer_check
def check_grow_all(grow_all: Any) -> str:
    """Check one call that returns v for each kill and each feed."""
    start = make_start()
    feeds = np.linspace(0.02, 0.06, 8, dtype=np.float32)
    kills = np.array([0.057, 0.06, 0.063], dtype=np.float32)
    each = itertools.product(kills, feeds[:2])
    want = [run_reference(start, feed, kill, 0, 30)[1] for kill, feed in each]
    want = np.reshape(want, (3, 2, *start[0].shape))
    got, call = grow_all(*start, feeds[:2], kills, 30), "3 kills, 2 feeds"
    require_one_array(got, call)
    expect.numbers(got, want, call, "kill, feed, row, column")
    calls = {f"{n} feeds": (*start, feeds[:n], kills, 30) for n in (2, 8)}
    expect.no_growth(grow_all, calls)
    return "it is one program, and 8 feeds make it no larger than 2."


@answer_check
def check_find_feed(find_feed: Any) -> str:
    """Check a function that finds the feed by a gradient."""
    start, kill = make_start(), STRIPES[1]
    for feed in (0.03, 0.05, 0.042):
        seen = run_reference(start, feed, kill, 0, 100)[1]
        got = find_feed(*start, jax.numpy.asarray(seen))
        require_one_array(got, f"feed {feed}")
        expect.that(
            abs(float(got) - feed) < 0.01 * feed,
            f"for feed {feed} it returns {float(got):.4f}. If the error grows,"
            " use a smaller rate. If it falls, use more updates.",
            "feed",
        )
    require_gradient(find_feed, *start, jax.numpy.asarray(seen))
    return "gradient descent finds the feed."
