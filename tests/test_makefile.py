"""Test that make installs what a target needs once, and passes arguments."""

import os
import re
import shutil
import subprocess
import sys
import zipfile

import pytest

from support import ROOT, plain_environment

if shutil.which("make") is None:
    pytest.skip("make is not installed here", allow_module_level=True)


@pytest.fixture
def make(tmp_path):
    """Run make in a folder with spaces in its name; return the output."""
    folder = tmp_path / "à la carte"
    shutil.copytree(ROOT / "requirements", folder / "requirements")
    shutil.copy(ROOT / "requirements.txt", folder)
    shutil.copy(ROOT / "Makefile", folder)

    def run(*arguments, **variables):
        options = {"cwd": folder, "env": plain_environment() | variables}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        done = subprocess.run(["make", *arguments], **options, **pipes)
        return done.stdout.decode().splitlines()

    run.folder = folder
    return run


def set_up(folder):
    """Fake a folder that is set up; commands only print their arguments."""
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "python").symlink_to(sys.executable)
    (folder / ".venv" / "has-core-python3--").touch()
    (folder / ".venv" / "has-notebooks").touch()
    (folder / "stages").mkdir()
    code = "import sys; print(*sys.argv[1:], sep='\\n')"
    (folder / "stages" / "workshop").write_text(code)


def installed(plan):
    """Return the lists of requirements that make would install, in order."""
    return re.findall(r"-r (?:requirements/)?(\S+)\.txt", " ".join(plan))


def test_help_lists_every_target(make):
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    listed = {line.split()[1] for line in make() if line[:5] == "make "}
    assert listed | {"help"} == set(re.findall(r"^([a-z-]+):", text, re.M))


def test_a_target_installs_what_it_needs_once(make):
    assert installed(make("-n", "tour")) == ["requirements"]
    groups = ["gpu-tpu", "notebooks", "bench", "tests"]
    plan = make("-n", "setup", "GPU=tpu")
    assert installed(plan) == ["requirements", *groups, "pictures"]
    set_up(make.folder)
    assert installed(make("-n", "html")) == []
    for choice in ("PYTHON=python9", "LATEST=1", "GPU=tpu"):
        assert installed(make("-n", "html", choice))[0] == "requirements"
    os.utime(make.folder / "requirements" / "lock.txt", (2**31, 2**31))
    assert installed(make("-n", "html")) == ["requirements", "notebooks"]


def test_a_python_that_is_too_old_and_an_unknown_gpu_install_nothing(make):
    pretend = "import sys; sys.version_info = (3, 10); exec(sys.argv[2])"
    (make.folder / "old").write_text(f"#!{sys.executable}\n{pretend}\n")
    (make.folder / "old").chmod(0o700)
    assert "3.11" in make("tour", "PYTHON=./old")[0]
    assert "gpu-9.txt" in make("tour", "GPU=9")[0]
    assert not (make.folder / ".venv").exists()


def test_arguments_are_handed_on_whatever_they_hold(make):
    set_up(make.folder)
    odd = "f('a', \"$b`\") # (c)"
    assert make("hint", f"N={odd}") == ["hint", odd]
    assert make("exercise", "FORCE=1")[2:] == ["--force"]
    assert make("run", "N=5", "ARGS=-x 'y z'")[2:] == ["-x", "y z"]
    assert make("inspect", "N=5", "ARGS=-x 'f(x)'")[2:] == ["-x", "f(x)"]
    assert make("port", "ARGS=--json 'a b'")[1:] == ["--json", "a b"]
    assert make("inspect", f"CALL={odd}")[2:] == ["--call", odd]
    assert make("port", f"OLD={odd}", f"NEW={odd}")[1:] == [
        odd,
        odd,
    ]
    assert make("port", f"SETUP={odd}")[1:] == ["--setup", odd]
    assert make("port", f"LARGER={odd}")[1:] == ["--larger", odd]


@pytest.mark.slow  # makes an environment, and calls pip
def test_without_a_network_and_after_an_interruption(make):
    folder = make.folder
    for path in folder.rglob("*.txt"):
        path.write_text("tiny\n" if path.name == "bench.txt" else "")
    (folder / "packages").mkdir()
    wheel = folder / "packages" / "tiny-1.0-py3-none-any.whl"
    info = "tiny-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny.py", "")
        archive.writestr(f"{info}/METADATA", "Name: tiny\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\n")
        archive.writestr(f"{info}/RECORD", "")

    # A local folder of packages takes the place of the network.
    network = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": wheel.parent.as_uri()}
    make("wheelhouse", f"PYTHON={sys.executable}", **network)
    assert [p.name for p in (folder / "wheelhouse").iterdir()] == [wheel.name]

    # Without the network, packages come from the wheelhouse, even after pip
    # was interrupted.
    (packages,) = folder.glob(".venv/lib/*/site-packages")
    make(".venv/has-bench")
    (packages / "tiny.py").unlink()
    (packages / info / "RECORD").unlink()
    (folder / ".venv" / "has-bench").unlink()
    make(".venv/has-bench")
    assert (packages / "tiny.py").exists()

    # A newer lock file does not rebuild the environment, but changing the
    # variable LATEST does.
    (folder / "requirements" / "lock.txt").touch()
    make("wheelhouse")
    assert (packages / "tiny.py").exists()
    make("wheelhouse", "LATEST=1")
    assert not (packages / "tiny.py").exists()
