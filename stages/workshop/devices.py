"""The devices and the processes that a sharded stage runs on.

Other stages import this too, so jax is imported only where it is needed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from workshop.terminal import fail, say

CONNECT_SECONDS = 30  # to wait for the other processes
HEARTBEAT_SECONDS = 20  # without a sign of life, and JAX ends the process
LOCAL_HOSTS = ("127.0.0.1", "localhost")
# Copies what JAX's runtime says, but of a lost process one line, not a page.
COPY_ERRORS = """
import re, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
for line in sys.stdin:
    if re.match(r"[EF]\\d{4} .*(coordination_service|client.h)", line):
        sys.stderr.write("another process does not answer any more\\n")
        break
    sys.stderr.write(line)
    sys.stderr.flush()
for line in sys.stdin:
    pass
"""


def stray_variables() -> list[str]:
    """The environment's variables that configure JAX."""
    return sorted(
        name
        for name in os.environ
        if name == "XLA_FLAGS" or name.startswith("JAX_")
    )


@dataclasses.dataclass(frozen=True)
class DeviceArguments:
    """The command line of a stage that runs on many devices."""

    num_devices: int | None = None
    """Devices of this process, simulated on a CPU. They must divide width;
    by default as many as there are and divide it."""
    coordinator: str | None = None
    """HOST:PORT of process 0; not needed under SLURM or on a TPU pod."""
    num_processes: int | None = None
    """Number of processes, with --coordinator."""
    process_id: int | None = None
    """Which of the processes this is, from 0."""

    other_lines = 1  # it says how many devices there are


def start_jax(device: str | None = None) -> None:
    """Let JAX find its devices, or those of that platform alone.

    One line and status 2 if it finds none there, 1 if it finds none at all.
    """
    jax = sys.modules.get("jax")
    if jax is None:
        if device not in (None, "cpu"):
            fail(f"device must be cpu, where NumPy computes, got {device}")
        return
    if device is not None:
        jax.config.update("jax_platforms", device)
    try:
        jax.devices()
    except Exception as error:  # its type differs from version to version
        if device is not None:
            fail(f"device must be cpu, or one that JAX finds, got {device}")
        stray = " ".join(f"{v}={os.environ[v]}" for v in stray_variables())
        reason = str(error).partition("\n")[0] or stray
        fail(f"JAX finds no device to run on: {reason}", status=1)


def other_devices(result: Any) -> list:
    """The devices other than a CPU that it is on."""
    devices = getattr(result, "devices", set)()
    return [device for device in devices if device.platform != "cpu"]


def name_devices(result: Any) -> str:
    """Where it was computed, " on NVIDIA H200" say; nothing for a CPU."""
    kinds = [device.device_kind for device in other_devices(result)]
    several = f"{len(kinds)} x " if len(kinds) > 1 else ""
    return f" on {several}{kinds[0]}" if kinds else ""


def free_device_memory() -> int | None:
    """Bytes free on a device of JAX; None where they are the host's."""
    jax = sys.modules.get("jax")
    stats = jax and jax.local_devices()[0].memory_stats()
    return stats["bytes_limit"] - stats["bytes_in_use"] if stats else None


def check_devices(arguments: Any) -> None:
    """End with one line and status 2 if the processes do not fit together."""
    names = ("coordinator", "num_processes", "process_id")
    given = [name for name in names if getattr(arguments, name) is not None]
    if given and len(given) < len(names):
        got = ", ".join(given)
        fail(f"{', '.join(names)} must be given together, got only {got}")
    num_processes = arguments.num_processes if given else 1
    if num_processes < 1:
        fail(f"num_processes must be at least 1, got {num_processes}")
    if given and not 0 <= arguments.process_id < num_processes:
        fail(
            f"process_id must be between 0 and {num_processes - 1},"
            f" got {arguments.process_id}"
        )
    if given and not is_address(arguments.coordinator):
        fail(f"coordinator must be HOST:PORT, got {arguments.coordinator}")
    if arguments.num_devices is not None:
        check_share(arguments.num_devices, num_processes, arguments.width)


def is_address(text: str) -> bool:
    """Whether it is HOST:PORT, the port between 1 and 65535."""
    found = re.fullmatch(r"\S+:(\d{1,5})", text)
    return found is not None and 1 <= int(found[1]) <= 65535


def check_share(num_devices: int, num_processes: int, width: int) -> None:
    """End with one line and status 2 unless each device has as many cells."""
    if num_devices < 1 or width % (num_devices * num_processes):
        each = f" in each of {num_processes}" if num_processes > 1 else ""
        fail(
            f"num_devices{each} must divide the width, {width},"
            f" got {num_devices}"
        )


