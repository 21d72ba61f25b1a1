"""The command line, the same for every stage, used as its users use it."""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support import (
    FAILING,
    REFERENCE,
    ROOT,
    STAGES,
    WORKING,
    clean_environment,
    read_half_blocks,
    run_python,
)

NOT_ON_WINDOWS = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows has no such signal"
)
DOOR = ROOT / "stages" / "workshop"
HEADER = """\
rule: 110 (0b01101110)
bits: [0 1 1 1 0 1 1 0]
rule_table[0,0,0] = 0
rule_table[0,0,1] = 1
rule_table[0,1,0] = 1
rule_table[0,1,1] = 1
rule_table[1,0,0] = 0
rule_table[1,0,1] = 1
rule_table[1,1,0] = 1
rule_table[1,1,1] = 0
"""


def read_png(path):
    """The cells of a saved picture: live cells are black."""
    with Image.open(path) as image:
        return 1 - np.asarray(image.convert("1"), dtype=np.uint8)


def test_stage_0_prints_what_the_readme_shows():
    done = run_python(STAGES[0], "--num-steps", 80)
    assert done.returncode == 0
    assert done.stdout.startswith(HEADER + "simulation complete!\n")
    lines = done.stdout.splitlines()
    assert lines[11].startswith("time taken 0.")
    assert lines[11].endswith(" seconds")
    np.testing.assert_array_equal(
        read_half_blocks(lines[12:]), REFERENCE.simulate(110, 80, 80)
    )


@pytest.mark.parametrize("number", WORKING)
def test_every_flag(number, tmp_path, run_stage_here):
    output = tmp_path / "picture.png"
    status, out, err = run_stage_here(
        number, "--rule", "30", "--width", "31", "--num-steps", "24",
        "--print-image", "--save-image", "--output", str(output),
    )  # fmt: skip
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert "rule:  30 (0b00011110)" in lines
    assert "simulation complete!" in lines
    assert any(str(output) in line for line in lines)
    expected = REFERENCE.simulate(30, 31, 24)
    picture = [line for line in lines if len(line) == 31 and line[0] in " ▀▄█"]
    if picture:  # else a sheet of all rules
        np.testing.assert_array_equal(read_half_blocks(picture), expected)
    saved = read_png(output)
    if saved.shape != expected.shape:  # all rules, 16 to a row
        saved = saved[24:48, 31 * 14 : 31 * 15]
    np.testing.assert_array_equal(saved, expected)


@pytest.mark.parametrize("number", STAGES)
def test_nothing_but_text_unless_asked(
    number, tmp_path, monkeypatch, run_stage_here
):
    """No picture, no file; JAX stages say what each time is of."""
    monkeypatch.chdir(tmp_path)
    status, out, _ = run_stage_here(
        number, "--no-print-image", "--num-steps", "5"
    )
    assert status == 0
    assert not set("▀▄█") & set(out)
    assert list(tmp_path.iterdir()) == []
    if number == 0 or number in FAILING:
        return
    lines = out.splitlines()
    first, second, *_ = lines[lines.index("simulation complete!") + 1 :]
    assert first.startswith("first call:  ")
    assert "compile" in first
    assert second.startswith("second call: ")
    assert second.endswith(" seconds (run)")


