"""Is this machine ready for the workshop?

The doctor needs nothing but Python: it has to run where installing failed.
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
    shows_blocks,
    shows_color,
    terminal_size,
    uses_make,
)

try:
    from packaging.requirements import Requirement
except ImportError:  # not installed, as perhaps nothing is
    Requirement = None

OLDEST_PYTHON = (3, 11)  # for which there is only an old JAX
ROOT = Path(__file__).resolve().parents[2]
# The groups in requirements/, and the target of make that installs each.
GROUPS = {
    "notebooks": "lab",
    "bench": "bench",
    "tests": "test",
    "pictures": "pictures",
}
WINDOWS = sys.platform == "win32"
SECONDS = 120  # for JAX to name its devices


class Finding(NamedTuple):
    """What was found; a FAIL has the command that fixes it.

    A NOTE may have one that changes it.
    """

    verdict: str
    what: str
    details: str
    fix: str = ""


def how_to_install(path: str = "requirements.txt", target: str = "") -> str:
    """Return the command that installs a list of requirements."""
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
    """Is Python new enough, and in an environment of its own?"""
    version = ".".join(map(str, sys.version_info[:3]))
    oldest = ".".join(map(str, OLDEST_PYTHON))
    if sys.version_info < OLDEST_PYTHON:
        fix = f"install Python {oldest} or later, then set up again"
        details = f"{version}, but {oldest} or later is needed"
        return Finding("FAIL", "Python", details, fix)
    if sys.prefix == sys.base_prefix:
        return Finding("NOTE", "Python", f"{version}, outside .venv")
    if sys.version_info[:2] == OLDEST_PYTHON:
        details = f"{version}: a newer Python brings a newer JAX"
        return Finding("NOTE", "Python", details)
    return Finding("OK", "Python", version)


def installed_version(package: str) -> str | None:
    """Return the version in this environment, None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def read_requirements(path: str) -> list[Requirement]:
    """Return what a file of requirements lists, one a line."""
    lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
    lines = [line.partition("#")[0].strip() for line in lines]
    return [Requirement(line) for line in lines if line]


def check_packages() -> Iterator[Finding]:
    """Is each package of the core installed, in a version that fits?"""
    if Requirement is None:
        details = "not installed: packaging is missing"
        yield Finding("FAIL", "packages", details, how_to_install())
        return
    wanted = {
        each.name: each for each in read_requirements("requirements.txt")
    }
    if installed_version("jax"):  # jaxlib must be what the installed jax needs
        own = map(Requirement, metadata.requires("jax"))
        wanted |= {each.name: each for each in own if each.name == "jaxlib"}
    for name, requirement in wanted.items():
        version = installed_version(name)
        if version is None:
            yield Finding("FAIL", name, "not installed", how_to_install())
        elif not requirement.specifier.contains(version, prereleases=True):
            details = f"{version}, not {requirement.specifier}"
            yield Finding("FAIL", name, details, how_to_install())
        else:
            yield Finding("OK", name, version)


def check_group(name: str) -> Finding:
    """Are the packages of requirements/NAME.txt installed?"""
    path = f"requirements/{name}.txt"
    fix = how_to_install(path, GROUPS[name])
    requirements = read_requirements(path) if Requirement else []
    if any(r.marker and not r.marker.evaluate() for r in requirements):
        return Finding("NOTE", name, "not for this Python")
    if not requirements or not all(map(is_installed, requirements)):
        return Finding("NOTE", name, "not installed yet", fix)
    return Finding("OK", name, "installed")


def is_installed(requirement: Requirement) -> bool:
    """Return whether a package is there, in whatever version."""
    return installed_version(requirement.name) is not None


def check_devices() -> Finding:
    """Which devices does JAX see? Asked in a process of its own."""
    code = "import jax; print(*jax.devices(), sep=', ')"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        details = f"JAX named none within {SECONDS} seconds"
        return Finding("FAIL", "devices", details, how_to_install())
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["JAX ended early"])[-1]
        stray = stray_variables()
        fix = forget(stray) if stray else how_to_install()
        return Finding("FAIL", "devices", reason, fix)
    return Finding("OK", "devices", done.stdout.strip())


