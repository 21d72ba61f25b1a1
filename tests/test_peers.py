"""Other libraries: compared first, named when missing, never too slow."""

import sys

import jax
import numpy as np
import pytest

import peers
from measuring import MismatchError, load_stages
from peers import LIBRARIES, Peer, time_peer
from workshop.stages import STAGES_FOLDER

SIZE = peers.WORD_BITS
REFERENCE = peers.stage_peers(load_stages(STAGES_FOLDER), 80)[
    0
].make_simulate()


@pytest.mark.filterwarnings("default")  # those of a library are its own
@pytest.mark.parametrize("peer", LIBRARIES, ids=lambda peer: peer.label)
def test_a_library_returns_the_states_or_is_missing(peer):
    with jax.numpy_rank_promotion("allow"):  # libraries are not as strict
        row = time_peer(peer, REFERENCE, SIZE)
    if row.samples:
        assert row.num_cells == SIZE**2
    else:
        assert row.remark.startswith("missing: No module named")


def test_a_missing_library_is_named_and_the_rest_goes_on(monkeypatch, capsys):
    def make_missing():
        raise ImportError("No module named 'missing'")

    libraries = [
        Peer("Missing", make_missing),
        Peer("Present", lambda: REFERENCE),
    ]
    monkeypatch.setattr(peers, "LIBRARIES", libraries)
    monkeypatch.setattr(sys, "argv", ["peers.py", "--size", str(SIZE)])
    assert peers.main() == 0
    lines = capsys.readouterr().out.splitlines()
    (missing,) = [line for line in lines if line.startswith("Missing ")]
    assert missing.split(maxsplit=1)[1] == (
        "missing: No module named 'missing'"
    )
    assert any(line.startswith("Present ") for line in lines)
    assert any(line.startswith("0 numpy ") for line in lines)
    assert max(map(len, lines)) <= 80


def test_a_library_with_other_states_ends_the_run(monkeypatch, capsys):
    def simulate(width, num_steps):
        return 1 - REFERENCE(width, num_steps)

    wrong = Peer("Wrong", lambda: simulate)
    with pytest.raises(MismatchError, match="Wrong is wrong: row 0, cell 0"):
        time_peer(wrong, REFERENCE, SIZE)
    monkeypatch.setattr(peers, "LIBRARIES", [wrong])
    monkeypatch.setattr(sys, "argv", ["peers.py", "--size", str(SIZE)])
    with pytest.raises(SystemExit) as ended:
        peers.main()
    out, err = capsys.readouterr()
    assert ended.value.code == 1
    assert err.startswith("Wrong is wrong")
    assert "\nWrong" not in out


@pytest.mark.parametrize(("seconds", "size"), [(0.06, 8000), (0.07, 768)])
def test_a_library_of_over_a_minute_gets_fewer_cells(
    seconds, size, monkeypatch
):
    monkeypatch.setattr(peers, "time_call", lambda *call: (None, seconds))
    monkeypatch.setattr(peers, "PROBE_SIZE", 256)
    assert peers.affordable_size(lambda *shape: None, 8000) == size


def test_what_libraries_return_becomes_states():
    states = REFERENCE(128, 20)
    words = np.packbits(states, axis=1, bitorder="little").view("<u8")
    np.testing.assert_array_equal(peers.unpack_bits(words), states)
    floats = states[1:, :, None].astype(np.float32)
    np.testing.assert_array_equal(peers.cax_states(floats), states)


@pytest.mark.parametrize("size", ["0", "100", "-64"])
def test_a_size_that_words_cannot_hold_is_refused(size, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["peers.py", "--size", size])
    with pytest.raises(SystemExit) as ended:
        peers.main()
    assert ended.value.code == 2
    message = f"size must be a multiple of 64, got {size}\n"
    assert capsys.readouterr().err == message
