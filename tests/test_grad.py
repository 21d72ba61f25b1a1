"""Stage 7: every rule is learned back, and where the gradient is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import stage7_grad
from support import REFERENCE, output_of


def observe(rules):
    """States of each rule from a random row, by the definition."""
    rules = np.array(rules)[:, None]
    states = [np.random.default_rng(0).integers(0, 2, (len(rules), 32))]
    for _ in range(15):
        states.append(rules >> neighborhoods(states[-1]) & 1)
    return np.stack(states, axis=1).astype(np.uint8)


def neighborhoods(cells):
    """That of each cell, as a number 0 to 7."""
    left, right = np.roll(cells, 1, axis=-1), np.roll(cells, -1, axis=-1)
    return 4 * left + 2 * cells + right


def test_all_rules_are_learned():
    """What occurs is learned, the rest stays 0.5; the loss falls to 0."""
    states = observe(range(256))
    rule_tables, losses = jax.vmap(stage7_grad.learn_rule)(states)
    for rule, rule_table in enumerate(np.reshape(rule_tables, (256, 8))):
        expected = REFERENCE.make_rule_table(rule).ravel() * 1.0
        absent = np.setdiff1d(np.arange(8), neighborhoods(states[rule, :-1]))
        expected[absent] = 0.5
        np.testing.assert_array_equal(rule_table == 0.5, expected == 0.5)
        np.testing.assert_allclose(rule_table, expected, atol=0.4)
    assert (jnp.diff(losses, axis=1) <= 0).all()
    assert (losses[:, -1] < 1e-2).all()


def test_what_never_occurs_stays_one_half():
    """A single row determines nothing: no error, no NaN. A second one does."""
    for num_steps, expected in [(1, []), (2, [0, 1, 2, 4])]:
        states = stage7_grad.simulate(110, 5, num_steps)
        rule_table, losses = stage7_grad.learn_rule(states)
        determined = np.flatnonzero(rule_table.ravel() != 0.5)
        np.testing.assert_array_equal(determined, expected)
        assert (losses > 0).any() == (num_steps > 1)


def predict_by_arithmetic(rule_table, states):
    """Each cell x weighs the entries by x or 1 - x: exact for 0 and 1."""
    center = states[:-1].astype(jnp.float32)
    neighbors = jnp.roll(center, 1, axis=1), center, jnp.roll(center, -1, 1)
    weights = [jnp.stack([1 - x, x]) for x in neighbors]
    return jnp.einsum("abc,aij,bij,cij->ij", rule_table, *weights)


def test_gradient_is_that_of_the_arithmetic_form():
    """A lookup and a weighted sum have the same gradient in the table."""
    states = jnp.asarray(observe([30])[0])
    rule_table = jax.random.uniform(jax.random.key(1), (2, 2, 2))

    def error(rule_table):
        predicted = predict_by_arithmetic(rule_table, states)
        next_states = states[1:].astype(jnp.float32)
        return jnp.sum((predicted - next_states) ** 2) / states.size

    loss, gradient = jax.value_and_grad(stage7_grad.prediction_error)(
        rule_table, states
    )
    expected_loss, expected_gradient = jax.value_and_grad(error)(rule_table)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4)
    assert (jnp.abs(gradient) > 1e-3).all()


@pytest.mark.parametrize(
    ("dtype", "argument"), [(jnp.uint8, 0), (jnp.float32, 1)]
)
def test_integers_have_no_gradient(dtype, argument):
    """Neither a uint8 table, nor the cells that index a table of floats."""
    rule_table = stage7_grad.make_rule_table(110).astype(dtype)
    state = stage7_grad.make_initial_state(5)

    def count_live(rule_table, state):
        return stage7_grad.step(state, rule_table).sum()

    with pytest.raises(TypeError, match="uint8"):
        jax.grad(count_live, argument)(rule_table, state)


def test_script_reports_what_it_learned(run_here):
    """The loss falls, the tables agree, the last line says so."""
    lines = output_of(run_here(7, "--rule", 30)).splitlines()
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


def test_script_says_what_is_undetermined(run_here):
    """One cell is its own neighborhood: six of eight never occur."""
    out = output_of(run_here(7, "--width", 1))
    assert out.count("] = ") == 16
    assert out.count(", undetermined\n") == 6
    assert out.splitlines()[-1] == (
        "rule 0, as learned (undetermined entries as 0),"
        " reproduces the states exactly"
    )
