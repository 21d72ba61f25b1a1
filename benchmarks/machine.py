"""What the numbers were measured on."""

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


def describe_machine() -> dict[str, Any]:
    """What to know before comparing two runs, by name."""
    gigabytes = psutil.virtual_memory().total / 2**30
    now = datetime.datetime.now().astimezone()
    return {
        "cpu": cpu_name(),
        "cores": num_cores(),
        "memory": f"{gigabytes:.0f} GiB",
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
    name = platform.processor()
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        done = subprocess.run(command, capture_output=True, text=True)
        name = done.stdout.strip()
    elif Path("/proc/cpuinfo").exists():
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
        name = found[1] if found else name
    return name or platform.machine()


def num_cores() -> int:
    """Cores that this process may use; hyperthreads count as cores."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def page_size() -> str:
    """"huge" if a large result of JAX is in such pages, else "small".

    The kernel is asked, not the settings: they mean nothing elsewhere.
    """
    before = huge_bytes()
    result = jax.block_until_ready(jnp.ones(PROBE_BYTES, jnp.uint8))
    gained = huge_bytes() - before
    del result
    return "huge" if gained > PROBE_BYTES / 2 else "small"


def huge_bytes() -> int:
    """How much of this process's memory Linux keeps in huge pages."""
    try:
        text = Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0
    return 1024 * int(re.search(r"AnonHugePages:\s*(\d+)", text)[1])
