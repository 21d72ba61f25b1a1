"""Set up every test: strict JAX, checked annotations, eight devices."""

import functools
import importlib
import os
import runpy
import select
import signal
import subprocess
import sys

import jax
import pytest
from jaxtyping import install_import_hook

from workshop.stages import find_stages

pytest.register_assert_rewrite("support")

# The tests run in one process per core, so XLA uses only one core in each.
os.environ["NPROC"] = "1"

jax.config.update("jax_enable_x64", False)
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_dtype_promotion", "strict")

# Check the shapes and dtypes of a stage, whichever test imports it first.
install_import_hook(
    [path.stem for path in find_stages().values()], "beartype.beartype"
)


def pytest_addoption(parser):
    """Add the option --slow, which also runs the tests marked slow."""
    parser.addoption("--slow", action="store_true", help="all tests")


def pytest_collection_modifyitems(config, items):
    """Skip the tests marked slow, unless --slow is given."""
    for item in items:
        if "slow" in item.keywords and not config.getoption("slow"):
            item.add_marker(pytest.mark.skip(reason="only with --slow"))


@pytest.fixture
def run_here(monkeypatch, capsys):
    """Run a stage or a command in this process, which has imported JAX."""
    support = importlib.import_module("support")

    def find_no_cluster(*_, **__):
        raise ValueError  # the real function fails once JAX has started

    monkeypatch.setattr(jax.distributed, "initialize", find_no_cluster)
    # JAX has started, so the number of devices can no longer be changed.
    monkeypatch.setattr(jax.config, "update", lambda *_: None)

    def run(what, *arguments):
        """Run a command by its name, or a stage by its number or path."""
        script = [support.STAGES.get(what, what)]
        if isinstance(what, str):
            script = [support.DOOR / "__main__.py", what]
        argv = list(map(str, [*script, *arguments]))
        monkeypatch.setattr(sys, "argv", argv.copy())
        monkeypatch.syspath_prepend(str(support.DOOR.parent))
        names = {"SIGINT", "SIGTERM", "SIGHUP"} & vars(signal).keys()
        handlers = {n: signal.getsignal(getattr(signal, n)) for n in names}
        status = 0
        try:
            runpy.run_path(argv[0], run_name="__main__")
        except SystemExit as end:
            status = end.code or 0
        finally:
            for name, handler in handlers.items():
                signal.signal(getattr(signal, name), handler)
        return subprocess.CompletedProcess(argv, status, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def run_notebook(tmp_path_factory):
    """Run a notebook once, for all tests in all processes."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # the folder that all processes share
    run_once = importlib.import_module("running").run_once
    return functools.partial(run_once, folder=folder)


@pytest.fixture
def run_in_terminal():
    """Run a command in a terminal; return its output and exit status."""
    pty = pytest.importorskip("pty", reason="Windows has no pty module")

    def run(command, env=None, *, keys="", at=""):
        """Press the keys whenever the text `at` appears."""
        ours, theirs = pty.openpty()
        base = {
            key: os.environ[key] for key in os.environ.keys() - {"NO_COLOR"}
        }
        size = {"COLUMNS": "80", "LINES": "24", "TERM": "xterm"}
        process = subprocess.Popen(
            list(map(str, command)),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**base, **size, **(env or {})},
        )
        os.close(theirs)
        output = b""
        while chunk := read_terminal(ours):
            before, output = output, output + chunk
            if keys and output.count(at.encode()) > before.count(at.encode()):
                os.write(ours, keys.encode())
        os.close(ours)
        try:
            return output.decode(), process.wait(timeout=10)
        finally:
            process.kill()

    return run


def read_terminal(terminal):
    """Return new output of a terminal; b"" if it is closed or stays silent."""
    if not select.select([terminal], [], [], 60)[0]:
        return b""
    try:
        return os.read(terminal, 4096)
    except OSError:  # on Linux, a closed terminal is an error
        return b""
