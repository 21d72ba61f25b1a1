"""Run one ring in several processes, and compare with the reference.

Starts the processes on this machine, each with simulated devices of its own.
On real machines start each process there, with the same arguments but for
--process-id.
"""

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from workshop.compare import explain_difference, load_reference
from workshop.stages import find_stages
from workshop.terminal import fail, say

SHARDED = 9  # the number of the stage
RUN_SECONDS = 120


def cluster(
    rule: int = 110,
    width: int = 1000,
    num_steps: int = 500,
    num_processes: int = 2,
    num_devices: int = 2,
) -> None:
    """Run one ring in several processes, and compare with stage 0.

    Args:
        rule: Wolfram's number of the rule, 0 to 255.
        width: Number of cells on the ring.
        num_steps: Number of rows, the initial state included.
        num_processes: Number of processes to start.
        num_devices: Number of devices of each process.
    """
    if not 1 <= num_processes <= 16:
        fail(f"num_processes must be between 1 and 16, got {num_processes}")
    who = f"{num_processes} processes of {num_devices} devices"
    say(f"starting {who}")
    sys.stdout.flush()
    shape = {"rule": rule, "width": width, "num_steps": num_steps}
    states = run_cluster(num_processes, **shape, num_devices=num_devices)
    expected = load_reference().simulate(**shape)
    difference = explain_difference(states, expected)
    if difference is not None:
        fail(difference, status=1)
    say(f"{who}: {num_steps} x {width} states, equal to stage 0's")


def run_cluster(num_processes: int, **options: int) -> np.ndarray:
    """The states that the processes compute together."""
    Image.MAX_IMAGE_PIXELS = None  # the file is our own
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        output = Path(folder, "states.png")
        commands = make_commands(num_processes, options, output)
        statuses = run_processes(commands)
        if any(statuses):
            fail(f"the processes ended with status {statuses}", status=1)
        return (np.asarray(Image.open(output)) == 0).astype(np.uint8)


def make_commands(
    num_processes: int, options: dict[str, int], output: Path
) -> list[list[str]]:
    """The command of each process, differing in --process-id."""
    command = [sys.executable, str(find_stages()[SHARDED])]
    for name, value in options.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    command += ["--coordinator", f"127.0.0.1:{free_port()}"]
    command += ["--num-processes", str(num_processes)]
    command += ["--no-print-image", "--save-image", "--output", str(output)]
    return [[*command, "--process-id", str(i)] for i in range(num_processes)]


def free_port() -> int:
    """A port that nothing on this machine listens to just now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def run_processes(commands: list[list[str]]) -> list[int]:
    """Run the commands together; their exit statuses, none left running."""
    # JAX's runtime tells of its connections: shown only if something fails.
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    options["env"] = {**os.environ, "JAX_PLATFORMS": "cpu"}
    processes = []
    try:
        for command in commands:
            processes.append(subprocess.Popen(command, text=True, **options))
        told = [each.communicate(timeout=RUN_SECONDS)[0] for each in processes]
    except subprocess.TimeoutExpired:
        fail(f"not done within {RUN_SECONDS} seconds", status=1)
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    statuses = [process.returncode for process in processes]
    if any(statuses):
        print("\n".join(told), file=sys.stderr)
    return statuses
