"""Every stage that runs computes what the reference computes, bit for bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support import REFERENCE, WORKING, import_stage

STAGES_TO_COMPARE = [n for n in WORKING if n > 0]


def assert_equals_reference(simulate, rule, width, num_steps):
    states = np.asarray(simulate(rule, width, num_steps))
    expected = REFERENCE.simulate(rule, width, num_steps)
    assert states.dtype == expected.dtype
    np.testing.assert_array_equal(states, expected)


@pytest.mark.parametrize("number", STAGES_TO_COMPARE)
def test_all_rules(number):
    for rule in range(256):
        assert_equals_reference(import_stage(number).simulate, rule, 9, 5)


@pytest.mark.parametrize(
    ("width", "num_steps"),
    [
        (1, 20),  # 80 rows of one cell, unrolled: XLA compiles for 14 s
        (2, 20),
        *((width, 80) for width in (3, 31, 32, 33, 80)),
        *((width, num_steps) for width in (1, 33) for num_steps in (1, 2)),
    ],
)
@pytest.mark.parametrize("number", STAGES_TO_COMPARE)
def test_widths_and_num_steps(number, width, num_steps):
    for rule in (30, 110, 225):
        assert_equals_reference(
            import_stage(number).simulate, rule, width, num_steps
        )


@pytest.mark.parametrize("number", STAGES_TO_COMPARE)
@settings(max_examples=4, deadline=None)
@given(
    rule=st.integers(0, 255),
    width=st.integers(1, 70),
    num_steps=st.integers(1, 24),
)
def test_any_rule_and_size(number, rule, width, num_steps):
    assert_equals_reference(
        import_stage(number).simulate, rule, width, num_steps
    )


@pytest.mark.parametrize(
    "number",
    [n for n in WORKING if hasattr(import_stage(n), "simulate_rules")],
)
@pytest.mark.parametrize("rules", [range(256), [110], [30, 30, 0, 255]])
def test_many_rules_at_once(number, rules):
    states = import_stage(number).simulate_rules(
        np.array(rules, dtype=np.uint8), 13, 9
    )
    assert states.dtype == np.uint8
    expected = [REFERENCE.simulate(rule, 13, 9) for rule in rules]
    np.testing.assert_array_equal(states, np.stack(expected))
