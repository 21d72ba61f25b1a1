"""Other programs: compared first, named when missing."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest

import measuring
import programs
from measuring import RefusedError, load_stages
from sections import PLANS, Settings
from workshop.stages import STAGES_FOLDER

SETTINGS = dataclasses.replace(Settings(), large=programs.LANES)
STAGES = load_stages(STAGES_FOLDER)
REFERENCE = STAGES[0].module.simulate


@pytest.fixture(autouse=True)
def few_calls(monkeypatch):
    """No row is timed for longer than it must."""
    monkeypatch.setattr(measuring, "BUDGET", 0)


@pytest.mark.filterwarnings("default")  # those of a library are its own
def test_every_program_returns_the_states_or_is_missing(capsys):
    with jax.numpy_rank_promotion("allow"):  # libraries are not as strict
        tasks = PLANS["peers"](STAGES, SETTINGS).tasks
        rows = {label: task() for label, task in tasks.items()}
    assert {"0 numpy", "8 bitpack, packed", "8 bitpack, last row"} <= set(rows)
    assert {row.num_cells for row in rows.values()} == {programs.LANES**2}
    out = capsys.readouterr().out
    for label in ("CellPyLib, 32 x 32", *programs.LIBRARIES):
        assert (label in rows) != (f"{label} is missing: " in out)
    if shutil.which("cc"):
        assert {"C, bytes", "C, 1 core, last row"} <= set(rows)


def test_one_with_other_states_is_refused(monkeypatch):
    make = lambda: lambda *inputs: 1 - REFERENCE(*inputs)  # noqa: E731
    wrong = {"Wrong": (make, np.asarray)}
    monkeypatch.setattr(programs, "LIBRARIES", wrong)
    task = PLANS["peers"](STAGES, SETTINGS).tasks["Wrong"]
    with pytest.raises(RefusedError, match="Wrong is wrong: row 0, cell 0"):
        task()


def test_what_cax_returns_becomes_states():
    states = REFERENCE(110, 128, 20)
    floats = states[1:, :, None].astype(np.float32)
    np.testing.assert_array_equal(programs.cax_states(floats), states)


@pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler")
@pytest.mark.parametrize("width", [32, 64, 96, 1056])
def test_c_computes_every_rule(width):
    simulate, simulate_last = map(programs.make_c, (False, True))
    lanes = np.arange(32, dtype=np.uint32)[:, None]
    for rule, num_steps in [(110, 1), (30, 2), *((r, 40) for r in range(256))]:
        states = REFERENCE(rule, width, num_steps)
        got = simulate(rule, width, num_steps)
        np.testing.assert_array_equal(got, states)
        (words,) = simulate_last(rule, width, num_steps)
        last = (words >> lanes & 1).ravel()  # cell lane * num_words + word
        np.testing.assert_array_equal(last, states[-1])


def test_without_a_compiler_c_is_missing(monkeypatch, capsys):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    programs.load_c.cache_clear()
    labels = [way.label for way in programs.last_rows(STAGES)]
    assert "C, 1 core" not in labels
    out = capsys.readouterr().out
    assert "C, 1 core is missing: no C compiler is named cc" in out
    programs.load_c.cache_clear()
