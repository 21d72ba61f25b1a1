"""Test how a stage runs: its command line, what it shows, how it ends."""

import re
import signal
import sys
import time
from types import SimpleNamespace
from unittest.mock import Mock

import jax
import jax.numpy as jnp
import numpy as np
import psutil
import pytest
from PIL import Image

from support import (
    DOOR,
    FAILING,
    NOT_ON_WINDOWS,
    REFERENCE,
    ROOT,
    STAGES,
    WORKING,
    assert_refused,
    has_ended,
    output_of,
    read_half_blocks,
    run_python,
    start_python,
    wait_for,
)
from workshop import devices, harness, stages

BLOCKS = set(" ▀▄█")


def picture_in(lines, width):
    """Return the cells of the lines that form a picture of this width."""
    picture = [s for s in lines if len(s) == width and set(s) <= BLOCKS]
    return np.array(read_half_blocks(picture))


# What a stage prints and writes


def test_stage_0_prints_table_and_picture_without_jax(tmp_path):
    (tmp_path / "jax.py").write_text("raise ImportError('imports jax')\n")
    env = {"PYTHONPATH": str(tmp_path)}
    out = output_of(run_python(STAGES[0], "--rule", 25, env=env)).splitlines()
    assert "0b00011001" in out[0]
    entries = dict(zip(out[1].split()[1:], out[2].split()[1:], strict=True))
    shown = {tuple(map(int, key)): int(bit) for key, bit in entries.items()}
    assert shown == dict(np.ndenumerate(REFERENCE.make_rule_table(25)))
    assert len(re.findall(r"\d\.\d+ seconds", "\n".join(out))) == 1
    shown = picture_in(out, 80)
    np.testing.assert_array_equal(shown, REFERENCE.simulate(25, 80, 80))


@pytest.mark.parametrize("number", WORKING)
def test_every_stage_at_40_columns(number, tmp_path, monkeypatch, run_here):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "40")
    size = "--width", 31, "--num-steps", 24
    options = "--save-image", *(["--print-rule"] if number == 4 else [])
    out = output_of(run_here(number, "--rule", 30, *size, *options))
    assert max(map(len, out.splitlines())) <= 40
    assert ("\ntable: 000" in out) == (number in (0, 4))
    times = re.findall(r"\d\.\d+\s+seconds", out)
    assert len(times) == {0: 1, 7: 3}.get(number, 2)
    assert ("(trace, compile," in " ".join(out.split())) == (number > 2)
    with Image.open("output.png") as image:
        pixels = np.asarray(image)
    if number == 6:  # all rules, 16 in a row, with gray lines between
        assert pixels.shape == (16 * 25 - 1, 16 * 32 - 1)
        assert set(pixels[24].tolist()) == set(pixels[:, 31].tolist()) == {128}
        pixels = pixels[25:49, 14 * 32 : 14 * 32 + 31]
    else:
        shown = picture_in(out.splitlines(), 31)
        np.testing.assert_array_equal(shown, REFERENCE.simulate(30, 31, 24))
    expected = 255 - 255 * REFERENCE.simulate(30, 31, 24)
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("number", STAGES)
def test_a_screen_of_the_tour_fits_80_by_24(number, run_here, monkeypatch):
    """Count the lines, and leave one for the question below them."""
    monkeypatch.setenv("COLUMNS", "80")
    description = stages.describe(STAGES[number]).splitlines()
    monkeypatch.setenv("LINES", str(24 - len(description)))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    out = run_here(number, "--num-steps", 32).stdout
    screen = [*description, *re.sub(r"\x1b\[[\d;]*m", "", out).splitlines()]
    assert 12 < len(screen) < 24
    assert max(map(len, re.sub("http.*", "", out).splitlines())) <= 80


