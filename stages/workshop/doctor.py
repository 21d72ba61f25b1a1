"""Is this machine ready for the workshop?

Needs nothing but Python: it has to run where the installation went wrong.
"""

from __future__ import annotations

import operator
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from workshop.devices import stray_variables
from workshop.terminal import shows_blocks, shows_color, terminal_size

OLDEST_PYTHON = (3, 11)
ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = (ROOT / "requirements.txt").read_text(encoding="utf-8")
PACKAGES = re.findall(r"^[a-z]+(?=[<>=])", REQUIREMENTS, flags=re.M)
GROUPS = {"notebooks": "lab", "bench": "bench", "tests": "test"}
WINDOWS = sys.platform == "win32"
HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
DRIVERS = {"cuda13": 580, "cuda12": 525}  # the oldest for each, on Linux
LIST_GPUS = "--query-gpu=name,driver_version,memory.used,memory.total"
LIST_PROGRAMS = "--query-compute-apps=name,pid"
IN_ENVIRONMENT = sys.prefix != sys.base_prefix
PIP = "python -m pip install -r {} -c requirements/lock.txt"
if IN_ENVIRONMENT:
    INSTALL = PIP.format("requirements.txt")
elif (ROOT / ".venv").is_dir():
    INSTALL = (
        r".venv\Scripts\activate" if WINDOWS else "source .venv/bin/activate"
    )
else:
    INSTALL = "python -m venv .venv" if WINDOWS else "make doctor"


class Finding(NamedTuple):
    """What was found; a FAIL has the command that mends it."""

    verdict: str
    what: str
    details: str
    mend: str = ""


def check_python() -> Finding:
    """Is Python new enough, and of an environment of its own?"""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        needed = ".".join(map(str, OLDEST_PYTHON))
        details = f"{version}, {needed} or later is needed"
        mend = f"make doctor PYTHON=python{needed}"
        return Finding("FAIL", "Python", details, mend)
    if not IN_ENVIRONMENT:
        return Finding("NOTE", "Python", f"{version}, outside .venv")
    return Finding("OK", "Python", version)


def check_package(name: str) -> Finding:
    """Is a package installed, in a version that requirements.txt allows?

    Of jaxlib jax itself allows only what belongs to it.
    """
    version, requirements = installed_version(name), REQUIREMENTS
    if version is None:
        return Finding("FAIL", name, "not installed", INSTALL)
    if name == "jaxlib" and installed_version("jax"):
        requirements = "\n".join(metadata.requires("jax"))
    wanted = version_range(name, requirements)
    if not fits(version, wanted):
        return Finding("FAIL", name, f"{version}, not {wanted}", INSTALL)
    return Finding("OK", name, version)


def check_group(name: str) -> Finding:
    """Are the packages of requirements/NAME.txt installed?"""
    path = f"requirements/{name}.txt"
    text = (ROOT / path).read_text(encoding="utf-8")
    packages = re.findall(r"^[a-z-]+", text, flags=re.M)
    missing = [p for p in packages if installed_version(p) is None]
    if not missing:
        return Finding("OK", name, "installed")
    does_it = PIP.format(path) if WINDOWS else f"make {GROUPS[name]}"
    return Finding("NOTE", name, f"not installed yet: {does_it} does it")


def check_matthewplotlib() -> Finding:
    """Is the optional drawing library there?"""
    version = installed_version("matthewplotlib")
    if version is not None:
        return Finding("OK", "matthewplotlib", version)
    details = "optional, needs Python 3.12"
    if sys.version_info >= (3, 12):
        does_it = "make pictures"
        if WINDOWS:
            does_it = "python -m pip install -r requirements/pictures.txt"
        details = f"optional, not installed: {does_it} does it"
    return Finding("NOTE", "matthewplotlib", details)


def check_devices() -> Finding:
    """Which devices does JAX see? Asked in a process of its own."""
    code = "import jax; print(*jax.devices(), sep=', ')"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=120,
        )
    except subprocess.TimeoutExpired:
        details = "JAX named none within 120 seconds"
        return Finding("FAIL", "devices", details, INSTALL)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["JAX ended early"])[-1]
        stray = stray_variables()
        mend = forget(stray) if stray else INSTALL
        return Finding("FAIL", "devices", reason, mend)
    return Finding("OK", "devices", done.stdout.strip())


def check_gpus(devices: Finding) -> Iterator[Finding]:
    """Does JAX see the NVIDIA GPUs that are there, and is their memory free?

    There are none where NVIDIA's driver and its nvidia-smi are not installed.
    """
    gpus, problem = ask_nvidia(LIST_GPUS)
    if problem:
        yield Finding("NOTE", "NVIDIA GPU", problem)
    if not gpus:
        return
    name, driver, *_ = gpus[0]
    sees = devices.verdict == "OK" and "cuda" in devices.details.lower()
    several = f"{len(gpus)} x " if len(gpus) > 1 else ""
    yield check_gpu(f"{several}{name}, driver {driver}", driver, sees)
    for number, (_, _, used, total) in enumerate(gpus):
        if used.isdigit() and int(used) > int(total) / 5:
            programs = [" ".join(p) for p in ask_nvidia(LIST_PROGRAMS)[0]]
            details = f"{used} of {total} MiB of GPU {number} are taken: "
            details += ", ".join(programs) or "by another program"
            share = 0.9 * (1 - int(used) / int(total))  # JAX asks for 0.75
            mend = f"export XLA_CLIENT_MEM_FRACTION={share:.2f}"
            yield Finding("NOTE", "GPU memory", details, mend)


