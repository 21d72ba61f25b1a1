"""Set up the devices and the processes that a stage runs on.

Stage 0 also imports this module, but does not use JAX. Therefore jax is
imported only inside the functions that need it.
"""

from __future__ import annotations

import dataclasses
import math
import os
import signal
import sys
from pathlib import Path
from typing import Any

from workshop.terminal import fail, say

CONNECT_SECONDS = 30  # how long a process waits for the others
HEARTBEAT_SECONDS = 20  # after such a silence, JAX treats a process as dead
MAX_DEVICES = 256  # per process; 1024 simulated devices take minutes to start


def stray_variables() -> list[str]:
    """Return the names of the environment variables that configure JAX."""
    return sorted(
        name
        for name in os.environ
        if name == "XLA_FLAGS" or name.startswith("JAX_")
    )


@dataclasses.dataclass(frozen=True)
class DeviceArguments:
    """The command line of a stage that runs on many devices."""

    num_devices: int | None = None
    """Devices of this process; by default, a number that divides the width."""
    coordinator: str | None = None
    """HOST:PORT of process 0; not needed under SLURM or on a TPU pod."""
    num_processes: int | None = None
    """Number of processes; required with --coordinator."""
    process_id: int | None = None
    """Number of this process, counted from 0."""


def start_jax(device: str | None = None) -> None:
    """Let JAX find its devices; if `device` is given, only on that platform.

    If jax is not imported, only check that `device` is the CPU or not given.
    Exit with a message and status 2 if the platform does not exist, or with
    status 1 if JAX finds no device at all.
    """
    jax = sys.modules.get("jax")
    if jax is None:
        if device not in (None, "cpu"):
            fail(f"device must be cpu for a stage in NumPy, got {device}")
        return
    try:
        if device is not None:
            jax.config.update("jax_platforms", device)
        jax.devices()
    except Exception as error:  # its type differs from version to version
        if device is not None:
            fail(f"device must be cpu, or one that JAX finds, got {device}")
        reason, _, _ = str(error).partition("\n")
        fail(f"JAX finds no device to run on: {reason}", status=1)


def name_devices(result: Any) -> str:
    """Return a text that names the devices of a result, "" for a CPU.

    Examples are " on NVIDIA H200" and " on 2 x NVIDIA H200".
    """
    devices = getattr(result, "devices", set)()
    kinds = [d.device_kind for d in devices if d.platform != "cpu"]
    several = f"{len(kinds)} x " if len(kinds) > 1 else ""
    return f" on {several}{kinds[0]}" if kinds else ""


def check_devices(arguments: Any) -> None:
    """Exit with a message and status 2 if an argument cannot work."""
    if arguments.coordinator is not None:
        host, _, port = arguments.coordinator.rpartition(":")
        if not (host and port.isdecimal() and 0 < int(port) < 2**16):
            fail(f"coordinator must be HOST:PORT, got {arguments.coordinator}")
    names = ("coordinator", "num_processes", "process_id")
    given = [n for n in names if getattr(arguments, n) is not None]
    num_processes = 1
    if given:
        if len(given) < len(names):
            got = ", ".join(given)
            fail(f"{', '.join(names)} must be given together, got only {got}")
        num_processes, number = arguments.num_processes, arguments.process_id
        if num_processes < 1:
            fail(f"num_processes must be at least 1, got {num_processes}")
        if not 0 <= number < num_processes:
            allowed = f"from 0 to {num_processes - 1}"
            fail(f"process_id must be {allowed}, got {number}")
    if arguments.num_devices is not None:
        check_share(arguments.num_devices, num_processes, arguments.width)


def check_share(num_devices: int, num_processes: int, width: int) -> None:
    """Exit with a message and status 2 unless the ring can be divided.

    num_devices must be in range, and the number of all devices must divide the
    width.
    """
    if not 1 <= num_devices <= MAX_DEVICES:
        allowed = f"between 1 and {MAX_DEVICES}"
        fail(f"num_devices must be {allowed}, got {num_devices}")
    if width % (num_devices * num_processes):
        what, got = "num_devices", f"{num_devices}"
        if num_processes > 1:
            what, got = f"{what} x num_processes", f"{got} x {num_processes}"
        fail(f"{what} must divide the width ({width}), got {got}")


def set_up_devices(arguments: Any) -> Any:
    """Connect the processes, and count the devices of all processes.

    Return the arguments with this count as num_devices. From then on, only
    process 0 prints and saves.
    """
    import jax

    if arguments.num_devices is not None:
        jax.config.update("jax_num_cpu_devices", arguments.num_devices)
    connect(arguments)
    start_jax(arguments.device)
    num_devices = count_devices(arguments.num_devices, arguments.width)
    arguments = dataclasses.replace(arguments, num_devices=num_devices)
    if jax.process_index() == 0:
        cells = count(arguments.width // num_devices, "cell")
        shares = f"{count(num_devices, 'device')} x {cells}"
        if jax.process_count() > 1:
            shares += f", in {jax.process_count()} processes"
        say(shares)
        return arguments
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    output = os.devnull if arguments.save_image else arguments.output
    return dataclasses.replace(arguments, output=Path(output))


def connect(arguments: Any) -> None:
    """Connect this process to the others, if there are any."""
    import jax

    if arguments.coordinator is not None:
        say(
            f"waiting at most {CONNECT_SECONDS} seconds for"
            f" {arguments.num_processes} processes at {arguments.coordinator}",
            sys.stderr,
        )
    try:
        jax.distributed.initialize(
            arguments.coordinator,
            arguments.num_processes,
            arguments.process_id,
            initialization_timeout=CONNECT_SECONDS,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except ValueError:  # there is no coordinator, no SLURM, and no TPU pod
        if arguments.coordinator is not None:
            raise
    # JAX has set a handler that catches SIGTERM and goes on. Remove it.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def count_devices(wanted: int | None, width: int) -> int:
    """Return how many devices to use, counted over all processes.

    Exit with a message and status 2 if JAX sees fewer devices than wanted, or
    if several processes cannot divide the ring evenly.
    """
    import jax

    available = jax.local_device_count()
    if wanted is not None and wanted > available:
        fail(
            f"num_devices must be at most {available}, as many as JAX sees,"
            f" got {wanted}; JAX_PLATFORMS=cpu simulates any number"
        )
    if jax.process_count() == 1:
        return wanted or math.gcd(available, width)
    check_share(available, jax.process_count(), width)
    return jax.device_count()


def count(number: int, noun: str) -> str:
    """Return a number with its noun, such as "1 cell" or "2 cells"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
