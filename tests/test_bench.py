"""The benchmark: honest rows, a readable screen, files that can be read."""

import dataclasses
import functools
import io
import json
import math
import re
import shutil
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

import bench
import measuring
import sections
import tables
from measuring import MismatchError, Row, Stage, break_even, load_stages
from records import (
    END,
    START,
    Record,
    compare_column,
    explain_changes,
    replace_table,
)
from sections import PLANS, Settings, find_scan
from support import ROOT, clean_environment, run_python
from workshop.stages import STAGES_FOLDER, find_stages

BENCH = ROOT / "benchmarks" / "bench.py"
TINY = Settings(
    small=12,
    large=24,
    each_rule=5,
    compile_steps=(2, 3, 4, 5, 6),
    waiting_width=40,
    waiting_steps=5,
    probe_steps=(2, 4),
    patience=-math.inf,
    budget=0,
)
STAGES = load_stages(STAGES_FOLDER)
MACHINE = {
    "cpu": "abacus",
    "cores": 2,
    "memory": "1 GiB",
    "python": "3.11",
    "jax": "0.10",
    "numpy": "2.4",
    "devices": "cpu:0",
    "date": "today",
    "busy": 0.0,
}


def measure_section(name, stages=STAGES, settings=TINY):
    """The rows of a section, by label, and what is said below."""
    section = PLANS[name](stages, settings)
    rows = {label: task() for label, task in section.tasks}
    assert [row.label for row in rows.values()] == list(rows)
    return rows, list(section.notes(list(rows.values())))


@functools.cache
def measured(name):
    """The same for all stages, measured once for all tests that look at it."""
    return measure_section(name)