def check_gpu(what: str, driver: str, sees: bool) -> Finding:
    """Does JAX see the GPU? If not: what mends it, or at least why."""
    kinds = [kind for kind in DRIVERS if numbers(driver) >= [DRIVERS[kind]]]
    installed = [k for k in DRIVERS if installed_version(f"jax-{k}-plugin")]
    details, mend = f"{what}, not seen by JAX", ""
    if sees:
        return Finding("OK", "NVIDIA GPU", what)
    if WINDOWS:
        details += ": it is, under WSL 2"
    elif "JAX_PLATFORMS" in os.environ:
        mend = forget(["JAX_PLATFORMS"])
    elif not set(installed or kinds) & set(kinds):
        oldest = DRIVERS[installed[0] if installed else "cuda12"]
        details = f"{what}: too old, JAX here needs {oldest} or later"
        mend = f"make setup GPU={kinds[0]}" if kinds else "a newer driver"
    elif installed:
        details += ': jax.devices("cuda") says why'
    else:
        mend = f"make setup GPU={kinds[0]}"
    return Finding("NOTE", "NVIDIA GPU", details, mend)


def ask_nvidia(query: str) -> tuple[list[list[str]], str]:
    """The lines of nvidia-smi's answer, or what it says is wrong."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return [], ""
    command = [program, query, "--format=csv,noheader,nounits"]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = done.stdout.strip().splitlines()
    if done.returncode:
        return [], f"nvidia-smi: {(lines or ['it fails'])[0]}"
    return [line.split(", ") for line in lines], ""


def check_memory() -> Finding:
    """Is there memory for the 8000 x 8000 run?"""
    try:
        import psutil
    except ImportError:
        return Finding("FAIL", "memory", "psutil not installed", INSTALL)
    gigabytes = psutil.virtual_memory().available / 1e9
    if gigabytes < 2:
        details = f"{gigabytes:.1f} GB free, close other programs"
        return Finding("NOTE", "memory", details)
    return Finding("OK", "memory", f"{gigabytes:.1f} GB free")


def check_huge_pages() -> Finding:
    """Does Linux back large arrays with huge pages when glibc asks for it?"""
    chosen = re.search(r"\[(\w+)\]", HUGE_PAGES.read_text(encoding="utf-8"))[1]
    library, version = platform.libc_ver()
    if chosen == "never":
        return Finding("NOTE", "huge pages", "never, says this system")
    if library != "glibc" or numbers(version) < [2, 35]:
        return Finding("NOTE", "huge pages", "they need glibc 2.35 or later")
    if "glibc.malloc.hugetlb=1" not in os.environ.get("GLIBC_TUNABLES", ""):
        details = "make alone sets GLIBC_TUNABLES=glibc.malloc.hugetlb=1"
        return Finding("NOTE", "huge pages", details)
    return Finding("OK", "huge pages", f"{chosen}, glibc {version}")


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
        return Finding("NOTE", "variables", details)
    return Finding("OK", "variables", "no XLA_FLAGS, no JAX_*")


def forget(variables: list[str]) -> str:
    """The command that takes them out of the environment."""
    if WINDOWS:
        return "; ".join(f"Remove-Item Env:{name}" for name in variables)
    return f"unset {' '.join(variables)}"


def installed_version(package: str) -> str | None:
    """The version in this environment, None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def version_range(package: str, requirements: str) -> str:
    """What a list of requirements, one a line, asks of that package."""
    pattern = rf"^{package} ?\(?([<>=!~][^\s;#)]*)"
    return re.search(pattern, requirements, flags=re.M)[1]


def fits(version: str, wanted: str) -> bool:
    """Whether a version is in a range such as >=0.10,<0.13."""
    compare = {"<": operator.lt, "<=": operator.le}
    compare.update({">": operator.gt, ">=": operator.ge})
    return all(
        compare[comparison](numbers(version), numbers(bound))
        for comparison, bound in re.findall(r"([<>]=?)([\d.]+)", wanted)
    )


def numbers(version: str) -> list[int]:
    """0.12.1 as [0, 12, 1], which compares as versions do."""
    return [int(number) for number in re.findall(r"\d+", version)]


def examine() -> Iterator[Finding]:
    """All findings, in order."""
    yield check_python()
    yield from map(check_package, PACKAGES)
    yield from map(check_group, GROUPS)
    yield check_matthewplotlib()
    devices = check_devices()
    yield devices
    yield from check_gpus(devices)
    yield check_memory()
    if HUGE_PAGES.exists():
        yield check_huge_pages()
    yield check_terminal()
    yield check_variables()


def doctor() -> int:
    """Say whether this machine is ready, and how to mend it.

    One line for each requirement: OK, NOTE (works, but know this) or FAIL
    with the command that mends it. Exit status 1 if anything failed.
    """
    failed = 0
    for found in examine():
        print(f"{found.verdict:4}  {found.what:14}  {found.details}")
        if found.mend:
            print(f"      to mend: {found.mend}")
        failed += found.verdict == "FAIL"
    print("ready" if not failed else f"not ready: {failed} to mend")
    return 1 if failed else 0
