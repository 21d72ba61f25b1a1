"""Every stage that runs computes what stage 0 does; is stage 0 right itself?

All tests rely on this too: JAX is strict, annotations are checked.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from support import REFERENCE, WORKING, import_stage

STAGES_TO_COMPARE = [n for n in WORKING if n > 0]
ALL_RULES = np.arange(256, dtype=np.uint8)
# One cell, fewer and more than a word, a whole word; one row, two, many.
SIZES = [(1, 1), (1, 9), (2, 9), (3, 30), (31, 2), (32, 5), (33, 1), (80, 40)]
ONE_LIVE_ENTRY = [1 << i for i in range(8)]

simulate = REFERENCE.simulate


def assert_equal(states, expected, what):
    assert states.dtype == expected.dtype == np.uint8
    np.testing.assert_array_equal(states, expected, err_msg=what)


@pytest.mark.parametrize("number", STAGES_TO_COMPARE)
def test_a_stage_computes_what_stage_0_does(number):
    cases = [(rule, size) for size in SIZES for rule in (30, 110, 225)]
    cases += [(rule, SIZES[3]) for rule in (*ONE_LIVE_ENTRY, 255)]
    for rule, size in cases:
        states = import_stage(number).simulate(rule, *size)
        assert_equal(states, simulate(rule, *size), f"{rule}, {size}")


@pytest.mark.parametrize(
    "number",
    [n for n in WORKING if hasattr(import_stage(n), "simulate_rules")],
)
def test_many_rules_at_once_are_each_what_stage_0_computes(number):
    for rules in (ALL_RULES, ALL_RULES[[110]], ALL_RULES[[30, 30, 0, 255]]):
        states = import_stage(number).simulate_rules(rules, 13, 9)
        expected = [simulate(int(rule), 13, 9) for rule in rules]
        assert_equal(states, np.stack(expected), f"{rules}")


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


def test_stage_0_equals_the_definition():
    for size in ((1, 5), (2, 5), (9, 5), (31, 1), (32, 2), (80, 50)):
        for rule in range(256) if size == (9, 5) else [30, 110]:
            expected = simulate_by_definition(rule, *size)
            assert_equal(simulate(rule, *size), expected, f"{rule}, {size}")


@pytest.mark.slow
@pytest.mark.parametrize("number", STAGES_TO_COMPARE)
def test_every_compiled_program_is_lowered_for_other_devices(number):
    stage, platforms = import_stage(number), ("cuda", "tpu")
    for name in ("simulate", "simulate_packed", "simulate_rules"):
        function = getattr(stage, name, None)
        if hasattr(function, "lower"):
            rule = ALL_RULES if name == "simulate_rules" else 110
            lower = jax.export.export(function, platforms=platforms)
            lowered = lower(rule, 66, 5)
            assert lowered.platforms == platforms
            assert lowered.out_avals[0].shape == function(rule, 66, 5).shape


def test_annotations_are_checked_and_nothing_is_promoted_silently():
    for number in STAGES_TO_COMPARE:
        with pytest.raises(TypeCheckError):
            import_stage(number).make_rule_table("110")
    with pytest.raises(ValueError, match="promotion"):
        jnp.uint8(1) + jnp.int32(1)
    assert jax.device_count() == 4
