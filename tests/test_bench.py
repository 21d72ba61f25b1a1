"""The benchmark: honest rows, a readable screen, and the files it writes."""

import dataclasses
import json
import re
import shutil
import signal
import sys
from types import ModuleType, SimpleNamespace

import jax
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

import bench
import machine
import measuring
import picture
import programs
import report
from measuring import Program, Row
from sections import SECTIONS, Sizes
from support import NOT_ON_WINDOWS, ROOT, start_python
from workshop.stages import STAGES_FOLDER, failure, find_stages

TINY = Sizes(12, 24, (2, 4), (2, 4), (5, 7), (40, 5), (13,))
STAGES = programs.load_stages(STAGES_FOLDER)
HAS_C = shutil.which("cc") is not None


@pytest.fixture(autouse=True)
def few_calls(monkeypatch):
    """No row is timed for longer than it must be."""
    monkeypatch.setattr(measuring, "ENOUGH", 0)


def run_bench(monkeypatch, *arguments):
    """Run the script here, at sizes for a test; return its exit status."""
    monkeypatch.setattr(machine, "prepare_jax", lambda _: None)
    monkeypatch.setattr(bench, "QUICK", TINY)
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["bench.py", *map(str, arguments)])
    try:
        bench.main()
    except SystemExit as end:
        return end.code
    return 0


def measure_section(name, stages=STAGES, sizes=TINY):
    """Return the rows of a section, by label."""
    lines = [line for line in SECTIONS[name](stages, sizes)]
    return {line.label: line for line in lines if isinstance(line, Row)}


def change(label, **functions):
    """Return the stages, with some functions of one replaced."""
    module = ModuleType(label)
    vars(module).update(vars(STAGES[label]) | functions)
    return {**STAGES, label: module}


@pytest.mark.parametrize("name", ["small", "large"])
def test_every_stage_has_a_row_for_each_way_to_run_it(name):
    rows, size = measure_section(name), getattr(TINY, name)
    most = programs.most_devices(size)
    assert {"9 shard, 1 device", f"10 halo, {most} devices"} < set(rows)
    assert rows["6 vmap"].remark.endswith("5 scan")
    assert report.WRITING in rows
    for label, stage in STAGES.items():
        assert any(key.startswith(label) for key in rows)
        packs = hasattr(stage, "simulate_packed")
        assert (f"{label}, packed" in rows) == packs
        if fails_with := failure(stage.__doc__):
            assert fails_with[0].__name__ in rows[label].remark
    guesses = [label for label, row in rows.items() if row.extrapolated]
    unrolled = ["2 at_set", "4 static_args"]
    assert guesses == (unrolled if name == "large" else [])
    for row in rows.values():
        assert bool(row.remark) != bool(row.samples)
        if row.samples:
            assert row.num_cells == size**2
            assert row.extrapolated or len(row.samples["later"]) == 3


def test_each_other_section_shows_what_it_is_for():
    rows = measure_section("compile").values()
    unrolled, longer, scan, same = [row.num_equations for row in rows]
    assert unrolled < longer
    assert scan == same
    labels = ["0 numpy, loop", "5 scan, loop", "6 vmap, one call"]
    rows = measure_section("rules")
    assert list(rows) == [*labels, "vmap 8 bitpack, packed"]
    assert {row.num_cells for row in rows.values()} == {256 * 5 * 7}
    (row,) = measure_section("scale").values()
    c = ["C, 1 core"] if HAS_C else []
    assert list(row.samples) == ["8 bitpack", "10 halo x 8", *c]


