"""Notebook 5: its checks tell mistakes, and its two programs agree."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gray_scott
import gray_scott_jax
import transfer
from support import ROOT, run_python

step = gray_scott_jax.step


def start_with(**changes):
    """A start, with one of its parts made in another way."""

    def make_initial_state(key, width):
        keys = jax.random.split(key, 3)
        keys = [keys[i] for i in changes.get("keys", (0, 1, 2))]
        shape = width // 8, width // 8
        share = changes.get("share", 0.2)
        squares = jax.random.bernoulli(keys[0], share, shape)
        v = jnp.kron(squares.astype(float) / 2, jnp.ones((8, 8)))
        noise = [0.02 * jax.random.uniform(k, v.shape) for k in keys[1:]]
        high = changes.get("high", 1)
        return changes.get("kind", jnp.asarray)(
            1 - v + high * noise[0]
        ), v + noise[1]

    return make_initial_state


def same_for_any_key(key, width):
    return start_with()(jax.random.key(3), width)


def step_in_place(u, v, feed, kill):
    gray_scott.step(u, v, feed, kill)
    return u, v


def step_with_walls(u, v, feed, kill):
    def laplacian(a):
        padded = jnp.pad(a, 1, mode="edge")
        sides = padded[1:-1, 2:] + padded[1:-1, :-2]
        return sides + padded[2:, 1:-1] + padded[:-2, 1:-1] - 4 * a

    reaction = u * v**2
    next_u = u + 0.16 * laplacian(u) - reaction + feed * (1 - u)
    return (
        next_u,
        v + 0.08 * laplacian(v) + reaction - (feed + kill) * v,
    )


def step_from_new_u(u, v, feed, kill):
    next_u, _ = step(u, v, feed, kill)
    return next_u, step(next_u, v, feed, kill)[1]


def step_by_numpy(u, v, feed, kill):
    u, v = np.array(u), np.array(v)
    gray_scott.step(u, v, feed, kill)
    return jnp.asarray(u), jnp.asarray(v)


def silent(u, v, feed, kill):
    return step(u, v, feed, kill)


def with_print(u, v, feed, kill):
    u, v = step(u, v, feed, kill)
    print(v.mean())
    return u, v


def with_old_mean(u, v, feed, kill):
    jax.debug.print("{mean}", mean=v.mean())
    return step(u, v, feed, kill)


def with_new_mean(u, v, feed, kill):
    u, v = step(u, v, feed, kill)
    jax.debug.print("{mean}", mean=v.mean())
    return u, v


def advance_in_python(u, v, feed, kill, num_steps):
    changes = []
    for _ in range(num_steps):
        next_u, next_v = step(u, v, feed, kill)
        changes.append(jnp.abs(next_v - v).max())
        u, v = next_u, next_v
    return u, v, jnp.stack(changes)


def advance(u, v, feed, kill, num_steps):
    def body(carry, _):
        after = step(*carry, feed, kill)
        return after, jnp.abs(after[1] - carry[1]).max()

    (u, v), changes = jax.lax.scan(body, (u, v), length=num_steps)
    return u, v, changes


def without_changes(u, v, feed, kill, num_steps):
    return advance(u, v, feed, kill, num_steps)[:2]


def run(u, v, feed, kill, tolerance, max_steps, *, first=0):
    def goes_on(carry):
        _, _, change, num_steps = carry
        return (change >= tolerance) & (num_steps < max_steps)

    def body(carry):
        u, v, _, num_steps = carry
        next_u, next_v = step(u, v, feed, kill)
        return next_u, next_v, jnp.abs(next_v - v).max(), num_steps + 1

    start = jnp.float32(u), jnp.float32(v), jnp.float32(jnp.inf), first
    u, v, _, num_steps = jax.lax.while_loop(goes_on, body, start)
    return u, v, num_steps


def run_one_too_many(*args):
    u, v, num_steps = run(*args)
    return u, v, num_steps + 1


def grow(u, v, feeds, kills, num_steps):
    def one(feed, kill):
        return advance(u, v, feed, kill, num_steps)[1]

    some = jax.vmap(one, (0, None))
    return jax.vmap(some, (None, 0))(jnp.asarray(feeds), jnp.asarray(kills))


def grow_one_by_one(u, v, feeds, kills, num_steps):
    return jnp.stack(
        [
            jnp.stack([advance(u, v, f, k, num_steps)[1] for f in feeds])
            for k in kills
        ]
    )


@jax.jit
def errors_of(u, v, seen):
    feeds = jnp.linspace(0.03, 0.05, 101)
    found = jax.vmap(lambda feed: advance(u, v, feed, 0.062, 100)[1])(feeds)
    return feeds, jnp.square(found - seen[None]).mean(axis=(1, 2))


def feed_by_trying(u, v, seen):
    feeds, errors = errors_of(u, v, seen)
    return feeds[errors.argmin()]


def jit(function, *names):
    return jax.jit(function, static_argnames=names)


STEPS = "num_steps"
WRONG = [
    (transfer.check_is_same, lambda a, b: None, "does it say `return`?"),
    (transfer.check_is_same, np.array_equal, "in 32 bits"),
    (transfer.check_is_same, lambda a, b: True, "full of its mean"),
    (
        transfer.check_is_same,
        lambda a, b: abs(a.mean() - b.mean()) < 1e-4,
        "an array full of its mean is not the same",
    ),
    (
        transfer.check_is_same,
        lambda a, b: np.allclose(a, b, atol=1e-2),
        "a feed that is a thousandth too large",
    ),
    (
        transfer.check_is_same,
        lambda a, b: not (abs(a - b) > 1e-4).any(),
        "one cell that is NaN",
    ),
    (
        transfer.check_is_same,
        lambda a, b: (
            a.shape[-1] == b.shape[-1] and np.allclose(a, b, rtol=0, atol=1e-4)
        ),
        "another shape",
    ),
    (transfer.check_initial_state, lambda key, n: None, "return"),
    (
        transfer.check_initial_state,
        lambda key, n: gray_scott.make_initial_state(n),
        "u is a ndarray, want a JAX array",
    ),
    (transfer.check_initial_state, start_with(kind=np.asarray), "u is a nd"),
    (
        transfer.check_initial_state,
        lambda key, n: tuple(
            map(jnp.asarray, gray_scott.make_initial_state(n))
        ),
        "two calls with one key differ",
    ),
    (transfer.check_initial_state, same_for_any_key, "two keys give the same"),
    (transfer.check_initial_state, start_with(share=0.5), "a share of 0.5"),
    (transfer.check_initial_state, start_with(high=2), "the noise of u goes"),
    (
        transfer.check_initial_state,
        start_with(keys=(0, 1, 1)),
        "u and v have the same noise",
    ),
    (
        transfer.check_initial_state,
        start_with(keys=(0, 1, 0)),
        "the squares and the noise of v",
    ),
    (
        transfer.check_initial_state,
        start_with(keys=(1, 1, 0)),
        "the squares and the noise of u",
    ),
    (transfer.check_step, step_in_place, "it changes the u it is given"),
    (transfer.check_step, lambda u, v, feed, kill: (u,), "want a tuple: u, v"),
    (transfer.check_step, step_with_walls, "u[0, "),
    (transfer.check_step, step_from_new_u, "v[0, "),
    (transfer.check_step, step_by_numpy, "TracerArrayConversionError"),
    (transfer.check_step_and_print, with_new_mean, "is not jitted"),
    (transfer.check_step_and_print, jit(silent), "call 1 prints nothing"),
    (transfer.check_step_and_print, jit(with_print), "prints a tracer"),
    (
        transfer.check_step_and_print,
        jit(with_old_mean),
        "the mean of the new v is",
    ),
    (
        transfer.check_step_and_print,
        jit(with_new_mean, "feed"),
        "another feed and kill is compiled again",
    ),
    (transfer.check_advance, advance, "is not jitted"),
    (
        transfer.check_advance,
        jit(without_changes, STEPS),
        "want a tuple of three: u, v, changes",
    ),
    (transfer.check_advance, jit(advance_in_python, STEPS), "that is a loop"),
    (transfer.check_advance, jit(advance, STEPS, "kill"), "compiled again"),
    (transfer.check_run_until_still, run, "is not jitted"),
    (
        transfer.check_run_until_still,
        jax.jit(run_one_too_many),
        "got 141, want 140",
    ),
    (
        transfer.check_run_until_still,
        jit(run, "max_steps"),
        "a call with other max_steps is compiled again",
    ),
    (
        transfer.check_run_until_still,
        jit(run, "tolerance"),
        "a call with another tolerance is compiled again",
    ),
    (transfer.check_grow_all, grow_one_by_one, "that is a loop"),
    (
        transfer.check_grow_all,
        lambda *args: grow(*args).swapaxes(0, 1),
        "shape: got (2, 3, 16, 24), want (3, 2, 16, 24)",
    ),
    (transfer.check_find_feed, lambda u, v, seen: 0.04, "got 0.0400"),
    (transfer.check_find_feed, feed_by_trying, "but no gradient"),
]


@pytest.mark.parametrize(("check", "answer", "said"), WRONG)
def test_checks_say_what_is_wrong(check, answer, said, capsys):
    check(answer)
    shown = capsys.readouterr().out
    assert shown.startswith("Not yet: ")
    assert said in shown


RIGHT = [
    (transfer.check_initial_state, gray_scott_jax.make_initial_state),
    (transfer.check_step, step),
    (transfer.check_step_and_print, jax.jit(with_new_mean)),
    (transfer.check_advance, jit(advance, STEPS)),
    (transfer.check_run_until_still, gray_scott_jax.simulate),
    (transfer.check_grow_all, grow),
]


@pytest.mark.parametrize(("check", "answer"), RIGHT)
def test_what_is_right_passes(check, answer, capsys):
    check(answer)
    assert capsys.readouterr().out.startswith("Right: ")


def test_checks_leave_numpys_generator_as_it_was():
    transfer.draw_start.cache_clear()
    np.random.seed(5)
    want = np.random.rand()
    np.random.seed(5)
    transfer.make_start()
    assert np.random.rand() == want


def test_port_finds_both_programs_the_same_and_nothing_left_to_do():
    setup = "import gray_scott as g; u, v = g.make_initial_state(32)"
    done = run_python(
        *("stages/workshop", "port"),
        *("notebooks/gray_scott.py", "notebooks/gray_scott_jax.py"),
        *("--setup", f"np.random.seed(0); {setup}"),
        *("--call", "simulate(u, v, 0.054, 0.05)"),
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "OK    same result" in done.stdout
    assert "Nothing is left" in done.stdout


@pytest.mark.parametrize("name", ["gray_scott", "gray_scott_jax"])
def test_the_command_in_each_docstring_is_that_of_its_file(name):
    source = (ROOT / f"notebooks/{name}.py").read_text(encoding="utf-8")
    (command,) = re.findall(r"^python (\S+)$", source, re.M)
    assert command == f"notebooks/{name}.py"