def copy_stages(folder, number, old, new):
    """A copy of the stages in which one of them is broken."""
    for path in find_stages().values():
        shutil.copy(path, folder)
    path = folder / find_stages()[number].name
    source = path.read_text(encoding="utf-8")
    assert source.count(old) == 1
    path.write_text(source.replace(old, new), encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", PLANS)
def test_a_section_has_rows_with_samples(name):
    rows, notes = measured(name)
    for row in rows.values():
        assert row.remark or all(row.samples.values())
        assert all(s > 0 for samples in row.samples.values() for s in samples)
    assert notes


def test_every_stage_has_a_row_in_small():
    rows, _ = measured("small")
    assert list(rows) == [stage.label for stage in STAGES]
    for stage in STAGES:
        row = rows[stage.label]
        if stage.fails_with:
            assert stage.fails_with[0].__name__ in row.remark
            assert not row.samples
        else:
            assert len(row.samples["first"]) == 1
            assert len(row.samples["later"]) >= 3
            assert row.num_cells == TINY.small**2


def test_only_stages_that_grow_are_extrapolated():
    rows, notes = measured("large")
    extrapolated = [label for label, row in rows.items() if row.remark]
    assert extrapolated == ["2 at_set", "4 static_args"]
    for label in extrapolated:
        assert re.match(
            r"at least .* extrapolated from 2 and 4", rows[label].remark
        )
    assert any("not run" in note for note in notes)


def test_what_does_not_take_long_is_not_extrapolated():
    patient = dataclasses.replace(TINY, patience=math.inf)
    stages = [STAGES[0], find_stage("4 static_args")]
    rows, notes = measure_section("large", stages, patient)
    assert len(rows["4 static_args"].samples["later"]) == 3
    assert not any("not run" in note for note in notes)


def test_noise_does_not_make_a_long_call_look_short(monkeypatch):
    seconds = iter([5.0, 4.0])  # the probe of more rows was the faster one

    def time_call(function, *args, **shape):
        return function(*args, **shape), next(seconds)

    monkeypatch.setattr(sections, "time_call", time_call)
    settings = dataclasses.replace(TINY, patience=10)
    stages = [STAGES[0], find_stage("4 static_args")]
    rows, _ = measure_section("large", stages, settings)
    assert rows["4 static_args"].remark.startswith("at least 4 s, ")


def test_large_has_a_row_for_each_program_and_each_way():
    rows, _ = measured("large")
    assert "6 vmap" not in rows  # the program of stage 5
    assert list(rows)[-1] == "floor: np.full"
    for stage in STAGES:
        if hasattr(stage.module, "simulate_packed"):
            assert f"{stage.label}, packed" in rows
    timed = [row for row in rows.values() if not row.remark]
    assert all(row.num_cells == TINY.large**2 for row in timed)


def test_compile_counts_equations():
    rows, _ = measured("compile")
    few, *_, many = TINY.compile_steps
    equations = {label: r.counts["equations"] for label, r in rows.items()}
    assert equations[f"5 scan, {few}"] == equations[f"5 scan, {many}"]
    unrolled = [equations[f"4 static_args, {n}"] for n in TINY.compile_steps]
    assert len(set(np.diff(unrolled))) == 1
    assert unrolled[-1] > 2 * unrolled[0]


def find_stage(label):
    """The stage of that label."""
    (stage,) = [stage for stage in STAGES if stage.label == label]
    return stage


def test_stages_are_told_apart_by_what_jax_sees():
    runs = [stage for stage in STAGES if not stage.fails_with]
    growing = [s.label for s in runs if s.unrolls]
    assert growing == ["2 at_set", "4 static_args"]
    assert [stage.label for stage in find_scan(STAGES)] == ["5 scan"]


def last_cell_wrong(states):
    return states.at[-1, -1].set(1 - states[-1, -1])


def last_row_missing(states):
    return states[:-1]


def broken(stage, spoil=last_cell_wrong):
    """The stage, with a simulate whose states are spoiled."""

    class Module:
        """Stands for the module of the stage."""

        @staticmethod
        @jax.jit(static_argnames=("width", "num_steps"))
        def simulate(rule, width, num_steps):
            return spoil(stage.module.simulate(rule, width, num_steps))

    return Stage(stage.label, Module, stage.is_jitted)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (last_cell_wrong, r"^5 scan.* is wrong: row \d+, c"),
        (last_row_missing, r"^5 scan.* is wrong: shape"),
    ],
)
@pytest.mark.parametrize("name", PLANS)
def test_wrong_states_end_every_section(name, spoil, message):
    stages = [STAGES[0], broken(find_stage("5 scan"), spoil)]
    with pytest.raises(MismatchError, match=message):
        measure_section(name, stages)


def test_wrong_states_end_a_probe():
    stages = [STAGES[0], broken(find_stage("4 static_args"), last_row_missing)]
    with pytest.raises(MismatchError, match=r"^4 static.* is wrong: shape"):
        measure_section("large", stages)


def test_a_stage_that_should_fail_must_fail(monkeypatch):
    stage = find_stage("5 scan")
    monkeypatch.setattr(stage.module, "__doc__", "Fails with: TypeError, no")
    with pytest.raises(MismatchError, match="5 scan has to fail"):
        measure_section("small", [STAGES[0], stage])


def test_the_result_is_checked_before_there_is_a_row(monkeypatch):
    events = []
    monkeypatch.setattr(jax, "clear_caches", lambda: events.append("clear"))
    row = measuring.measure(
        "label",
        lambda: events.append("call"),
        lambda result: events.append("check"),
        num_cells=1,
        budget=0,
    )
    assert events == ["clear", "call", "check", *["call"] * 3, "check"]
    assert [len(samples) for samples in row.samples.values()] == [1, 3]


def test_only_the_wrong_row_does_not_wait(monkeypatch):
    waits = []

    def time_call(function, *, wait=True):
        waits.append(wait)
        return function(), 1.0

    monkeypatch.setattr(measuring, "time_call", time_call)
    measure_section("waiting")
    assert waits == [False] * 4 + [True] * 4


