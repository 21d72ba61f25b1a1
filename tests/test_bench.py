"""The benchmark: honest rows, a readable screen, files that can be read."""

import dataclasses
import functools
import io
import itertools
import json
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from PIL import Image

import bench
import measuring
import plot
import readme
import sections
import tables
from measuring import RefusedError, Row, Stage, load_stages, measure
from sections import PLANS, Settings
from support import ROOT, clean_environment, run_python
from workshop.stages import STAGES_FOLDER, find_stages

BENCH = ROOT / "benchmarks" / "bench.py"
TINY = Settings(12, 24, (5, 7), (2, 3, 4), (40, 5), (2, 4), (18,))
STAGES = load_stages(STAGES_FOLDER)
BY_LABEL = {stage.label: stage for stage in STAGES}
NUMPY, SCAN = STAGES[0], BY_LABEL["5 scan"]
TIMES = {"first": [3.0], "later": [1.0, 1.1, 1.2]}
MACHINE = {
    **{"cpu": "abacus", "cores": 2, "memory": "1 GiB", "pages": "small"},
    **{"python": "3.11", "jax": "0.10", "numpy": "2.4", "devices": "cpu:0"},
    **{"date": "today", "busy": 0.0},
}


@pytest.fixture(autouse=True)
def few_calls(monkeypatch):
    """No row is timed for longer than it must."""
    monkeypatch.setattr(measuring, "BUDGET", 0)


def measure_section(name, stages=STAGES):
    """The rows of a section, by label, and what is said below."""
    section = PLANS[name](stages, TINY)
    rows = {label: task() for label, task in section.tasks.items()}
    assert [row.label for row in rows.values()] == list(rows)
    return rows, list(section.notes(list(rows.values())))


measured = functools.cache(measure_section)


