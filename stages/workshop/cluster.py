"""Simulate one ring in two processes, and compare it with stage 0.

Both processes run on this machine, each with simulated devices of its own. To
use several machines, run the stage itself once on each machine. Give every run
the same arguments but a different --process-id.
"""

import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from workshop.compare import explain_difference, load_reference
from workshop.harness import ShardedArguments, find_kind
from workshop.stages import STAGES_FOLDER, find_stages, load_stage
from workshop.terminal import fail, interrupts_raise, say

WIDTH, NUM_STEPS = 1000, 500
NUM_PROCESSES = 2
NUM_DEVICES = 2  # of each process
MOST_SECONDS = 120


def cluster() -> None:
    """Simulate one ring in two processes, and compare it with stage 0."""
    for number, path in find_stages().items():
        kind, _ = find_kind(load_stage(path))
        if kind is ShardedArguments:
            compare_stage(number)


def compare_stage(number: int) -> None:
    """Run a stage in two processes, and compare its states with stage 0's.

    Exit with status 1 if the states differ.
    """
    say(f"stage {number}: {NUM_PROCESSES} processes x {NUM_DEVICES} devices")
    sys.stdout.flush()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        picture = Path(folder, "states.png")
        with interrupts_raise():
            run_together(list_commands(number, picture))
        states = (np.asarray(Image.open(picture)) == 0).astype(np.uint8)
    expected = load_reference().simulate(110, WIDTH, NUM_STEPS)
    difference = explain_difference(states, expected)
    if difference is not None:
        fail(difference, status=1)
    say(f"stage {number}: {NUM_STEPS} x {WIDTH} states, equal to stage 0's")


def list_commands(number: int, picture: Path) -> list[list[str]]:
    """Return a command for each process; process 0 saves the picture."""
    command = [sys.executable, str(STAGES_FOLDER / "workshop"), "stage"]
    command += [str(number), "--device=cpu", f"--num-devices={NUM_DEVICES}"]
    command += [f"--width={WIDTH}", f"--num-steps={NUM_STEPS}"]
    command += ["--no-print-image", "--save-image", f"--output={picture}"]
    command += [f"--num-processes={NUM_PROCESSES}"]
    command += [f"--coordinator=127.0.0.1:{free_port()}"]
    return [[*command, f"--process-id={i}"] for i in range(NUM_PROCESSES)]


def free_port() -> int:
    """Return a port on which no program of this machine listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def run_together(commands: list[list[str]]) -> None:
    """Run the commands in parallel, and wait until all have ended.

    Their output on standard error is shown. Exit with status 1 if a command
    fails or takes too long.
    """
    processes = []
    try:
        for command in commands:
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            processes.append(process)
        statuses = [process.wait(MOST_SECONDS) for process in processes]
    except subprocess.TimeoutExpired:
        fail(f"not done within {MOST_SECONDS} seconds", status=1)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    if any(statuses):
        fail(f"the processes ended with status {statuses}", status=1)