def set_up_devices(arguments: Any) -> Any:
    """Connect the processes, and count the devices of all of them.

    Returns the arguments with that number; outside process 0 nothing is
    printed or saved.
    """
    import jax

    if arguments.num_devices is not None:
        jax.config.update("jax_num_cpu_devices", arguments.num_devices)
    connect(arguments)
    start_jax(arguments.device)
    check_agreement(arguments)
    num_devices = count_devices(arguments.num_devices, arguments.width)
    arguments = dataclasses.replace(arguments, num_devices=num_devices)
    if jax.process_index() == 0:
        say(f"devices: {num_devices}, processes: {jax.process_count()}")
        return arguments
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    output = os.devnull if arguments.save_image else arguments.output
    return dataclasses.replace(arguments, output=Path(output))


def count_devices(wanted: int | None, width: int) -> int:
    """The devices to use of all processes; wanted: of this one, else all.

    Ends with one line and status 2 if there are not so many, or if they do
    not divide the width.
    """
    import jax

    there = jax.local_device_count()
    if wanted is not None and wanted > there:
        fail(
            f"num_devices must be at most {there}, what JAX sees here,"
            f" got {wanted}; JAX_PLATFORMS=cpu simulates any number"
        )
    if jax.process_count() == 1:
        return wanted or math.gcd(there, width)
    check_share(there, jax.process_count(), width)
    return jax.device_count()


def connect(arguments: Any) -> None:
    """Join the other processes, if there are any.

    Without arguments JAX asks SLURM, say, and raises ValueError without it.
    """
    import jax

    announce(arguments)
    late = threading.Timer(CONNECT_SECONDS, end_late, [arguments.coordinator])
    late.daemon = True
    late.start()
    try:
        jax.distributed.initialize(
            arguments.coordinator,
            arguments.num_processes,
            arguments.process_id,
            choose_gpus(arguments),
            initialization_timeout=2 * CONNECT_SECONDS,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        )
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # JAX would go on
    except ValueError:
        if arguments.coordinator is not None:
            raise
    except RuntimeError as error:
        where = arguments.coordinator or "of this cluster"
        reason = str(error).splitlines()[0]
        end(f"coordinator {where} does not work: {reason}")
    finally:
        late.cancel()


def announce(arguments: Any) -> None:
    """Say what is waited for; of JAX's errors let through what tells most."""
    if arguments.coordinator is None:
        return
    if arguments.process_id == 0:
        check_port(arguments.coordinator)
    say(
        f"waiting for {arguments.num_processes} processes to connect to"
        f" {arguments.coordinator}, at most {CONNECT_SECONDS} seconds",
        sys.stderr,
    )
    copy = subprocess.Popen(
        [sys.executable, "-c", COPY_ERRORS], stdin=subprocess.PIPE
    )
    os.dup2(copy.stdin.fileno(), sys.stderr.fileno())


def choose_gpus(arguments: Any) -> list[int] | None:
    """The GPUs of this process where all share a machine; None: all of them.

    Two processes with one GPU each would otherwise both take both.
    """
    host = (arguments.coordinator or "").rpartition(":")[0]
    if arguments.num_devices is None or host not in LOCAL_HOSTS:
        return None
    first = arguments.process_id * arguments.num_devices
    return list(range(first, first + arguments.num_devices))


def check_port(coordinator: str) -> None:
    """End with one line and status 1 if nothing can listen to that port.

    Newer versions of JAX would crash.
    """
    port = int(coordinator.rpartition(":")[2])
    try:
        with socket.socket() as listener:
            listener.bind(("", port))
    except OSError as error:
        end(f"coordinator {coordinator} does not work: {error}")


def check_agreement(arguments: Any) -> None:
    """End if another process was started for other states, or devices.

    Their shares would not belong together.
    """
    import jax
    import numpy as np
    from jax.experimental import multihost_utils

    if jax.process_count() == 1:
        return
    counts = Counter(device.process_index for device in jax.devices())
    if len(set(counts.values())) > 1:
        end(
            "all processes must have the same num_devices, got"
            f" {[counts[i] for i in range(jax.process_count())]}"
        )
    names = ("rule", "width", "num_steps", "print_image", "save_image")
    own = np.array([getattr(arguments, name) for name in names])
    everyone = multihost_utils.process_allgather(own)
    if np.any(everyone != own):
        end(
            f"all processes must have the same {', '.join(names)}, got"
            f" {everyone.tolist()}"
        )


def end_late(coordinator: str | None) -> NoReturn:
    """Give up waiting, where JAX would abort with a page of addresses."""
    where = coordinator or "the coordinator of this cluster"
    end(
        f"not all processes connected to {where}"
        f" within {CONNECT_SECONDS} seconds"
    )


@contextlib.contextmanager
def peers_may_leave() -> Iterator[None]:
    """End with one line where another process leaves in the middle of a run.

    With a single process, errors stay as they are.
    """
    try:
        yield
    except RuntimeError as error:
        jax = sys.modules.get("jax")
        if jax is None or jax.process_count() == 1:
            raise
        reason = str(error).splitlines()[0]
        end(f"another process has ended or cannot be reached: {reason}")


def end(message: str) -> NoReturn:
    """End at once with one line and status 1.

    sys.exit would first wait for the processes that are not there.
    """
    print(message, file=sys.stderr, flush=True)
    os._exit(1)
