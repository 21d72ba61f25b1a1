"""Stage 9 in several processes: together, alone, and after a death."""

import signal
import socket
import subprocess
import sys
import threading

import jax
import numpy as np
import psutil
import pytest
from PIL import Image

from support import (
    DOOR,
    NOT_ON_WINDOWS,
    REFERENCE,
    STAGES,
    assert_refused,
    output_of,
    start_python,
    wait_for,
)
from workshop import cluster, devices

GRACE_SECONDS = 60  # to start Python, and to end it, on a busy machine
IMPATIENT = """
import runpy
import sys

sys.path.insert(0, sys.argv[1])
from workshop import devices

devices.CONNECT_SECONDS = 2
sys.argv[:] = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def start(process_id, port, *arguments, program=(STAGES[9],)):
    """One process of two."""
    together = "--num-processes", 2, "--coordinator", f"127.0.0.1:{port}"
    own = "--process-id", process_id
    return start_python("-u", *program, *together, *own, *arguments)


def test_two_processes_equal_the_reference_and_process_0_prints(tmp_path):
    output = tmp_path / "states.png"
    options = {"width": 200, "num_steps": 50, "num_devices": 2}
    commands = cluster.make_commands(2, options, output)
    processes = [start_python(*command[1:]) for command in commands]
    (first, err), (second, _) = (p.communicate(timeout=150) for p in processes)
    assert [process.returncode for process in processes] == [0, 0], err
    assert "devices: 4, processes: 2" in first
    assert f"wrote {output}" in " ".join(first.split())
    for said in ("rule: 110", "wrote"):
        assert said in first
        assert said not in second
    with Image.open(output) as image:
        states = np.asarray(image.convert("L")) == 0
    np.testing.assert_array_equal(states, REFERENCE.simulate(110, 200, 50))


def test_the_command_compares_what_they_computed(monkeypatch, run_here):
    states = REFERENCE.simulate(110, 9, 5)
    monkeypatch.setattr(cluster, "run_cluster", lambda *_, **__: states)
    out = output_of(run_here("cluster", "--width", 9, "--num-steps", 5))
    started = "starting 2 processes of 2 devices\n"
    assert out.startswith(started)
    assert out.endswith("5 x 9 states, equal to stage 0's\n")
    done = run_here("cluster", "--width", 9, "--num-steps", 6)
    assert (done.returncode, done.stdout) == (1, started)
    assert "shape: got (5, 9), want (6, 9)" in done.stderr
    for number in (0, 17):
        said = f"must be between 1 and 16, got {number}\n"
        assert_refused(run_here("cluster", "--num-processes", number), said)


@NOT_ON_WINDOWS
@pytest.mark.parametrize(
    "ended", ["SIGINT", pytest.param("SIGTERM", marks=pytest.mark.slow)]
)
def test_what_a_command_started_ends_with_it(ended):
    """Two processes in the middle of a long run."""
    launcher = start_python("-u", DOOR, "cluster", "--num-steps", 400_000)
    process = psutil.Process(launcher.pid)
    wait_for(lambda: len(process.children()) == 2)
    children = process.children()
    launcher.send_signal(getattr(signal, ended))
    _, err = launcher.communicate(timeout=10)
    assert launcher.returncode == 128 + getattr(signal, ended)
    assert "Traceback" not in err
    _, alive = psutil.wait_procs(children, timeout=5)
    assert not alive


@pytest.mark.slow
def test_alone_each_ends_in_time():
    """Nobody listens, or nobody comes: one line, status 1."""
    program = ["-c", IMPATIENT, DOOR.parent, STAGES[9]]
    alone = [start(i, cluster.free_port(), program=program) for i in (0, 1)]
    for process in alone:
        out, err = process.communicate(timeout=2 + GRACE_SECONDS)
        assert process.returncode == 1
        first, *_, last = err.splitlines()
        assert first.startswith("waiting for 2 processes to connect to")
        assert "not all processes connected" in last
        assert "within 2 seconds" in err
        assert "rule:" not in out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("differs", "named", "got"),
    [
        ("--rule", "rule, width, num", "[[1, 80, 80, 1, 0], [2, 80, 80, 1, "),
        ("--num-devices", "num_devices", "got [1, 2]"),
    ],
)
def test_processes_that_do_not_belong_together_end(differs, named, got):
    """One line, status 1."""
    port = cluster.free_port()
    processes = [start(i, port, differs, 1 + i) for i in (0, 1)]
    for process in processes:
        _, err = process.communicate(timeout=60)
        assert process.returncode == 1
        assert f"all processes must have the same {named}" in err
        assert got in err
        assert len(err.splitlines()) == 2


def test_a_port_in_use_is_one_line():
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        process = start(0, other.getsockname()[1])
        out, err = process.communicate(timeout=GRACE_SECONDS)
    assert (process.returncode, out, err.count("\n")) == (1, "", 1)
    assert "does not work: " in err


@pytest.mark.slow  # how it is told is tested in one process below
@pytest.mark.parametrize("victim", [0, 1])
def test_death_of_one_ends_the_other(victim):
    """Killed in the middle of a long run: the other says so, and ends."""
    port = cluster.free_port()
    size = "--width", 4000, "--num-steps", 400_000, "--no-print-image"
    processes = [start(i, port, "--num-devices", 1, *size) for i in (0, 1)]
    watchdog = threading.Timer(120, processes[0].kill)
    watchdog.start()
    try:
        for line in processes[0].stdout:  # the rule is printed, it computes
            if line.startswith("rule_table[1,1,1]"):
                break
        with pytest.raises(subprocess.TimeoutExpired):
            processes[victim].wait(timeout=4)
        processes[victim].kill()
        limit = devices.HEARTBEAT_SECONDS + GRACE_SECONDS
        _, err = processes[1 - victim].communicate(timeout=limit)
        # Our line, or JAX's own, if its heartbeat notices first.
        assert processes[1 - victim].returncode != 0
        assert "another" in err
    finally:
        watchdog.cancel()
        for process in processes:
            process.kill()
            process.communicate()


def test_only_among_several_an_error_is_a_lost_connection(monkeypatch):
    """One process alone shows the error as it is."""
    ends, error = [], jax.errors.JaxRuntimeError("Connection reset\nand more")
    monkeypatch.setattr(devices, "end", ends.append)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with devices.peers_may_leave():
        raise error
    said = "another process has ended or cannot be reached: Connection reset"
    assert ends == [said]
    monkeypatch.setattr(jax, "process_count", lambda: 1)
    with pytest.raises(jax.errors.JaxRuntimeError), devices.peers_may_leave():
        raise error


def test_the_launcher_tells_a_failure_and_ends_what_hangs(monkeypatch, capsys):
    """A process that fails is a failure of the whole."""

    def run_processes(*codes):
        commands = [[sys.executable, "-c", code] for code in codes]
        return cluster.run_processes(commands)

    assert run_processes("exit(0)", "exit(3)") == [0, 3]
    monkeypatch.setattr(cluster, "RUN_SECONDS", 1)
    with pytest.raises(SystemExit, match="1"):
        run_processes("import time; time.sleep(60)")
    assert "not done within 1 seconds" in capsys.readouterr().err