def test_break_even_is_the_first_call_that_is_no_later():
    numpy = Row("numpy", {"first": [9.0], "later": [4.0, 5.0, 6.0]})
    row = Row("row", {"first": [100.0], "later": [1.0, 2.0, 3.0]})
    n = break_even(row, numpy)
    assert 100 + (n - 1) * 2 <= n * 5
    assert 100 + (n - 2) * 2 > (n - 1) * 5
    slow = Row("slow", {"first": [1.0], "later": [5.0, 5.0, 5.0]})
    assert break_even(slow, numpy) == math.inf
    fast = Row("fast", {"first": [1.0], "later": [1.0, 1.0, 1.0]})
    assert break_even(fast, numpy) == 1


class Terminal:
    """A stream like sys.stdout, that remembers."""

    encoding = "utf-8"

    def __init__(self, is_terminal):
        """is_terminal: or else a pipe."""
        self.text, self.is_terminal = "", is_terminal

    def isatty(self):
        """Ask whether it is a terminal."""
        return self.is_terminal

    def write(self, text):
        """Remember the text."""
        self.text += text

    def flush(self):
        """Do nothing."""


def show(name, monkeypatch, columns=80, is_terminal=False):
    """What is printed of a section."""
    stream = Terminal(is_terminal)
    rows, notes = measured(name)
    tasks = [(label, lambda row=row: row) for label, row in rows.items()]
    section = PLANS[name](STAGES, TINY)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys, "stdout", stream)
    screen = tables.Screen()
    title = f"{name}: {section.title}"
    shown = []
    screen.show(title, tasks, tables.COLUMNS[name], shown)
    assert shown == list(rows.values())
    for note in notes:
        screen.say(note)
    return stream.text


@pytest.mark.parametrize("columns", [40, 80])
@pytest.mark.parametrize("name", PLANS)
def test_a_section_fits_the_screen(name, columns, monkeypatch):
    lines = show(name, monkeypatch, columns).splitlines()
    assert max(map(len, lines)) <= columns
    header_lines = 6
    assert len(lines) + header_lines <= 24 or columns == 40


@pytest.mark.parametrize(
    ("first", "text"),
    [
        (1.0, "call 1"),
        (999.5, "call 999"),
        (1499.5, "call 2k"),
        (998_999.5, "call 999k"),
        (10.0**9, "never"),
    ],
)
def test_a_late_break_even_fits_its_column(first, text):
    baseline = Row("0 numpy", {"first": [1.5], "later": [1.5]})
    row = Row("2 at_set", {"first": [first], "later": [0.5]})
    assert tables.pays_off(row, [baseline, row]) == text
    assert len(text) <= tables.PAYS_OFF.width


@pytest.mark.parametrize("columns", [40, 80])
@pytest.mark.parametrize("name", PLANS)
def test_slow_machines_fit_the_screen_too(name, columns):
    row = Row(
        "9 shard, 16 devices",
        {"first": [99.99999], "later": [9.9, 9.99, 20.0]},
        num_cells=64_000_000,
    )
    if name == "compile":
        samples = {phase: [99.99999] for phase in tables.PHASES}
        row = Row("4 static_args, 320", samples, counts={"equations": 99_999})
    shown = tables.fitting(tables.COLUMNS[name], columns)
    width = tables.LABEL_WIDTH
    for column in shown:
        assert len(column.text(row, [row])) <= column.width
        width += len(tables.GAP) + column.width
    assert len(row.label) <= tables.LABEL_WIDTH
    assert width <= columns


