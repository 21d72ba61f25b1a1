"""What the docstrings of stages 1 to 6 claim; those of 7 to 9 have own files.

Claims on speed are shown by the benchmark instead.
"""

import runpy

import jax
import numpy as np
import pytest

from support import STAGES, import_stage
from workshop.jaxprs import count_compilations

SHAPE_NAMES = ("width", "num_steps")


def count_calls(monkeypatch, module, name):
    """Count the calls of a function of a stage: under jit, its traces."""
    calls = []
    function = getattr(module, name)

    def counting(*args):
        calls.append(args)
        return function(*args)

    monkeypatch.setattr(module, name, counting)
    jax.clear_caches()
    return calls


def num_equations(number, num_steps):
    """The operations at the top level of simulate's program."""
    function = import_stage(number).simulate
    while hasattr(function, "__wrapped__") and hasattr(function, "lower"):
        function = function.__wrapped__
    traced = jax.jit(function, static_argnames=SHAPE_NAMES).trace(
        110, width=11, num_steps=num_steps
    )
    return len(traced.jaxpr.eqns)


def test_stage_2_sends_hundreds_of_operations():
    """It is not compiled as a whole: each operation is sent when it runs."""
    assert not hasattr(import_stage(2).simulate, "lower")
    assert num_equations(2, num_steps=80) > 500


def test_stage_2_compiles_each_kind_of_operation_once():
    simulate = import_stage(2).simulate
    jax.clear_caches()
    with count_compilations() as first:
        simulate(110, 11, 7)
    with count_compilations() as second:
        simulate(110, 11, 7)
    assert len(first) > 5
    assert len(second) == 0


def test_stage_3_calls_simulate_once_with_tracers():
    # As a user gets it: the import hook would refuse the tracer first.
    stage = runpy.run_path(str(STAGES[3]))
    seen = []
    stage["simulate"].__wrapped__.__globals__["make_initial_state"] = (
        seen.append
    )
    # With the shape out of the way, the loop asks a tracer for its value.
    with pytest.raises(jax.errors.TracerIntegerConversionError):
        stage["simulate"](110, 11, 7)
    (width,) = seen
    assert isinstance(width, jax.core.Tracer)
    assert (width.shape, width.dtype) == ((), "int32")


@pytest.mark.parametrize("number", [4, 5, 8])
def test_all_rules_share_one_compilation(number, monkeypatch):
    stage = import_stage(number)
    traces = count_calls(monkeypatch, stage, "make_rule_table")
    for rule in range(0, 256, 51):
        stage.simulate(rule, 11, 3)
    assert len(traces) == 1


def test_stage_4_compiles_once_for_each_pair_of_shapes(monkeypatch):
    stage = import_stage(4)
    traces = count_calls(monkeypatch, stage, "make_initial_state")
    for width, num_steps in [(5, 2), (5, 3), (6, 2), (5, 2), (6, 2)]:
        stage.simulate(110, width, num_steps)
    assert traces == [(5,), (5,), (6,)]


def test_stage_4_holds_a_copy_of_step_for_every_row(monkeypatch):
    stage = import_stage(4)
    traces = count_calls(monkeypatch, stage, "step")
    stage.simulate(110, 11, 9)
    assert len(traces) == 9
    grows = [num_equations(4, num_steps) for num_steps in (20, 40, 80)]
    assert grows[2] - grows[1] == 2 * (grows[1] - grows[0]) > 0


def test_stage_5_traces_step_once(monkeypatch):
    stage = import_stage(5)
    traces = count_calls(monkeypatch, stage, "step")
    stage.simulate(110, 11, 900)
    assert len(traces) == 1
    assert num_equations(5, 20) == num_equations(5, 8000)


def test_stage_6_is_one_call_traced_once(monkeypatch):
    stage = import_stage(6)
    traces = count_calls(monkeypatch, stage, "step")
    stage.simulate_rules(np.arange(256, dtype=np.uint8), 11, 9)
    assert len(traces) == 1
    assert traces[0][0].shape == (11,)  # step knows nothing of the new axis


def test_stage_6_is_no_longer_a_program_for_more_rules():
    def num_operations(num_rules):
        rules = np.arange(num_rules, dtype=np.uint8)
        traced = import_stage(6).simulate_rules.trace(rules, 11, 9)
        return str(traced.jaxpr).count(" = ")

    assert num_operations(2) == num_operations(20) > 10
