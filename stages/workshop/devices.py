"""The devices and the processes that a sharded stage runs on.

Other stages import this too, so jax is imported only where it is needed.
"""

import dataclasses
import os
import re
import sys
import threading
from typing import Any, NoReturn

from workshop.terminal import fail, say

CONNECT_SECONDS = 30  # to wait for the other processes
HEARTBEAT_SECONDS = 20  # without a sign of life, and JAX ends the process


def check_devices(arguments: Any) -> None:
    """End with one line and status 2 if the processes cannot be such."""
    names = ("coordinator", "num_processes", "process_id")
    given = [name for name in names if getattr(arguments, name) is not None]
    if given and len(given) < len(names):
        got = ", ".join(given)
        fail(f"{', '.join(names)} must be given together, got only {got}")
    num_processes = 1 if not given else arguments.num_processes
    if num_processes < 1:
        fail(f"num_processes must be at least 1, got {num_processes}")
    if given and not 0 <= arguments.process_id < num_processes:
        fail(
            f"process_id must be between 0 and {num_processes - 1},"
            f" got {arguments.process_id}"
        )
    if given and not re.fullmatch(r"\S+:\d{1,5}", arguments.coordinator):
        fail(f"coordinator must be HOST:PORT, got {arguments.coordinator}")
    if arguments.num_devices is None:
        return
    most = arguments.width // num_processes
    if not 1 <= arguments.num_devices <= most:
        fail(
            f"num_devices must be between 1 and {most}, so that each has"
            f" a cell, got {arguments.num_devices}"
        )


def set_up_devices(arguments: Any) -> Any:
    """Connect the processes, and count the devices of all of them.

    Returns the arguments with that number; outside process 0 they print and
    save nothing.
    """
    import jax

    if arguments.num_devices is not None:
        jax.config.update("jax_num_cpu_devices", arguments.num_devices)
    connect(arguments)
    check_agreement(arguments)
    num_devices = count_devices(arguments.num_devices, arguments.width)
    arguments = dataclasses.replace(arguments, num_devices=num_devices)
    if jax.process_index() == 0:
        say(f"devices: {num_devices}, processes: {jax.process_count()}")
        return arguments
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return dataclasses.replace(arguments, print_image=False, save_image=False)


def count_devices(wanted: int | None, width: int) -> int:
    """The devices to use of all processes; wanted: of this one, else all.

    Ends with one line and status 2 if there are not so many, or too many.
    """
    import jax

    wanted = wanted or jax.local_device_count()
    if wanted > jax.local_device_count():
        fail(
            f"num_devices must be at most {jax.local_device_count()},"
            f" what JAX sees here, got {wanted}; JAX_PLATFORMS=cpu simulates"
            " any number"
        )
    if jax.process_count() == 1:
        return min(wanted, width)
    num_devices = wanted * jax.process_count()
    if num_devices != jax.device_count() or num_devices > width:
        fail(
            "several processes must use all of their"
            f" {jax.device_count()} devices, each for at least one cell,"
            f" got {num_devices} for width {width}"
        )
    return num_devices


def connect(arguments: Any) -> None:
    """Join the other processes, if there are any.

    Without arguments JAX asks the cluster that it runs on, SLURM say, and
    raises a ValueError if there is none.
    """
    import jax

    if arguments.coordinator is not None:
        say(
            f"waiting for {arguments.num_processes} processes to connect to"
            f" {arguments.coordinator}, at most {CONNECT_SECONDS} seconds",
            sys.stderr,
        )
    late = threading.Timer(CONNECT_SECONDS, end_late, [arguments.coordinator])
    late.daemon = True
    late.start()
    try:
        jax.distributed.initialize(
            arguments.coordinator,
            arguments.num_processes,
            arguments.process_id,
            initialization_timeout=2 * CONNECT_SECONDS,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except ValueError:
        if arguments.coordinator is not None:
            raise
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        end(f"coordinator {arguments.coordinator} does not work: {reason}")
    finally:
        late.cancel()


def check_agreement(arguments: Any) -> None:
    """End if another process was started for other states.

    Their shares would not belong together.
    """
    import jax
    import numpy as np
    from jax.experimental import multihost_utils

    if jax.process_count() == 1:
        return
    names = ("rule", "width", "num_steps")
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


def end_lost(error: Exception) -> NoReturn:
    """End after an error in the middle of a run of several processes."""
    reason = str(error).splitlines()[0]
    end(f"another process has ended or cannot be reached: {reason}")


def end(message: str) -> NoReturn:
    """End at once with one line and status 1.

    sys.exit would first wait for the processes that are not there.
    """
    print(message, file=sys.stderr, flush=True)
    os._exit(1)
