"""What the docstrings of stages 1 to 6 claim; those of 7 to 9 have own files.

Claims on speed are shown by the benchmark instead.
"""

import runpy
from unittest.mock import Mock, call

import jax
import numpy as np
import pytest

from support import STAGES, import_stage
from workshop.tracing import (
    count_compilations,
    count_equations,
    trace_call,
)


def watch_calls(monkeypatch, number, name):
    """The calls of a function of a stage from now on: under jit, traces."""
    stage = import_stage(number)
    function = Mock(wraps=getattr(stage, name))
    monkeypatch.setattr(stage, name, function)
    jax.clear_caches()
    return function.call_args_list


def num_equations(number, num_steps):
    """The operations in simulate's program."""
    simulate = import_stage(number).simulate
    return count_equations(trace_call(simulate, 110, 11, num_steps))


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
    names = stage["simulate"].__wrapped__.__globals__
    names["make_initial_state"] = seen.append
    # With the shape out of the way, the loop asks a tracer for its value.
    with pytest.raises(jax.errors.TracerIntegerConversionError):
        stage["simulate"](110, 11, 7)
    (width,) = seen
    assert isinstance(width, jax.core.Tracer)
    assert (width.shape, width.dtype) == ((), "int32")


@pytest.mark.parametrize("number", [4, 5, 8])
def test_all_rules_share_one_compilation(number, monkeypatch):
    traces = watch_calls(monkeypatch, number, "make_rule_table")
    for rule in range(0, 256, 51):
        import_stage(number).simulate(rule, 11, 3)
    assert len(traces) == 1


def test_stage_4_compiles_once_for_each_pair_of_shapes(monkeypatch):
    traces = watch_calls(monkeypatch, 4, "make_initial_state")
    for width, num_steps in [(5, 2), (5, 3), (6, 2), (5, 2), (6, 2)]:
        import_stage(4).simulate(110, width, num_steps)
    assert traces == [call(5), call(5), call(6)]


def test_stage_4_holds_a_copy_of_step_for_every_row(monkeypatch):
    traces = watch_calls(monkeypatch, 4, "step")
    import_stage(4).simulate(110, 11, 9)
    assert len(traces) == 9
    grows = [num_equations(4, num_steps) for num_steps in (20, 40, 80)]
    assert grows[2] - grows[1] == 2 * (grows[1] - grows[0]) > 0


def test_stage_5_traces_step_once(monkeypatch):
    traces = watch_calls(monkeypatch, 5, "step")
    import_stage(5).simulate(110, 11, 900)
    assert len(traces) == 1
    assert num_equations(5, 20) == num_equations(5, 8000)


def test_stage_6_is_one_call_traced_once(monkeypatch):
    """A program that is no longer for more rules."""
    traces = watch_calls(monkeypatch, 6, "step")
    rules, simulate_rules = np.arange(256), import_stage(6).simulate_rules
    simulate_rules(rules.astype(np.uint8), 11, 9)
    (state, _), _ = traces[0]
    assert len(traces) == 1
    assert state.shape == (11,)  # step knows nothing of the new axis
    few, many = (
        trace_call(simulate_rules, rules[:n].astype(np.uint8), 11, 9)
        for n in (2, 20)
    )
    assert count_equations(few) == count_equations(many) > 10
