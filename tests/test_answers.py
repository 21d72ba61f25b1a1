"""Test that the checks of the notebooks refuse each wrong answer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import answers
import gray_scott
import gray_scott_jax
from support import import_stage
from workshop.exercises.expect import NotYet

draw, step = gray_scott_jax.make_initial_state, gray_scott_jax.step
run = gray_scott_jax.simulate.__wrapped__


def sum_of_next(cells, rule_table):
    return import_stage(7).step(cells.astype(jnp.uint8), rule_table).sum()


def influence_by_differences(cells, rule_table):
    pairs = [[cells.at[i].set(x) for x in (0.0, 1.0)] for i in range(9)]
    sums = [[sum_of_next(c, rule_table) for c in pair] for pair in pairs]
    return jnp.diff(jnp.array(sums))[:, 0]


@jax.jit(static_argnames=("width", "num_steps"))
def count_in_all_rows(rule, width, num_steps):
    return jnp.sum(import_stage(5).simulate(rule, width, num_steps), axis=1)


def two_steps(state, table):
    return import_stage(5).step(import_stage(5).step(state, table), table)


def count_pairs(states):
    pairs = states[:, None] != states[None]
    return jnp.sum(pairs, axis=-1, dtype=jnp.uint8)


def count_rows(states):
    return jnp.stack([jnp.sum(states != row, axis=1) for row in states])


def draw_with_numpy(key, width):
    return tuple(map(jnp.asarray, gray_scott.make_initial_state(width)))


def draw_with_a_used_key(key, width):
    u, v = draw(key, width)
    return u, v + 0 * jax.random.uniform(key, v.shape)


def step_by_numpy(u, v, feed, kill):
    u, v = np.array(u), np.array(v)
    gray_scott.step(u, v, feed, kill)
    return jnp.asarray(u), jnp.asarray(v)


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


def grow_one_by_one(u, v, feeds, kills, num_steps):
    found = [advance(u, v, f, k, num_steps)[1] for k in kills for f in feeds]
    return jnp.stack(found).reshape(len(kills), len(feeds), *u.shape)


def feed_by_trying(u, v, seen):
    feeds = jnp.linspace(0.03, 0.05, 21)
    found = jax.vmap(lambda feed: advance(u, v, feed, 0.062, 100)[1])(feeds)
    return feeds[jnp.square(found - seen[None]).mean(axis=(1, 2)).argmin()]


def jit(function, *names):
    return jax.jit(function, static_argnames=names)


STEPS = "num_steps"
# For each check: wrong answers, each with the reason why it is refused.
WRONG = {
    answers.check_move_right: [(170, "states"), (256, "rule")],
    answers.check_rule_number: [(lambda table: None, "none")],
    answers.check_two_cells: [
        (lambda n: np.uint8([1, *[0] * (n - 2), 1]), "type")
    ],
    answers.check_mirror: [(lambda table: table, "numbers")],
    answers.check_read: [(lambda array, i: array[i], "numbers")],
    answers.check_num_programs: [(7, "value")],
    answers.check_stripes: [
        (lambda n: jnp.arange(n, dtype=jnp.uint8) % 2, "not_compiled")
    ],
    answers.check_count_live: [
        (count_in_all_rows, "rows"),
        (lambda *_: (jnp.zeros(20), None), "array"),
    ],
    answers.check_advance_twice: [
        (lambda *args: jax.jit(lambda: two_steps(*args))(), "recompiled"),
    ],
    answers.check_mappable: [({"rule", "width"}, "value")],
    answers.check_live_fractions: [(lambda rules: jnp.zeros(3), "shape")],
    answers.check_differences: [
        (count_pairs, "numbers"),
        (count_rows, "grows"),
    ],
    answers.check_influence: [
        (jax.grad(sum_of_next), "numbers"),
        (influence_by_differences, "gradient"),
    ],
    answers.check_lesson: [([0, 0, 0, 1, 0, 1, 1, 0], "value")],
    answers.check_find_cell: [(lambda i, n: (i / n, i % n), "numbers")],
    answers.check_exchanges: [(lambda n, halo: n // halo, "numbers")],
    answers.check_rule_110: [
        (lambda a, b, c: b ^ c, "numbers"),
        (lambda a, b, c: (b | c) ^ (a & b & c) & 1, "numbers"),
    ],
    answers.check_move_right_sharded: [(lambda x: jnp.roll(x, -1), "numbers")],
    answers.check_is_same: [
        (lambda a, b: None, "none"),
        (np.array_equal, "a run in 32 bits"),
        (lambda a, b: abs(a - b).max() < 1e-2, "a feed off by a thousandth"),
        (lambda a, b: abs(a - b).mean() < 1e-4, "a cell off by 0.01"),
        (lambda a, b: not (abs(a - b) > 1e-4).any(), "a cell of NaN"),
        (lambda a, b: abs(a - b).max() < 1e-4, "a stack of two copies"),
    ],
    answers.check_initial_state: [
        (lambda key, n: None, "none"),
        (lambda key, n: gray_scott.make_initial_state(n), "type"),
        (draw_with_numpy, "other state"),
        (lambda key, n: draw(jax.random.key(3), n), "ignores key"),
        (lambda key, n: draw(key, n)[::-1], "squares"),
        (lambda key, n: (2 - draw(key, n)[0], draw(key, n)[1]), "noise"),
        (draw_with_a_used_key, jax.errors.KeyReuseError),
    ],
    answers.check_step: [
        (lambda u, v, feed, kill: (u,), "tuple"),
        (lambda u, v, feed, kill: step(u, v, kill, feed), "numbers"),
        (step_by_numpy, jax.errors.TracerArrayConversionError),
    ],
    answers.check_step_and_print: [
        (with_new_mean, "not_compiled"),
        (jit(with_old_mean), "print"),
        (jit(with_new_mean, "feed"), "recompiled"),
    ],
    answers.check_advance: [
        (jit(advance_in_python, STEPS), "grows"),
        (jit(advance, STEPS, "kill"), "recompiled"),
    ],
    answers.check_run_until_still: [
        (lambda *args: (*run(*args)[:2], 9), "numbers"),
        (jit(run, "tolerance"), "recompiled"),
    ],
    answers.check_grow_all: [
        (lambda *_: (None, None), "array"),
        (grow_one_by_one, "grows"),
    ],
    answers.check_find_feed: [
        (lambda u, v, seen: 0.04, "feed"),
        (lambda u, v, seen: (0.04, 0.1), "shape"),
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


def test_a_check_prints_its_verdict_and_explains_errors(capsys):
    def mirror(table):
        table = jnp.asarray(table)
        table[0] = 1
        return table

    answers.check_mirror(mirror)
    answers.check_mirror(lambda table: table)
    answers.check_mirror(...)
    failed, wrong, dots = capsys.readouterr().out.split("Not yet: ")[1:]
    assert "    table[0] = 1\nTypeError: JAX arrays are immutable" in failed
    assert ".at[i].set(v)" in failed
    assert "rule 2, index 0, 0, 1: got 1, want 0" in wrong
    assert "three dots" in dots
