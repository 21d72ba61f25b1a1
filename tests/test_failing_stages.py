"""Two stages fail on purpose: as they declare, and in nothing else."""

import runpy
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from support import FAILING, REFERENCE, ROOT, STAGES, import_stage, run_python
from workshop.stages import failure


@pytest.mark.parametrize("number", FAILING)
def test_it_fails_as_it_declares(number):
    # As a user gets it: without the import hook, whose own TypeError would
    # come before JAX's.
    stage = runpy.run_path(str(STAGES[number]))
    error_type, keyword = failure(stage["__doc__"])
    with pytest.raises(error_type, match=keyword) as caught:
        stage["simulate"](110, 11, 7)
    assert type(caught.value) is error_type
    raised_in = caught.traceback[-1].path
    assert "jax" in raised_in.parts


def test_the_failing_stages_are_1_and_3():
    assert FAILING == [1, 3]


@pytest.mark.parametrize("rule", range(0, 256, 5))
def test_stage_1_is_right_in_all_else(rule):
    stage = import_stage(1)
    rule_table = stage.make_rule_table(rule)
    expected_table = REFERENCE.make_rule_table(rule)
    np.testing.assert_array_equal(rule_table, expected_table)
    state = REFERENCE.simulate(30, 12, 9)[-1]
    np.testing.assert_array_equal(
        stage.step(jnp.asarray(state), rule_table),
        REFERENCE.step(state, expected_table),
    )


@pytest.mark.parametrize("rule", [30, 110, 225])
def test_stage_3_is_right_without_its_decorator(rule):
    states = import_stage(3).simulate.__wrapped__(rule, 11, 7)
    expected = REFERENCE.simulate(rule, 11, 7)
    assert states.dtype == expected.dtype
    np.testing.assert_array_equal(states, expected)


def test_stage_1_names_the_remedy():
    with pytest.raises(TypeError, match=r"\.at\[idx\]\.set"):
        import_stage(1).make_initial_state(5)


@pytest.mark.parametrize("number", FAILING)
def test_the_script_shows_the_lesson(number):
    done = run_python(STAGES[number])
    assert done.returncode == 0
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert "Traceback (most recent call last):" in lines
    assert any(line.startswith("TypeError: ") for line in lines)
    assert "harness.py" not in done.stdout  # the attendee's frames alone
    assert lines[-2] == "This failure is the lesson of this stage."
    assert lines[-1] == f"stages/{STAGES[number + 1].name} mends it."


BREAKAGES = {
    1: ("    state[width // 2] = 1", "    raise TypeError('another')"),
    3: ("jnp.zeros(width, dtype", "jnp.zeros(width.no_such, dtype"),
}
REPAIRS = {
    1: (
        "    state[width // 2] = 1",
        "    state = state.at[width // 2].set(1)",
    ),
    3: ("@jax.jit", "@jax.jit(static_argnames=('width', 'num_steps'))"),
}


def run_changed(number, change, folder):
    """Run a copy of a stage in which one text is replaced by another."""
    shutil.copytree(ROOT / "stages", folder / "stages")
    path = folder / "stages" / STAGES[number].name
    source = path.read_text(encoding="utf-8")
    assert source.count(change[0]) == 1
    path.write_text(source.replace(*change), encoding="utf-8")
    return run_python(path)


@pytest.mark.parametrize("number", FAILING)
def test_another_error_is_status_1(number, tmp_path):
    done = run_changed(number, BREAKAGES[number], tmp_path)
    assert done.returncode == 1
    assert "lesson" not in done.stdout
    assert done.stderr.startswith("Traceback")
    assert "has to fail with TypeError" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("number", FAILING)
def test_no_error_is_status_1(number, tmp_path):
    done = run_changed(number, REPAIRS[number], tmp_path)
    assert done.returncode == 1
    assert "lesson" not in done.stdout
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.endswith(", but ran\n")
