"""Test how a stage runs: its command line, what it shows, how it ends."""

import inspect
import re
import signal
import sys
import time
from types import SimpleNamespace

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
    output_of,
    read_half_blocks,
    run_python,
    start_python,
    wait_for,
)
from workshop import devices, harness, tour
from workshop.stages import find_stages

BLOCKS = set(" ▀▄█")


def picture_in(lines, width):
    """Return the cells of the lines that form a picture of this width."""
    picture = [s for s in lines if len(s) == width and set(s) <= BLOCKS]
    return np.array(read_half_blocks(picture))


# What a stage prints and writes


def test_stage_0_prints_table_and_picture_without_jax(tmp_path):
    (tmp_path / "jax.py").write_text("raise ImportError('imports jax')\n")
    out = output_of(run_python(STAGES[0], env={"PYTHONPATH": str(tmp_path)}))
    table = [int(bit) for bit in re.findall(r"rule_table\S+ = (\d)", out)]
    assert table == [0, 1, 1, 1, 0, 1, 1, 0]
    assert len(re.findall(r"\d\.\d+ seconds", out)) == 1
    shown = picture_in(out.splitlines(), 80)
    np.testing.assert_array_equal(shown, REFERENCE.simulate(110, 80, 80))


@pytest.mark.parametrize("number", WORKING)
def test_every_stage_at_40_columns(number, tmp_path, monkeypatch, run_here):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "40")
    size = "--width", 31, "--num-steps", 24
    out = output_of(run_here(number, "--rule", 30, *size, "--save-image"))
    assert max(map(len, out.splitlines())) <= 40
    assert ("rule_table[" in out) == (number == 0)
    times = re.findall(r"\d\.\d+\s+seconds", out)
    assert len(times) == {0: 1, 7: 3}.get(number, 2)
    assert ("(trace, compile," in " ".join(out.split())) == (number > 2)
    with Image.open("output.png") as image:
        pixels = np.asarray(image.convert("L"))
    if number == 6:  # all rules, 16 in a row, with gray lines between
        assert pixels.shape == (16 * 25 - 1, 16 * 32 - 1)
        assert set(pixels[24].tolist()) == set(pixels[:, 31].tolist()) == {128}
        pixels = pixels[25:49, 14 * 32 : 14 * 32 + 31]
    else:
        shown = picture_in(out.splitlines(), 31)
        np.testing.assert_array_equal(shown, REFERENCE.simulate(30, 31, 24))
    expected = 255 - 255 * REFERENCE.simulate(30, 31, 24)
    np.testing.assert_array_equal(pixels, expected)


def test_nothing_but_text_unless_asked(tmp_path, monkeypatch, run_here):
    monkeypatch.chdir(tmp_path)
    out = output_of(run_here(5, "--no-print-image", "--rule", 30))
    assert not set("▀▄█") & set(out)
    assert list(tmp_path.iterdir()) == []


def test_two_files_of_one_number_are_refused(tmp_path, capsys):
    for name in ("stage1_one.py", "stage1_two.py"):
        (tmp_path / name).touch()
    with pytest.raises(SystemExit, match="2"):
        find_stages(tmp_path)
    assert "stage1_two.py" in capsys.readouterr().err


def test_the_rule_is_printed_as_the_table_of_a_stage(run_here):
    options = "--no-print-image", "--print-rule", "--rule", 25
    out = output_of(run_here(5, *options))
    entries = re.findall(r"rule_table\[(\d),(\d),(\d)\] = (\d)", out)
    shown = {tuple(map(int, entry[:3])): int(entry[3]) for entry in entries}
    assert shown == dict(np.ndenumerate(REFERENCE.make_rule_table(25)))