@pytest.fixture
def run_bench(monkeypatch, capsys):
    """Run the script here; its status, output and errors."""
    monkeypatch.setattr(bench, "prepare_jax", lambda: None)
    monkeypatch.setattr(bench, "QUICK", TINY)
    monkeypatch.chdir(ROOT)

    def run(*arguments):
        line = ["bench.py", *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", line)
        try:
            status = bench.main()
        except SystemExit as end:
            status = end.code
        return status, *capsys.readouterr()

    return run


def change(stage, **functions):
    """The stage, with some of its functions replaced."""
    module = SimpleNamespace(**vars(stage.module) | functions)
    return Stage(stage.label, module)


@pytest.mark.parametrize("name", PLANS)
def test_a_section_has_rows_with_samples(name):
    rows, notes = measured(name)
    for row in rows.values():
        assert row.remark or all(row.samples.values())
        assert not row.remark or not row.samples
        if later := row.samples.get("later"):
            assert len(later) >= 3
            assert min(later) > 0
    assert all(notes)


def test_every_stage_has_a_row_for_each_program_and_each_way():
    floors = ["floor: np.full", "floor: jnp.full"]
    for name, expected in (("small", []), ("large", floors)):
        rows, _ = measured(name)
        assert [label for label in rows if "floor" in label] == expected
        for stage in STAGES:
            labels = [x for x in rows if x.startswith(stage.label)]
            assert labels
            packs = hasattr(stage.module, "simulate_packed")
            assert (f"{stage.label}, packed" in labels) == packs
            if stage.fails_with:
                assert stage.fails_with[0].__name__ in rows[labels[0]].remark
        assert "9 shard, 2 devices" in rows
        assert rows["6 vmap"].remark == "the same program as 5 scan"
        size = getattr(TINY, name)
        timed = [row for row in rows.values() if not row.remark]
        assert all(row.num_cells == size**2 for row in timed)


def test_only_stages_that_grow_are_extrapolated():
    rows, _ = measured("large")
    guesses = {k: r.remark for k, r in rows.items() if "at least" in r.remark}
    assert list(guesses) == ["2 at_set", "4 static_args"]
    about = r"at least [\d.]+ (s|min), from 2 and 4 rows"
    assert all(re.fullmatch(about, remark) for remark in guesses.values())


@pytest.mark.parametrize(
    ("seconds", "remark"),
    [
        ([1.0, 2.0], "at least 12 s,"),  # 2 rows, 4 rows; of 24
        ([9.0, 12.0], "at least 42 s,"),
        ([20.0, 24.0], "at least 1.1 min,"),
        ([5.0, 4.0], "at least 24 s,"),  # noise: the line would fall
    ],
)
def test_a_long_call_does_not_look_short(seconds, remark, monkeypatch):
    times = iter(seconds)
    monkeypatch.setattr(
        *(sections, "time_call"), lambda f, *args: (f(*args), next(times))
    )
    stage, states = (
        BY_LABEL["4 static_args"],
        NUMPY.module.simulate(110, 24, 24),
    )
    row = sections.extrapolate(stage, 24, [states], (2, 4))
    assert row.remark.startswith(remark)
    times = itertools.repeat(1.0)
    with pytest.raises(RefusedError, match=r"^4 static_args is wrong"):
        sections.extrapolate(stage, 24, [1 - states], (2, 4))


def test_compile_counts_equations():
    rows, _ = measured("compile")
    counts = {label: row.num_equations for label, row in rows.items()}
    assert counts["5 scan, 2"] == counts["5 scan, 4"]
    unrolled = [counts[f"4 static_args, {n}"] for n in TINY.compile_steps]
    assert unrolled[0] < unrolled[1]
    assert len(set(np.diff(unrolled))) == 1


def test_all_rules_also_on_words():
    rows, notes = measured("rules")
    assert {"0 numpy, loop", "5 scan, loop", "6 vmap, one call"} <= set(rows)
    for label in ("vmap 8 bitpack", "vmap 8 bitpack, packed"):
        assert rows[label].num_cells == 256 * 5 * 7
        ratio = rows["6 vmap, one call"].typical / rows[label].typical
        assert f"{label}: {ratio:.1f} times as fast as 6 vmap" in str(notes)
    assert Settings().each_rule[0] != Settings().each_rule[1]


def test_scale_has_every_program():
    (row,) = measured("scale")[0].values()
    labels = ["5 scan", "8 bitpack", f"9 shard x {jax.device_count()}"]
    if shutil.which("cc"):
        labels.append("C, 1 core")
    assert list(row.samples) == labels
    assert row.num_cells == 2**18


def last_cell_wrong(states):
    return states.at[-1, -1].set(1 - states[-1, -1])


def last_row_missing(states):
    return states[:-1]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (last_cell_wrong, r"^(5 scan|WRONG).* is wrong: row \d+, c"),
        (last_row_missing, r"^(5 scan|WRONG).* is wrong: shape"),
    ],
)
@pytest.mark.parametrize("name", [n for n in PLANS if n != "scale"])
def test_wrong_states_end_a_section(name, spoil, message):
    @jax.jit(static_argnames=("width", "num_steps"))
    def simulate(rule, width, num_steps):
        return spoil(SCAN.module.simulate(rule, width, num_steps))

    with pytest.raises(RefusedError, match=message):
        measure_section(name, [NUMPY, change(SCAN, simulate=simulate)])


@pytest.mark.parametrize("few", [True, False])
def test_a_wrong_last_row_ends_scale(few):
    stage = BY_LABEL["8 bitpack"]

    def scan_words(rule, width, num_steps, record):
        words, rows = stage.module.scan_words(rule, width, num_steps, record)
        return (words ^ 1 if few == (num_steps == 16) else words), rows

    others = [s for s in STAGES if s.label > stage.label]
    wrong = [NUMPY, SCAN, change(stage, scan_words=scan_words), *others]
    with pytest.raises(RefusedError, match=r"the last of \d+ rows, is wrong"):
        measure_section("scale", wrong)


def test_a_stage_that_should_fail_must_fail():
    doc = "Fails with: TypeError, never"
    with pytest.raises(RefusedError, match="5 scan has to fail, but ran"):
        measure_section("small", [NUMPY, change(SCAN, __doc__=doc)])


def test_a_cache_is_refused():
    cached = functools.lru_cache(SCAN.module.simulate)
    with pytest.raises(RefusedError, match=r"5 scan is refused: .* a cache"):
        measure_section("small", [NUMPY, change(SCAN, simulate=cached)])
    states = np.ones((4, 4), np.uint8)
    with pytest.raises(RefusedError, match=r"view is refused: .* a cache"):
        measure("view", lambda: [states[:]], [], 16, lambda x: x[0])


