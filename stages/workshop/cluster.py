"""Run one ring in several processes, and compare with the reference.

python stages/workshop/cluster.py

Starts the processes on this machine, each with simulated devices of its own.
On real machines start each process there, with the same arguments but for
--process-id.
"""

import contextlib
import dataclasses
import importlib
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

if not __package__:  # run as a script
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
from PIL import Image

from workshop.catalog import find_stages
from workshop.command_line import parse
from workshop.compare import explain_difference
from workshop.terminal import fail, reader_may_leave, say

REFERENCE, SHARDED = 0, 9  # the numbers of the stages
RUN_SECONDS = 120


@dataclasses.dataclass(frozen=True)
class Arguments:
    """The command line."""

    rule: int = 110
    """Wolfram's number of the rule, 0 to 255."""
    width: int = 1001
    """Number of cells on the ring."""
    num_steps: int = 500
    """Number of rows, the initial state included."""
    num_processes: int = 2
    """Number of processes to start."""
    num_devices: int = 2
    """Number of devices of each process."""


def main() -> None:
    """Run the processes, then compare what process 0 saved."""
    arguments = parse(Arguments, "Run one ring in several processes.")
    if not 1 <= arguments.num_processes <= 16:
        fail(
            "num_processes must be between 1 and 16,"
            f" got {arguments.num_processes}"
        )
    say(
        f"starting {arguments.num_processes} processes"
        f" of {arguments.num_devices} devices"
    )
    sys.stdout.flush()
    states = run_cluster(arguments)
    reference = importlib.import_module(find_stages()[REFERENCE].stem)
    expected = reference.simulate(
        arguments.rule, arguments.width, arguments.num_steps
    )
    difference = explain_difference(states, expected)
    if difference is not None:
        fail(difference, status=1)
    say(
        f"{arguments.num_processes} processes of {arguments.num_devices}"
        f" devices: {arguments.num_steps} x {arguments.width} states, equal"
        f" to stage {REFERENCE}'s"
    )


def run_cluster(arguments: Arguments) -> np.ndarray:
    """The states that the processes compute together."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "states.png")
        statuses = run_processes(make_commands(arguments, output))
        if any(statuses):
            fail(f"the processes ended with status {statuses}", status=1)
        return (np.asarray(Image.open(output)) == 0).astype(np.uint8)


def make_commands(arguments: Arguments, output: Path) -> list[list[str]]:
    """The command of each process, differing in --process-id."""
    command = [sys.executable, str(find_stages()[SHARDED])]
    for name, value in dataclasses.asdict(arguments).items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    command += ["--coordinator", f"127.0.0.1:{free_port()}"]
    command += ["--no-print-image", "--save-image", "--output", str(output)]
    return [
        [*command, "--process-id", str(i)]
        for i in range(arguments.num_processes)
    ]


def free_port() -> int:
    """A port that nothing on this machine listens to just now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def run_processes(commands: list[list[str]]) -> list[int]:
    """Run the commands together; their exit statuses, none left running."""
    # JAX's runtime tells of its connections: shown only if something fails.
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    command,
                    env={**os.environ, "JAX_PLATFORMS": "cpu"},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )
            for command in commands
        ]
        try:
            told = [
                process.communicate(timeout=RUN_SECONDS)[0]
                for process in processes
            ]
        except subprocess.TimeoutExpired:
            fail(f"not done within {RUN_SECONDS} seconds", status=1)
        finally:
            for process in processes:
                process.kill()
        statuses = [process.returncode for process in processes]
        if any(statuses):
            print("\n".join(told), file=sys.stderr)
        return statuses


if __name__ == "__main__":
    try:
        with reader_may_leave():
            main()
    except KeyboardInterrupt:
        sys.exit(130)
