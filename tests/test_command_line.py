"""The command line, the same for every stage, used as its users use it."""

import inspect
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from support import (
    DOOR,
    NOT_ON_WINDOWS,
    ON_LINUX,
    REFERENCE,
    ROOT,
    STAGES,
    WORKING,
    assert_refused,
    options,
    output_of,
    read_half_blocks,
    run_python,
    start_python,
)
from workshop import devices, harness, shows, tour

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


def test_stage_0_prints_what_the_readme_shows_without_jax(tmp_path):
    """Not even by way of the harness does it need it."""
    blocker = tmp_path / "jax.py"
    blocker.write_text("raise ImportError('stage 0 imports jax')\n")
    out = output_of(run_python(STAGES[0], env={"PYTHONPATH": str(tmp_path)}))
    assert out.startswith(HEADER + "simulation complete!\n")
    lines = out.splitlines()
    assert re.fullmatch(r"time taken 0\.\d+ seconds", lines[11])
    np.testing.assert_array_equal(
        read_half_blocks(lines[12:]), REFERENCE.simulate(110, 80, 80)
    )


@pytest.mark.parametrize("number", WORKING)
def test_every_flag_at_40_columns(number, tmp_path, monkeypatch, run_here):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "40")
    size = "--width", 31, "--num-steps", 24
    pictures = "--print-image", "--save-image", "--output", "picture.png"
    done = run_here(number, "--rule", 30, *size, *pictures)
    lines = output_of(done).splitlines()
    assert max(map(len, lines)) <= 40
    assert "rule:  30 (0b00011110)" in lines
    assert "simulation complete!" in lines
    assert "wrote picture.png" in " ".join(lines)
    if number > 0:
        times = re.findall(r"\d\.\d+ seconds \((.+?)\)", " ".join(lines))
        eager = "compile every operation"
        what = eager if number == 2 else "trace, compile"
        assert times[:2] == [f"{what}, run", "run"]
    expected = REFERENCE.simulate(30, 31, 24)
    if number == 6:  # all rules: rule 16 row + column
        assert "256 rules x 24 steps x 31 cells: 190,464" in " ".join(lines)
        rules = [REFERENCE.simulate(rule, 31, 24) for rule in range(256)]
        rows = [np.hstack(rules[i : i + 16]) for i in range(0, 256, 16)]
        expected = np.vstack(rows)
    else:
        shown = [s for s in lines if len(s) == 31 and s[0] in " ▀▄█"]
        np.testing.assert_array_equal(read_half_blocks(shown), expected)
    with Image.open("picture.png") as image:
        np.testing.assert_array_equal(np.asarray(image) == 0, expected)


def test_nothing_but_text_unless_asked(tmp_path, monkeypatch, run_here):
    monkeypatch.chdir(tmp_path)
    out = output_of(run_here(5, "--no-print-image"))
    assert not set("▀▄█") & set(out)
    assert list(tmp_path.iterdir()) == []


CLUSTER = "--coordinator h:1 --num-processes 2 --process-id"
BAD_INPUT = [  # the number of a stage, its arguments, what is said
    (0, "--rule 256", "rule must be between 0 and 255, got 256"),
    (1, "--rule -1", "rule must be between 0 and 255, got -1"),
    (2, "--rule ten", "--rule must be an integer, got 'ten'"),
    (3, "--rule", "--rule needs a value"),
    (4, "--width 0", "width must be at least 1, got 0"),
    (5, f"--width {2**31}", "width must be at most 2147483647, got 21474836"),
    (8, "--num-steps 0", "num_steps must be at least 1, got 0"),
    (0, f"--num-steps {'9' * 12}", "must fit 4 times into the memory"),
    (0, "--no-such-flag", "--no-such-flag"),
    (0, "--save-image --output no/such.png", str(Path("no/such.png"))),
    (0, "--save-image --output picture.such", "got picture.such"),
    (0, "--save-image --output folder.png", "got the folder"),
    pytest.param(
        0, "--save-image --output /proc/x.png", "writable",
        marks=ON_LINUX,  # where not even root can write to that folder
    ),
    (0, "--width 70000 --num-steps 1 --no-print-image --save-image"
        " --output wide.gif", "70000 x 1"),
    (0, "--output x.png", "output needs --save-image, got x.png"),
    (6, "--flip-book --width 9", "needs a terminal that moves its cursor"),
    (7, "--width 4096 --num-steps 4096", "at most 16,777,215 to learn from"),
    (9, "--num-devices 0", "num_devices must divide the width, 80, got 0"),
    (9, "--num-devices 81", "num_devices must divide the width, 80, got 81"),
    (9, "--coordinator h:1", "must be given together, got only coordinator"),
    (9, f"{CLUSTER} 0 --coordinator h", "coordinator must be HOST:PORT, got"),
    (9, f"{CLUSTER} 0 --num-processes 0", "num_processes must be at least 1"),
    (9, f"{CLUSTER} 2", "process_id must be between 0 and 1, got 2"),
    (9, f"{CLUSTER} 0 --num-devices 16",
        "num_devices in each of 2 must divide the width, 80, got 16"),
    *((n, "--rule 300", "rule must be") for n in STAGES),  # each has checks
]  # fmt: skip


