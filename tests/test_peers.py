"""Other programs: compared first, named when missing."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest

import measuring
import peers
import programs
from measuring import RefusedError, load_stages
from sections import Settings
from workshop.stages import STAGES_FOLDER

SETTINGS = dataclasses.replace(Settings(), large=peers.WORD_BITS)
STAGES = load_stages(STAGES_FOLDER)
REFERENCE = STAGES[0].module.simulate


@pytest.fixture(autouse=True)
def few_calls(monkeypatch):
    """No row is timed for longer than it must."""
    monkeypatch.setattr(measuring, "BUDGET", 0)


@pytest.mark.filterwarnings("default")  # those of a library are its own
def test_every_program_returns_the_states_or_is_missing():
    tasks = peers.plan_peers(STAGES, SETTINGS).tasks
    with jax.numpy_rank_promotion("allow"):  # libraries are not as strict
        rows = {label: task() for label, task in tasks.items()}
    assert {"0 numpy", "8 bitpack, last row", *peers.LIBRARIES} <= set(rows)
    for row in rows.values():
        if row.samples:
            assert row.num_cells == peers.WORD_BITS**2
        else:
            assert row.remark.startswith("missing: ")
    if shutil.which("cc"):
        assert {"C, bytes", "C, 1 core, last row"} <= set(rows)
        assert rows["C, bytes"].samples


def test_one_with_other_states_is_refused():
    def make():
        return lambda width, num_steps: 1 - REFERENCE(110, width, num_steps)

    with pytest.raises(RefusedError, match="Wrong is wrong: row 0, cell 0"):
        peers.time_peer("Wrong", make, np.asarray, REFERENCE, 64)


def test_what_others_return_becomes_states():
    states = REFERENCE(110, 128, 20)
    words = np.packbits(states, axis=1, bitorder="little").view("<u8")
    np.testing.assert_array_equal(peers.unpack_bits(words), states)
    floats = states[1:, :, None].astype(np.float32)
    np.testing.assert_array_equal(peers.cax_states(floats), states)


@pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler")
@pytest.mark.parametrize("width", [32, 64, 96, 1056])
def test_c_computes_every_rule(width):
    for rule, num_steps in [(110, 1), (30, 2), *((r, 40) for r in range(256))]:
        states = REFERENCE(rule, width, num_steps)
        got = programs.run_c(rule, width, num_steps)
        np.testing.assert_array_equal(got, states)
        last = programs.run_c(rule, width, num_steps, only_last=True)
        np.testing.assert_array_equal(programs.unpack_c(last), states[-1:])


def test_without_a_compiler_c_is_missing(monkeypatch, capsys):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    programs.load_c.cache_clear()
    row = peers.time_peer("C", peers.make_c, np.asarray, REFERENCE, 64)
    assert row.remark == "missing: no C compiler is named cc"
    labels = [way.label for way in programs.last_rows(STAGES)]
    assert "C, 1 core" not in labels
    assert "C is missing" in capsys.readouterr().out
    programs.load_c.cache_clear()