def test_an_answer_from_tracing_is_refused():
    @jax.jit(static_argnames=("rule", "width", "num_steps"))
    def simulate(rule, width, num_steps):
        return jax.numpy.array(NUMPY.module.simulate(rule, width, num_steps))

    with pytest.raises(RefusedError, match=r"5 scan is refused: .* traced"):
        measure_section("small", [NUMPY, change(SCAN, simulate=simulate)])


def test_what_is_faster_than_memory_is_refused():
    def call():  # memory that nobody writes
        return np.empty(2**26, np.uint8)

    limits = call, [], 2**26, lambda result: np.zeros((1, 1))
    measure("WRONG: not waiting", *limits, wait=False)
    with pytest.raises(RefusedError, match=r"fast is refused: .* 67,108,864"):
        measure("fast", *limits)


def test_the_result_is_checked_before_there_is_a_row(monkeypatch):
    events, numbers = [], itertools.count()

    def call():
        events.append("call")
        return np.full((3, 3), next(numbers) * 0)

    def to_states(result):
        events.append("check")
        return result

    monkeypatch.setattr(jax, "clear_caches", lambda: events.append("clear"))
    row = measure("label", call, [np.zeros((3, 3), int)], 1, to_states)
    assert events == ["clear", "call", "check", *["call"] * 3, "check"]
    assert [len(samples) for samples in row.samples.values()] == [1, 3]
    results = iter(np.eye(4, dtype=int)[[0, 0, 0, 1]])
    with pytest.raises(RefusedError, match="last is wrong"):
        measure("last", lambda: next(results)[None].copy(), [], 1)


def test_only_the_wrong_row_does_not_wait(monkeypatch):
    waits = []

    def time_call(function, *, wait=True):
        waits.append(wait)
        return function(), 1.0

    monkeypatch.setattr(measuring, "time_call", time_call)
    measure_section("waiting")
    assert waits == [False] * 4 + [True] * 7  # with those of the floor


def show(name, monkeypatch, columns=80):
    """The lines that are printed of a section."""
    rows, notes = measured(name)
    tasks = {label: lambda row=row: row for label, row in rows.items()}
    section = PLANS[name](STAGES, TINY)
    section = dataclasses.replace(section, tasks=tasks, notes=lambda _: notes)
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = []
    tables.show(name, section, shown)
    assert shown == list(rows.values())


@pytest.mark.parametrize("columns", [40, 80])
@pytest.mark.parametrize("name", PLANS)
def test_a_section_fits_the_screen(name, columns, monkeypatch, capsys):
    show(name, monkeypatch, columns)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
    assert len(lines) <= 24 or columns == 40
    section = PLANS[name](STAGES, TINY)
    margin = max(map(len, section.tasks))
    shown = tables.fitting(section.columns, columns - margin)
    assert shown
    slow = {c.head: [99.9] for c in section.columns}
    slow |= {"first": [99.99999], "later": [9.9, 9.99, 20.0]}
    if name not in ("compile", "scale"):
        slow = {key: slow[key] for key in ("first", "later")}
    row = Row("slow", slow, 64_000_000, 99_999)
    for column in shown:
        assert len(column.text(row, [row])) <= column.width


@pytest.mark.parametrize(
    ("first", "later", "text"),
    [
        (0.5, 0.5, "call 1"),
        (2.0, 0.5, "call 2"),
        (999.5, 0.5, "call 999"),
        (1499.5, 0.5, "call 2k"),
        (998_999.5, 0.5, "call 999k"),
        (10.0**9, 0.5, "never"),
        (1.0, 1.5, "never"),
    ],
)
def test_it_pays_off_at_the_first_call_that_is_no_later(first, later, text):
    baseline = Row("0 numpy", {"first": [9.0], "later": [1.5]})
    row = Row("row", {"first": [first], "later": [later]})
    assert tables.pays_off(row, [baseline, row]) == text
    floor = dataclasses.replace(row, label="floor: np.full")
    assert not tables.pays_off(floor, [baseline, row, floor])
    assert not tables.pays_off(baseline, [baseline])
    assert len(text) <= tables.PAYS_OFF.width


