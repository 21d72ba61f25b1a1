"""The benchmark: honest rows, a readable screen, other programs, files."""

import functools
import io
import itertools
import json
import re
import shutil
import sys
from contextlib import redirect_stdout
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

import bench
import measuring
import programs
import report
import sections
import tables
from measuring import RefusedError, Row, Stage, Way, load_stages, measure
from sections import PLANS, Settings
from support import ON_LINUX, ROOT
from workshop.stages import STAGES_FOLDER, find_stages

TINY = Settings(12, 24, (5, 7), (2, 3, 4), (40, 5), (2, 4), (18,))
STAGES = load_stages(STAGES_FOLDER)
BY_LABEL = {stage.label: stage for stage in STAGES}
NUMPY, SCAN = STAGES[0], BY_LABEL["5 scan"]
SECTIONS = bench.DEFAULT.split(",")
PEERS = Settings(large=programs.LANES)


def run_bench(monkeypatch, *arguments):
    """Run the script here, at sizes for a test; its status."""
    monkeypatch.setattr(measuring, "prepare_jax", lambda _: None)
    monkeypatch.setattr(sections, "QUICK", TINY)
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["bench.py", *map(str, arguments)])
    try:
        return bench.main()
    except SystemExit as end:
        return end.code


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A run of all sections: what it printed, its sections, its files."""
    folder = tmp_path_factory.mktemp("bench")
    shown, out, show = {}, io.StringIO(), bench.show
    files = folder / "results.json", folder / "plot.png"

    def keep(name, section, rows):
        show(name, section, rows)
        shown[name] = section, rows

    with pytest.MonkeyPatch.context() as monkeypatch, redirect_stdout(out):
        monkeypatch.setenv("COLUMNS", "80")
        monkeypatch.setattr(measuring, "BUDGET", 0)
        monkeypatch.setattr(bench, "show", keep)
        options = "--quick", "--json", files[0], "--plot", files[1]
        assert run_bench(monkeypatch, *options) == 0
    rows = {n: {r.label: r for r in rows} for n, (_, rows) in shown.items()}
    return SimpleNamespace(
        out=out.getvalue(), shown=shown, rows=rows, files=files
    )


@pytest.fixture(autouse=True)
def few_calls(monkeypatch):
    """No row is timed for longer than it must."""
    monkeypatch.setattr(measuring, "BUDGET", 0)


def measure_section(name, stages):
    """The rows of a section of these stages."""
    return [task() for task in PLANS[name](stages, TINY).tasks.values()]


def change(stage, **functions):
    """The stage, with some of its functions replaced."""
    module = SimpleNamespace(**vars(stage.module) | functions)
    return Stage(stage.label, module)


def test_rows_have_samples_and_all_are_in_the_json(ran):
    record = json.loads(ran.files[0].read_text(encoding="utf-8"))
    assert list(record["sections"]) == list(ran.rows) == SECTIONS
    assert record["complete"]
    assert f"jax {jax.__version__}," in record["machine"]
    for name, section in record["sections"].items():
        rows = [Row(**row) for row in section["rows"]]
        assert rows == list(ran.rows[name].values())
        assert [r.label for r in rows] == list(ran.shown[name][0].tasks)
        for row in rows:
            assert bool(row.remark) != bool(row.samples)
            assert all(map(all, row.samples.values()))
            assert len(row.samples.get("later", "abc")) >= 3


def test_every_stage_has_a_row_for_each_program_and_each_way(ran):
    floors = ["floor: np.full", "floor: jnp.full"]
    for name, expected in (("small", []), ("large", floors)):
        rows = ran.rows[name]
        assert [label for label in rows if "floor" in label] == expected
        for stage in STAGES:
            labels = [x for x in rows if x.startswith(stage.label)]
            assert labels
            packs = hasattr(stage.module, "simulate_packed")
            assert (f"{stage.label}, packed" in labels) == packs
            if stage.fails_with:
                assert stage.fails_with[0].__name__ in rows[labels[0]].remark
        assert "9 shard, 4 devices" in rows
        assert rows["6 vmap"].remark == "the same program as 5 scan"
        cells = {row.num_cells for row in rows.values() if row.samples}
        assert cells == {getattr(TINY, name) ** 2}
    guesses = {k: r.remark for k, r in rows.items() if "at least" in r.remark}
    assert list(guesses) == ["2 at_set", "4 static_args"]
    assert all(r.endswith(" s, from 2 and 4 rows") for r in guesses.values())
    for floor in floors:
        assert re.search(rf"\n8 bitpack: [\d.]+ times {floor[7:]}", ran.out)


def test_compile_rules_waiting_and_scale_show_what_they_are_for(ran):
    counts = {k: row.num_equations for k, row in ran.rows["compile"].items()}
    assert counts["5 scan, 2"] == counts["5 scan, 4"]
    unrolled = [counts[f"4 static_args, {n}"] for n in TINY.compile_steps]
    assert unrolled[0] < unrolled[1]
    assert len(set(np.diff(unrolled))) == 1
    labels = ["0 numpy, loop", "5 scan, loop", "6 vmap, one call"]
    labels += ["vmap 8 bitpack", "vmap 8 bitpack, packed"]
    assert list(ran.rows["rules"]) == labels
    assert {r.num_cells for r in ran.rows["rules"].values()} == {256 * 5 * 7}
    assert Settings().each_rule[0] != Settings().each_rule[1]
    assert list(ran.rows["waiting"]) == ["WRONG: not waiting", "waiting"]
    (row,) = ran.rows["scale"].values()
    labels = ["5 scan", "8 bitpack", f"9 shard x {jax.device_count()}"]
    labels += ["C, 1 core"] * bool(shutil.which("cc"))
    assert list(row.samples) == labels
    assert row.num_cells == 2**18


@pytest.mark.slow
def test_where_jax_computes_elsewhere_the_cpu_is_beside(monkeypatch, capsys):
    monkeypatch.setattr(measuring, "accelerator", lambda: jax.devices()[1])
    assert run_bench(monkeypatch, "--quick") == 0
    shown = capsys.readouterr().out
    for way in ("5 scan", "8 bitpack, packed", "vmap 8 bitpack, packed"):
        rows = re.findall(rf"^{way}(, CPU)? +\d", shown, flags=re.M)
        assert rows.count("") == rows.count(", CPU") >= 2
    assert "8 bitpack, packed, to host" in shown
    assert "4096 rings, 7 rows of 5 cells" in shown
    assert re.search(r"2\^18 +[\d.]+ +[\d.]+ +[\d.]+", shown)
    launches = re.search(r"24 steps launch (\d+) kernels, [\d.]+ µs", shown)
    assert int(launches[1]) % 24 == 0 < int(launches[1])
    assert re.search(r"floor: jnp.full writes [\d,]+ GB/s\.\n8 bit", shown)


def test_a_device_that_is_no_cpu_gets_more_cells():
    assert sections.choose_settings(False, "cpu", 2**40) == Settings()
    assert sections.choose_settings(True, "cuda", 2**40) == sections.QUICK
    large = sections.choose_settings(False, "cuda", 2**40)
    assert large.exponents[-1] == 30
    assert large.wide == (2**28, 16)
    less = sections.choose_settings(False, "cuda", 7 * 2**26)
    assert less.exponents[-1] == 26
    assert less.wide == (2**22, 16)


@pytest.mark.parametrize("columns", [40, 80])
def test_a_section_fits_the_screen(columns, ran, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(columns))
    for name, (section, rows) in ran.shown.items():
        tasks = {row.label: iter([row]).__next__ for row in rows}
        tables.show(name, section._replace(tasks=tasks), [])
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= columns
        assert len(lines) <= 24 or columns == 40
        slow = {c.head: [99.9] for c in section.columns}
        slow |= {"first": [99.99999], "later": [9.9, 9.99, 20.0]}
        row = Row("slow", slow, 64_000_000, 99_999)
        for column in section.columns:
            assert len(column.text(row, row)) <= column.width


@pytest.mark.parametrize(  # seconds for 2 and 4 rows; about how many for 24
    ("few", "many", "about"), [(1.0, 2.0, 12), (9.0, 12.0, 42), (5.0, 4.0, 24)]
)
def test_a_long_call_does_not_look_short(few, many, about, monkeypatch):
    states = NUMPY.module.simulate(110, 24, 24)
    times = itertools.cycle([few, many])

    def time_call(_, *args):
        return states[: args[-1]], next(times)

    monkeypatch.setattr(sections, "time_call", time_call)
    guess = functools.partial(sections.extrapolate, BY_LABEL["4 static_args"])
    row = guess(24, [states], (2, 4))
    assert row.remark.startswith(f"at least {about} s,")
    with pytest.raises(RefusedError, match=r"^4 static_args is wrong"):
        guess(24, [1 - states], (2, 4))


@pytest.mark.parametrize("name", [n for n in SECTIONS if n != "scale"])
def test_wrong_states_end_a_section(name):
    @jax.jit(static_argnames=("width", "num_steps"))
    def simulate(rule, width, num_steps):
        states = SCAN.module.simulate(rule, width, num_steps)
        return states.at[-1, -1].set(1 - states[-1, -1])

    with pytest.raises(RefusedError, match=r"^(5 s|WR).* wrong: row \d"):
        measure_section(name, [NUMPY, change(SCAN, simulate=simulate)])


def test_a_wrong_last_row_ends_scale():
    stage = BY_LABEL["8 bitpack"]

    def scan_words(*arguments, **record):
        words, rows = stage.module.scan_words(*arguments, **record)
        return words ^ 1, rows

    wrong = [NUMPY, SCAN, change(stage, scan_words=scan_words), STAGES[-1]]
    with pytest.raises(RefusedError, match=r"the last of \d+ rows, is wrong"):
        measure_section("scale", wrong)


@jax.jit(static_argnames=("rule", "width", "num_steps"))
def answer_of_tracing(rule, width, num_steps):
    return jax.numpy.array(NUMPY.module.simulate(rule, width, num_steps))


@pytest.mark.parametrize(
    ("functions", "message"),
    [
        ({"__doc__": "Fails with: TypeError, never"}, "has to fail"),
        ({"simulate": functools.lru_cache(SCAN.module.simulate)}, ".*a cache"),
        ({"simulate": answer_of_tracing}, "is refused: .* traced"),
    ],
)
def test_a_stage_that_cheats_ends_the_run(functions, message):
    with pytest.raises(RefusedError, match=f"5 scan .*{message}"):
        measure_section("small", [NUMPY, change(SCAN, **functions)])


def test_what_cannot_be_true_is_refused():
    states, inputs = np.ones((4, 4), np.uint8), (110, 4, 4)
    # Memory that nobody writes.
    fast = Way("fast", lambda *_: np.empty(2**26, np.uint8), lambda _: states)
    measure(fast, inputs, [], wait=False)
    with pytest.raises(RefusedError, match=r"fast is refused: .* 67,108,864"):
        measure(fast, inputs, [])


def test_the_result_is_checked_before_there_is_a_row(monkeypatch):
    events, states = [], np.zeros((3, 3), int)

    def simulate(rule, width, num_steps):
        events.append("call")
        return states.copy()

    monkeypatch.setattr(jax, "clear_caches", lambda: events.append("clear"))
    way = Way("label", simulate, lambda x: events.append("check") or x)
    row = measure(way, (110, 3, 3), [states])
    assert events == ["clear", "call", "check", *["call"] * 3, "check"]
    assert [len(samples) for samples in row.samples.values()] == [1, 3]
    results = iter(np.eye(4, dtype=int)[[0, 0, 0, 1]])
    last = Way("last", lambda *_: next(results)[None].copy())
    with pytest.raises(RefusedError, match="last is wrong"):
        measure(last, (110, 4, 1), [])


def test_only_the_wrong_row_does_not_wait(monkeypatch):
    waits = []

    def time_call(function, *args, wait=True):
        waits.append(wait)
        return function(*args), 1.0

    monkeypatch.setattr(measuring, "time_call", time_call)
    measure_section("waiting", STAGES)
    assert waits == [False] * 4 + [True] * 7  # with those of the floor


def test_it_pays_off_at_the_first_call_that_is_no_later():
    numpy = Row("0 numpy", {"first": [9.0], "later": [1.5]})
    firsts = [0.5, 2.0, 999.5, 1499.5, 998_999.5, 10.0**9]
    texts = ["call 1", "call 2", "call 999", "call 2k", "call 999k", "never"]
    for first, text in zip(firsts, texts, strict=True):
        row = Row("row", {"first": [first], "later": [0.5]})
        assert tables.pays_off(row, numpy) == text
        assert len(text) <= tables.PAYS_OFF.width
    slower = Row("row", {"first": [1.0], "later": [1.5]})
    assert tables.pays_off(slower, numpy) == "never"
    floor = Row("floor", row.samples)
    assert not tables.pays_off(floor, numpy) + tables.pays_off(numpy, numpy)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("padded[2:]", "padded[1:-1]", "5 scan is wrong: row 1, cell 5: got"),
        ("import jax\n", "import jacks\n", "_scan.py cannot be imported: Mod"),
        ("def simulate(", "def run(", "5_scan.py cannot be imported: Att"),
    ],
)
def test_a_broken_stage_ends_the_run(
    old, new, message, tmp_path, monkeypatch, capsys
):
    for number in (0, 1):
        shutil.copy(find_stages()[number], tmp_path)
    source = find_stages()[5].read_text(encoding="utf-8")
    assert old in source
    path = tmp_path / "stage5_scan.py"
    path.write_text(source.replace(old, new, 1), encoding="utf-8")
    monkeypatch.setattr(bench, "STAGES_FOLDER", tmp_path)
    assert run_bench(monkeypatch, "--quick", "--only", "small") == 1
    out, err = capsys.readouterr()
    assert message in err.splitlines()[0]
    assert ("\n1 jnp " in out) == ("wrong" in message)
    assert "\n5 scan " not in out


def test_a_run_cut_short_keeps_its_rows(tmp_path, monkeypatch, capsys):
    done, file = Row("row", {"later": [1.0] * 3}, 1), tmp_path / "a.json"

    def plan(stages, settings):
        def press_ctrl_c():
            raise KeyboardInterrupt

        tasks = {"row": lambda: done, "next": press_ctrl_c}
        return tables.Section("title", [tables.LATER], tasks, list)

    monkeypatch.setitem(PLANS, "waiting", plan)
    options = "--only", "waiting", "--json", file, "--plot", tmp_path / "a.png"
    assert run_bench(monkeypatch, "--quick", *options) == 130
    assert "interrupted" in capsys.readouterr().out
    record = json.loads(file.read_text(encoding="utf-8"))
    assert not record["complete"]
    assert Row(**record["sections"]["waiting"]["rows"][0]) == done
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@ON_LINUX
def test_a_full_disk_is_one_line(monkeypatch, capsys):
    options = "--quick", "--only", "waiting", "--json", "/dev/full"
    assert run_bench(monkeypatch, *options) == 1
    err = capsys.readouterr().err
    assert err.startswith("/dev/full cannot be written: ")
    assert err.count("\n") == 1


def make_record():
    """A record of rows that were not measured."""
    times = {"first": [3.0], "later": [1.0, 1.1, 1.2]}
    small = [Row(label, times, 9) for label in ("0 numpy", "8 bitpack")]
    small.insert(1, Row("1 jnp", remark="fails on purpose"))
    large = [small[0], Row("8 bitpack, packed", times, 9)]
    names = "small", "large", "peers"
    sections = {
        name: {"title": f"{name} cells, rule", "rows": rows}
        for name, rows in zip(names, (small, large, large), strict=True)
    }
    return {"machine": "an abacus", "sections": sections}


def test_the_plot_is_gray_and_pictures_suit_light_and_dark_pages(ran):
    picture = np.asarray(Image.open(ran.files[1]).convert("RGB"))
    assert (picture == picture[..., :1]).all()
    panels = np.array_split(picture, 4)  # small, large, rules, waiting
    assert all((panel < 99).mean() > 0.002 for panel in panels)
    light, dark = report.draw_pictures(make_record()).values()
    for png, page in ((light, 255), (dark, 13)):
        pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))
        assert (pixels[..., 3] == 0).mean() > 0.3  # the page is seen
        solid = pixels[pixels[..., 3] == 255][:, :3].astype(int)
        assert abs(solid - page).max(axis=1).min() > 60  # all of it, too


def test_bars_are_as_long_as_the_program_is_fast():
    (panel,) = Figure().subplots(1, squeeze=False).flat
    slow, fast = (
        Row(str(n), {"first": [n], "later": [n]}, 1) for n in (8.0, 2.0)
    )
    report.draw_bars(panel, "title", [slow, fast])
    assert [bar.get_width() for bar in panel.patches] == [1, 4]
    assert panel.get_xscale() == "log"


def test_tables_between_markers_are_replaced():
    ends = itertools.product(("bench", "peers"), ("start", "end"))
    markers = [f"<!-- {name}:{end} -->" for name, end in ends]
    text = "# Title\n{}\nold\n{}\nmiddle\n{}\n{}\nrest\n".format(*markers)
    new = report.rewrite(text, make_record())
    assert "old" not in new
    assert report.rewrite(new, make_record()) == new
    first, _, second = new.partition("\nmiddle\n")
    assert first.startswith(f"# Title\n{markers[0]}\n| program | small: later")
    assert first.endswith(f"an abacus.\n{markers[1]}")
    assert "| 8 bitpack, packed | 3,000.00 | 1,100.00 |" in second
    table = re.findall(r"^\|.*", first, flags=re.MULTILINE)
    assert len({line.count("|") for line in table}) == 1
    labels = ["0 numpy", "8 bitpack", "8 bitpack, packed"]
    assert [line.split(" | ")[0][2:] for line in table[2:]] == labels
    assert "| 1,100.00 | 1.00x | never |" in table[3]
    for marker in markers:
        with pytest.raises(ValueError, match="it has no <!--"):
            report.rewrite(text.replace(marker, ""), make_record())


def test_the_tables_in_the_readme_have_the_stages_that_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text.partition("bench:start")[2].partition("bench:end")[0]
    rows = re.findall(r"^\| (\d+ \w+)", table, flags=re.MULTILINE)
    assert {"0 numpy", "2 at_set", "8 bitpack"} < set(rows) < set(BY_LABEL)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--only smal", "only must name some of small,"),
        ("--size 9999999", "for the memory, got 9999999"),
        ("--only wide", "small,large,compile,rules,waiting,scale,peers"),
        ("--only peers --size 100", "size must be a multiple of 32, got 100"),
        ("--json nowhere/a.json", "json must be in a folder that exists"),
        ("--json tests", "json must be a file, got the folder tests"),
        ("--plot nowhere/a.png", "plot must be in a folder that exists"),
        ("--plot a.gif", "plot must be a file named .png, got a.gif"),
        ("--plot a.png --only scale", "plot needs a section with later calls"),
        ("--readme LICENSE", "readme must be a file with markers"),
        ("--readme LICENSE --only small", "readme needs small,large"),
    ],
)
def test_bad_arguments_are_refused_before_measuring(
    arguments, message, monkeypatch, capsys
):
    assert run_bench(monkeypatch, *arguments.split()) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert err.count("\n") == 1
    assert not out


@pytest.mark.filterwarnings("default")  # those of a library are its own
def test_every_program_returns_the_states_or_is_missing(capsys):
    with jax.numpy_rank_promotion("allow"):  # libraries are not as strict
        tasks = PLANS["peers"](STAGES, PEERS).tasks
        rows = {label: task() for label, task in tasks.items()}
    assert {"0 numpy", "8 bitpack, packed", "8 bitpack, last row"} <= set(rows)
    assert {row.num_cells for row in rows.values()} == {programs.LANES**2}
    out = capsys.readouterr().out
    for label in ("CellPyLib, 32 x 32", *programs.LIBRARIES):
        assert (label in rows) != (f"{label} is missing: " in out)
    if shutil.which("cc"):
        assert {"C, bytes", "C, 1 core, last row"} <= set(rows)
