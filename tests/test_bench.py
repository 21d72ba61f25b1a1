"""Test the benchmark: its rows, its screen, and the files it writes."""

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
    """Time each row for as short a time as possible."""
    monkeypatch.setattr(measuring, "ENOUGH", 0)


def run_bench(monkeypatch, *arguments):
    """Run the script here, with small sizes; return its exit status."""
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
    lines = SECTIONS[name](stages, sizes)
    return {line.label: line for line in lines if isinstance(line, Row)}


def change(label, **functions):
    """Return the stages, with some functions of one stage replaced."""
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


def test_a_run_fits_the_screen_and_ends_with_a_summary(
    tmp_path, monkeypatch, capsys
):
    file = tmp_path / "results.json"
    monkeypatch.setenv("COLUMNS", "80")
    options = "--only", "small,compile,waiting", "--json", file
    assert run_bench(monkeypatch, "--quick", *options) == 0
    out = capsys.readouterr().out.partition("wrote")[0]
    assert max(map(len, out.splitlines())) <= 80
    heads, *lines = out.split("\n\n")[-1].splitlines()
    assert heads.split()[-4:] == ["vs", "NumPy", "pays", "off"]
    stages = [int(line.split()[0]) for line in lines]
    assert stages == sorted(stages)
    assert {2, 4, 5, 8, 9, 10} <= set(stages)
    assert "1 device" not in "".join(lines)
    monkeypatch.setenv("COLUMNS", "40")
    record = json.loads(file.read_text(encoding="utf-8"))
    for name, rows in record["sections"].items():
        assert all(f"\n{row['label']} " in out for row in rows)
        report.show(name, iter(["", *(Row(**row) for row in rows)]))
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 40


def test_the_cpu_is_beside_another_device(monkeypatch):
    def devices(platform=None, find=jax.devices):
        other = SimpleNamespace(platform="cuda", device_kind="fast")
        return find(platform) if platform else [other]

    monkeypatch.setattr(jax, "devices", devices)
    labels = set(measure_section("rules"))
    for way in ("6 vmap, one call", "vmap 8 bitpack, packed"):
        assert {way, f"{way}, CPU"} < labels
    assert "0 numpy, loop, CPU" not in labels


def test_a_long_call_is_extrapolated(monkeypatch):
    def measured(_, inputs, expected):
        later = len(expected)  # one second per row
        first = later + compiling[inputs[2]]
        return Row("", {"first": [first], "later": [later]})

    monkeypatch.setattr(measuring, "measure", measured)
    inputs = Program("unrolled", None), (110, 24, 24), np.zeros((24, 24))
    for short, long, guess in ((1, 2, 12), (9, 12, 42), (5, 4, 4)):
        compiling = {2: short, 4: long}
        row = measuring.extrapolate(*inputs, (2, 4))
        assert (row.seconds("first"), row.seconds()) == (24 + guess, 24)


@pytest.mark.parametrize("name", ["small", "compile", "rules", "scale"])
def test_a_wrong_cell_ends_the_run(name, capsys):
    def simulate(rule, width, num_steps):
        states = STAGES["5 scan"].simulate(rule, width, num_steps)
        return states.at[-1, -1].set(1 - states[-1, -1])

    def scan_words(*arguments):
        return STAGES["10 halo"].scan_words(*arguments)[0] ^ 1, None

    wrong = jax.jit(simulate, static_argnames=("width", "num_steps"))
    stages = change("5 scan", simulate=wrong)
    if name == "scale":
        stages = change("10 halo", scan_words=scan_words)
    with pytest.raises(SystemExit) as end:
        measure_section(name, stages)
    assert end.value.code == 1
    assert re.match(r"(5 scan|10 halo).* row \d", capsys.readouterr().err)


@pytest.mark.skipif(not HAS_C, reason="no C compiler is named cc")
@pytest.mark.parametrize(("rule", "width"), [(110, 32), (30, 96), (57, 1024)])
def test_c_has_the_words_of_stage_8(rule, width):
    packed = STAGES["8 bitpack"].simulate_packed(rule, width, 70)
    words = programs.run_c(rule, width, 69)
    np.testing.assert_array_equal(words, packed[-1])


