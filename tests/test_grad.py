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


def test_loss_and_gradient_are_those_of_the_mean_squared_error():
    """Counted for each entry of the table, from the cells that look it up."""
    states = observe([30])[0]
    rule_table = np.random.default_rng(1).random((2, 2, 2), dtype=np.float32)
    entries = neighborhoods(states[:-1])
    errors = rule_table.ravel()[entries] - states[1:]
    loss, gradient = jax.value_and_grad(stage7_grad.prediction_error)(
        jnp.asarray(rule_table), jnp.asarray(states)
    )
    mean = (errors**2).sum() / states.size
    np.testing.assert_allclose(loss, mean, rtol=1e-5)
    slopes = np.bincount(entries.ravel(), 2 * errors.ravel()) / states.size
    np.testing.assert_allclose(gradient.ravel(), slopes, rtol=1e-4)


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
    _, *losses = next(x for x in lines if x.startswith("loss:")).split()
    assert len(losses) > 5
    assert list(map(float, losses)) == sorted(map(float, losses), reverse=True)
    bits, learned = (line.split()[1:] for line in lines[-3:-1])
    assert bits == list("01111000")
    assert learned == [f"{bit}.00" for bit in bits]
    assert lines[-1] == "rule 30, as learned, reproduces the states exactly"


def test_script_says_what_is_undetermined(run_here):
    """One cell is its own neighborhood: six of eight never occur."""
    *_, learned, says = output_of(run_here(7, "--width", 1)).splitlines()
    assert learned.count("?") == 6
    assert says == (
        "rule 0, as learned (? is undetermined: 0),"
        " reproduces the states exactly"
    )