def test_shares_are_counted_and_marked(run_here):
    for number in (9, 10):
        out = output_of(run_here(number, "--num-devices", 4)).splitlines()
        assert "4 devices x 20 cells" in out
        (marks,) = (line for line in out if line.startswith("|"))
        assert [i for i, c in enumerate(marks) if c == "|"] == [0, 20, 40, 60]
        assert re.findall(r"\d+", marks) == ["0", "1", "2", "3"]


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (10, 20)])
def test_the_sheet_of_many_rules_fits(columns, lines, run_here, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", str(lines))
    *_, sheet = run_here(6, "--rule", 254).stdout.split("(run)\n")
    sheet = sheet.splitlines()
    assert 5 <= len(sheet) <= lines - 6
    assert max(map(len, sheet)) <= columns
    rules, height = sheet[0].split(), min(8, columns // 2)
    assert rules == [f"{(254 + i) % 256}" for i in range(columns // 16 or 1)]
    picture = [
        f"{line:{columns}}" for line in sheet[1 : 1 + (height + 1) // 2]
    ]
    shown = np.array(read_half_blocks(picture))[:height, : 2 * height - 1]
    expected = REFERENCE.simulate(254, 80, height)
    middle = slice(41 - height, 40 + height)
    np.testing.assert_array_equal(shown, expected[:, middle])


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


@pytest.mark.parametrize("columns", [40, 80])
@pytest.mark.parametrize("number", FAILING)
def test_a_failing_stage_shows_its_own_lines_on_one_screen(
    number, columns, run_here, monkeypatch
):
    monkeypatch.setenv("COLUMNS", str(columns))
    out = output_of(run_here(number))
    assert re.search(r"^TypeError: ", out, re.M)
    assert len(out.splitlines()) < 24
    assert max(map(len, re.sub("http.*", "", out).splitlines())) <= columns
    assert out.count("line ") == 2
    assert "site-packages" not in out
    assert STAGES[number + 1].name in out.splitlines()[-1]
    assert "site-packages" in output_of(run_here(number, "--traceback"))


LIVE = "    state[width // 2] = 1"
STATIC = "@jax.jit(static_argnames=('width', 'num_steps'))"


@pytest.mark.parametrize(
    ("number", "old", "new", "ran"),
    [
        (1, LIVE, "    raise TypeError('another')", False),
        (3, "jnp.zeros(width, dt", "jnp.zeros(width.no_such, dt", False),
        (1, LIVE, "    state = state.at[width // 2].set(1)", True),
        (3, "@jax.jit", STATIC, True),
    ],
)
def test_another_error_or_none_is_status_1(
    number, old, new, ran, tmp_path, run_here
):
    source = STAGES[number].read_text("utf-8")
    assert source.count(old) == 1
    path = tmp_path / STAGES[number].name
    path.write_text(source.replace(old, new), "utf-8")
    done = run_here(path)
    assert (done.returncode, "lesson" in done.stdout) == (1, False)
    assert "TypeError" in done.stderr.splitlines()[-1]
    assert (done.stderr.count("\n") == 1) == ran


# Bad input

PROCESSES = "--coordinator h:1 --num-processes 2 --process-id"
BAD_INPUT = [  # the number of a stage, its arguments, words in the message
    (0, "--rule 256", "rule 0 255 256"),
    (2, "--rule -1", "rule 0 255 -1"),
    (4, "--width 0", "width 1 0"),
    (5, f"--width {2**31}", f"width {2**31 - 1} {2**31}"),
    (8, "--num-steps 0", "num_steps 1 0"),
    (0, f"--num-steps {'9' * 12}", f"num_steps memory {'9' * 3},"),
    (0, "--save-image --output no/such.png", "output folder such.png"),
    (0, "--save-image --output picture.such", "output .png picture.such"),
    (0, "--save-image --output folder.png", "output folder.png"),
    (0, "--output x.png", "output --save-image x.png"),
    (7, "--num-steps 1", "num_steps 2 1"),
    (7, "--width 4096 --num-steps 4096", "width 16,777,215 16,777,216"),
    (9, "--num-devices 0", "num_devices 0"),
    (9, f"--num-devices {10**6} --width {10**6}", "num_devices 256 1000000"),
    (10, "--num-devices 81", "num_devices 80 81"),
    (9, "--num-devices 16", "num_devices 8 16"),
    (9, "--coordinator h:1", "num_processes process_id coordinator"),
    (9, f"{PROCESSES} 0 --coordinator h", "coordinator HOST:PORT h"),
    (9, f"{PROCESSES} 0 --coordinator h:99999", "coordinator h:99999"),
    (9, f"{PROCESSES} 0 --num-processes 0", "num_processes 0"),
    (9, f"{PROCESSES} 2", "process_id 2"),
    (9, f"{PROCESSES} 0 --num-devices 16", "num_devices 2 80 16"),
    *((n, "--rule 300", "rule 300") for n in STAGES),  # each stage checks it
]


@pytest.mark.parametrize(("number", "arguments", "named"), BAD_INPUT)
def test_bad_input_is_one_line_and_status_2(
    number, arguments, named, run_here, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.png").mkdir()
    done = run_here(number, *arguments.split())
    assert_refused(done, "")
    for word in named.split():
        assert word in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["folder.png"]


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("stage 5 --rule ten", "--rule"),
        ("stage 5 --no-such", "--no-such"),
        ("diff five", "five"),
        ("diff", "N"),
    ],
)
def test_what_does_not_parse_is_status_2(command, named, run_here):
    done = run_here(*command.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert named in done.stderr
    assert "Traceback" not in done.stderr


def test_a_command_that_is_not_there(run_here):
    assert_refused(run_here("such"), "such")
    out = output_of(run_here("--help"))
    assert {"tour", "check", "port", "bench", "lab"} <= set(out.split())
    for number in (0, 99):
        assert_refused(run_here("diff", number), f"got {number}\n")
        assert number == 0 or "99" in run_here("stage", number).stderr


@pytest.mark.parametrize("name", ["stage", "diff", "check", "hint", "watch"])
def test_a_command_without_its_number_is_one_line(name, run_here, monkeypatch):
    monkeypatch.delenv("MAKELEVEL", raising=False)
    assert_refused(run_here(name), f"{name} 5")
    monkeypatch.setenv("MAKELEVEL", "1")
    assert_refused(run_here(name, ""), f"{name} N=5")
    assert_refused(run_here(name, "five"), "five")


def test_help_fits_and_names_every_option(run_in_terminal):
    command = [sys.executable, STAGES[1], "--help"]
    output, status = run_in_terminal(command, {"COLUMNS": "40"})
    assert status == 0
    assert "\x1b" not in output
    assert "Stage 1: " in output
    for flag in ("rule", "width", "num-steps", "save-image", "traceback"):
        assert f"--{flag}" in output
    assert "--num-devices" not in output  # only sharded stages have it


@pytest.mark.parametrize(
    ("command", "name", "value", "status"),
    [
        ("stage 5", "JAX_NUM_CPU_DEVICES", "x", 2),
        ("inspect 5", "JAX_NUM_CPU_DEVICES", "x", 2),
        ("stage 5", "JAX_PLATFORMS", "none", 1),
    ],
)
def test_a_variable_that_stops_jax_is_one_line(command, name, value, status):
    done = run_python(DOOR, *command.split(), env={name: value})
    assert_refused(done, value, status)


def test_a_device_that_is_not_there_is_bad_input():
    assert_refused(run_python(STAGES[5], "--device", "none"), "device")


def test_without_its_packages_a_command_is_one_line():
    assert_refused(run_python("-S", DOOR, "stage", 5), "jax", status=1)


def test_the_memory_is_checked_for_all_rules_together(monkeypatch):
    memory = SimpleNamespace(available=5_000_000)
    monkeypatch.setattr(harness.psutil, "virtual_memory", lambda: memory)
    size = {"width": 1000, "num_steps": 1000}
    harness.check_memory(harness.Arguments(**size))
    with pytest.raises(SystemExit, match="2"):
        harness.check_memory(harness.RulesArguments(**size))


# How a command ends


SLOW = [
    "stage 0 --num-steps 400000",
    "stage 4 --num-steps 3000",
    "inspect 5",
    f"check 5 {STAGES[5]}",
    "tour",
    "cluster --num-steps 40000",
]


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
    for seconds in (0, 0.4, 0.8, 2, 4)[: 5 if command in SLOW else 2]:
        process = start_python(DOOR, *command.split())
        wait_for(lambda pid=process.pid: has_started(pid))
        time.sleep(seconds)
        children = psutil.Process(process.pid).children(recursive=True)
        has_ended = process.poll() is not None
        process.send_signal(stop)
        _, err = process.communicate(timeout=10)
        is_ending = seconds > 1 and process.returncode == 0
        by_signal = process.returncode in (-stop, 128 + stop)
        assert has_ended or is_ending or by_signal
        assert "Traceback" not in err
        wait_for(lambda started=children: not any(map(runs, started)), 10)


def runs(process):
    """Return whether a process runs; a zombie does not count."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def has_started(pid):
    """Return whether Python is up; before that, Ctrl-C gives a traceback."""
    return sum(psutil.Process(pid).cpu_times()[:2]) > 0.03


@pytest.mark.parametrize(
    "command",
    [
        (STAGES[0], "--num-steps", "3000"),
        (DOOR, "stage", "0"),
        (DOOR, "diff", "8"),
        (ROOT / "benchmarks" / "bench.py", "--help"),
    ],
)
def test_a_closed_pipe_gives_no_traceback(command):
    process = start_python(*command)
    process.stdout.close()
    with process:
        assert process.stderr.read() == ""
    assert process.returncode == 1


# The tour


@pytest.mark.slow
def test_a_screen_of_the_tour_fits_80_by_24(run_in_terminal):
    output, status = run_in_terminal(
        [sys.executable, DOOR, "tour"], keys="\n", at="left)"
    )
    assert status == 0
    *screens, _ = re.split(r"Enter: .*", re.sub(r"\x1b\[\d*m", "", output))
    assert len(screens) == len(STAGES) - 1
    for number, screen in enumerate(screens):
        lines = screen.replace("\r", "").strip("\n").splitlines()
        assert len(lines) < 24
        assert max(map(len, lines)) <= 80
        assert lines[0].startswith(f"Stage {number}: ")
    rows = [f"{line:80}" for line in screens[0].split("\r\n")[-17:-1]]
    shown = picture_in(rows, 80)
    np.testing.assert_array_equal(shown, REFERENCE.simulate(110, 80, 32))


@pytest.mark.parametrize(("status", "end"), [(0, 0), (3, 3), (-2, 130)])
def test_the_tour_ends_as_the_first_stage_that_fails(status, end, monkeypatch):
    """Run the tour without standard input."""
    monkeypatch.setattr(sys, "stdin", None)
    statuses = iter([0, status, *[0] * len(STAGES)])
    monkeypatch.setattr(tour, "show_stage", lambda *_: next(statuses))
    assert tour.tour() == end


# Time, and where it was spent


def test_a_stage_says_where_it_ran_unless_on_a_cpu():
    assert devices.name_devices(jnp.zeros(3)) == ""
    gpu = SimpleNamespace(platform="cuda", device_kind="NVIDIA H200")
    one = SimpleNamespace(devices=lambda: [gpu])
    assert devices.name_devices(one) == " on NVIDIA H200"
    two = SimpleNamespace(devices=lambda: [gpu, gpu])
    assert devices.name_devices(two) == " on 2 x NVIDIA H200"


def test_time_call_waits_for_the_result():
    @jax.jit
    def slow(x):
        return jax.lax.fori_loop(0, 200, lambda _, x: jnp.sin(x @ x), x)

    result, _ = harness.time_call(slow, jnp.ones((200, 200)))
    assert result.is_ready()


def test_one_function_reads_the_clock():
    clocks = ("perf_counter", "time.time(", "timeit", "%time")
    reading = [
        path.relative_to(ROOT).as_posix()
        for folder in ("stages", "benchmarks", "notebooks")
        for path in (ROOT / folder).rglob("*.py")
        if any(clock in path.read_text("utf-8") for clock in clocks)
    ]
    # evidence.py times single lines, and harness.py times function calls.
    harness_file, *others = reading
    assert harness_file == "stages/workshop/harness.py"
    assert others == ["stages/workshop/port/evidence.py"]
    assert inspect.getsource(harness).count("perf_counter()") == 2
