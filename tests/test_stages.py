"""Every stage that runs computes what stage 0 does; is stage 0 right itself?

All tests rely on this too: JAX is strict, annotations are checked.
"""

from math import comb

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from support import REFERENCE, WORKING, import_stage, run_from

STAGES_TO_COMPARE = [n for n in WORKING if n > 0]
# One cell, fewer and more than a word, a whole word; one row, two, many.
SIZES = [(1, 1), (1, 9), (2, 9), (3, 30), (31, 2), (32, 5), (33, 1), (80, 40)]

simulate = REFERENCE.simulate


def assert_equal(states, expected, what):
    assert states.dtype == expected.dtype == np.uint8
    np.testing.assert_array_equal(states, expected, err_msg=what)


@pytest.mark.parametrize("number", STAGES_TO_COMPARE)
def test_a_stage_computes_what_stage_0_does(number):
    sizes = {size: (30, 110, 225) for size in SIZES} | {(9, 5): range(256)}
    for size, rules in sizes.items():
        for rule in rules:
            states = import_stage(number).simulate(rule, *size)
            assert_equal(states, simulate(rule, *size), f"{rule}, {size}")


@pytest.mark.parametrize(
    "number",
    [n for n in WORKING if hasattr(import_stage(n), "simulate_rules")],
)
def test_many_rules_at_once_are_each_what_stage_0_computes(number):
    for rules in (range(256), [110], [30, 30, 0, 255]):
        states = import_stage(number).simulate_rules(
            np.array(rules, dtype=np.uint8), 13, 9
        )
        expected = [simulate(rule, 13, 9) for rule in rules]
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
        for rule in range(256) if size[1] == 5 else [30, 110]:
            expected = simulate_by_definition(rule, *size)
            assert_equal(simulate(rule, *size), expected, f"{rule}, {size}")


def test_rule_90_is_pascals_triangle_modulo_2():
    for t, state in enumerate(simulate(90, 81, 40)):
        row = np.zeros(81, dtype=np.uint8)
        row[40 - t : 41 + t : 2] = [comb(t, k) % 2 for k in range(t + 1)]
        np.testing.assert_array_equal(state, row)


@pytest.mark.parametrize(("rule", "shift"), [(204, 0), (170, -1), (240, 1)])
def test_three_rules_only_shift_the_row(rule, shift):
    states = simulate(rule, 7, 20)
    expected = np.roll(states[:-1], shift, axis=1)
    np.testing.assert_array_equal(states[1:], expected)


def test_a_mirrored_or_complemented_rule_gives_such_a_diagram():
    for rule in range(256):
        bits = [rule >> i & 1 for i in range(8)]
        mirrored = [bits[4 * (i & 1) + (i & 2) + (i >> 2)] for i in range(8)]
        complement = [1 - bit for bit in bits[::-1]]
        mirrored, complement = (
            sum(bit << i for i, bit in enumerate(new))
            for new in (mirrored, complement)
        )
        states = simulate(rule, 15, 8)
        assert_equal(simulate(mirrored, 15, 8), states[:, ::-1], f"{rule}")
        assert_equal(
            run_from(1 - states[0], complement, 8), 1 - states, f"{rule}"
        )


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("number", STAGES_TO_COMPARE)
def test_every_compiled_program_is_lowered_for_other_devices(number, platform):
    stage = import_stage(number)
    sizes = {"simulate_rules": np.arange(256, dtype=np.uint8)}
    names = ("simulate", "simulate_packed", "simulate_rules")
    found = [name for name in names if hasattr(stage, name)]
    for name in [n for n in found if hasattr(getattr(stage, n), "lower")]:
        lower = jax.export.export(getattr(stage, name), platforms=[platform])
        lowered = lower(sizes.get(name, 110), 66, 5)
        assert lowered.platforms == (platform,)
        shape = stage.__dict__[name](sizes.get(name, 110), 66, 5).shape
        assert lowered.out_avals[0].shape == shape


def test_annotations_are_checked_and_nothing_is_promoted_silently():
    for number in STAGES_TO_COMPARE:
        stage = import_stage(number)
        with pytest.raises(TypeCheckError):
            stage.make_rule_table("110")
    with pytest.raises(ValueError, match="promotion"):
        jnp.uint8(1) + jnp.int32(1)
    assert jax.device_count() == 2