@pytest.mark.parametrize(
    ("is_terminal", "variables", "is_plain"),
    [
        (True, {"TERM": "xterm", "NO_COLOR": ""}, False),
        (True, {"TERM": "xterm", "NO_COLOR": "1"}, True),
        (True, {"TERM": "dumb", "NO_COLOR": ""}, True),
        (False, {"TERM": "xterm", "NO_COLOR": ""}, True),
    ],
)
def test_plain_text_where_it_is_wanted(
    is_terminal, variables, is_plain, monkeypatch
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    text = show("waiting", monkeypatch, is_terminal=is_terminal)
    assert ("\x1b" not in text) == is_plain
    assert "WRONG" in text


def test_a_broken_stage_ends_the_run(tmp_path):
    folder = copy_stages(tmp_path, 5, "padded[2:]", "padded[1:-1]")
    done = run_python(
        BENCH, "--quick", "--only", "small", "--stages", str(folder)
    )
    assert done.returncode == 1
    assert done.stderr.startswith("5 scan is wrong: row 1, cell 19: got")
    assert "Traceback" not in done.stderr
    assert "\n4 static_args " in done.stdout
    assert "\n5 scan " not in done.stdout
    assert "Done" not in done.stdout


def test_interrupted_it_keeps_what_was_measured(tmp_path):
    file = tmp_path / "results.json"
    process = subprocess.Popen(
        [sys.executable, str(BENCH), "--json", str(file)],
        stdout=subprocess.PIPE,
        env=clean_environment(),
        encoding="utf-8",
    )
    for line in process.stdout:
        if line.startswith("0 numpy"):
            process.send_signal(signal.SIGINT)
            break
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in rest
    unwrapped = "".join(rest.split())  # a long path is wrapped
    assert f"wrote{file}" in unwrapped
    record = Record.from_json(file.read_text(encoding="utf-8"))
    assert not record.complete
    assert record.sections["small"]["rows"][0].label == "0 numpy"


def test_json_holds_every_sample(tmp_path):
    file = tmp_path / "results.json"
    done = run_python(
        BENCH, "--quick", "--only", "waiting", "--json", str(file)
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    record = Record.from_json(file.read_text(encoding="utf-8"))
    assert record.complete
    assert record.machine["jax"] == jax.__version__
    assert json.loads(record.to_json())["schema"] == 1
    (section,) = record.sections.values()
    labels = [row.label for row in section["rows"]]
    assert labels == ["WRONG: not waiting", "waiting"]
    assert all(len(row.samples["later"]) >= 3 for row in section["rows"])
    # The wait is seen: at this size it is most of the time.
    wrong, right = section["rows"]
    assert wrong.typical < right.typical


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        ([1.0, 1.1, 1.2], "1.00x"),
        ([1.1, 1.2, 1.3], "1.09x"),
        ([2.0, 2.2, 2.4], "2.00x slower"),
        ([0.5, 0.55, 0.6], "0.50x faster"),
        ([2.2], "2.00x"),
    ],
)
def test_ratios_outside_the_spread_are_marked(seconds, text):
    old = Row("a", {"first": [9.0], "later": [1.0, 1.1, 1.2]})
    section = {"title": "12 cells", "rows": [old]}
    before = Record(MACHINE, {"small": section})
    column = compare_column("small", "12 cells", before)
    row = Row("a", {"first": [1.0], "later": seconds})
    assert column.text(row, [row]) == text
    assert column.text(Row("b", row.samples), []) == "new"
    other_size = compare_column("small", "13 cells", before)
    assert other_size.text(row, [row]) == "new"


def test_what_changed_since_the_earlier_run_is_said():
    now = Record({**MACHINE, "jax": "0.12", "date": "later", "busy": 0.5})
    assert explain_changes(Record(MACHINE), now) == (
        "before: today; jax was 0.10"
    )


def make_record():
    """A record of rows that were not measured."""
    times = {"first": [3.0], "later": [1.0, 1.1, 1.2]}
    small = [
        Row("0 numpy", times),
        Row("1 jnp", remark="fails on purpose"),
        Row("8 bitpack", times),
    ]
    large = [Row("0 numpy", times), Row("8 bitpack, packed", times)]
    phases = {phase: [1.0] for phase in tables.PHASES}
    curve = [
        Row(f"5 scan, {n}", phases, counts={"num_steps": n}) for n in (2, 4)
    ]
    sections = {"small": small, "large": large, "compile": curve}
    return Record(
        MACHINE,
        {
            name: {"title": f"{name}, rule", "rows": rows}
            for name, rows in sections.items()
        },
    )


