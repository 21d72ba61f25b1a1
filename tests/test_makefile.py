"""Set-up happens once, for what a target needs and the versions chosen."""

import os
import re
import shutil
import subprocess
import sys
import zipfile

import pytest

from support import ROOT, plain_environment

pytestmark = pytest.mark.skipif(
    shutil.which("make") is None, reason="make is not installed here"
)
HALF = "tiny-1.0.dist-info"


@pytest.fixture
def make(tmp_path):
    """Run make in a folder of its own, whose name is not a plain one."""
    folder = tmp_path / "à la carte"
    shutil.copytree(ROOT / "requirements", folder / "requirements")
    for name in ("Makefile", "requirements.txt"):
        shutil.copy(ROOT / name, folder)
    (folder / "stages").mkdir()
    for number in (5, 8):
        (folder / "stages" / f"stage{number}_name.py").touch()

    def run(*arguments, **variables):
        plain = {"env": plain_environment() | variables, "encoding": "utf-8"}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        command = ["make", *arguments]
        return subprocess.run(command, cwd=folder, **pipes, **plain).stdout

    run.folder = folder
    return run


def set_up(folder, python="python3"):
    """Leave what a finished set-up leaves, newer than the requirements."""
    (folder / ".venv").mkdir(exist_ok=True)
    (folder / ".venv" / "choice.mk").write_text(
        f"PYTHON ?= {python}\nLATEST ?=\nGPU ?=\nCHOSEN := {python}||\n"
    )
    for name in ("made", *map("has-{}".format, ("core", "notebooks"))):
        (folder / ".venv" / name).touch()


def lists(planned):
    """The lists of requirements that make would install, in order."""
    return re.findall(r"-r (?:requirements/)?([a-z0-9-]+)\.txt", planned)


@pytest.mark.parametrize(
    ("target", "groups"),
    [
        ("tour", []),
        ("check N=5", []),
        ("lab", ["notebooks"]),
        ("bench", ["bench"]),
        ("test", ["notebooks", "bench", "tests", "pictures"]),
        ("tour GPU=cuda13", ["gpu-cuda13"]),
    ],
)
def test_a_target_installs_what_it_needs(make, target, groups):
    planned = make("-n", *target.split())
    assert lists(planned) == ["requirements", *groups]
    assert planned.count("-m venv .venv") == 1


def test_the_second_time_there_is_nothing_to_do_but_for_a_newer_lock(make):
    set_up(make.folder)
    convert = ".venv/bin/python notebooks/convert.py html"
    assert make("-n", "html").strip() == convert
    os.utime(make.folder / "requirements" / "lock.txt", (2**31, 2**31))
    planned = make("-n", "html")
    assert lists(planned) == ["requirements", "notebooks"]
    assert "-m venv" not in planned


@pytest.mark.parametrize(
    ("argument", "planned"),
    [
        ("PYTHON=python3.13", "'python3.13' -m venv .venv"),
        ("PYTHON=", "'python3' -m venv .venv"),
        ("LATEST=1", "--upgrade -c requirements.txt -r requirements.txt"),
        ("GPU=tpu", "-r requirements.txt -r requirements/gpu-tpu.txt"),
    ],
)
def test_another_choice_sets_up_anew(make, argument, planned):
    set_up(make.folder, "python3.12")
    assert "venv .venv" not in make("-n", "tour")
    remade = re.sub(r" +", " ", make("-n", "tour", argument))
    assert "rm -rf .venv\n" in remade
    assert planned in remade


def test_an_exercise_is_made_again_only_by_force(make):
    set_up(make.folder)
    assert "--force" not in make("-n", "exercise", "N=5")
    assert "'5' --force" in make("-n", "exercise", "N=5", "FORCE=1")


def test_n_is_the_number_of_a_stage_and_gpu_a_kind_that_jax_knows(make):
    for n in ("", "*", "55", "[58]", "5 8", "five"):
        told = make("diff", f"N={n}")
        assert f"N must be the number of a stage, got '{n}': try make" in told
        assert told.count("\n") == 1
    told = make("tour", "GPU=9")
    assert "GPU must be one of cuda12 cuda13 tpu, or empty, got '9'" in told


def make_package(folder):
    """A wheel of a package with nothing in it but a name."""
    folder.mkdir()
    files = {
        "tiny.py": "",
        f"{HALF}/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0",
        f"{HALF}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\n"
        "Root-Is-Purelib: true\nTag: py3-none-any",
        f"{HALF}/RECORD": "",
    }
    wheel = folder / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return wheel


@pytest.mark.slow  # makes an environment, and calls pip
def test_a_room_without_a_network_and_with_interruptions(make):
    folder, core = make.folder, ".venv/has-core"
    for path in (folder / "requirements").iterdir():
        path.write_text("# Nothing.\n")
    (folder / "requirements" / "lock.txt").write_text("tiny==1.0\n")
    (folder / "requirements.txt").write_text("# The core.\ntiny\n")
    wheel = make_package(folder / "packages")

    # With a network, here a folder of packages, the wheelhouse is filled.
    network = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": wheel.parent.as_uri()}
    told = make("wheelhouse", f"PYTHON={sys.executable}", **network)
    assert told.startswith("Setting up .venv, once. The core.\n")
    assert [p.name for p in (folder / "wheelhouse").iterdir()] == [wheel.name]

    # Without one, a set-up that was interrupted in the middle of a package,
    # which pip takes for installed, is mended from the wheelhouse.
    (packages,) = folder.glob(".venv/lib/*/site-packages")
    (packages / "tiny.py").unlink()
    (packages / HALF / "RECORD").unlink()
    (folder / core).unlink()
    assert make(core, PIP_NO_INDEX="1").count("\n") == 1
    assert (packages / "tiny.py").exists()


def test_help_lists_every_target_in_groups(make):
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    listed = make().splitlines()
    targets = {line.split()[1] for line in listed if line[:5] == "make "}
    assert targets == set(re.findall(r"^([a-z-]+):", text, flags=re.M))
    assert {"attendee", "instructor", "learner", "maintainer"} < set(listed)
    assert max(map(len, listed)) <= 80