def test_stage_0_writes_a_correct_large_png(tmp_path):
    output = tmp_path / "large.png"
    done = run_python(
        STAGES[0], "--num-steps", 8000, "--width", 8000,
        "--no-print-image", "--save-image", "--output", output,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    expected = REFERENCE.simulate(110, 8000, 8000)
    np.testing.assert_array_equal(read_png(output), expected)


BAD_INPUT = [
    (["--rule", "256"], "rule must be between 0 and 255, got 256"),
    (["--rule", "-1"], "rule must be between 0 and 255, got -1"),
    (["--rule", "ten"], "--rule must be an integer, got 'ten'"),
    (["--rule"], "--rule"),
    (["--width", "0"], "width must be at least 1, got 0"),
    (["--width", f"{2**31}"], "width must be at most 2147483647, got 2147483"),
    (["--num-steps", "0"], "num_steps must be at least 1, got 0"),
    (["--num-steps", "9" * 12], "must fit 4 times into the memory"),
    (["--no-such-flag"], "--no-such-flag"),
    (["--save-image", "--output", "no/such.png"], str(Path("no/such.png"))),
    (["--save-image", "--output", "picture.such"], "got picture.such"),
    (["--save-image", "--output", "picture"], "got picture"),
    (["--save-image", "--output", "folder.png"], "got the folder"),
    (["--output", "x.png"], "output needs --save-image, got x.png"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_INPUT)
@pytest.mark.parametrize("number", STAGES)
def test_bad_input_is_one_line_and_status_2(
    number, arguments, message, run_stage_here, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.png").mkdir()
    status, out, err = run_stage_here(number, *arguments)
    assert (status, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["folder.png"]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
def test_an_argument_that_does_not_parse_is_one_sentence(encoding):
    env = {"PYTHONIOENCODING": encoding, "COLUMNS": "30"}
    done = run_python(STAGES[0], "--rule", "ten", env=env)
    assert done.returncode == 2
    assert done.stderr == "--rule must be an integer, got 'ten'\n"


def test_bad_input_in_a_process_of_its_own():
    done = run_python(STAGES[5], "--rule", 300)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "rule must be between 0 and 255, got 300\n"


@pytest.mark.skipif(
    not sys.platform.startswith("linux"),
    reason="elsewhere there is no folder that even root cannot write to",
)
def test_a_folder_that_is_not_writable(run_stage_here):
    status, out, err = run_stage_here(
        0, "--save-image", "--output", "/proc/x.png"
    )
    assert (status, out) == (2, "")
    assert "writable" in err
    assert len(err.splitlines()) == 1


def test_a_picture_too_large_for_its_format(run_stage_here, tmp_path):
    output = tmp_path / "wide.gif"
    status, _, err = run_stage_here(
        0, "--width", "70000", "--num-steps", "1", "--no-print-image",
        "--save-image", "--output", str(output),
    )  # fmt: skip
    assert status == 2
    assert "70000 x 1" in err
    assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_help_is_status_0_and_names_every_flag():
    done = run_python(STAGES[5], "--help")
    assert (done.returncode, done.stderr) == (0, "")
    for flag in ("rule", "width", "num-steps", "no-print-image",
                 "save-image", "output"):  # fmt: skip
        assert f"--{flag}" in done.stdout
    assert "Stage 5: " in done.stdout


@pytest.mark.parametrize("env", [{}, {"NO_COLOR": "1"}, {"COLUMNS": "40"}])
def test_help_is_plain_text_that_fits(env, run_in_terminal):
    command = [sys.executable, STAGES[5], "--help"]
    output, status = run_in_terminal(command, env)
    assert status == 0
    assert "\x1b" not in output
    columns = int(env.get("COLUMNS", 80))
    # tyro leaves the sentence above the options to the terminal to wrap.
    _, options = output.split(" options ", maxsplit=1)
    assert max(map(len, options.splitlines())) <= columns


@pytest.mark.parametrize(
    ("number", "columns"), [*((n, 40) for n in STAGES), (0, 80), (6, 80)]
)
def test_no_line_is_longer_than_the_terminal(
    number, columns, monkeypatch, run_stage_here
):
    monkeypatch.setenv("COLUMNS", str(columns))
    _, out, _ = run_stage_here(number, "--num-steps", "20")
    lines = out.splitlines()
    if number in FAILING:  # the traceback is JAX's own
        start = lines.index("Traceback (most recent call last):")
        lines = lines[:start] + lines[-3:]
    assert max(map(len, lines)) <= columns


@NOT_ON_WINDOWS
@pytest.mark.parametrize(
    ("number", "num_steps"), [(0, 400_000), (2, 20_000), (4, 3_000)]
)
def test_ctrl_c_ends_it_at_once(number, num_steps):
    """130 in a shell; also while XLA compiles, as stage 4 does here."""
    process = subprocess.Popen(
        [sys.executable, "-u", STAGES[number], "--num-steps", str(num_steps)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(None),
    )
    for _ in HEADER.splitlines():
        process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=5)
    assert process.returncode == -signal.SIGINT
    assert (out, err) == (b"", b"")


@pytest.mark.parametrize(
    "command",
    [
        [STAGES[0], "--num-steps", "3000"],
        [STAGES[FAILING[0]]],
        [STAGES[6], "--num-steps", "300"],
        [ROOT / "stages" / "workshop", "diff", "1"],
        [ROOT / "stages" / "workshop", "doctor"],
    ],
    ids=lambda command: " ".join([command[0].stem, *command[1:]]),
)
def test_a_closed_pipe_gives_no_traceback(command):
    process = subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(None),
    )
    process.stdout.close()
    _, err = process.communicate(timeout=120)
    assert err == b""


@pytest.mark.skipif(
    not sys.platform.startswith("linux"),
    reason="elsewhere there is no file that is always full",
)
def test_a_full_disk_is_one_line():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, STAGES[0], "--num-steps", "3000"],
            stdout=full,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            env=clean_environment(None),
        )
    assert done.returncode == 1
    assert done.stderr == "the output cannot be written: no space is left\n"


@NOT_ON_WINDOWS
@pytest.mark.parametrize("command", ["stage0_numpy.py", "workshop progress"])
def test_a_closed_output_is_one_line(command):
    done = subprocess.run(
        f"{shlex.quote(sys.executable)} {command} >&-",
        shell=True,
        cwd=ROOT / "stages",
        capture_output=True,
        encoding="utf-8",
        env=clean_environment(),
    )
    assert done.returncode == 1
    assert done.stderr.startswith("standard output is closed")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("number", [5, 9])
def test_a_platform_that_is_not_there_is_one_line(number):
    done = run_python(STAGES[number], env={"JAX_PLATFORMS": "cuda"})
    if done.returncode == 0:
        pytest.skip("there is a GPU")
    assert (done.returncode, done.stdout) == (1, "")
    assert "JAX finds no device" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_door_lists_its_commands():
    done = run_python(DOOR)
    assert (done.returncode, done.stderr) == (0, "")
    listed = [line.split()[0] for line in done.stdout.splitlines()[:-1]]
    assert {"tour", "diff", "check", "doctor"} <= set(listed)
    for name in listed:
        assert run_python(DOOR, name, "--help").returncode == 0


def test_a_command_that_is_not_there_is_one_line_and_status_2():
    done = run_python(DOOR, "no-such")
    assert (done.returncode, done.stdout) == (2, "")
    assert "tour, diff" in done.stderr
    assert "got no-such" in done.stderr
    assert done.stderr.count("\n") == 1


@NOT_ON_WINDOWS
def test_ctrl_c_ends_a_command_with_status_130():
    process = subprocess.Popen(
        [sys.executable, "-u", DOOR, "tour"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(),
        start_new_session=True,
    )
    for line in process.stdout:
        if line.startswith(b"first call"):
            break
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=5)
    assert process.returncode == 130
    assert b"Traceback" not in err


def test_ctrl_c_ends_the_flip_book(run_in_terminal):
    command = [sys.executable, STAGES[6], "--width", 9, "--num-steps", 6]
    output, status = run_in_terminal(
        [*command, "--flip-book"], interrupt_at="rule 8 of 0 to 255"
    )
    assert status == 0
    assert "rule 0 of 0 to 255\r\n" in output  # the darkest
    assert "\x1b[4A\x1b[J" in output  # up by a title and three lines
    assert "Traceback" not in output
    assert output.endswith("\n")
    assert "rule 255 of" not in output


def test_a_flip_book_needs_a_terminal(run_stage_here):
    status, _, err = run_stage_here(6, "--flip-book", "--width", "9")
    assert status == 2
    assert err == "flip_book needs a terminal that moves its cursor\n"


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (40, 24), (10, 9)])
def test_the_sheet_of_many_rules_fits(
    columns, lines, run_stage_here, monkeypatch
):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", str(lines))
    _, out, _ = run_stage_here(6, "--rule", "254")
    *_, sheet = out.split("(run)\n")
    sheet = sheet.splitlines()
    assert len(sheet) < lines
    assert max(map(len, sheet)) <= columns
    rules, height = sheet[0].split(), min(8, columns // 2)
    assert rules == [f"{(254 + i) % 256}" for i in range(columns // 16 or 1)]
    picture = [
        f"{line:{columns}}" for line in sheet[1 : 1 + (height + 1) // 2]
    ]
    shown = np.array(read_half_blocks(picture))[:height, : 2 * height - 1]
    expected = REFERENCE.simulate(254, 80, height)
    np.testing.assert_array_equal(
        shown, expected[:, 41 - height : 40 + height]
    )


def test_the_grid_has_rule_16_row_plus_column(tmp_path):
    output = tmp_path / "grid.png"
    done = run_python(
        STAGES[6], "--width", 9, "--num-steps", 6, "--no-print-image",
        "--save-image", "--output", output,
    )  # fmt: skip
    assert "256 rules x 6 steps x 9 cells: 13,824 bytes" in done.stdout
    grid = read_png(output)
    assert grid.shape == (16 * 6, 16 * 9)
    for rule in range(256):
        row, column = divmod(rule, 16)
        cell = grid[6 * row : 6 * row + 6, 9 * column : 9 * column + 9]
        np.testing.assert_array_equal(cell, REFERENCE.simulate(rule, 9, 6))


def test_the_memory_is_checked_for_all_rules_together(monkeypatch, capsys):
    from workshop import harness, shows

    size = {"width": 1000, "num_steps": 1000}
    memory = type("Memory", (), {"available": 5_000_000})
    monkeypatch.setattr(harness.psutil, "virtual_memory", lambda: memory)
    harness.check_arguments(harness.Arguments(**size))
    with pytest.raises(SystemExit) as end:
        harness.check_arguments(shows.RulesArguments(**size))
    assert end.value.code == 2
    assert "got 256,000,000 bytes" in capsys.readouterr().err


def test_time_call_waits_for_the_result():
    """It returns only arrays that are there: nothing is left to compute."""
    import jax
    import jax.numpy as jnp

    from workshop.harness import time_call

    @jax.jit
    def slow(x):
        return jax.lax.fori_loop(0, 200, lambda _, x: jnp.sin(x @ x), x)

    result, seconds = time_call(slow, jnp.ones((200, 200)))
    assert result.is_ready()
    assert seconds > 0


def test_one_function_reads_the_clock():
    """But for alarms, which end what takes too long: they need no more."""
    clocks = ("perf_counter", "time.time(", "timeit", "%time")
    reading = [
        path.relative_to(ROOT).as_posix()
        for folder in ("stages", "benchmarks", "notebooks")
        for path in (ROOT / folder).rglob("*.py")
        if any(clock in path.read_text("utf-8") for clock in clocks)
    ]
    assert reading == ["stages/workshop/harness.py"]
    harness = (ROOT / reading[0]).read_text("utf-8")
    assert harness.count("perf_counter()") == 2
