"""Simulate one ring in several processes, and compare it with stage 0.

All processes run on this machine, each with simulated devices of its own. To
use several machines, run the stage itself once on each machine. Give every run
the same arguments but a different --process-id.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from workshop.compare import explain_difference, load_reference
from workshop.devices import check_share
from workshop.harness import Arguments, check_arguments, check_memory
from workshop.stages import STAGES_FOLDER, sharded_stages
from workshop.terminal import fail, interrupts_raise, say

MAX_PROCESSES = 16
RUN_SECONDS = 120


def cluster(
    rule: int = 110,
    width: int = 1000,
    num_steps: int = 500,
    num_processes: int = 2,
    num_devices: int = 2,
) -> None:
    """Simulate one ring in several processes, and compare it with stage 0.

    Args:
        rule: Wolfram's number of the rule, 0 to 255.
        width: Number of cells on the ring.
        num_steps: Number of rows, the initial state included.
        num_processes: Number of processes to start.
        num_devices: Number of devices in each process.
    """
    arguments = Arguments(rule, width, num_steps)
    check_arguments(arguments)
    if not 1 <= num_processes <= MAX_PROCESSES:
        allowed = f"between 1 and {MAX_PROCESSES}"
        fail(f"num_processes must be {allowed}, got {num_processes}")
    check_share(num_devices, num_processes, width)
    check_memory(arguments)
    for number in sharded_stages():
        compare_stage(number, arguments, num_processes, num_devices)


def compare_stage(
    number: int, arguments: Arguments, num_processes: int, num_devices: int
) -> None:
    """Run a stage in several processes, and compare its states with stage 0's.

    Exit with status 1 if the states differ.
    """
    say(
        f"stage {number}: {num_processes} processes x {num_devices} devices,"
        f" at most {RUN_SECONDS} seconds ..."
    )
    sys.stdout.flush()
    with interrupts_raise():
        states = run_cluster(number, arguments, num_processes, num_devices)
    size = arguments.width, arguments.num_steps
    expected = load_reference().simulate(arguments.rule, *size)
    difference = explain_difference(states, expected)
    if difference is not None:
        fail(difference, status=1)
    num_steps, width = states.shape
    say(f"stage {number}: {num_steps} x {width} states, equal to stage 0's")


def run_cluster(
    number: int, arguments: Arguments, num_processes: int, num_devices: int
) -> np.ndarray:
    """Run a stage in several processes, and return the states."""
    Image.MAX_IMAGE_PIXELS = None  # our own file, so any size is safe
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        output = Path(folder, "states.png")
        command = [sys.executable, str(STAGES_FOLDER / "workshop"), "stage"]
        command += [str(number), f"--rule={arguments.rule}"]
        command += [f"--width={arguments.width}"]
        command += [f"--num-steps={arguments.num_steps}"]
        command += ["--no-print-image", "--save-image", f"--output={output}"]
        command += [f"--coordinator=127.0.0.1:{free_port()}"]
        command += [f"--num-processes={num_processes}"]
        command += [f"--num-devices={num_devices}"]
        run_together(
            [[*command, f"--process-id={i}"] for i in range(num_processes)]
        )
        return (np.asarray(Image.open(output)) == 0).astype(np.uint8)


def free_port() -> int:
    """Return a port on which no program of this machine listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def run_together(commands: list[list[str]]) -> None:
    """Run the commands in parallel; show their output only if one fails."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    options["env"] = {**os.environ, "JAX_PLATFORMS": "cpu"}
    processes, printed = [], []
    end = time.monotonic() + RUN_SECONDS
    try:
        for command in commands:
            processes.append(subprocess.Popen(command, text=True, **options))
        for process in processes:
            left = max(0, end - time.monotonic())
            output, _ = process.communicate(timeout=left)
            printed.append(output)
    except subprocess.TimeoutExpired:
        fail(f"not done within {RUN_SECONDS} seconds", status=1)
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    statuses = [process.returncode for process in processes]
    if any(statuses):
        print("\n".join(printed), file=sys.stderr)
        fail(f"the processes ended with status {statuses}", status=1)
