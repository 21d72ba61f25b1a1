"""The doctor finds what is wrong, and says what mends it."""

import os
import re
import subprocess
import sys
import types

import pytest

from support import DOOR, NOT_ON_WINDOWS, output_of, run_python
from workshop import doctor


def test_all_is_well_here():
    told = output_of(run_python(DOOR, "doctor"))
    *findings, last = told.splitlines()
    assert last == "ready"
    what = {re.split(r"  +", line)[1] for line in findings if line[0] != " "}
    assert {*doctor.PACKAGES, *doctor.GROUPS, "memory"} <= what
    assert re.search(r"OK    Python +\d+\.\d+\.\d+", told)
    assert re.search(r"OK    devices +\S*cpu", told, flags=re.I)
    assert "OK    terminal        80 x 24, no color, utf-8\n" in told
    optional = "optional, needs Python 3.12" in told
    assert optional == (sys.version_info < (3, 12))


def test_it_runs_with_no_package_installed():
    done = run_python("-S", DOOR, "doctor")  # -S: without site-packages
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    failed = [i for i, line in enumerate(lines) if line.startswith("FAIL")]
    assert len(failed) >= 7
    assert all(lines[i + 1].startswith("      to mend: ") for i in failed)
    assert lines[-1] == f"not ready: {len(failed)} to mend"


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
def test_what_is_not_installed(package, version, verdict, what, monkeypatch):
    installed = doctor.installed_version
    monkeypatch.setattr(
        doctor,
        "installed_version",
        lambda name: version if name == package else installed(name),
    )
    monkeypatch.setattr(doctor, "check_devices", doctor.check_memory)
    (found,) = (f for f in doctor.examine() if f.what == what)
    assert found.verdict == verdict
    if verdict == "FAIL":
        assert found.mend == doctor.INSTALL
    else:
        assert f"make {doctor.GROUPS[what]} does it" in found.details
    said = f"{version}, not " if version else "not installed"
    assert said in found.details


def test_little_memory_an_old_python_and_a_jax_that_says_nothing(monkeypatch):
    little = types.SimpleNamespace(available=1.5e9)
    monkeypatch.setattr("psutil.virtual_memory", lambda: little)
    assert doctor.check_memory()[:2] == ("NOTE", "memory")
    monkeypatch.setattr(sys, "version_info", (3, 10, 4, "final", 0))
    found = doctor.check_python()
    assert found.details == "3.10.4, 3.11 or later is needed"
    assert found.mend == "make doctor PYTHON=python3.11"

    def wait(command, timeout, **_):
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", wait)
    found = doctor.check_devices()
    assert found.details == "JAX named none within 120 seconds"


@pytest.mark.parametrize(
    ("allowed", "version", "tunables", "verdict"),
    [
        ("always [madvise] never", "2.36", "glibc.malloc.hugetlb=1", "OK"),
        ("always madvise [never]", "2.36", "glibc.malloc.hugetlb=1", "NOTE"),
        ("always [madvise] never", "2.34", "glibc.malloc.hugetlb=1", "NOTE"),
        ("always [madvise] never", "2.36", "", "NOTE"),
    ],
)
def test_huge_pages(
    allowed, version, tunables, verdict, tmp_path, monkeypatch
):
    monkeypatch.setattr(doctor, "HUGE_PAGES", tmp_path / "enabled")
    doctor.HUGE_PAGES.write_text(allowed)
    monkeypatch.setattr("platform.libc_ver", lambda: ("glibc", version))
    monkeypatch.setenv("GLIBC_TUNABLES", tunables)
    assert doctor.check_huge_pages().verdict == verdict


@NOT_ON_WINDOWS
@pytest.mark.parametrize(
    ("devices", "answer", "plugin", "told"),
    [
        ("cuda:0", "580.65, 10, 99", "", "H, driver 580.65"),
        ("cpu:0", "580.65, 10, 99", "", "mend: make setup GPU=cuda13"),
        ("cpu:0", "550.1, 10, 99", "", "mend: make setup GPU=cuda12"),
        ("cpu:0", "470.1, 10, 99", "", "too old, JAX here needs 525"),
        ("cpu:0", "550.1, 10, 99", "13", "needs 580 or later mend: make se"),
        ("cpu:0", "580.65, 10, 99", "13", '"cuda") says why'),
        ("cuda:0", "580.65, 60, 80", "", "60 of 80 MiB of GPU 0 are taken: p"
         "y 7 mend: export XLA_CLIENT_MEM_FRACTION=0.23"),
    ],
)  # fmt: skip
def test_a_gpu(devices, answer, plugin, told, tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text(
        "#!/bin/sh\ncase $1 in *apps*) echo 'py, 7';;"
        f" *) echo 'H, {answer}';; esac\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setattr(
        *(doctor, "installed_version"),
        lambda name: name == f"jax-cuda{plugin}-plugin" or None,
    )
    seen = doctor.Finding("OK", "devices", devices)
    found = list(doctor.check_gpus(seen))
    assert told in " ".join(f"{f.details} mend: {f.mend}" for f in found)
    assert (found[0].verdict == "OK") == (devices == "cuda:0")
    program.write_text("#!/bin/sh\necho no driver; exit 9\n")
    (found,) = doctor.check_gpus(seen)
    assert found.details == "nvidia-smi: no driver"


def test_what_is_around():
    odd = {"JAX_ENABLE_X64": "1", "PYTHONIOENCODING": "ascii"}
    told = output_of(run_python(DOOR, "doctor", env=odd))
    assert "NOTE  variables       JAX_ENABLE_X64=1" in told
    assert "ascii, pictures of # and ." in told
    narrow = {"JAX_PLATFORMS": "none", "COLUMNS": "40"}
    done = run_python(DOOR, "doctor", env=narrow)
    assert done.returncode == 1
    assert "      to mend: unset JAX_PLATFORMS" in done.stdout
    assert "NOTE  terminal        40 x 24" in done.stdout
