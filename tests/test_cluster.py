"""Test that several processes compute what stage 0 does."""

import sys

import numpy as np
import pytest
from PIL import Image

from support import REFERENCE, output_of, start_python
from workshop import cluster, devices
from workshop.rendering import save_image

STATES = REFERENCE.simulate(110, cluster.WIDTH, cluster.NUM_STEPS)


def test_two_processes_equal_stage_0_and_only_process_0_prints(tmp_path):
    first, second = cluster.list_commands(10, tmp_path / "0.png")
    second = [word.replace("0.png", "1.png") for word in second]
    processes = [start_python(*words[1:]) for words in (first, second)]
    (out, err), (other, _) = (p.communicate(timeout=150) for p in processes)
    assert [process.returncode for process in processes] == [0, 0], err
    assert "devices: 4, processes: 2, cells per device: 250" in out
    assert ("rule: 110" in out, "rule: 110" in other) == (True, False)
    assert [path.name for path in tmp_path.iterdir()] == ["0.png"]
    with Image.open(tmp_path / "0.png") as image:
        np.testing.assert_array_equal(np.asarray(image) == 0, STATES)


def test_every_sharded_stage_is_compared(monkeypatch, run_here):
    calls, states = [], STATES

    def run_together(commands):
        first, second = commands
        assert first[:-1] == second[:-1]
        assert (first[-1], second[-1]) == ("--process-id=0", "--process-id=1")
        (picture,) = (s for s in first if s.startswith("--output="))
        save_image(states, cluster.Path(picture.partition("=")[2]))
        calls.append(int(first[3]))

    monkeypatch.setattr(cluster, "run_together", run_together)
    assert "500 x 1000" in output_of(run_here("cluster"))
    assert calls == [9, 10]
    states = np.roll(states, 1)
    done = run_here("cluster")
    wrong = "row 0, cell 500: got 0, want 1" in done.stderr
    assert (done.returncode, wrong) == (1, True)


def test_a_failure_is_shown_and_what_hangs_is_ended(monkeypatch, capfd):
    fails = [sys.executable, "-c", "import sys; sys.exit('my error')"]
    with pytest.raises(SystemExit, match="1"):
        cluster.run_together([[sys.executable, "--version"], fails])
    out, err = capfd.readouterr()
    assert (out, "my error" in err, "[0, 1]" in err) == ("", True, True)
    sleeps = [sys.executable, "-c", "import time; time.sleep(60)"]
    monkeypatch.setattr(cluster, "MOST_SECONDS", 0.1)
    with pytest.raises(SystemExit, match="1"):
        cluster.run_together([sleeps])
    assert "0.1 seconds" in capfd.readouterr().err


@pytest.mark.slow
def test_one_that_waits_for_nobody_ends_in_time(tmp_path):
    first, _ = cluster.list_commands(9, tmp_path / "picture.png")
    process = start_python(*first[1:])
    out, err = process.communicate(timeout=devices.CONNECT_SECONDS + 60)
    assert process.returncode != 0
    assert f"{devices.CONNECT_SECONDS} seconds" in err.splitlines()[0]
    assert "rule:" not in out
