"""Two stages fail on purpose: as they declare, and in nothing else."""

import jax.numpy as jnp
import numpy as np
import pytest

from support import REFERENCE, STAGES, import_stage, output_of


def test_stage_1_is_right_in_all_else():
    stage, state = import_stage(1), REFERENCE.simulate(30, 12, 9)[-1]
    for rule in range(0, 256, 5):
        rule_table = stage.make_rule_table(rule)
        expected = REFERENCE.make_rule_table(rule)
        np.testing.assert_array_equal(rule_table, expected)
        np.testing.assert_array_equal(
            stage.step(jnp.asarray(state), rule_table),
            REFERENCE.step(state, expected),
        )


def test_stage_3_is_right_without_its_decorator():
    for rule in (30, 110, 225):
        states = import_stage(3).simulate.__wrapped__(rule, 11, 7)
        expected = REFERENCE.simulate(rule, 11, 7)
        assert states.dtype == expected.dtype
        np.testing.assert_array_equal(states, expected)


@pytest.mark.parametrize("number", [1, 3])
def test_the_script_shows_the_lesson(number, run_here):
    out = output_of(run_here(number))
    lines = out.splitlines()
    assert "Traceback (most recent call last):" in lines
    assert any(line.startswith("TypeError: ") for line in lines)
    assert number != 1 or ".at[idx].set" in out  # JAX names the remedy
    assert "harness.py" not in out  # the attendee's frames alone
    assert lines[-2] == "This failure is the lesson of this stage."
    assert lines[-1] == f"stages/{STAGES[number + 1].name} mends it."


LIVE = "    state[width // 2] = 1"
STATIC = "@jax.jit(static_argnames=('width', 'num_steps'))"
ANOTHER = "has to fail with TypeError"
NONE = ", but ran\n"


@pytest.mark.parametrize(
    ("number", "old", "new", "said"),
    [
        (1, LIVE, "    raise TypeError('another')", ANOTHER),
        (3, "jnp.zeros(width, dt", "jnp.zeros(width.no_such, dt", ANOTHER),
        (1, LIVE, "    state = state.at[width // 2].set(1)", NONE),
        (3, "@jax.jit", STATIC, NONE),
    ],
)
def test_another_error_or_none_is_status_1(
    number, old, new, said, tmp_path, run_here
):
    source = STAGES[number].read_text(encoding="utf-8")
    assert source.count(old) == 1
    path = tmp_path / STAGES[number].name
    path.write_text(source.replace(old, new), encoding="utf-8")
    done = run_here(path)
    assert (done.returncode, "lesson" in done.stdout) == (1, False)
    *traceback, last = done.stderr.splitlines(keepends=True)
    assert said in last
    assert (traceback != []) == (said == ANOTHER)
