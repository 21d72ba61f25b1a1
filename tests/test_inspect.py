"""`inspect` shows what JAX and XLA make of a call, or explains why not."""

import gzip
import re

import jax
import jax.numpy as jnp
import pytest

from support import STAGES, assert_refused, output_of
from workshop.inspection import find_buffers

OWN = """
import jax, numpy as np
TABLE = np.ones((100, 10), np.float32)
@jax.jit
def helper(x): return x @ TABLE
@jax.jit
def look_up(x): return helper(x) * 3
@jax.jit
def fail(n): return range(n)
"""


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(OWN, encoding="utf-8")
    return path


def read_rows(done):
    """Return the values of each row, by the name at the left."""
    lines = output_of(done).splitlines()
    assert len(lines) < 24
    assert max(map(len, lines)) <= 80
    rows = (re.split(r"\s{2,}", line.strip()) for line in lines)
    return {name: values for name, *values in rows}


def first_line(path, code, count):
    """Return how the line of code with the most equations is shown."""
    before, _ = path.read_text(encoding="utf-8").split(code)
    line = f"{count:9}  line {before.count(chr(10)) + 1}: {code}"
    return f"Most equations in {path.name}:\n{line}"


def test_two_stages_side_by_side(run_here):
    done = run_here("inspect", 4, 5)
    assert "simulate(110, 80, 80)" in done.stdout
    rows = read_rows(done)
    assert rows["gather"][:2] == ["80", "1"]
    assert rows["while"][:2] == ["0", "1"]
    assert rows["iterations"][0] == "80"
    assert rows["in place"][0] == "u8[80,80]"
    for number, count in (4, 640), (5, 8):
        code = "return rule_table[left"
        assert first_line(STAGES[number], code, count) in done.stdout


def test_the_loops_of_a_halo_and_its_messages(run_here):
    rows = read_rows(run_here("inspect", 10))
    assert rows["ppermute"][0] == rows["collective-permute"][0] == "2"
    assert rows["iterations"][0] == "16, 5"


def test_a_buffer_that_a_loop_cannot_keep_is_copied():
    def swap(i, xy):  # the buffers change places
        return xy[1], xy[0].at[i].set(1)

    @jax.jit
    def copy(x):
        return jax.lax.fori_loop(0, 50, swap, (x, x + 1))

    @jax.jit
    def record(x):
        return jax.lax.scan(lambda c, _: (c + 1, (c, 2 * c)), x, length=50)

    def buffers(function):
        return find_buffers(function.lower(jnp.ones(50)).compile().as_text())

    assert buffers(copy) == (set(), {"f32[50]"})
    assert buffers(record) == ({"f32[50,50]"}, set())


def test_the_call_of_an_own_file_and_its_constants(own, run_here):
    call = "look_up(a.width[:100])"
    setup = (
        "import types\n"
        "a = types.SimpleNamespace(width=np.ones(999, np.float32))"
    )
    done = run_here("inspect", own, "--call", call, "--setup", setup)
    assert call in done.stdout
    assert first_line(own, "def look_up(x): return", 2) in done.stdout
    rows = read_rows(done)
    assert rows["constants"][0] == "4,000"
    assert rows["largest"][0] == "float32[100,10]"
    assert rows["memory: argument"][0] == "400"
    assert rows["memory: output"][0] == "40"


def test_whole_programs(run_here):
    done = run_here("inspect", 5, "--jaxpr", "--hlo")
    jaxpr, hlo = output_of(done).split("HloModule")
    assert "scan[" in jaxpr
    assert "while(" in hlo


def test_the_trace_of_a_call(tmp_path, run_here):
    output_of(run_here("inspect", 5, "--profile", tmp_path / "new"))
    (file,) = tmp_path.rglob("perfetto_trace.json.gz")
    assert b'"hlo_op"' in gzip.decompress(file.read_bytes())


def test_an_error_is_explained(own, run_here):
    done = run_here("inspect", own, "--call", "fail(3)")
    assert (done.returncode, done.stdout) == (1, "")
    shown = "    def fail(n): return range(n)\nTracerIntegerConversionError"
    assert shown in done.stderr
    done = run_here("inspect", own, "--call", "nothing(3)")
    assert "helper, look_up, fail" in done.stderr
    own.write_text("raise SystemExit(2)", encoding="utf-8")
    done = run_here("inspect", own)
    assert (done.returncode, done.stdout) == (1, "")
    assert "line 1:\n" in done.stderr
    assert "--call" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["99"], "99"),
        ([""], "''"),  # make inspect, without N
        (["2"], "none"),
        (["5", "--call", "3"], "'3'"),
        (["5", "--setup", "x = ="], "--setup"),
        (["5", "--profile", __file__], "--profile"),
    ],
)
def test_bad_input_is_one_line(arguments, word, run_here):
    assert_refused(run_here("inspect", *arguments), word)