@pytest.mark.parametrize(("number", "arguments", "message"), BAD_INPUT)
def test_bad_input_is_one_line_and_status_2(
    number, arguments, message, run_here, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.png").mkdir()
    done = run_here(number, *arguments.split())
    late = "wide.gif" in arguments
    assert (done.stdout != "") == late
    done.stdout = ""
    assert_refused(done, message)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.png"]


def test_an_argument_that_does_not_parse_is_one_sentence():
    """In a process of its own, on a terminal that wraps it."""
    env = {"PYTHONIOENCODING": "ascii", "COLUMNS": "30"}
    done = run_python(STAGES[0], "--rule", "ten", env=env)
    assert_refused(done, "--rule must be an integer, got 'ten'\n")


def test_help_is_plain_text_that_fits_and_names_every_flag(run_in_terminal):
    command = [sys.executable, STAGES[5], "--help"]
    output, status = run_in_terminal(command, {"COLUMNS": "40"})
    assert status == 0
    assert "\x1b" not in output
    assert "Stage 5: " in output
    # tyro leaves the sentence above the options to the terminal to wrap.
    _, options = output.split(" options ", maxsplit=1)
    assert max(map(len, options.splitlines())) <= 40
    for flag in ("rule", "width", "num-steps", "save-image", "output"):
        assert f"--{flag}" in options
    assert "--num-devices" not in options  # stage 9 alone has it


@NOT_ON_WINDOWS
@pytest.mark.parametrize(
    ("number", "num_steps"),
    [(0, 400_000), pytest.param(4, 3_000, marks=pytest.mark.slow)],
)
def test_ctrl_c_ends_it_at_once(number, num_steps):
    """130 in a shell; also while XLA compiles, as stage 4 does here."""
    process = start_python("-u", STAGES[number], "--num-steps", num_steps)
    for _ in HEADER.splitlines():
        process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=5) == ("", "")
    assert process.returncode == -signal.SIGINT


@pytest.mark.parametrize(("status", "end"), [(3, 3), (-2, 130)])
def test_the_tour_ends_as_the_first_stage_that_fails(status, end, monkeypatch):
    statuses = iter([0, status])
    monkeypatch.setattr(tour, "show_stage", lambda *_, **__: next(statuses))
    assert tour.tour() == end


@NOT_ON_WINDOWS
@pytest.mark.parametrize("command", [("tour",), ("stage", "5")])
def test_ctrl_c_while_a_stage_imports_gives_no_traceback(command):
    env = {"PYTHONPROFILEIMPORTTIME": "1"}
    process = start_python("-u", DOOR, *command, env=env, process_group=0)
    while "jax._src" not in process.stderr.readline():
        pass
    os.killpg(process.pid, signal.SIGINT)  # to all, as a terminal does
    out, err = process.communicate(timeout=20)
    assert process.returncode in (130, -signal.SIGINT)
    assert "Traceback" not in err
    assert "first call" not in out


@pytest.mark.parametrize(
    "command",
    [
        (STAGES[0], "--num-steps", "3000"),
        (DOOR, "diff", "8"),
        (ROOT / "benchmarks" / "bench.py", "--help"),
    ],
)
def test_a_closed_pipe_gives_no_traceback(command):
    process = start_python(*command)
    process.stdout.close()
    with process:
        assert process.stderr.read() == ""


@ON_LINUX
def test_a_full_disk_is_one_line():
    with Path("/dev/full").open("w") as full:
        done = run_python(STAGES[0], "--num-steps", 3000, stdout=full)
    assert done.returncode == 1
    assert done.stderr == "the output cannot be written: no space is left\n"


@NOT_ON_WINDOWS
def test_a_closed_output_is_one_line():
    command = shlex.join([sys.executable, str(STAGES[0])])
    done = subprocess.run(f"{command} >&-", shell=True, **options())
    assert_refused(done, "standard output is closed", status=1)


