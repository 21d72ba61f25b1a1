"""Set-up happens once, for the Python and the versions that were chosen."""

import os
import shutil
import subprocess

import pytest

from support import ROOT, plain_environment

pytestmark = pytest.mark.skipif(
    shutil.which("make") is None, reason="make is not installed here"
)
FILES = (
    "Makefile",
    "requirements.txt",
    "requirements.lock",
    "requirements-matthewplotlib.txt",
)


@pytest.fixture
def make(tmp_path):
    """What make would do for some arguments, in a folder of its own."""
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path)

    def run(*arguments):
        done = subprocess.run(
            ["make", "-n", *arguments],
            cwd=tmp_path,
            env=plain_environment(),
            capture_output=True,
            encoding="utf-8",
        )
        return done.stdout + done.stderr

    return run


def set_up(folder, python, latest=""):
    """Leave what a finished set-up leaves, newer than the requirements."""
    (folder / ".venv").mkdir(exist_ok=True)
    (folder / ".venv" / "choice.mk").write_text(
        f"PYTHON ?= {python}\nLATEST ?= {latest}\n"
    )
    (folder / ".venv" / f"ready-{python}{latest and '-latest'}").touch()


def test_the_first_target_sets_up(make):
    planned = make("test")
    assert "python3 -m venv .venv" in planned
    assert "-r requirements.lock" in planned
    assert planned.index("venv .venv") < planned.index("-m pytest")


def test_the_second_does_not(make, tmp_path):
    set_up(tmp_path, "python3")
    assert make("test").strip() == ".venv/bin/python -m pytest"


def test_the_choice_is_remembered(make, tmp_path):
    set_up(tmp_path, "python3.12")
    assert "venv .venv" not in make("test")
    (tmp_path / "requirements.lock").touch()
    os.utime(tmp_path / "requirements.lock", (2**31, 2**31))
    planned = make("test")
    assert "python3.12 -m venv .venv" in planned


@pytest.mark.parametrize(
    ("argument", "command"),
    [
        ("PYTHON=python3.13", "python3.13 -m venv .venv"),
        ("LATEST=1", "install --quiet  -r requirements.txt"),
    ],
)
def test_another_choice_sets_up_again(make, tmp_path, argument, command):
    set_up(tmp_path, "python3")
    assert command in make("test", argument)


def test_an_empty_python_is_python3(make):
    assert "python3 -m venv .venv" in make("setup", "PYTHON=")


def test_a_wheelhouse_is_used_instead_of_the_network(make, tmp_path):
    (tmp_path / "wheelhouse").mkdir()
    assert "--no-index --find-links wheelhouse" in make("setup")


@pytest.mark.parametrize("target", ["stage", "diff"])
def test_n_is_asked_for(make, tmp_path, target):
    set_up(tmp_path, "python3")
    assert f"N is missing: make {target} N=5" in make(target)


def test_help_lists_every_target():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = text.split(".PHONY:")[1].split("\n\n")[0]
    targets = phony.replace("\\", " ").split()
    done = subprocess.run(
        ["make"],
        cwd=ROOT,
        env=plain_environment(),
        capture_output=True,
        encoding="utf-8",
    )
    listed = [line.split()[1] for line in done.stdout.splitlines()]
    assert sorted(listed) == sorted(targets)
    assert max(map(len, done.stdout.splitlines())) <= 80
