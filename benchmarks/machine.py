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
import numpy as np
import psutil


def describe_machine() -> dict[str, Any]:
    """What to know before comparing two runs, by name."""
    gigabytes = psutil.virtual_memory().total / 2**30
    now = datetime.datetime.now().astimezone()
    return {
        "cpu": cpu_name(),
        "cores": num_cores(),
        "memory": f"{gigabytes:.0f} GiB",
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
        "{cpu}, {cores} cores, {memory}; Python {python}, jax {jax},"
        " NumPy {numpy}; devices {devices}; {date}"
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
