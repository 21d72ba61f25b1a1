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
        reason = reason or f"JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS')}"
        fail(f"JAX finds no device to run on: {reason}", status=1)


def name_devices(result: Any) -> str:
    """Return where a result is, such as " on NVIDIA H200"; "" for a CPU."""
    devices = getattr(result, "devices", set)()
    kinds = {d.device_kind for d in devices if d.platform != "cpu"}
    return "".join(f" on {kind}" for kind in kinds)


def set_up_devices(arguments: Any) -> Any:
    """Connect the processes, and count the devices of all processes.

    Return the arguments with this count as num_devices. From then on, only
    process 0 prints and saves.
    """
    import jax

    check_processes(arguments)
    wanted = arguments.num_devices
    if wanted is not None:
        if not 1 <= wanted <= MAX_DEVICES:
            allowed = f"between 1 and {MAX_DEVICES}"
            fail(f"num_devices must be {allowed}, got {wanted}")
        jax.config.update("jax_num_cpu_devices", wanted)
    connect(arguments)
    start_jax(arguments.device)
    if jax.process_index() > 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        arguments = dataclasses.replace(arguments, save_image=False)
    num_devices = count_devices(wanted, arguments.width)
    say(
        f"devices: {num_devices}, processes: {jax.process_count()},"
        f" cells per device: {arguments.width // num_devices}"
    )
    return dataclasses.replace(arguments, num_devices=num_devices)


def check_processes(arguments: Any) -> None:
    """Exit with a message and status 2 if a process option is invalid."""
    names = ("coordinator", "num_processes", "process_id")
    given = [n for n in names if getattr(arguments, n) is not None]
    if not given:
        return
    if len(given) < len(names):
        fail(f"{', '.join(names)} must be given together, got only {given}")
    host, _, port = arguments.coordinator.rpartition(":")
    if not (host and port.isdecimal() and 0 < int(port) < 2**16):
        fail(f"coordinator must be HOST:PORT, got {arguments.coordinator}")
    number, num_processes = arguments.process_id, arguments.num_processes
    if num_processes < 1:
        fail(f"num_processes must be at least 1, got {num_processes}")
    if not 0 <= number < num_processes:
        allowed = f"at least 0 and less than num_processes ({num_processes})"
        fail(f"process_id must be {allowed}, got {number}")


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
    if the number of devices does not divide the width.
    """
    import jax

    available = jax.local_device_count()
    if wanted is not None and wanted > available:
        fail(
            f"num_devices must be at most {available}, as many as JAX sees,"
            f" got {wanted}; --device cpu simulates any number"
        )
    num_devices = wanted or math.gcd(available, width)
    if jax.process_count() > 1:
        num_devices = jax.device_count()
    if width % num_devices != 0:
        fail(f"num_devices must divide the width ({width}), got {num_devices}")
    return num_devices
