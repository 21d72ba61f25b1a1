"""Check whether this machine is ready for the workshop.

The doctor needs nothing but Python, because it must run even where the
installation failed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from workshop.devices import stray_variables
from workshop.terminal import (
    command,
    interrupts_raise,
    shows_blocks,
    shows_color,
    terminal_size,
    uses_make,
)

try:
    import psutil
    from packaging.requirements import Requirement
except ImportError:  # the core packages are not installed
    Requirement = None

OLDEST_PYTHON = (3, 11)  # only an old version of JAX supports it
ROOT = Path(__file__).resolve().parents[2]
# The groups of optional packages (requirements/NAME.txt), and the make target
# that installs each group.
GROUPS = {
    "notebooks": "lab",
    "bench": "bench",
    "tests": "test",
    "pictures": "pictures",
}
WINDOWS = sys.platform == "win32"
SECONDS = 120  # the time that JAX has to name its devices


class Finding(NamedTuple):
    """One line of the report, and how to fix or change what it reports."""

    verdict: str
    what: str
    details: str
    fix: str = ""


def how_to_install(path: str = "requirements.txt", target: str = "") -> str:
    """Return the next command to type in order to install requirements."""
    if uses_make():
        return f"make {target or 'doctor'}"
    if sys.prefix != sys.base_prefix:
        return f"python -m pip install -r {path} -c requirements/lock.txt"
    if not (ROOT / ".venv").is_dir():
        return "python -m venv .venv"
    if WINDOWS:
        return r".venv\Scripts\activate"
    return "source .venv/bin/activate"


def check_python() -> Finding:
    """Check that Python is new enough, and runs in a virtual environment."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        needed = ".".join(map(str, OLDEST_PYTHON))
        fix = f"install Python {needed} or later, then set up again"
        return Finding("FAIL", "Python", version, fix)
    if sys.prefix == sys.base_prefix:
        return Finding("NOTE", "Python", f"{version}, outside .venv")
    if sys.version_info[:2] == OLDEST_PYTHON:
        details = f"{version}: a newer Python brings a newer JAX"
        return Finding("NOTE", "Python", details)
    return Finding("OK", "Python", version)


def installed_version(package: str) -> str | None:
    """Return the version of a package, None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def read_requirements(path: str) -> dict[str, Requirement]:
    """Return the requirements that a file lists, keyed by package name."""
    lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
    lines = [line.partition("#")[0].strip() for line in lines]
    requirements = [Requirement(line) for line in lines if line]
    return {each.name: each for each in requirements}


def check_packages() -> Iterator[Finding]:
    """Check that each core package is installed in an allowed version."""
    for name, requirement in read_requirements("requirements.txt").items():
        version, allowed = installed_version(name), requirement.specifier
        if version is None:
            yield Finding("FAIL", name, "not installed", how_to_install())
        elif not allowed.contains(version, prereleases=True):
            details = f"{version}, not {allowed}"
            yield Finding("FAIL", name, details, how_to_install())
        else:
            yield Finding("OK", name, version)


def check_group(name: str) -> Finding:
    """Check that the packages of requirements/NAME.txt are installed."""
    path = f"requirements/{name}.txt"
    requirements = read_requirements(path)
    markers = [each.marker for each in requirements.values() if each.marker]
    if not all(marker.evaluate() for marker in markers):
        return Finding("NOTE", name, "not available for this Python")
    if None in map(installed_version, requirements):
        fix = how_to_install(path, GROUPS[name])
        return Finding("NOTE", name, "not installed yet", fix)
    return Finding("OK", name, "installed")


def check_devices() -> Finding:
    """Ask JAX, in a separate process, which devices it sees."""
    code = "import jax; print(*jax.devices(), sep=', ')"
    options = {"capture_output": True, "text": True, "timeout": SECONDS}
    try:
        with interrupts_raise():  # which ends the process, too
            done = subprocess.run([sys.executable, "-c", code], **options)
    except subprocess.TimeoutExpired:
        details = f"JAX named no device within {SECONDS} seconds"
        return Finding("FAIL", "devices", details, how_to_install())
    if done.returncode == 0:
        return Finding("OK", "devices", done.stdout.strip())
    *_, reason = ["JAX ended early", *done.stderr.strip().splitlines()]
    stray = stray_variables()
    fix = forget(stray) if stray else how_to_install()
    return Finding("FAIL", "devices", reason, fix)


def check_gpu(devices: str) -> Iterator[Finding]:
    """Check that JAX sees the NVIDIA GPU, if there is one."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return
    done = subprocess.run([program, "-L"], capture_output=True, text=True)
    details = done.stdout.partition("\n")[0].partition(" (UUID")[0]
    if "cuda" in devices.lower():
        yield Finding("OK", "NVIDIA GPU", details)
        return
    fix = how_to_install("requirements/gpu-cuda13.txt", "setup GPU=cuda13")
    if "JAX_PLATFORMS" in os.environ:
        fix = forget(["JAX_PLATFORMS"])
    elif WINDOWS:
        fix = "use WSL 2: on Windows itself, JAX cannot use the GPU"
    elif done.returncode != 0:
        fix = "nvidia-smi"
    yield Finding("NOTE", "NVIDIA GPU", f"{details}, not seen by JAX", fix)