def test_the_sheet_of_many_rules_fits(run_here, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    *_, sheet = run_here(6, "--rule", 254).stdout.split("(run)\n")
    sheet = sheet.splitlines()
    assert len(sheet) == 3 * 5  # three rows of five rules
    assert sheet[0].split() == ["254", "255", "0", "1", "2"]
    picture = [f"{line:80}" for line in sheet[1:5]]
    shown = np.array(read_half_blocks(picture))[:, :15]
    expected = REFERENCE.simulate(254, 80, 8)[:, 33:48]
    np.testing.assert_array_equal(shown, expected)


def test_stage_7_shows_what_it_learned(run_here):
    lines = output_of(run_here(7, "--rule", 30)).splitlines()
    _, *losses = next(x for x in lines if x.startswith("loss:")).split()
    assert len(losses) > 5
    assert list(map(float, losses)) == sorted(map(float, losses), reverse=True)
    bits, learned = (line.split()[1:] for line in lines[-3:-1])
    assert bits == list("01111000")
    assert learned == [f"{bit}.00" for bit in bits]
    # One cell is its own left and right neighbor, so only 000 and 111 occur.
    *_, learned, _, last = output_of(run_here(7, "--width", 1)).splitlines()
    assert learned.count("?") == 6
    assert "rule 0" in last


# Stages that fail on purpose


@pytest.mark.parametrize("number", FAILING)
def test_a_failing_stage_shows_its_own_lines(number, run_here, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    out = output_of(run_here(number))
    assert re.search(r"^TypeError: ", out, re.M)
    assert max(map(len, re.sub("http.*", "", out).splitlines())) <= 40
    assert out.count("line ") == 2
    assert "site-packages" not in out
    assert STAGES[number + 1].name in out.splitlines()[-1]
    assert "site-packages" in output_of(run_here(number, "--traceback"))


def test_another_error_or_none_is_not_the_lesson(tmp_path, run_here):
    path, source = tmp_path / STAGES[1].name, STAGES[1].read_text("utf-8")
    fails = "state[width // 2] = 1"
    path.write_text(source.replace(fails, "raise TypeError('other')"), "utf-8")
    with pytest.raises(TypeError, match="other"):
        run_here(path)
    path.write_text(source.replace(fails, "state += 0"), "utf-8")
    done = run_here(path)
    assert (done.returncode, "lesson" in done.stdout) == (1, False)
    assert "TypeError" in done.stderr


# Bad input

PROCESSES = "coordinator num_processes process_id"
TWO = "--num-processes 2 --process-id"
BAD_INPUT = [  # the number of a stage, its arguments, words in the message
    (0, "--rule 256", "rule 0 255 256"),
    (4, "--width 0", "width 1 0"),
    (8, "--num-steps 0", "num_steps 1 0"),
    (0, f"--num-steps {'9' * 12}", f"num_steps memory {'9' * 3},"),
    (0, "--save-image --output no/such.png", "output folder such.png"),
    (0, "--save-image --output .", "output file ."),
    (0, "--save-image --output picture.jpg", "output .png picture.jpg"),
    (0, "--output x.png", "output --save-image x.png"),
    (0, "--device cuda", "device cpu cuda"),
    (7, "--num-steps 1", "num_steps 2 1"),
    (9, "--num-devices 0", "num_devices 0"),
    (9, "--num-devices 257 --width 257", "num_devices 256 257"),
    (10, "--num-devices 3", "num_devices 80 3"),
    (9, "--num-devices 16", "num_devices 8 16"),
    (9, "--coordinator h:1", PROCESSES),
    (9, "--process-id 0", PROCESSES),
    (9, f"{TWO} 0 --coordinator h", "coordinator HOST:PORT h"),
    (9, f"{TWO} 0 --coordinator h:99999", "coordinator h:99999"),
    (9, f"{TWO} 2 --coordinator h:1", "process_id 2"),
]


@pytest.mark.parametrize(("number", "arguments", "named"), BAD_INPUT)
def test_bad_input_is_one_line_and_status_2(
    number, arguments, named, run_here, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "jax", jax if number else None)
    done = run_here(number, *arguments.split())
    assert_refused(done, "")
    for word in named.split():
        assert word in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("such", "such"),
        ("stage 99", "99"),
        ("diff 0", "got 0\n"),
        ("diff 99", "got 99\n"),
        ("diff 5 --only pad", "pad"),
        ("check five", "five"),
        ("check", "check 5"),
        ("MAKE check", "check N=5"),
        ("stage 5 --rule ten", "--rule"),
        ("cluster --rule 5", "--rule"),
    ],
)
def test_a_wrong_command_is_one_line(command, named, run_here, monkeypatch):
    """Check the status only, if the argument parser explains the mistake."""
    monkeypatch.delenv("MAKELEVEL", raising=False)
    if command.startswith("MAKE"):
        monkeypatch.setenv("MAKELEVEL", "1")
    done = run_here(*command.removeprefix("MAKE ").split())
    assert (done.returncode, done.stdout) == (2, "")
    assert named in done.stderr
    assert done.stderr.count("\n") == 1 or named == "--rule"


def test_help_names_the_options_and_all_commands(run_here):
    out = output_of(run_here(1, "--help"))
    for flag in ("rule", "width", "num-steps", "save-image", "traceback"):
        assert f"--{flag}" in out
    assert "--num-devices" not in out  # only sharded stages have it
    words = output_of(run_here("--help")).split()
    assert {"tour", "check", "port", "bench", "lab"} <= set(words)


def test_a_device_that_jax_does_not_find_is_one_line(capsys, monkeypatch):
    monkeypatch.setattr(jax, "devices", Mock(side_effect=RuntimeError("a\nb")))
    monkeypatch.setattr(jax.config, "update", Mock())
    with pytest.raises(SystemExit, match="2"):
        devices.start_jax("such")
    with pytest.raises(SystemExit, match="1"):
        devices.start_jax()
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("such")
    assert second.endswith(" a")


def test_a_variable_that_stops_jax_is_one_line():
    done = run_python(DOOR, "stage", 5, env={"JAX_NUM_CPU_DEVICES": "x"})
    assert_refused(done, "x")


