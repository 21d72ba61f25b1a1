"""Notebook 5: its checks detect mistakes, and its two programs agree."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gray_scott
import gray_scott_jax
import transfer
from support import ROOT, run_python
from workshop.exercises.expect import NotYet

step = gray_scott_jax.step
run = gray_scott_jax.simulate.__wrapped__


def start_with(share=0.2, high=1, keys=(0, 1, 2)):
    """Return make_initial_state: right by default, wrong with an argument."""

    def make_initial_state(key, width):
        drawn = jax.random.split(key, 3)
        for_squares, for_u, for_v = (drawn[i] for i in keys)
        shape = width // 8, width // 8
        squares = jax.random.bernoulli(for_squares, share, shape)
        v = jnp.kron(squares.astype(float) / 2, jnp.ones((8, 8)))
        of_u, of_v = (jax.random.uniform(k, v.shape) for k in (for_u, for_v))
        return 1 - v + 0.02 * high * of_u, v + 0.02 * of_v

    return make_initial_state


def start_by_numpy(key, width):
    return tuple(map(jnp.asarray, gray_scott.make_initial_state(width)))


def same_for_any_key(key, width):
    return start_with()(jax.random.key(3), width)


def step_in_place(u, v, feed, kill):
    gray_scott.step(u, v, feed, kill)
    return u, v


def step_by_numpy(u, v, feed, kill):
    u, v = step_in_place(np.array(u), np.array(v), feed, kill)
    return jnp.asarray(u), jnp.asarray(v)


def step_with_walls(u, v, feed, kill):
    padded = (jnp.pad(a, 1, mode="edge") for a in (u, v))
    return tuple(a[1:-1, 1:-1] for a in step(*padded, feed, kill))


def step_from_new_u(u, v, feed, kill):
    next_u, _ = step(u, v, feed, kill)
    return next_u, step(next_u, v, feed, kill)[1]


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
        before = v
        u, v = step(u, v, feed, kill)
        changes.append(jnp.abs(v - before).max())
    return u, v, jnp.stack(changes)


def advance(u, v, feed, kill, num_steps):
    def body(carry, _):
        after = step(*carry, feed, kill)
        return after, jnp.abs(after[1] - carry[1]).max()

    (u, v), changes = jax.lax.scan(body, (u, v), length=num_steps)
    return u, v, changes


def without_changes(u, v, feed, kill, num_steps):
    return advance(u, v, feed, kill, num_steps)[:2]


def run_one_too_many(*args):
    u, v, num_steps = run(*args)
    return u, v, num_steps + 1


def grow(u, v, feeds, kills, num_steps):
    def one(feed, kill):
        return advance(u, v, feed, kill, num_steps)[1]

    some = jax.vmap(one, (0, None))
    return jax.vmap(some, (None, 0))(jnp.asarray(feeds), jnp.asarray(kills))


def grow_one_by_one(u, v, feeds, kills, num_steps):
    found = [advance(u, v, f, k, num_steps)[1] for k in kills for f in feeds]
    return jnp.stack(found).reshape(len(kills), len(feeds), *u.shape)


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
# For each check: wrong answers, each with the reason why it is refused.
WRONG = {
    transfer.check_is_same: [
        (lambda a, b: None, "none"),
        (np.array_equal, "case 1"),
        (lambda a, b: abs(a.mean() - b.mean()) < 1e-4, "case 2"),
        (lambda a, b: np.allclose(a, b, atol=1e-2), "case 3"),
        (lambda a, b: not (abs(a - b) > 1e-4).any(), "case 5"),
        (
            lambda a, b: (
                a.shape[-1] == b.shape[-1]
                and np.allclose(a, b, rtol=0, atol=1e-4)
            ),
            "case 8",
        ),
    ],
    transfer.check_initial_state: [
        (lambda key, n: None, "none"),
        (lambda key, n: gray_scott.make_initial_state(n), "type"),
        (start_by_numpy, "other state"),
        (same_for_any_key, "ignores key"),
        (start_with(share=0.5), "share"),
        (start_with(high=2), "noise"),
        (start_with(keys=(0, 1, 1)), "key used twice"),
        (start_with(keys=(0, 1, 0)), "key used twice"),
        (jit(start_with(keys=(1, 1, 0)), "width"), "key used twice"),
    ],
    transfer.check_step: [
        (step_in_place, "in place"),
        (lambda u, v, feed, kill: (u,), "tuple"),
        (step_with_walls, "numbers"),
        (step_from_new_u, "numbers"),
        (step_by_numpy, jax.errors.TracerArrayConversionError),
    ],
    transfer.check_step_and_print: [
        (with_new_mean, "not_compiled"),
        (jit(step), "no print"),
        (jit(with_print), "tracer"),
        (jit(with_old_mean), "other mean"),
        (jit(with_new_mean, "feed"), "recompiled"),
    ],
    transfer.check_advance: [
        (advance, "not_compiled"),
        (jit(without_changes, STEPS), "tuple"),
        (jit(advance_in_python, STEPS), "grows"),
        (jit(advance, STEPS, "kill"), "recompiled"),
    ],
    transfer.check_run_until_still: [
        (run, "not_compiled"),
        (jit(run_one_too_many), "numbers"),
        (jit(run, "max_steps"), "recompiled"),
        (jit(run, "tolerance"), "recompiled"),
    ],
    transfer.check_grow_all: [
        (grow_one_by_one, "grows"),
        (lambda *args: grow(*args).swapaxes(0, 1), "shape"),
        (lambda *args: (grow(*args), None), "array"),
    ],
    transfer.check_find_feed: [
        (lambda u, v, seen: 0.04, "feed"),
        (lambda u, v, seen: (0.04, 0.1), "array"),
        (feed_by_trying, "gradient"),
    ],
}


@pytest.mark.parametrize(
    ("check", "answer", "reason"),
    [
        pytest.param(check, *case, marks=[pytest.mark.slow] * (i > 0))
        for check, cases in WRONG.items()
        for i, case in enumerate(cases)
    ],
)
def test_a_wrong_answer_is_refused_for_its_reason(check, answer, reason):
    kind = NotYet if isinstance(reason, str) else reason
    with pytest.raises(kind) as refused:
        check.__wrapped__(answer)
    assert kind is not NotYet or refused.value.key == reason


def test_checks_leave_numpys_generator_as_it_was():
    transfer.draw_start.cache_clear()
    np.random.seed(5)
    want = np.random.rand()
    np.random.seed(5)
    transfer.make_start()
    assert np.random.rand() == want


@pytest.mark.slow
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


@pytest.mark.parametrize("name", ["gray_scott", "gray_scott_jax"])
def test_the_command_in_each_docstring_is_that_of_its_file(name):
    source = (ROOT / f"notebooks/{name}.py").read_text(encoding="utf-8")
    (command,) = re.findall(r"^python (\S+)$", source, re.M)
    assert command == f"notebooks/{name}.py"
