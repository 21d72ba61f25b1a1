"""The doctor finds what is wrong, and the command that fixes it."""

import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest

from support import DOOR, NOT_ON_WINDOWS, output_of, run_python
from workshop import doctor


def test_all_is_well_here():
    out = output_of(run_python(DOOR, "doctor"))
    *findings, last = out.splitlines()
    assert last == "ready"
    what = {re.split(r"  +", line)[1] for line in findings if line[0] != " "}
    packages = doctor.read_requirements("requirements.txt")
    assert {*packages, *doctor.GROUPS, "Python", "memory"} <= what
    assert re.search(r"OK    devices +\S*cpu", out, flags=re.I)
    assert "80 x 24, no color, utf-8" in out


def test_it_runs_with_no_package_installed():
    done = run_python("-S", DOOR, "doctor")  # -S: without site-packages
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    failed = [i for i, line in enumerate(lines) if line.startswith("FAIL")]
    assert failed
    assert all(lines[i + 1].startswith("      to fix it: ") for i in failed)
    assert str(len(failed)) in lines[-1]


@pytest.mark.parametrize(
    ("package", "version", "verdict", "what"),
    [
        ("jax", None, "FAIL", "jax"),
        ("jaxlib", "0.4.1", "FAIL", "jaxlib"),
        ("tyro", None, "FAIL", "tyro"),
        ("jupyter", None, "NOTE", "notebooks"),
        ("pytest-xdist", None, "NOTE", "tests"),
    ],
)
@pytest.mark.parametrize("by_make", [True, False])
def test_what_is_not_installed(
    package, version, verdict, what, by_make, monkeypatch
):
    installed = doctor.installed_version
    monkeypatch.setattr(
        doctor,
        "installed_version",
        lambda name: version if name == package else installed(name),
    )
    monkeypatch.setattr(doctor, "check_devices", doctor.check_memory)
    monkeypatch.delenv("MAKELEVEL", raising=False)
    if by_make:
        monkeypatch.setenv("MAKELEVEL", "1")
    (found,) = (f for f in doctor.examine() if f.what == what)
    assert found.verdict == verdict
    assert (version or "not installed") in found.details
    if by_make:
        assert found.fix == f"make {doctor.GROUPS.get(what, 'doctor')}"
    else:
        assert found.fix.endswith("lock.txt")


@pytest.mark.parametrize(
    ("version", "verdict"),
    [((3, 10, 4), "FAIL"), ((3, 11, 0), "NOTE"), ((3, 13, 0), "OK")],
)
def test_the_version_of_python(version, verdict, monkeypatch):
    monkeypatch.setattr(sys, "version_info", version)
    assert doctor.check_python().verdict == verdict


def test_little_memory_and_a_jax_that_says_nothing(monkeypatch):
    little = SimpleNamespace(available=1.5e9)
    monkeypatch.setattr("psutil.virtual_memory", lambda: little)
    assert doctor.check_memory().verdict == "NOTE"

    def wait(command, timeout, **_):
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", wait)
    assert doctor.check_devices().verdict == "FAIL"


@NOT_ON_WINDOWS
@pytest.mark.parametrize(
    ("devices", "environment", "verdict", "fix"),
    [
        ("cuda:0", {}, "OK", ""),
        ("cpu:0", {}, "NOTE", "cuda13"),
        ("cpu:0", {"JAX_PLATFORMS": "cpu"}, "NOTE", "unset JAX_PLATFORMS"),
    ],
)
def test_a_gpu(devices, environment, verdict, fix, tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA H200 (UUID: GPU-1)'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    (found,) = doctor.check_gpu(devices)
    assert (found.verdict, fix in found.fix) == (verdict, True)
    assert "NVIDIA H200" in found.details
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    program.write_text("#!/bin/sh\necho no driver; exit 9\n")
    (found,) = doctor.check_gpu("cpu:0")
    assert (found.verdict, found.fix) == ("NOTE", "nvidia-smi")


def test_what_is_around(monkeypatch):
    for name in doctor.stray_variables():
        monkeypatch.delenv(name)
    assert doctor.check_variables().verdict == "OK"
    monkeypatch.setenv("JAX_ENABLE_X64", "1")
    found = doctor.check_variables()
    assert (found.verdict, found.fix) == (
        "NOTE",
        doctor.forget(["JAX_ENABLE_X64"]),
    )
    monkeypatch.setenv("COLUMNS", "40")
    found = doctor.check_terminal()
    assert (found.verdict, found.details[:2]) == ("OK", "40")
    monkeypatch.setattr(
        sys, "stdout", SimpleNamespace(encoding="ascii", isatty=bool)
    )
    assert doctor.check_terminal().verdict == "NOTE"


def test_a_jax_that_finds_no_device(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "none")
    found = doctor.check_devices()
    assert found.verdict == "FAIL"
    assert "none" in found.details
    assert "JAX_PLATFORMS" in found.fix