@pytest.mark.filterwarnings("default")  # a library may warn
def test_peers_compute_the_states_or_are_missing(capsys):
    sizes = dataclasses.replace(TINY, large=32)
    labels = list(measure_section("peers", sizes=sizes))
    assert labels[:3] == ["0 numpy", "5 scan", "8 bitpack"]
    out = capsys.readouterr().out
    for name in ("C", "CAX", "Numba"):
        there = any(re.match(rf"{name}\b", label) for label in labels)
        assert there != (f"{name} cannot be measured" in out)


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
    for first, text in (
        (0.5, "call 1"),
        (2, "call 2"),
        (999, "call 999"),
        (1999, "call 2k"),
        (1e9, "never"),
    ):
        row = Row("row", {"first": [first], "later": [0.5]})
        cells = report.make_cells(row, numpy)
        assert (cells["vs NumPy"], cells["pays off"]) == ("3.0x", text)
    same = dataclasses.replace(numpy, label="as fast as NumPy")
    assert report.make_cells(same, numpy)["pays off"] == "never"
    cells = report.make_cells(numpy, row)
    assert (cells["vs NumPy"], cells["pays off"]) == ("3.0x slower", "never")


def test_the_spread_of_later_calls_is_shown(capsys):
    calm = Row("calm", {"first": [9], "later": [1, 1, 1, 1, 1]}, 1)
    wild = Row("wild", {"first": [9], "later": [1, 1, 2, 3, 3]}, 1)
    once = Row("once", {"first": [9], "later": [7]}, 1, extrapolated=True)
    report.show("small", iter(["title", calm, wild, once]))
    shown = " ".join(capsys.readouterr().out.split())
    assert " 50% " in shown  # halfway between 0 and 100
    assert " 100%, in row wild" in shown


def test_after_the_budget_the_sizes_shrink(monkeypatch, capsys):
    monkeypatch.setattr(bench, "Sizes", lambda: TINY)
    monkeypatch.setattr(bench, "BUDGET", 0)
    smaller = dataclasses.replace(TINY, compile_steps=(3,))
    monkeypatch.setattr(bench, "QUICK", smaller)
    tables = bench.measure_all(["waiting", "compile"], quick=False)
    assert tables["waiting"].rows[0].num_cells == 200
    assert [row.label[-6:] for row in tables["compile"].rows] == ["3 rows"] * 2
    assert capsys.readouterr().out.count("smaller") == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [("import jax\n", "import jacks\n"), ("= padded[:-2]", "= 1 / 0")],
)
def test_a_broken_stage_is_one_line(old, new, tmp_path, monkeypatch, capsys):
    shutil.copy(find_stages()[0], tmp_path)
    source = find_stages()[5].read_text(encoding="utf-8")
    path = tmp_path / "stage5_scan.py"
    path.write_text(source.replace(old, new, 1), encoding="utf-8")
    monkeypatch.setattr(bench, "STAGES_FOLDER", tmp_path)
    assert run_bench(monkeypatch, "--quick", "--only", "small") == 1
    err = capsys.readouterr().err
    assert err.startswith("stage5_scan.py, line ")
    assert err.count("\n") == 1


def test_bad_arguments_are_refused(monkeypatch, capsys):
    for arguments, name in (
        ("--only smal", "only"),
        ("--json nowhere/a.json", "json"),
        ("--plot a.gif", "plot"),
        ("--plot a.png --only scale", "plot"),
        ("--readme LICENSE", "readme"),
    ):
        assert run_bench(monkeypatch, *arguments.split()) == 2
        out, err = capsys.readouterr()
        assert name in err
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
    """Return tables with invented times."""
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
    assert pixels[0, 0, 3] == 0  # it is transparent around the card
    assert tuple(pixels[20, 20]) == (255, 255, 255, 255)
    assert 0.005 < (pixels[..., 0] < 99).mean() < 0.2
