"""Test the benchmark: its rows, its screen, and the files it writes."""

import json
import re
import shutil
import signal
import sys
from types import SimpleNamespace

import jax
import numpy as np
import psutil
import pytest
from matplotlib.figure import Figure

import bench
import measuring
import report
import sections
from measuring import Program, Row
from support import NOT_ON_WINDOWS, REFERENCE, ROOT, start_python, wait_for
from workshop.stages import STAGES_FOLDER, find_stages

TINY = {
    "compile": (12, 2, 4),
    "waiting": (40, 5),
    "rules": (5, 7),
    "scale": (128, 8, 9),
    "small": (12,),
    "large": (24,),
    "peers": (96,),
}
STAGES = sections.load_stages(STAGES_FOLDER)
ROWS = [
    Row("0 numpy", {"first": [1], "later": [8]}),
    Row("2 at_set", {"first": [1], "later": [80]}, extrapolated=True),
    Row("5 scan", {"first": [1], "later": [2]}),
]
TABLES = {k: report.Table(k, ROWS) for k in ("small", "large", "peers")}


@pytest.fixture(autouse=True)
def few_calls(monkeypatch):
    """Time each row for as short a time as possible."""
    monkeypatch.setattr(measuring, "ENOUGH", 0)
    monkeypatch.setattr(measuring, "PROBES", (2, 12))
    monkeypatch.setattr(bench, "QUICK", TINY)


def run_bench(monkeypatch, *arguments):
    """Run the script here, but do not configure JAX."""
    settings = {}
    monkeypatch.setattr(jax.config, "update", settings.__setitem__)
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["bench.py", *map(str, arguments)])
    bench.main()
    assert settings["jax_enable_compilation_cache"] is False


