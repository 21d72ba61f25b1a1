"""Test several processes: together, alone, and after one has died."""

import re
import subprocess
import sys

import pytest

from support import (
    DOOR,
    REFERENCE,
    STAGES,
    assert_refused,
    output_of,
    run_python,
    start_python,
)
from workshop import cluster, devices

GRACE_SECONDS = 60  # to start Python, and to end it, on a busy machine


def start(process_id, port, *arguments):
    """Start one of two processes."""
    together = "--num-processes", 2, "--coordinator", f"127.0.0.1:{port}"
    own = "--process-id", process_id
    return start_python("-u", STAGES[10], *together, *own, *arguments)


def test_two_processes_equal_stage_0_and_only_process_0_prints():
    size = "--width", 200, "--num-steps", 50, "--num-devices", 2
    port = cluster.free_port()
    processes = [start(i, port, *size) for i in (0, 1)]
    (first, err), (second, _) = (p.communicate(timeout=150) for p in processes)
    assert [process.returncode for process in processes] == [0, 0], err
    assert "4 devices x 50 cells, in 2 processes" in first
    assert ("rule: 110" in first, second) == (True, "")


@pytest.mark.slow
def test_the_command_runs_every_sharded_stage():
    out = output_of(run_python(DOOR, "cluster", "--width", 64))
    numbers = re.findall(r"(\d+): 500 x 64 states", out)
    assert numbers == ["9", "10"]


def test_the_command_compares_what_they_computed(monkeypatch, run_here):
    calls = []

    def run_cluster(number, *_):
        calls.append(number)
        return REFERENCE.simulate(110, 8, 5)

    monkeypatch.setattr(cluster, "run_cluster", run_cluster)
    output_of(run_here("cluster", "--width", 8, "--num-steps", 5))
    assert calls == [9, 10]
    done = run_here("cluster", "--width", 8, "--num-steps", 6)
    assert done.returncode == 1
    assert "(5, 8)" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        "--num-processes 0",
        "--num-processes 17",
        "--width 0",
        "--rule 256",
        "--num-steps 0",
        "--num-devices 3",
        "--num-devices 1000000",
    ],
)
def test_bad_input_is_one_line_before_anything_starts(
    arguments, run_here, monkeypatch
):
    monkeypatch.setattr(cluster, "run_cluster", None)
    name, value = arguments.split()
    done = run_here("cluster", name, value)
    assert_refused(done, f"got {value}")
    assert name.strip("-").replace("-", "_") in done.stderr


def test_a_failure_is_shown_and_what_hangs_is_ended(monkeypatch, capfd):
    def run_together(*codes):
        commands = [[sys.executable, "-c", code] for code in codes]
        cluster.run_together(commands)

    run_together("exit(0)", "exit(0)")
    with pytest.raises(SystemExit, match="1"):
        run_together("exit(0)", "print('my ' + 'words'); exit(3)")
    err = capfd.readouterr().err
    assert "my words" in err
    assert "[0, 3]" in err
    monkeypatch.setattr(cluster, "RUN_SECONDS", 1)
    with pytest.raises(SystemExit, match="1"):
        run_together("import time; time.sleep(60)")
    with pytest.raises(SystemExit, match="1"):  # both share one limit
        run_together(*(f"import time; time.sleep({s})" for s in (0.7, 1.5)))


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_the_death_of_one_ends_the_other(victim):
    """Kill one process in the middle of a long run."""
    port = cluster.free_port()
    size = "--width", 64, "--num-steps", 10_000_000, "--no-print-image"
    processes = [start(i, port, "--num-devices", 1, *size) for i in (0, 1)]
    try:
        assert "2 devices" in processes[0].stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            processes[victim].wait(timeout=4)
        processes[victim].kill()
        limit = devices.HEARTBEAT_SECONDS + GRACE_SECONDS
        processes[1 - victim].communicate(timeout=limit)
        assert processes[1 - victim].returncode != 0
    finally:
        for process in processes:
            process.kill()
            process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("process_id", [0, 1])
def test_one_that_waits_for_nobody_ends_in_time(process_id):
    process = start(process_id, cluster.free_port())
    out, err = process.communicate(
        timeout=devices.CONNECT_SECONDS + GRACE_SECONDS
    )
    assert process.returncode != 0
    assert f"{devices.CONNECT_SECONDS} seconds" in err.splitlines()[0]
    assert "rule:" not in out