def test_a_platform_that_is_not_there_is_one_line():
    done = run_python(STAGES[5], env={"JAX_PLATFORMS": "cuda"})
    if done.returncode == 0:
        pytest.skip("there is a GPU")
    assert_refused(done, "JAX finds no device", status=1)


def test_the_door_lists_its_commands(run_here):
    *lines, _ = output_of(run_here(DOOR / "__main__.py")).splitlines()
    names = [line.split()[0] for line in lines]
    assert {"tour", "diff", "check", "doctor"} <= set(names)
    for name in names:
        assert f"usage: {name} " in output_of(run_here(name, "--help"))
    known = "the command must be one of tour, stage"
    assert_refused(run_here("no-such"), known)


@pytest.mark.slow
def test_ctrl_c_ends_the_flip_book(run_in_terminal):
    size = "--width", 9, "--num-steps", 6
    output, status = run_in_terminal(
        [sys.executable, STAGES[6], *size, "--flip-book"],
        interrupt_at="rule 8 of 0 to 255",
    )
    assert status == 0
    assert "rule 0 of 0 to 255\r\n" in output  # the darkest
    assert "\x1b[4A\x1b[J" in output  # up by a title and three lines
    assert "Traceback" not in output
    assert output.endswith("\n")
    assert "rule 255 of" not in output


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (10, 9)])
def test_the_sheet_of_many_rules_fits(columns, lines, run_here, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", str(lines))
    *_, sheet = run_here(6, "--rule", 254).stdout.split("(run)\n")
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
    *_, sheet = run_here(6, "--width", 1).stdout.split("(run)\n")
    assert max(map(len, sheet.splitlines())) <= columns


def test_the_memory_is_checked_for_all_rules_together(monkeypatch, capsys):
    size = {"width": 1000, "num_steps": 1000}
    memory = SimpleNamespace(available=5_000_000)
    monkeypatch.setattr(harness.psutil, "virtual_memory", lambda: memory)
    harness.check_memory(harness.Arguments(**size))
    with pytest.raises(SystemExit, match="2"):
        harness.check_memory(shows.RulesArguments(**size))
    assert "got 256,000,000 bytes" in capsys.readouterr().err
    memory.available = 3_999_999
    with pytest.raises(SystemExit, match="2"):
        harness.check_memory(harness.Arguments(**size))


def test_the_memory_of_a_device_is_asked(monkeypatch, capsys):
    free = {"bytes_limit": 3_000_000, "bytes_in_use": 1_000_000}
    device = SimpleNamespace(memory_stats=lambda: free)
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    memory = SimpleNamespace(available=0)
    monkeypatch.setattr(harness.psutil, "virtual_memory", lambda: memory)
    quiet = {"width": 1000, "num_steps": 1000, "print_image": False}
    harness.check_memory(harness.Arguments(**quiet))
    for wrong in ({"width": 1001}, {"print_image": True}):
        with pytest.raises(SystemExit, match="2"):
            harness.check_memory(harness.Arguments(**quiet | wrong))
    told = capsys.readouterr().err
    assert "2 times into the device's memory available, 2,000,000" in told
    assert "4 times into the memory available, 0 bytes" in told


@pytest.mark.parametrize("number", [0, 5])
def test_a_device_that_is_not_there_is_bad_input(number):
    done = run_python(STAGES[number], "--device", "none")
    assert_refused(done, "device must be cpu, ")


def test_a_stage_says_where_it_ran_unless_on_a_cpu():
    assert devices.name_devices(jnp.zeros(3)) == ""
    gpu = SimpleNamespace(platform="cuda", device_kind="NVIDIA H200")
    one = SimpleNamespace(devices=lambda: [gpu])
    assert devices.name_devices(one) == " on NVIDIA H200"
    two = SimpleNamespace(devices=lambda: [gpu, gpu])
    assert devices.name_devices(two) == " on 2 x NVIDIA H200"


@pytest.mark.parametrize(
    ("coordinator", "num_devices", "gpus"),
    [("127.0.0.1:99", 2, [2, 3]), ("host:99", 2, None), (None, None, None)],
)
def test_processes_on_one_machine_share_its_gpus(
    coordinator, num_devices, gpus
):
    arguments = devices.DeviceArguments(num_devices, coordinator, 2, 1)
    assert devices.choose_gpus(arguments) == gpus


def test_time_call_waits_for_the_result():
    """It returns only arrays that are there: nothing is left to compute."""

    @jax.jit
    def slow(x):
        return jax.lax.fori_loop(0, 200, lambda _, x: jnp.sin(x @ x), x)

    result, _ = harness.time_call(slow, jnp.ones((200, 200)))
    assert result.is_ready()


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
    assert inspect.getsource(harness).count("perf_counter()") == 2
