"""What the numbers are measured on, and JAX made ready for it."""

import datetime
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import psutil

PROBE_BYTES = 2**25


def prepare_jax() -> None:
    """A device for every core, and no results of earlier compilations."""
    jax.config.update("jax_enable_compilation_cache", False)
    if "JAX_NUM_CPU_DEVICES" not in os.environ:
        jax.config.update("jax_num_cpu_devices", num_cores())
    jax.block_until_ready(jax.jit(jnp.add)(1, 1))  # starts the devices


def describe_machine() -> dict[str, Any]:
    """What to know before comparing two runs, by name."""
    now = datetime.datetime.now().astimezone()
    return {
        "cpu": cpu_name(),
        "cores": num_cores(),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "pages": page_size(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "numpy": np.__version__,
        "devices": ", ".join(f"{d.platform}:{d.id}" for d in jax.devices()),
        "date": now.isoformat(sep=" ", timespec="minutes"),
        "busy": psutil.cpu_percent(interval=0.2) / 100,
    }


def machine_line(machine: dict[str, Any]) -> str:
    """One sentence of it."""
    return (
        "{cpu}, {cores} cores, {memory} in {pages} pages; Python {python},"
        " jax {jax}, NumPy {numpy}; devices {devices}; {date}"
    ).format(**machine)


def cpu_name() -> str:
    """The processor's model name, or at least its architecture."""
    command = ["sysctl", "-n", "machdep.cpu.brand_string"]
    if sys.platform == "darwin":
        return subprocess.run(command, stdout=-1, text=True).stdout.strip()
    about = Path("/proc/cpuinfo")
    text = about.read_text(encoding="utf-8") if about.exists() else ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1] if found else platform.processor() or platform.machine()


def num_cores() -> int:
    """Cores that this process may use; hyperthreads count as cores."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def page_size() -> str:
    """Whether a large result of JAX is in "huge" pages or in "small" ones."""
    before = huge_bytes()
    result = jax.block_until_ready(jnp.ones(PROBE_BYTES, jnp.uint8))
    gained = huge_bytes() - before
    del result
    return "huge" if gained > PROBE_BYTES / 2 else "small"


def huge_bytes() -> int:
    """How much of this process's memory Linux keeps in huge pages."""
    usage = Path("/proc/self/smaps_rollup")
    text = usage.read_text(encoding="ascii") if usage.exists() else ""
    found = re.search(r"AnonHugePages:\s*(\d+)", text)
    return 1024 * int(found[1]) if found else 0
