"""The doctor finds what is wrong, and says what mends it."""

import re
import sys
from importlib import metadata

import pytest

from support import ROOT, run_python
from workshop import doctor

DOCTOR = ROOT / "stages" / "workshop", "doctor"


def test_all_is_well_here():
    done = run_python(*DOCTOR)
    assert (done.returncode, done.stderr) == (0, "")
    *findings, last = done.stdout.splitlines()
    assert last == "ready"
    what = [re.split(r"  +", line)[1] for line in findings if line[0] != " "]
    assert what == [
        "Python", "jax, jaxlib", "numpy", "jaxtyping", "tyro", "pillow",
        "psutil", "rich", "matplotlib", "watchfiles", "jupyter kernel",
        "matthewplotlib", "devices", "memory", "terminal", "variables",
    ]  # fmt: skip
    assert re.search(r"OK    Python +\d+\.\d+\.\d+", done.stdout)
    assert re.search(r"OK    devices +\S*cpu", done.stdout, flags=re.I)


def test_it_runs_with_no_package_installed():
    done = run_python("-S", *DOCTOR)  # -S: without site-packages
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    failed = [i for i, line in enumerate(lines) if line.startswith("FAIL")]
    assert len(failed) >= 7
    assert all(lines[i + 1].startswith("      to mend: ") for i in failed)
    assert lines[-1] == f"not ready: {len(failed)} to mend"


def test_versions_that_do_not_belong_together(tmp_path):
    folder = tmp_path / "jaxlib-0.4.1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: jaxlib\nVersion: 0.4.1\n"
    )
    done = run_python(*DOCTOR, env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 1
    installed = re.escape(metadata.version("jax"))
    assert re.search(
        rf"FAIL  jax, jaxlib +{installed}, 0\.4\.1 do not belong together\n"
        r"      to mend: \S+",
        done.stdout,
    )


@pytest.mark.parametrize(
    ("missing", "check"),
    [
        ("jax", doctor.check_jax),
        ("jaxlib", doctor.check_jax),
        ("tyro", lambda: doctor.check_package("tyro")),
        ("ipykernel", doctor.check_kernel),
    ],
)
def test_a_missing_package(missing, check, monkeypatch):
    installed = doctor.installed_version

    def pretend(package):
        return None if package == missing else installed(package)

    monkeypatch.setattr(doctor, "installed_version", pretend)
    found = check()
    assert found.verdict == "FAIL"
    assert "not installed" in found.details
    assert found.mend == doctor.INSTALL


def test_an_old_python(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 10, 4, "final", 0))
    found = doctor.check_python()
    assert found.verdict == "FAIL"
    assert found.details == "3.10.4, 3.11 or later is needed"
    assert found.mend == "make setup PYTHON=python3.11"


def test_stray_variables_are_named():
    done = run_python(*DOCTOR, env={"JAX_ENABLE_X64": "1"})
    assert done.returncode == 0
    assert "NOTE  variables       JAX_ENABLE_X64=1 " in done.stdout


def test_a_variable_that_keeps_jax_from_starting():
    done = run_python(*DOCTOR, env={"JAX_PLATFORMS": "no_such_platform"})
    assert done.returncode == 1
    assert "FAIL  devices" in done.stdout
    assert "to mend: unset JAX_PLATFORMS" in done.stdout


@pytest.mark.parametrize(
    ("env", "verdict", "words"),
    [
        ({"PYTHONIOENCODING": "ascii"}, "NOTE", "pictures of # and ."),
        ({"COLUMNS": "40"}, "NOTE", "40 x 24"),
        ({}, "OK", "80 x 24, no color, utf-8"),
    ],
)
def test_the_terminal(env, verdict, words):
    done = run_python(*DOCTOR, env=env)
    (line,) = re.findall(r".*  terminal .*", done.stdout)
    assert line.startswith(verdict)
    assert words in line
