"""Stage 7: every rule is learned back, and the gradient is right."""

import inspect
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import stage0_numpy
import stage5_scan
import stage7_grad

RULES = jnp.arange(256, dtype=jnp.uint8)


@pytest.fixture(scope="module")
def learned():
    """(states, rule tables, losses) of all rules, from random rows."""
    observe = jax.vmap(lambda rule: stage7_grad.simulate(rule, 32, 32, 7))
    states = observe(RULES)
    return states, *jax.vmap(stage7_grad.learn_rule)(states)


def test_random_rows_follow_the_rule():
    """From row to row the states obey the reference's step."""
    states = np.asarray(stage7_grad.simulate(30, 33, 12, seed=3))
    rule_table = stage0_numpy.make_rule_table(30)
    for state, next_state in itertools.pairwise(states):
        expected = stage0_numpy.step(state, rule_table)
        np.testing.assert_array_equal(next_state, expected)


def test_seed_decides_the_random_row():
    """One seed gives one state, another seed another."""
    first, again, other = (
        stage7_grad.make_random_state(64, seed) for seed in (1, 1, 2)
    )
    assert jnp.array_equal(first, again)
    assert not jnp.array_equal(first, other)


def test_all_rules_are_learned(learned):
    """What is determined is right; the learned rule gives the states."""
    states, rule_tables, _ = learned
    bits = (rule_tables > 0.5).reshape(256, 8)
    for rule in range(256):
        true_bits = stage0_numpy.make_rule_table(rule).ravel()
        determined = np.asarray(rule_tables[rule]).ravel() != 0.5
        got = np.asarray(bits[rule])
        np.testing.assert_array_equal(got[determined], true_bits[determined])
        learned_rule = int(np.packbits(got, bitorder="little")[0])
        again = stage7_grad.simulate(learned_rule, 32, 32, 7)
        np.testing.assert_array_equal(again, states[rule])


def test_loss_falls(learned):
    """No update makes the loss larger, and it ends near 0."""
    _, _, losses = learned
    assert (jnp.diff(losses, axis=1) <= 0).all()
    assert (losses[:, -1] < 1e-2).all()


@pytest.mark.parametrize("rule", [0, 4, 90, 204, 255])
def test_undetermined_is_what_never_occurs(rule):
    """Entries still at 0.5 are the neighborhoods absent from the states."""
    states = np.asarray(stage7_grad.simulate(rule, 9, 5))
    cells = states[:-1]
    left, right = np.roll(cells, 1, axis=1), np.roll(cells, -1, axis=1)
    seen = np.unique(4 * left + 2 * cells + right)
    rule_table, _ = stage7_grad.learn_rule(jnp.asarray(states))
    undetermined = np.flatnonzero(np.asarray(rule_table).ravel() == 0.5)
    np.testing.assert_array_equal(
        undetermined, np.setdiff1d(np.arange(8), seen)
    )
    assert undetermined.size


def test_one_row_determines_nothing():
    """Without a next row there is nothing to learn, and no NaN."""
    rule_table, losses = stage7_grad.learn_rule(
        stage7_grad.simulate(110, 5, 1)
    )
    assert (rule_table == 0.5).all()
    assert (losses == 0).all()


def test_states_of_no_rule_are_not_reproduced():
    """Noise has no rule: the loss stays."""
    noise = jax.random.bernoulli(jax.random.key(0), shape=(16, 16))
    _, losses = stage7_grad.learn_rule(noise.astype(jnp.uint8))
    assert losses[-1] > 0.1