def test_without_its_packages_a_command_is_one_line():
    assert_refused(run_python("-S", DOOR, "stage", 5), "jax", status=1)


def test_the_memory_is_checked_for_all_rules_together(run_here, monkeypatch):
    memory = SimpleNamespace(available=5_000_000)
    monkeypatch.setattr(harness.psutil, "virtual_memory", lambda: memory)
    size = "--width", 100, "--num-steps", 100
    assert "█" not in output_of(run_here(5, *size, "--no-print-image"))
    assert_refused(run_here(6, *size, "--no-print-image"), "2,560,000")


# How a command ends

SLOW = ["stage 4 --num-steps 3000", f"check 5 {STAGES[5]}", "tour", "cluster"]


@NOT_ON_WINDOWS
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "command",
    ["stage 5", *(pytest.param(c, marks=pytest.mark.slow) for c in SLOW)],
)
def test_a_signal_ends_it_at_any_moment_without_a_page(command, stop):
    """Also check that no process that the command started is left.

    After a second or more, the command may be ending by itself.
    """
    for seconds in (0, 0.6, 1.2, 3)[: 4 if command in SLOW else 2]:
        process = start_python(DOOR, *command.split())
        wait_for(lambda pid=process.pid: has_started(pid))
        time.sleep(seconds)
        children = psutil.Process(process.pid).children(recursive=True)
        pids = [child.pid for child in children]
        is_over = process.poll() is not None
        process.send_signal(stop)
        _, err = process.communicate(timeout=10)
        is_ending = seconds > 1 and process.returncode == 0
        by_signal = process.returncode in (-stop, 128 + stop)
        assert is_over or is_ending or by_signal
        assert "Traceback" not in err
        wait_for(lambda pids=pids: all(map(has_ended, pids)), 10)


def has_started(pid):
    """Return whether Python is up; before that, Ctrl-C gives a traceback."""
    process = psutil.Process(pid)
    is_old = time.time() - process.create_time() > 0.5
    return is_old or sum(process.cpu_times()[:2]) > 0.03


@pytest.mark.parametrize("command", [(STAGES[0],), (DOOR, "diff", "8")])
def test_a_closed_pipe_gives_no_traceback(command):
    process = start_python(*command)
    process.stdout.close()
    with process:
        assert process.stderr.read() == ""
    assert process.returncode == 1


# The tour


def test_the_tour_waits_and_ends_when_asked(run_in_terminal):
    output, status = run_in_terminal(
        [sys.executable, DOOR, "tour"], keys="q\n", at="end "
    )
    assert status == 0
    screen, end = re.sub(r"\x1b\[\d*m", "", output).split("Enter: stage 1")
    assert screen.startswith("Stage 0: ")
    rows = screen.replace("\r", "").split("\n")
    assert len(rows) < 24
    shown = picture_in(rows, 80)
    assert len(shown) > 16  # more than half of the picture
    expected = REFERENCE.simulate(110, 80, len(shown))
    np.testing.assert_array_equal(shown, expected)
    assert " diff " in end


@pytest.mark.parametrize("status", [0, 3])
def test_the_tour_ends_with_the_first_stage_that_fails(status, monkeypatch):
    """Run the tour without standard input."""
    seen = []

    def run(command, env):
        seen.append(int(command[3]))
        assert (env["JAX_NUM_CPU_DEVICES"], env["PATH"] != "") == ("4", True)
        return SimpleNamespace(returncode=status if len(seen) == 2 else 0)

    monkeypatch.setattr(sys, "stdin", None)
    monkeypatch.setattr(stages.subprocess, "run", run)
    assert stages.tour() == status
    assert seen == (list(STAGES)[:2] if status else list(STAGES))


# Time, and where it was spent


def test_a_stage_says_where_it_ran_unless_on_a_cpu():
    assert devices.name_devices(jnp.zeros(3)) == ""
    gpu = SimpleNamespace(platform="cuda", device_kind="NVIDIA H200")
    result = SimpleNamespace(devices=lambda: [gpu, gpu])
    assert devices.name_devices(result) == " on NVIDIA H200"


def test_time_call_waits_for_the_result_unless_asked_not_to(monkeypatch):
    wait = Mock(side_effect=lambda _: time.sleep(0.01))
    monkeypatch.setattr(jax, "block_until_ready", wait)
    result, seconds = harness.time_call(pow, 2, exp=3)
    assert result == 8
    assert seconds >= 0.01
    wait.assert_called_once_with(8)
    harness.time_call(pow, 2, 3, wait=False)
    wait.assert_called_once()


def test_one_function_reads_the_clock():
    clocks = re.compile(r"perf_counter|time\.time\(|timeit")
    folders = ("stages", "benchmarks", "notebooks")
    paths = [p for name in folders for p in (ROOT / name).rglob("*.py")]
    reading = [p.name for p in paths if clocks.search(p.read_text("utf-8"))]
    # evidence.py times single lines.
    assert sorted(reading) == ["evidence.py", "harness.py"]
