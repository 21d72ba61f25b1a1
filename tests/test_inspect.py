"""What `inspect` says of a program is so, fits, and fails in one line."""

import gzip
import json
import re
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from support import (
    DOOR,
    STAGES,
    assert_refused,
    import_stage,
    output_of,
    run_python,
)
from workshop.inspection import Program, own_times


def compile_text(function, *args):
    return Program(jax.jit(function).lower(*args).compile().as_text())


def read_rows(done):
    """The name at the left of each row to the values after it."""
    lines = output_of(done).splitlines()
    assert len(lines) < 24
    assert max(map(len, lines)) <= 80
    rows = (re.split(r"\s{2,}", line.strip()) for line in lines)
    return {name: values for name, *values in rows}


def test_two_stages_side_by_side(run_here):
    rows = read_rows(run_here("inspect", 4, 5))
    assert rows["gather"][:2] == ["80", "1"]
    assert rows["while"][:2] == ["0", "1"]
    assert rows["in place"][0] == "u8[80,80]"
    once, twice = rows["jaxpr equations"], rows["at num_steps x 2"]
    assert int(twice[0].replace(",", "")) > 1.9 * int(once[0].replace(",", ""))
    assert once[1] == twice[1]
    lines = STAGES[4].read_text(encoding="utf-8").splitlines()
    (number,) = (i for i, x in enumerate(lines, 1) if "return rule_t" in x)
    assert rows[f"HLO of line {number}"][0] == "79"  # the last is not used


def test_stage_9_permutes_twice_an_exchange(run_here):
    rows = read_rows(
        run_here("inspect", 9, "--num-devices", 4, "--width", 160)
    )
    assert rows["ppermute"][0] == rows["collective-permute"][0] == "2"
    assert rows["turns"][0] == "40, 2"


def test_a_buffer_that_a_loop_cannot_keep_is_copied():
    def turn(i, pair):  # the buffers change places
        return pair[1], pair[0].at[i].set(1)

    def swap(x, y):
        return jax.lax.fori_loop(0, 50, turn, (x, y))

    def two_results(x):
        return jax.lax.scan(lambda c, _: (c + 1, (c, 2 * c)), x, length=50)

    x = jnp.ones(50)
    swapped = list(compile_text(swap, x, x).loop_buffers())
    assert swapped == [("f32[50]", "copied")]
    kept = list(compile_text(two_results, x).loop_buffers())
    assert kept == [("f32[50,50]", "in place")] * 2


def test_what_another_file_does_is_of_the_line_that_calls_it():
    step = import_stage(5).step
    table, state = jnp.zeros((2, 2, 2), jnp.uint8), jnp.zeros(9, jnp.uint8)
    program = compile_text(lambda s, t: step(s, t), state, table)
    assert program.source_lines(STAGES[5])
    assert program.source_lines(Path(__file__))


def test_the_text_itself_is_colored_on_a_terminal_alone(
    run_in_terminal, run_here
):
    command = [sys.executable, DOOR, "inspect", "5", "--hlo"]
    output, status = run_in_terminal(command, {"PAGER": "cat"})
    assert status == 0
    assert "\x1b[32mwhile\x1b[0m(" in output
    assert "\x1b" not in output_of(run_here("inspect", 5, "--jaxpr"))


@pytest.mark.slow
def test_a_profile_is_a_trace_and_a_table(tmp_path):
    file = tmp_path / "trace.json.gz"
    told = output_of(run_python(DOOR, "inspect", 5, "--profile", file))
    assert json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]
    assert "%" in told
    assert f"wrote {file}" in told.replace("\n", " ")


def test_a_loop_takes_what_is_left_of_its_time():
    turns = [("while", 0, 10), ("copy", 1, 3), ("copy", 4, 2), ("add", 10, 1)]
    events = [
        {"ts": start, "dur": duration, "pid": 1, "tid": 1}
        | {"args": {"hlo_op": name}}
        for name, start, duration in turns
    ]
    spent, times = own_times(events)
    assert spent == {"while": 5, "copy": 5, "add": 1}
    assert times["copy"] == 2


def test_your_own_call_with_arguments_made_before(tmp_path, run_here):
    own = tmp_path / "own.py"
    own.write_text("import jax\nf = jax.jit(lambda x, y: x * y + x)\n")
    call = "--call", "f(x, y=x)", "--setup", "x = np.ones(8, np.float32)"
    rows = read_rows(run_here("inspect", own, *call))
    assert rows["jaxpr equations"][0] == "2"
    assert rows["memory: output"][0] == "32"
    assert "at num_steps x 2" not in rows


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["99"], "got 99"),
        (["2"], "not what jax.jit returns"),
        (["3"], "TypeError"),
        (["5", "--call", "3"], "got '3'"),
        (["5", "--call", "nope(1)"], "NameError"),
        (["5", "4", "--profile", "x"], "one program"),
        (["5", "--num-devices", "0"], "num_devices"),
    ],
)
def test_bad_input_is_one_line(arguments, word, run_here):
    status = 1 if "Error" in word else 2
    assert_refused(run_here("inspect", *arguments), word, status)