def check_memory() -> Finding:
    """Check that enough memory is free to run 8000 steps of 8000 cells."""
    gigabytes = psutil.virtual_memory().available / 1e9
    if gigabytes < 2:
        details = f"{gigabytes:.1f} GB free: close other programs"
        return Finding("NOTE", "memory", details)
    return Finding("OK", "memory", f"{gigabytes:.1f} GB free")


def check_terminal() -> Finding:
    """Report what the terminal can show."""
    columns, lines = terminal_size()
    color = "color" if shows_color(sys.stdout) else "no color"
    details = f"{columns} x {lines}, {color}, {sys.stdout.encoding}"
    if not shows_blocks(sys.stdout):
        return Finding("NOTE", "terminal", f"{details}: draws with # and .")
    return Finding("OK", "terminal", details)


def check_variables() -> Finding:
    """Report whether environment variables configure JAX."""
    stray = stray_variables()
    if not stray:
        return Finding("OK", "variables", "no XLA_FLAGS, no JAX_*")
    settings = " ".join(f"{name}={os.environ[name]}" for name in stray)
    details = f"{settings}: this changes what JAX does"
    return Finding("NOTE", "variables", details, forget(stray))


def forget(variables: list[str]) -> str:
    """Return the shell command that unsets environment variables."""
    if WINDOWS:
        return "; ".join(f"Remove-Item Env:{name}" for name in variables)
    return f"unset {' '.join(variables)}"


def examine() -> Iterator[Finding]:
    """Run all checks, and yield their findings in order."""
    yield check_python()
    if Requirement is None:
        yield Finding("FAIL", "packages", "not installed", how_to_install())
    else:
        yield from check_packages()
        yield from map(check_group, GROUPS)
        devices = check_devices()
        yield devices
        yield from check_gpu(devices.details)
        yield check_memory()
    yield check_terminal()
    yield check_variables()


def doctor() -> int:
    """Check whether this machine is ready, and show how to fix problems.

    Each requirement gets one line: OK, NOTE (it works, but read this), or
    FAIL. If a problem can be fixed, a second line says how. The exit status is
    1 if any line says FAIL.
    """
    failed = 0
    for found in examine():
        print(f"{found.verdict:4}  {found.what:14}  {found.details}")
        if found.fix:
            what = "fix it" if found.verdict == "FAIL" else "change that"
            print(f"      to {what}: {found.fix}")
        if found.verdict == "FAIL":
            failed += 1
    if failed:
        again = command("doctor")
        print(f"not ready: fix the {failed} marked FAIL, then run {again}")
        return 1
    print("ready")
    return 0