@pytest.mark.parametrize("columns", [40, 80])
def test_a_run_fits_the_screen_and_ends_with_a_summary(
    columns, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("COLUMNS", str(columns))
    file = tmp_path / "results.json"
    options = "--only", "small,compile,waiting", "--json", file
    assert run_bench(monkeypatch, "--quick", *options) == 0
    out = capsys.readouterr().out.partition("wrote")[0]
    assert max(map(len, out.splitlines())) <= columns
    *_, summary = out.split("\n\n")
    stages = re.findall(r"^(\d+) \w", summary, flags=re.MULTILINE)
    assert stages == ["2", "4", "5", "8", "8", "9", "10"]
    assert summary.count("\n") == (8 if columns == 80 else 16)
    rows = json.loads(file.read_text(encoding="utf-8"))["sections"]
    assert len(rows["small"]) == len(measure_section("small"))


def test_the_cpu_is_beside_another_device(monkeypatch):
    def devices(platform=None, find=jax.devices):
        other = SimpleNamespace(platform="cuda", device_kind="fast")
        return find(platform) if platform else [other]

    monkeypatch.setattr(jax, "devices", devices)
    labels = set(measure_section("rules"))
    for way in ("6 vmap, one call", "vmap 8 bitpack, packed"):
        assert {way, f"{way}, CPU"} < labels
    assert "0 numpy, loop, CPU" not in labels


@pytest.mark.parametrize(  # seconds for 2 and 4 rows, and then for 24
    ("few", "more", "first"), [(1, 2, 12), (9, 12, 42), (5, 4, 4)]
)
def test_a_long_call_is_extrapolated(few, more, first, monkeypatch):
    def measured(_, inputs, expected):
        seconds = few if inputs[2] == 2 else more
        return Row("", {"first": [seconds], "later": [0.1 * len(expected)]})

    monkeypatch.setattr(measuring, "measure", measured)
    inputs = Program("unrolled", None), (110, 24, 24), np.zeros((24, 24))
    row = measuring.extrapolate(*inputs, (2, 4))
    assert row.seconds("first") == first
    assert row.seconds() == pytest.approx(2.4)


@pytest.mark.parametrize("name", ["small", "compile", "rules", "waiting"])
def test_wrong_states_end_the_run(name, capsys):
    @jax.jit(static_argnames=("width", "num_steps"))
    def simulate(rule, width, num_steps):
        states = STAGES["5 scan"].simulate(rule, width, num_steps)
        return states.at[-1, -1].set(1 - states[-1, -1])

    with pytest.raises(SystemExit) as end:
        measure_section(name, change("5 scan", simulate=simulate))
    assert end.value.code == 1
    assert re.match(r"5 scan.* row \d", capsys.readouterr().err)


@pytest.mark.parametrize("label", ["8 bitpack", "10 halo"])
def test_a_wrong_last_row_ends_the_run(label):
    def scan_words(*arguments):
        words, rows = STAGES[label].scan_words(*arguments)
        return words ^ 1, rows

    with pytest.raises(SystemExit):
        measure_section("scale", change(label, scan_words=scan_words))


@pytest.mark.skipif(not HAS_C, reason="no C compiler is named cc")
@pytest.mark.parametrize(("rule", "width"), [(110, 32), (30, 96), (57, 1024)])
def test_c_has_the_words_of_stage_8(rule, width):
    packed = STAGES["8 bitpack"].simulate_packed(rule, width, 70)
    words = programs.run_c(rule, width, 69)
    np.testing.assert_array_equal(words, packed[-1])


@pytest.mark.filterwarnings("default")  # those of a library are its own
def test_peers_compute_the_states_or_are_missing(capsys):
    sizes = dataclasses.replace(TINY, large=32)
    labels = list(measure_section("peers", sizes=sizes))
    assert labels[:3] == ["0 numpy", "5 scan", "8 bitpack"]
    out = capsys.readouterr().out
    for name in ("C", "CAX", "Numba"):
        there = any(re.match(rf"{name}\b", label) for label in labels)
        assert there != (f"{name} is missing" in out)


def test_results_are_compared_and_only_one_row_does_not_wait(monkeypatch):
    events = []

    def time_call(function, *args, wait=True):
        events.append("call" if wait else "ask")
        return function(*args), 1.0

    monkeypatch.setattr(measuring, "time_call", time_call)
    monkeypatch.setattr(measuring, "check", lambda *_: events.append("check"))
    measure_section("waiting")
    for call in ("call", "ask", "call"):
        row, events = events[:6], events[6:]
        assert row == [call, "check", call, call, call, "check"]


def test_it_pays_off_at_the_first_call_that_is_not_later():
    numpy = Row("0 numpy", {"first": [9.0], "later": [1.5]})
    for first, text in ((0.5, "call 1"), (2, "call 2"), (1e9, "never")):
        row = Row("row", {"first": [first], "later": [0.5]})
        cells = report.make_cells(row, numpy)
        assert (cells["vs NumPy"], cells["pays off"]) == ("3.0x", text)
    cells = report.make_cells(numpy, row)
    assert (cells["vs NumPy"], cells["pays off"]) == ("3.0x slower", "never")


def test_after_the_budget_the_sizes_shrink(monkeypatch, capsys):
    monkeypatch.setattr(bench, "Sizes", lambda: TINY)
    monkeypatch.setattr(bench, "BUDGET", 0)
    smaller = dataclasses.replace(TINY, waiting_shape=(9, 4))
    monkeypatch.setattr(bench, "QUICK", smaller)
    tables = bench.measure_all(["rules", "waiting"], quick=False)
    assert tables["waiting"].rows[0].num_cells == 36
    assert capsys.readouterr().out.count("smaller") == 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("padded[2:]", "padded[1:-1]", "5 scan is wrong: row 1, cell 5"),
        ("import jax\n", "import jacks\n", "stage5_scan.py, line 1"),
        (
            "    rule_table = ",
            "    1 / 0\n    rule_table = ",
            "stage5_scan.py",
        ),
    ],
)
def test_a_broken_stage_is_one_line(
    old, new, message, tmp_path, monkeypatch, capsys
):
    shutil.copy(find_stages()[0], tmp_path)
    source = find_stages()[5].read_text(encoding="utf-8")
    path = tmp_path / "stage5_scan.py"
    path.write_text(source.replace(old, new, 1), encoding="utf-8")
    monkeypatch.setattr(bench, "STAGES_FOLDER", tmp_path)
    assert run_bench(monkeypatch, "--quick", "--only", "small") == 1
    err = capsys.readouterr().err
    assert err.startswith(message)
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--only smal", "only must name some of small,"),
        ("--json nowhere/a.json", "json must"),
        ("--plot a.gif", "plot must"),
        ("--plot a.png --only scale", "plot needs"),
        ("--readme LICENSE", "readme must be a file with markers"),
    ],
)
def test_bad_arguments_are_refused(arguments, message, monkeypatch, capsys):
    assert run_bench(monkeypatch, *arguments.split()) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert (out, err.count("\n")) == ("", 1)