@pytest.mark.parametrize(
    ("variables", "is_terminal", "color"),
    [
        ({"TERM": "xterm", "NO_COLOR": ""}, True, "\x1b[1m"),
        ({"TERM": "xterm", "NO_COLOR": "1"}, True, "\x1b[K"),
        ({"TERM": "dumb", "NO_COLOR": ""}, True, None),
        ({"TERM": "xterm", "NO_COLOR": ""}, False, None),
    ],
)
def test_plain_text_where_it_is_wanted(
    variables, is_terminal, color, monkeypatch, capsys
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    show("waiting", monkeypatch)
    text = capsys.readouterr().out
    assert "\nWRONG: not waiting" in text.replace("\r\x1b[K", "\n")
    assert (color or "WRONG") in text
    assert ("\x1b" in text) == (color is not None)
    assert ("\x1b[1m" in text) == (color == "\x1b[1m")
    assert ("measuring 2/2 waiting" in text) == (color is not None)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("padded[2:]", "padded[1:-1]", "5 scan is wrong: row 1, cell 5: got"),
        (
            "import jax\n",
            "import jacks\n",
            "stage5_scan.py cannot be imported",
        ),
        ("def step(", "def step((", "stage5_scan.py cannot be imported: Synt"),
        (
            "def simulate(",
            "def run(",
            "stage5_scan.py cannot be imported: Att",
        ),
    ],
)
def test_a_broken_stage_ends_the_run(
    old, new, message, tmp_path, monkeypatch, run_bench
):
    for path in find_stages().values():
        shutil.copy(path, tmp_path)
    path = tmp_path / "stage5_scan.py"
    source = path.read_text(encoding="utf-8")
    assert old in source
    path.write_text(source.replace(old, new, 1), encoding="utf-8")
    monkeypatch.setattr(bench, "STAGES_FOLDER", tmp_path)
    status, out, err = run_bench("--quick", "--only", "small")
    assert status == 1
    assert err.startswith(message)
    assert "Traceback" not in err
    assert ("\n4 static_args " in out) == ("wrong" in message)
    assert "\n5 scan " not in out
    assert "Done" not in out


def test_json_holds_every_sample_also_of_a_run_cut_short(
    tmp_path, monkeypatch, run_bench
):
    file = tmp_path / "results.json"
    options = "--quick", "--only", "waiting", "--json", file
    status, out, err = run_bench(*options)
    assert (status, err) == (0, "")
    assert f"wrote {file}" in out
    record = json.loads(file.read_text(encoding="utf-8"))
    assert record["complete"]
    assert record["machine"]["jax"] == jax.__version__
    assert record["machine"]["pages"] in ("huge", "small")
    rows = [Row(**row) for row in record["sections"]["waiting"]["rows"]]
    assert [row.label for row in rows] == ["WRONG: not waiting", "waiting"]
    assert all(len(row.samples["later"]) == 3 for row in rows)

    def plan(stages, settings):
        def press_ctrl_c():
            raise KeyboardInterrupt

        tasks = {"row": lambda: rows[0], "next": press_ctrl_c}
        return tables.Section("title", tables.LATER, tasks, list)

    monkeypatch.setitem(bench.ALL_PLANS, "waiting", plan)
    status, out, _ = run_bench(*options)
    assert status == 130
    assert "interrupted" in out
    record = json.loads(file.read_text(encoding="utf-8"))
    assert not record["complete"]
    (row,) = record["sections"]["waiting"]["rows"]
    assert Row(**row) == rows[0]


def make_record():
    """A record of rows that were not measured."""
    small = [
        Row("0 numpy", TIMES, 9),
        Row("1 jnp", remark="fails on purpose"),
        Row("8 bitpack", TIMES, 9),
    ]
    large = [Row("0 numpy", TIMES, 9), Row("8 bitpack, packed", TIMES, 9)]
    sections = {
        name: {"title": f"{name} cells, rule", "rows": rows}
        for name, rows in {"small": small, "large": large}.items()
    }
    rows = [Row("5 scan, 2", {"trace": [1.0], "lower": [1.0]})]
    sections["compile"] = {"title": "compile", "rows": rows}
    return {"machine": MACHINE, "sections": sections}