@pytest.mark.filterwarnings("default")  # a peer may warn
def test_a_run_of_all_sections(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    names = "results.json", "plot.png", "README.md"
    file, plot, readme = (tmp_path / name for name in names)
    shutil.copy(ROOT / "README.md", readme)
    files = "--json", file, "--plot", plot, "--readme", readme
    only = ",".join(reversed(TINY))
    run_bench(monkeypatch, "--quick", "--only", only, *files)
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    tables = json.loads(file.read_text(encoding="utf-8"))["sections"]
    assert list(tables) == list(TINY)
    rows = {name: [Row(**row) for row in tables[name]] for name in tables}
    labels = {name: [row.label for row in rows[name]] for name in rows}
    assert all(f"\n{row} " in out for name in labels for row in labels[name])
    unrolled, packed = ["2 at_set", "4 static_args"], "8 bitpack, packed"
    fast = ["5 scan", "8 bitpack", packed, "9 shard x 8", "10 halo x 8"]
    assert labels["large"] == ["0 numpy", *unrolled, *fast]
    assert [r.label for r in rows["large"] if r.extrapolated] == unrolled
    assert {len(row.samples["later"]) for row in rows["small"]} == {3}
    few, many, scan, same = [row.num_equations for row in rows["compile"]]
    assert few < many
    assert scan == same
    assert [row.num_cells for row in rows["scale"]] == [128 * 256, 128 * 512]
    for name in ("C", "CAX", "Numba"):
        there = any(re.match(rf"{name}\b", row) for row in labels["peers"])
        assert there != (f"{name} cannot be measured" in out)
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert f"| {packed} | " in readme.read_text(encoding="utf-8")
    monkeypatch.setenv("COLUMNS", "40")
    report.show("large", "", iter(rows["large"]))
    narrow = capsys.readouterr().out
    assert max(map(len, narrow.splitlines())) <= 40
    assert "0 numpy: first " in narrow


@pytest.mark.parametrize("first", [{2: 1, 12: 6}, {2: 16, 12: 12}])
def test_a_long_call_is_extrapolated(first, monkeypatch):
    def measured(program, inputs, expected):
        n = len(expected)
        return Row("", {"first": [first[n]], "later": [n]})

    monkeypatch.setattr(measuring, "measure", measured)
    inputs = Program("unrolled", None), (110, 24, 24), np.zeros((24, 24))
    row = measuring.extrapolate(*inputs)
    assert row.samples == {"first": [12], "later": [24]}


def test_the_cpu_is_beside_another_device(monkeypatch):
    def measured(program, *_):
        return program.label, jax.config.jax_default_device

    monkeypatch.setattr(measuring, "measure", measured)
    gpu = SimpleNamespace(platform="gpu")
    monkeypatch.setattr(jax, "devices", lambda: [gpu])
    programs = [Program("numpy", np.ones), Program("jit", jax.jit(np.ones))]
    rows = list(measuring.measure_each(programs, (), np.ones(3)))
    assert rows == [("numpy", None), ("jit", None), ("jit, CPU", "cpu")]


@pytest.mark.parametrize("name", ["small", "compile", "rules", "scale"])
def test_a_wrong_cell_ends_the_run(name, capsys):
    def simulate(*inputs):
        states = REFERENCE.simulate(*inputs)
        states[-1, -1] ^= 1
        return states

    numpy = SimpleNamespace(simulate=simulate, __doc__="")
    stages = {**STAGES, "0 numpy": numpy}
    _, make_rows = sections.SECTIONS[name]
    with pytest.raises(SystemExit) as end:
        list(make_rows(stages, *TINY[name]))
    assert end.value.code == 1
    assert re.match(r"[2-8] \w+.* row \d", capsys.readouterr().err)


def test_results_are_compared_and_only_one_row_does_not_wait(monkeypatch):
    events = []

    def time_call(function, *args, wait=True):
        events.append("call" if wait else "ask")
        return function(*args), 1.0

    monkeypatch.setattr(measuring, "time_call", time_call)
    monkeypatch.setattr(measuring, "check", lambda *_: events.append("check"))
    monkeypatch.setattr(measuring, "ENOUGH", 4)
    list(sections.waiting_rows(STAGES, 40, 5))
    for call in ("call", "ask", "call"):
        row, events = events[:7], events[7:]
        assert row == [call, "check", call, call, call, call, "check"]


def test_cells_compare_a_row_with_numpy():
    numpy = Row("0 numpy", {"first": [9.0], "later": [1.5]})
    for first, text in ((0.5, "call 1"), (2, "call 2"), (1e3, "call 1,000")):
        row = Row("row", {"first": [first], "later": [0.5]})
        cells = report.make_cells(row, numpy)
        assert (cells["vs NumPy"], cells["pays off"]) == ("3.0x", text)
    same = Row("as fast as NumPy", numpy.samples)
    assert report.make_cells(same, numpy)["pays off"] == "never"
    cells = report.make_cells(numpy, row)
    assert (cells["vs NumPy"], cells["pays off"]) == ("3.0x slower", "never")
    row = Row("row", {"first": [0.0214], "later": [1, 2, 2, 2.5, 9]})
    cells = report.make_cells(row, row)
    assert list(cells.values()) == ["21.4 ms", "2.00 s", "1.0x", "", "25%"]
    assert report.show_time(2.14e-5) == "0.021 ms"
    row = Row("2^13", {"1 device": [2]}, num_cells=6_000_000)
    assert report.make_cells(row, row) == {"1 device": "3"}


def test_a_broken_stage_is_one_line(tmp_path, monkeypatch, capsys):
    shutil.copy(find_stages()[0], tmp_path)
    source = find_stages()[5].read_text(encoding="utf-8")
    wrong = source.replace("= padded[:-2]", "= jnp.ones(2) + jnp.ones(3)")
    (tmp_path / "stage5_scan.py").write_text(wrong, encoding="utf-8")
    monkeypatch.setattr(bench, "STAGES_FOLDER", tmp_path)
    with pytest.raises(SystemExit, match="1"):
        run_bench(monkeypatch, "--quick", "--only", "small")
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
        with pytest.raises(SystemExit, match="2"):
            run_bench(monkeypatch, *arguments.split())
        out, err = capsys.readouterr()
        assert name in err
        assert (out, err.count("\n")) == ("", 1)


@NOT_ON_WINDOWS
def test_ctrl_c_ends_it_at_once():
    with start_python(ROOT / "benchmarks" / "bench.py") as process:
        # Wait until it is importing jax.
        wait_for(lambda: psutil.Process(process.pid).cpu_times().user > 0.3)
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == ""
    assert process.returncode == -signal.SIGINT


def test_tables_between_markers_are_replaced():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    new = report.rewrite(readme, TABLES, "an abacus")
    assert report.rewrite(new, TABLES, "an abacus") == new
    assert report.rewrite(readme, {}, "") == readme
    scan = "| 5 scan | 2.00 s | 4.0x | call 1"
    assert f"\n{scan}{scan[8:]} |\n" in new
    assert "| 2 at_set | ~80.0 s | ~10x slower | never |" in new
    assert f"\n{scan} |\n\nan abacus\n<!-- peers:end -->" in new
    with pytest.raises(ValueError, match="peers:end"):
        report.rewrite(readme.replace("<!-- peers:end -->", ""), {}, "")


def test_bars_end_at_the_speed():
    (panel,) = Figure().subplots(1, squeeze=False).flat
    report.draw_bars(panel, TABLES["large"])
    ends = [bar.get_x() + bar.get_width() for bar in panel.patches]
    assert ends == pytest.approx([1, 0.1, 4])
    assert [bar.get_facecolor()[3] for bar in panel.patches] == [1, 0, 1]