def test_a_record_is_read_back():
    record = make_record()
    assert Record.from_json(record.to_json()) == record


def test_the_plot_is_a_gray_picture():
    from PIL import Image

    from plot import draw

    png = draw(make_record())
    picture = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    height, width, _ = picture.shape
    assert height >= 800
    assert width >= 1200
    assert (picture == picture[..., :1]).all()
    half = (
        picture[: height // 2, : width // 2],
        picture[: height // 2, width // 2 :],
    )
    assert all((part == 0).mean() > 0.001 for part in half)


def test_the_table_between_the_markers_is_replaced():
    readme = f"# Title\n{START}\nold\n{END}\nrest\n"
    text = replace_table(readme, make_record())
    assert text.startswith(f"# Title\n{START}\n|")
    assert text.endswith(f"{END}\nrest\n")
    assert "old" not in text
    assert "abacus" in text
    assert replace_table(text, make_record()) == text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    labels = [line.split("|")[1].strip() for line in table[2:]]
    assert labels == ["0 numpy", "1 jnp", "8 bitpack", "8 bitpack, packed"]


def test_the_table_in_the_readme_has_the_stages_that_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text.partition(START)[2].partition(END)[0]
    rows = re.findall(r"^\| (\d+ \w+)", table, flags=re.MULTILINE)
    assert sorted(set(rows)) == sorted(stage.label for stage in STAGES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "smal"], "only must name some of small,"),
        (["--size", "0"], "size must be at least 1, got 0"),
        (["--size", "9999999"], "size must fit into the memory available"),
        (["--size", "x"], "size"),
        (["--stages", "nowhere"], "stages must be a folder of stages"),
        (["--json", "nowhere/a.json"], "json must be in a folder that exists"),
        (["--json", "tests"], "json must be a file, got the folder tests"),
        (["--plot", "nowhere/a.png"], "plot must be in a folder that exists"),
        (["--plot", "a.gif"], "plot must be a file named .png, got a.gif"),
        (["--compare", "nowhere.json"], "compare must be a file written by"),
        (["--compare", "Makefile"], "compare must be a file written by"),
        (["--readme", "LICENSE"], "readme must be a file with markers"),
        (["--readme", "LICENSE", "--only", "small"], "readme needs the sect"),
    ],
)
def test_bad_arguments_are_refused_before_measuring(
    arguments, message, monkeypatch, capsys
):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["bench.py", *arguments])
    with pytest.raises(SystemExit) as ended:
        bench.main()
    out, err = capsys.readouterr()
    assert ended.value.code == 2
    assert message in err
    assert err.count("\n") == 1
    assert not out


def test_no_traceback_when_the_reader_leaves():
    done = subprocess.run(
        f"{sys.executable} {BENCH} --quick --only waiting | head -1",
        shell=True,
        capture_output=True,
        env=clean_environment(),
        encoding="utf-8",
        timeout=120,
    )
    assert done.stdout.count("\n") == 1
    assert not done.stderr


def test_a_folder_that_cannot_be_written_is_refused(
    tmp_path, monkeypatch, capsys
):
    def refuse(**options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    monkeypatch.setattr(sys, "argv", ["", "--json", f"{tmp_path}/a.json"])
    with pytest.raises(SystemExit) as ended:
        bench.main()
    assert ended.value.code == 2
    assert "json must be in a writable folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "'schema'"),
        ('{"schema": 99}', "schema must be 1, is 99"),
        ("[1]", "compare must be a file"),
    ],
)
def test_a_file_of_another_kind_is_not_compared(
    content, message, tmp_path, monkeypatch, capsys
):
    file = tmp_path / "old.json"
    file.write_text(content, encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["bench.py", "--compare", str(file)])
    with pytest.raises(SystemExit) as ended:
        bench.main()
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
