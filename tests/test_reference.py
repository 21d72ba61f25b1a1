"""Stage 0 is what all others are compared with: is it right itself?"""

from math import comb

import numpy as np
import pytest

from support import REFERENCE, run_from

simulate = REFERENCE.simulate


def simulate_by_definition(rule, width, num_steps):
    """Cell by cell, without arrays, from the definition of the automaton."""
    rows = [[int(cell == width // 2) for cell in range(width)]]
    while len(rows) < num_steps:
        row = rows[-1]
        rows.append([])
        for cell in range(width):
            left, right = row[cell - 1], row[(cell + 1) % width]
            rows[-1].append(rule >> (4 * left + 2 * row[cell] + right) & 1)
    return np.array(rows, dtype=np.uint8)


def mirrored(rule):
    """The rule with left and right exchanged."""
    entries = [(i, 4 * (i & 1) + (i & 2) + (i >> 2)) for i in range(8)]
    return sum((rule >> i & 1) << j for i, j in entries)


def complemented(rule):
    """The rule with dead and live exchanged."""
    return sum((1 - (rule >> i & 1)) << (7 - i) for i in range(8))


@pytest.mark.parametrize("width", [1, 2, 3, 10])
def test_equals_the_definition_for_every_rule(width):
    for rule in range(256):
        states = simulate(rule, width, 9)
        assert states.dtype == np.uint8
        np.testing.assert_array_equal(
            states, simulate_by_definition(rule, width, 9)
        )


@pytest.mark.parametrize("num_steps", [1, 2, 50])
def test_equals_the_definition_at_other_sizes(num_steps):
    for width in (31, 32, 80):
        np.testing.assert_array_equal(
            simulate(110, width, num_steps),
            simulate_by_definition(110, width, num_steps),
        )


def test_rule_90_is_pascals_triangle_modulo_2():
    center, num_steps = 40, 40  # one step before the triangle meets itself
    states = simulate(90, 81, num_steps)
    for t in range(num_steps):
        row = np.zeros(81, dtype=np.uint8)
        row[center - t : center + t + 1 : 2] = [
            comb(t, k) % 2 for k in range(t + 1)
        ]
        np.testing.assert_array_equal(states[t], row)


def test_rule_204_is_the_identity():
    states = simulate(204, 17, 20)
    np.testing.assert_array_equal(states, np.tile(states[0], (20, 1)))


@pytest.mark.parametrize(("rule", "shift"), [(170, -1), (240, 1)])
def test_rules_170_and_240_shift(rule, shift):
    states = simulate(rule, 7, 20)
    for t in range(1, 20):
        expected = np.roll(states[t - 1], shift)
        np.testing.assert_array_equal(states[t], expected)


@pytest.mark.parametrize(("rule", "value"), [(0, 0), (255, 1)])
def test_rules_0_and_255_are_constant_after_row_0(rule, value):
    states = simulate(rule, 9, 5)
    assert states[0].sum() == 1
    assert (states[1:] == value).all()


@pytest.mark.parametrize("rule", range(256))
def test_the_mirrored_rule_gives_the_mirrored_diagram(rule):
    np.testing.assert_array_equal(
        simulate(mirrored(rule), 31, 20), simulate(rule, 31, 20)[:, ::-1]
    )


@pytest.mark.parametrize("rule", range(256))
def test_the_complemented_rule_gives_the_complemented_diagram(rule):
    initial_state = REFERENCE.make_initial_state(30)
    np.testing.assert_array_equal(
        run_from(1 - initial_state, complemented(rule), 20),
        1 - simulate(rule, 30, 20),
    )
