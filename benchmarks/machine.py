"""Prepare and describe the machine that is measured."""

import datetime
import os
import platform
import re
from pathlib import Path

import jax
import numpy as np

from workshop.devices import start_jax
from workshop.terminal import fail


def prepare_jax(device: str | None) -> None:
    """Start JAX with one CPU device per core, without a compilation cache.

    End with one line and status 2 if JAX does not find the device.
    """
    jax.config.update("jax_enable_compilation_cache", False)
    if "JAX_NUM_CPU_DEVICES" not in os.environ:
        jax.config.update("jax_num_cpu_devices", num_cores())
    start_jax("cpu" if device == "cpu" else None)
    try:
        jax.devices(device)
    except RuntimeError:
        fail(f"device must be cpu, or one that JAX finds, got {device}")


def num_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe() -> str:
    """Return one line that names the machine, the versions and the time."""
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        found = re.search(r"model name\s*:\s*(.+)", text)
        cpu = found[1] if found else cpu
    kinds = [device.device_kind for device in jax.devices()]
    now = datetime.datetime.now().astimezone()
    return (
        f"{cpu}, {num_cores()} cores; Python {platform.python_version()}, jax"
        f" {jax.__version__}, NumPy {np.__version__}; devices: {len(kinds)} x"
        f" {kinds[0]}; {now.isoformat(sep=' ', timespec='minutes')}"
    )