def check_gpu(devices: str) -> Iterator[Finding]:
    """Does JAX see the NVIDIA GPU that is there, if there is one?"""
    program = shutil.which("nvidia-smi")
    if program is None:
        return
    done = subprocess.run([program, "-L"], capture_output=True, text=True)
    first, *others = done.stdout.splitlines() or ["nvidia-smi fails"]
    details = first.partition(" (UUID")[0]
    if others:
        details += f", and {len(others)} more"
    if "cuda" in devices.lower():
        yield Finding("OK", "NVIDIA GPU", details)
    elif done.returncode == 0:
        fix = how_to_install("requirements/gpu-cuda13.txt", "setup GPU=cuda13")
        if "JAX_PLATFORMS" in os.environ:
            fix = forget(["JAX_PLATFORMS"])
        elif WINDOWS:
            fix = "use WSL 2: JAX has no GPU on Windows"
        yield Finding("NOTE", "NVIDIA GPU", f"{details}, not seen by JAX", fix)
    else:
        yield Finding("NOTE", "NVIDIA GPU", details)


def check_memory() -> Finding:
    """Is there memory for the 8000 x 8000 run?"""
    try:
        import psutil
    except ImportError:
        details = "psutil is not installed"
        return Finding("FAIL", "memory", details, how_to_install())
    gigabytes = psutil.virtual_memory().available / 1e9
    if gigabytes < 2:
        details = f"{gigabytes:.1f} GB free, close other programs"
        return Finding("NOTE", "memory", details)
    return Finding("OK", "memory", f"{gigabytes:.1f} GB free")


def check_terminal() -> Finding:
    """How will pictures look here?"""
    columns, lines = terminal_size()
    color = "color" if shows_color(sys.stdout) else "no color"
    details = f"{columns} x {lines}, {color}, {sys.stdout.encoding}"
    if not shows_blocks(sys.stdout):
        return Finding("NOTE", "terminal", f"{details}, pictures of # and .")
    if columns < 80:
        return Finding("NOTE", "terminal", f"{details}, pictures are scaled")
    return Finding("OK", "terminal", details)


def check_variables() -> Finding:
    """Is JAX configured from outside?"""
    stray = stray_variables()
    if stray:
        settings = " ".join(f"{name}={os.environ[name]}" for name in stray)
        details = f"{settings} changes what JAX does"
        return Finding("NOTE", "variables", details, forget(stray))
    return Finding("OK", "variables", "no XLA_FLAGS, no JAX_*")


def forget(variables: list[str]) -> str:
    """Return the command that takes them out of the environment."""
    if WINDOWS:
        return "; ".join(f"Remove-Item Env:{name}" for name in variables)
    return f"unset {' '.join(variables)}"


def examine() -> Iterator[Finding]:
    """Yield all findings, in order."""
    yield check_python()
    yield from check_packages()
    yield from map(check_group, GROUPS)
    devices = check_devices()
    yield devices
    yield from check_gpu(devices.details)
    yield check_memory()
    yield check_terminal()
    yield check_variables()


def doctor() -> int:
    """Check whether this machine is ready, and say how to fix it.

    Prints one line for each requirement: OK, NOTE (it works, but read this),
    or FAIL with the command that fixes it. The exit status is 1 if anything
    failed.
    """
    failed = 0
    for found in examine():
        print(f"{found.verdict:4}  {found.what:14}  {found.details}")
        if found.fix:
            what = "fix it" if found.verdict == "FAIL" else "change that"
            print(f"      to {what}: {found.fix}")
        failed += found.verdict == "FAIL"
    if failed:
        print(f"not ready: {failed} to fix, then run {command('doctor')}")
        return 1
    print("ready")
    return 0