def test_the_plot_is_gray_and_pictures_suit_light_and_dark_pages():
    image = Image.open(io.BytesIO(plot.draw(make_record()))).convert("RGB")
    picture = np.asarray(image)
    assert (picture == picture[..., :1]).all()
    halves = picture[: len(picture) // 2], picture[len(picture) // 2 :]
    assert all((half < 99).mean() > 0.002 for half in halves)
    light, dark = plot.draw_pictures(make_record()).values()
    for png, page in ((light, 255), (dark, 13)):
        pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))
        assert (pixels[..., 3] == 0).mean() > 0.3  # the page is seen
        solid = pixels[pixels[..., 3] == 255][:, :3].astype(int)
        assert abs(solid - page).max(axis=1).min() > 60  # all of it, too


def test_tables_between_markers_are_replaced():
    ends = itertools.product(("bench", "peers"), ("start", "end"))
    markers = [f"<!-- {name}:{end} -->" for name, end in ends]
    text = "# Title\n{}\nold\n{}\nmiddle\n{}\n{}\nrest\n".format(*markers)
    readme.check(text)
    new = readme.rewrite(text, make_record())
    assert "old" not in new
    assert readme.rewrite(new, make_record()) == new
    first, _, second = new.partition("\nmiddle\n")
    assert first.startswith(f"# Title\n{markers[0]}\n| stage |")
    assert first.endswith(markers[1])
    assert "| C, bytes |" in second
    assert second.endswith(f"\n{markers[3]}\nrest\n")
    assert "abacus" in first
    table = [line for line in first.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    labels = [line.split("|")[1].strip() for line in table[2:]]
    assert labels == ["0 numpy", "1 jnp", "8 bitpack", "8 bitpack, packed"]
    assert "| 1,100.00 | 1.00x | never |" in table[4]
    for marker in markers:
        with pytest.raises(ValueError, match="it has no <!--"):
            readme.check(text.replace(marker, ""))


def test_the_tables_in_the_readme_have_the_stages_that_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text.partition("bench:start")[2].partition("bench:end")[0]
    rows = re.findall(r"^\| (\d+ \w+)", table, flags=re.MULTILINE)
    assert sorted(set(rows)) == sorted(BY_LABEL)
    kept = json.loads(readme.PEERS.read_text(encoding="utf-8"))["table"]
    assert readme.replace(text, "peers", kept) == text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "smal"], "only must name some of small,"),
        (["--size", "0"], "size must be at least 1, got 0"),
        (["--size", "9999999"], "size must fit into the memory available"),
        (["--size", "x"], "size"),
        (
            ["--only", "peers", "--size", "100"],
            "size must be a multiple of 64",
        ),
        (["--record"], "record needs the section peers"),
        (["--json", "nowhere/a.json"], "json must be in a folder that exists"),
        (["--json", "tests"], "json must be a file, got the folder tests"),
        (["--plot", "nowhere/a.png"], "plot must be in a folder that exists"),
        (["--plot", "a.gif"], "plot must be a file named .png, got a.gif"),
        (["--readme", "LICENSE"], "readme must be a file with markers"),
        (["--readme", "LICENSE", "--only", "small"], "readme needs small and"),
    ],
)
def test_bad_arguments_are_refused_before_measuring(
    arguments, message, run_bench
):
    status, out, err = run_bench(*arguments)
    assert status == 2
    assert message in err
    assert err.count("\n") == 1
    assert not out


def test_no_traceback_when_the_reader_leaves():
    done = subprocess.run(
        f"'{sys.executable}' '{BENCH}' --quick --only waiting | head -1",
        shell=True,
        capture_output=True,
        env=clean_environment(),
        encoding="utf-8",
        timeout=120,
    )
    assert done.stdout.count("\n") == 1
    assert not done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_huge_pages_are_noticed():
    code = "import machine; print(machine.page_size())"
    options = {"PYTHONPATH": str(ROOT / "benchmarks")}
    seen = {
        value: run_python("-c", code, env={**options, "GLIBC_TUNABLES": value})
        for value in ("", "glibc.malloc.hugetlb=1")
    }
    sizes = [done.stdout.strip() for done in seen.values()]
    kernel = Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text()
    asked = "huge" if platform.libc_ver()[1] >= "2.35" else "small"
    expected = {"madvise": ["small", asked], "always": ["huge"] * 2}
    setting = re.search(r"\[(\w+)\]", kernel)[1]
    assert sizes == expected.get(setting, ["small"] * 2)