@NOT_ON_WINDOWS
def test_ctrl_c_ends_it_at_once():
    script = ROOT / "benchmarks" / "bench.py"
    with start_python(script, "--quick", "--only", "small") as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == ""
    assert process.returncode == -signal.SIGINT


def make_tables():
    """Return tables that were not measured."""
    times = {"first": [1], "later": [8]}
    rows = [
        Row("0 numpy", times),
        Row("1 jnp", remark="fails"),
        Row("2 at_set", {"first": [1], "later": [80]}, extrapolated=True),
        Row("5 scan", {"first": [1], "later": [2]}),
    ]
    names = "small", "large", "peers"
    return {name: report.Table(f"{name} cells", rows) for name in names}


def test_tables_between_markers_are_replaced():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    new = report.rewrite(readme, make_tables(), "an abacus")
    assert report.rewrite(new, make_tables(), "an abacus") == new
    assert report.rewrite(readme, {}, "") == readme
    first, second = re.findall(r"(?s):start -->\n(.*?)\n\nan abacus\n", new)
    for text, columns in ((first, 7), (second, 4)):
        head, _, *lines = [x.split(" | ") for x in text.splitlines()]
        assert {len(line) for line in (head, *lines)} == {columns}
        labels = [line[0].strip("| ") for line in lines]
        assert labels == ["0 numpy", "2 at_set", "5 scan"]
    with pytest.raises(ValueError, match="peers:end"):
        report.rewrite(readme.replace("<!-- peers:end -->", ""), {}, "")


def test_dots_are_where_the_speed_is_on_a_white_card(tmp_path):
    (panel,) = Figure().subplots(1, squeeze=False).flat
    picture.draw_rows(panel, make_tables()["large"])
    dots = [line for line in panel.lines if line.get_marker() == "o"]
    assert [dot.get_xdata()[0] for dot in dots] == [1, 0.1, 4]
    assert [dot.get_markerfacecolor() == "white" for dot in dots] == [0, 1, 0]
    assert "fails" in [text.get_text() for text in panel.texts]
    assert panel.get_xscale() == "log"
    file = tmp_path / "plot.png"
    file.write_bytes(picture.draw(make_tables()["large"], "an abacus"))
    pixels = np.asarray(Image.open(file).convert("RGBA"))
    assert pixels.shape[1] / pixels.shape[0] == pytest.approx(16 / 9, rel=0.1)
    assert pixels[0, 0, 3] == 0  # the page is seen around the card
    assert tuple(pixels[20, 20]) == (255, 255, 255, 255)
    assert 0.005 < (pixels[..., 0] < 99).mean() < 0.2