@pytest.mark.parametrize("argument", ["table", "state"])
def test_gradient_against_finite_differences(argument):
    """The slope along each coordinate is a difference quotient.

    The step is linear in each single coordinate, so the error is quadratic
    in it and a central difference has no error but rounding.
    """
    table_key, state_key = jax.random.split(jax.random.key(1))
    rule_table = jax.random.uniform(table_key, (2, 2, 2))
    states = jax.random.uniform(state_key, (2, 5))
    if argument == "table":
        point = rule_table

        def error(point):
            return stage7_grad.prediction_error(point, states)
    else:
        point = states[0]

        def error(point):
            predicted = stage7_grad.step(point, rule_table)
            return jnp.sum((predicted - states[1]) ** 2)

    gradient = jax.jit(jax.grad(error))(point)
    assert (gradient != 0).all()
    nudges = 0.125 * jnp.eye(point.size).reshape(-1, *point.shape)
    errors = jax.jit(jax.vmap(error))
    differences = errors(point[None] + nudges) - errors(point[None] - nudges)
    np.testing.assert_allclose(
        differences / 0.25, gradient.ravel(), rtol=1e-3, atol=1e-5
    )


def test_step_is_exact_on_every_neighborhood():
    """On 0 and 1 the weighted sum is the lookup, for all 256 rules."""
    state = jnp.array([0, 0, 0, 1, 1, 1, 0, 1], dtype=jnp.uint8)
    rule_tables = jax.vmap(stage5_scan.make_rule_table)(RULES)
    got = jax.vmap(stage7_grad.step, in_axes=(None, 0))(
        state.astype(jnp.float32), rule_tables.astype(jnp.float32)
    )
    expected = jax.vmap(stage5_scan.step, in_axes=(None, 0))(
        state, rule_tables
    )
    np.testing.assert_array_equal(got, expected)


def test_integers_have_no_gradient():
    """JAX refuses the uint8 table that the other stages look up."""

    def next_cells(rule_table):
        state = stage5_scan.make_initial_state(5)
        return stage5_scan.step(state, rule_table).sum()

    with pytest.raises(TypeError, match="uint8"):
        jax.grad(next_cells)(stage5_scan.make_rule_table(110))


@pytest.mark.parametrize("name", ["make_rule_table", "make_initial_state"])
def test_what_is_not_the_lesson_is_stage_5(name):
    """Functions that the stage does not teach are unchanged."""
    assert inspect.getsource(getattr(stage7_grad, name)) == inspect.getsource(
        getattr(stage5_scan, name)
    )


def test_script_reports_what_it_learned(run_stage_here):
    """The loss falls, the tables agree, the last line says so."""
    status, out, err = run_stage_here(
        7, "--rule", "30", "--seed", "1", "--no-print-image"
    )
    assert (status, err) == (0, "")
    lines = out.splitlines()
    losses = [
        float(line.split()[-1]) for line in lines if line.startswith("loss")
    ]
    assert len(losses) > 5
    assert losses == sorted(losses, reverse=True)
    learned = [line for line in lines if "learned" in line][:8]
    assert [line.split(" = ")[1] for line in learned] == [
        f"{bit}, learned {bit}.0000" for bit in (0, 1, 1, 1, 1, 0, 0, 0)
    ]
    assert lines[-1] == "rule 30, as learned, reproduces the states exactly"


def test_script_says_what_is_undetermined(run_stage_here):
    """One cell is its own neighborhood: six of eight never occur."""
    status, out, err = run_stage_here(7, "--width", "1", "--no-print-image")
    assert (status, err) == (0, "")
    assert out.count("undetermined") >= 6
    assert out.splitlines()[-1].endswith("states exactly")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seed", "-1"], "seed must be between 0 and 2147483647, got -1"),
        (["--seed", "2147483648"], "got 2147483648"),
        (["--width", "8000", "--num-steps", "8000"], "got 64,000,000"),
    ],
)
def test_bad_input_is_one_line(arguments, message, run_stage_here):
    """Refused before any work, with status 2."""
    status, out, err = run_stage_here(7, *arguments)
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("number", [0, 5, 7])
def test_only_this_stage_has_a_seed(number, run_stage_here):
    """The other stages do not offer what they would not use."""
    _, out, _ = run_stage_here(number, "--help")
    assert ("--seed" in out) == (number == 7)
