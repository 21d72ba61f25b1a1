"""Test that `port` names what is wrong, what is slow and what comes next."""

import json
import numbers
import re
import sys
import tomllib
from collections import Counter
from pathlib import Path

import jax
import numpy as np
import pytest

from support import ROOT, assert_refused, plain_environment, run_python
from workshop import tracing
from workshop.errors import STANDARD_LIBRARY
from workshop.port import evidence, port, runs
from workshop.port.advice import WORDS, advise, explain, make_evidence
from workshop.port.evidence import divide_time
from workshop.port.results import compare_results, flatten, relate
from workshop.sandbox import Report
from workshop.tracing import is_own

WORKSHOP = ROOT / "stages" / "workshop"
CASES = ROOT / "tests" / "cases"
TABLE = tomllib.loads((CASES / "cases.toml").read_text(encoding="utf-8"))
CAUSES = tomllib.loads((CASES / "causes.toml").read_text(encoding="utf-8"))
FINDINGS = tomllib.loads((CASES / "findings.toml").read_text(encoding="utf-8"))
HEAD = "import functools, jax, numpy as np, jax.numpy as jnp\n"

OLD = FINDINGS["old"]
CALL = "simulate(x, num_steps=12)"
SETUP = "x = np.random.default_rng(0).normal(size=50_000)"


@pytest.fixture
def compare(tmp_path, monkeypatch):
    """Return a function that compares two texts in this process."""

    def run_both(old, new, call, setup, larger=""):
        facts = {}
        request = {
            "call": call,
            "setup": setup,
            "larger": larger,
            "rtol": None,
        }
        request |= {"atol": 0, "results": str(tmp_path / "results")}
        for mode, text in ("old", old), ("new", new):
            path = tmp_path / f"{mode}.py"
            path.write_text(HEAD + text, encoding="utf-8")
            if "why" not in facts:
                runs.work(
                    lambda **more: facts.update(more),
                    *(mode, json.dumps(request), path),
                )
        return facts

    monkeypatch.setattr(runs, "BUDGET", 0.1)
    monkeypatch.setattr(evidence, "QUICK", 1.0)  # whatever the load
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.setattr(sys, "path", [*sys.path])
    with jax.numpy_dtype_promotion("standard"):
        yield run_both


def test_both_programs_run_are_compared_and_get_a_verdict(tmp_path):
    new = FINDINGS["step"] + FINDINGS["ports"]["done"]
    (tmp_path / "old.py").write_text(HEAD + OLD, encoding="utf-8")
    (tmp_path / "new.py").write_text(HEAD + new, encoding="utf-8")
    call = "--call", CALL, "--setup", SETUP
    done = run_python(
        WORKSHOP, "port", "old.py", "new.py", *call, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "OK    same result (float32 for float64)" in done.stdout
    assert "OK    same at the second call" in done.stdout
    assert "What next?" in done.stdout  # how fast it is depends on the load


DIFFERS = {"differs": {"text": "x[3]"}, "causes": {"sign": {}}}
SLOWER = {"old": 1.0, "first": 9.0, "later": 2.0}
FASTER = {"old": 2.0, "first": 9.0, "later": 1.0}


@pytest.mark.parametrize(
    ("new", "call", "status", "shown"),
    [
        ({"why": "It fails."}, "f()", 1, "It fails."),
        ({"broken": "gigabytes"}, "f()", 1, "--gigabytes 16"),
        ({"broken": "seconds"}, "f()", 1, "--seconds"),
        ({"facts": DIFFERS, "why": "x"}, "f()", 1, "Eigenvectors"),
        ({"facts": SLOWER}, "f()", 0, "Write `import jax.numpy as jnp`"),
        ({"facts": SLOWER, "why": "x"}, "f()", 0, "make stage N=1"),
        ({"facts": SLOWER}, "f()", 0, "2.00 times as slow"),
        ({"facts": SLOWER | {"reads": {"": 1}}}, "f()", 0, "better tool"),
        ({"facts": FASTER | {"reads": {"": 1}}}, "f()", 0, "from call 8"),
        ({"facts": FASTER | {"reads": {"": 1}}}, "f()", 0, "is done"),
        ({"facts": FASTER | {"calls": {"f": 1}}}, "f()", 0, "100 %"),
        ({"facts": FASTER}, "total", 0, "calls nothing"),
    ],
)
def test_what_a_program_reports_is_shown(
    new, call, status, shown, run_here, monkeypatch
):
    def run_within(limits, module, mode, request, **_):
        assert json.loads(request)["call"] == call
        assert (limits.seconds, limits.gigabytes) == (300, 9)
        report = Report(steps=["runs"], facts={"bytes": 2_000_000_000})
        if mode == "new":
            vars(report).update(new)
        report.why = report.why or report.broken
        return report

    monkeypatch.setenv("MAKELEVEL", "1")
    monkeypatch.setattr(port.sandbox, "run_within", run_within)
    path = ROOT / "stages" / "stage0_numpy.py"
    options = "--call", call, "--gigabytes", 9
    done = run_here("port", path, path, *options)
    assert done.returncode == status, done
    assert "OK    runs" in done.stdout
    assert ("FAIL" in done.stdout) == status
    assert shown in done.stdout


@pytest.mark.parametrize("name", FINDINGS["ports"])
def test_each_step_of_a_port_has_its_finding(name, compare):
    new = FINDINGS["step"] + FINDINGS["ports"][name]
    found = advise(make_evidence(compare(OLD, new, CALL, SETUP)))
    names = [finding["name"] for finding in found]
    assert name in names or (name, names) == ("done", [])


@pytest.mark.parametrize(
    ("name", "grows", "static"),
    [("done", 0, None), ("one_by_one", 1, ["num_steps"])],
)
def test_a_larger_call_shows_whether_a_loop_is_unrolled(
    name, grows, static, compare
):
    new = FINDINGS["step"] + FINDINGS["ports"][name]
    larger = CALL.replace("12", "13")
    facts = compare(OLD, new, CALL, "x = np.ones(9)", larger)
    few, many = facts["grows"]
    assert (0 < few < many) == grows
    assert facts["function"].get("static") == static  # jit needs it


@pytest.mark.parametrize("name", CAUSES)
def test_each_cause_of_a_difference_is_named(name, compare):
    program = CAUSES[name]
    x = f"x = {program['x']}"
    facts = compare(program["old"], program["new"], "f(x)", x)
    found = [cause for cause in WORDS["causes"] if cause in facts["causes"]]
    assert found[0] == name.partition("-")[0], facts
    assert explain(facts["causes"])


@pytest.mark.parametrize(
    ("name", "x", "changed"),
    [("fixed_value", "1.0", 1), ("unknown", "np.ones(3)", 0)],
)
def test_a_run_that_came_to_no_end_excludes_nothing(
    name, x, changed, compare, monkeypatch
):
    monkeypatch.setattr(tracing, "PATIENCE", -1)
    old, new = CAUSES[name]["old"], CAUSES[name]["new"]
    new = new.replace("return total", "return jnp.cos(total)")
    facts = compare(old, new, "f(x)", f"x = {x}")
    assert ("fixed_value" in facts["causes"]) == changed
    tried = facts["causes"]["unknown"]["tried"]
    assert WORDS["experiments"]["without_jit"][:9] not in tried
    assert WORDS["experiments"]["with_64_bits"] in tried
    assert "fewer steps" in facts["causes"]["unknown"]["hint"]


@pytest.mark.parametrize(
    ("old", "call", "said"),
    [
        ("y = np.empty(3)\n    y[0] = 1", "f(x)", "np.zeros"),
        ("y = np.empty(3)\n    y[:] = 1", "f(x)", ""),
        ("y = np.empty(3)\n    y[:] = np.random.rand()", "f(x)", ""),
        ("y = None", "f(x)", "return"),
        ("y = np.array([{}, None])", "f(x)", "list("),
        ("y = np.ma.array(x)", "f(x)", "np.ma.filled("),
        ("y = iter(x)", "f(x)", "list("),
        ("y = np.random.default_rng(0)", "f(x)", "vars("),
        ("y = np.zeros(2, 'f4, i4')", "f(x)", "['f0']"),
        ("y = x", "f(z)", "f, g"),
        ("y = x", "f(x, 1)", "default"),
        ("y = exit()", "f(x)", "old.py, line 3"),
        ("y = jnp.asarray(x); y[0] = 1", "f(x)", ".at"),
    ],
)
def test_an_old_program_that_cannot_be_compared_has_a_remedy(
    old, call, said, compare
):
    text = f"def f(x):\n    {old}\n    return y\ndef g(): pass\n"
    facts = compare(text, "", call, "x = np.ones(3)")
    assert said in facts.get("why", "")


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLE)
def test_programs_as_people_have_them(name):
    case = TABLE[name]
    arguments = ["--call", case["call"], "--setup", case.get("setup", "")]
    if "rtol" in case:
        arguments += ["--rtol", case["rtol"]]
    folder = CASES / name
    done = run_python(
        *(WORKSHOP, "port", folder / "old.py", folder / "new.py", *arguments),
        env=plain_environment() | {"COLUMNS": "500"},
        cwd=ROOT,
    )
    assert done.returncode == case["status"], done.stdout + done.stderr
    for words in case["says"]:
        assert words in done.stdout


@pytest.mark.parametrize(
    ("got", "want", "options", "same"),
    [
        (1.0, 1.0 + 1e-6, {}, True),
        (1.0, 1.001, {}, False),
        (1.0, 1.1, {"rtol": 0.1}, True),
        (1.0, 1.1, {"rtol": 0.01}, False),
        ([1e9, 1.0], [1e9, 1.1], {}, True),  # little, beside their mean
        (1.0, 1.1, {"rtol": 0.01, "atol": 0.2}, True),
        (1.0, 1.1, {"rtol": 0.01, "atol": 0.05}, False),
        (np.nan, np.nan, {}, True),
        (np.nan, 1.0, {}, False),
        (np.array([1, 2]), [1, 2], {}, True),
        (np.array([1, 2]), np.array([1.0, 2.0]), {}, False),
        (np.zeros(3), np.zeros((3, 1)), {}, False),
        ({"a": 1, "b": "text"}, {"b": "text", "a": 1}, {}, True),
        ({"a": 1}, {"b": 1}, {}, False),
        ("one", "two", {}, False),
        ((1, [2, 3]), (1, np.array([2, 3])), {}, True),
        (np.array([1, np.inf]), np.array([1, np.inf]), {}, True),
    ],
)
def test_results_are_compared_by_value(got, want, options, same):
    difference = compare_results(flatten(got), flatten(want), **options)
    assert (difference is None) == same


def test_the_first_wrong_count_is_shown_before_floats():
    want = flatten((np.ones(3), np.array([[5, 6], [7, 8]])))
    got = flatten((np.zeros(3), np.array([[5, 6], [0, 0]])))
    difference = compare_results(got, want)
    assert (difference.path, difference.index) == ("result[1]", (1, 0))
    assert "2 of 4" in difference.text


def test_only_the_users_files_count_as_the_users():
    folder = str(ROOT)  # the user's folder, which also contains our files
    assert is_own(str(ROOT / "program.py"), folder)
    assert is_own(str(ROOT / "stages" / "mine.py"), folder)
    assert not is_own(str(WORKSHOP / "port" / "evidence.py"), folder)
    assert not is_own(str(ROOT / ".venv/site-packages/jax/jit.py"), folder)
    home = str(Path(STANDARD_LIBRARY).parents[1])  # it contains Python
    assert not is_own(numbers.__file__, home)
    assert is_own(str(Path(home, "program.py")), home)


STEP_BY_STEP = {"old": 1.0, "first": 2.0, "later": 1.0}
STEP_BY_STEP |= {"calls": {"f": 1}, "loops": {"": 1}}
MISS = {"kind": "fresh", "made": "a.py:1", "name": "f", "line": ""}
TWICE = {"misses": [MISS] * 2, "later": 0.2}
OFTEN = {"misses": [MISS] * 3, "later": 0.2}
LOOP_OUTSIDE = {"compiling": 0.9, "eager_loop": "", "again": [MISS]}
WIDE_STEP = {"loops": {"": 10_000}}
WRITES = {"scatters": {"": 10_000}, "loops": {}}


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({}, "slow_loop"),
        ({"later": 0.2}, ""),  # it is faster
        (WIDE_STEP, ""),  # each step is large
        ({"compiling": 0.9}, "compiled_again"),  # the loop is not to blame
        (LOOP_OUTSIDE, "traced"),
        (LOOP_OUTSIDE | {"eager_loop": "--call:1"}, "compiled_again"),
        (TWICE, ""),
        (OFTEN, "traced"),
        ({"eager": {"": 100}}, "one_by_one"),
        ({"eager": {"": 1000}, "small": 900}, "one_by_one.small"),
        ({"calls": {"f": 100}, "chained": {"f": 99}}, "calls.chained"),
        ({"calls": {"f": 100}}, "calls"),
        ({"later": 0.2, "grows": [100, 160]}, "unrolled.grows"),
        ({"later": 0.2, "grows": [100, 140]}, ""),
        (WRITES, "scatter"),
        (WRITES | {"later": 0.2}, ""),
        ({"later": 0.2, "percent": 70}, "outside"),
        ({"later": 0.2, "percent": 30}, ""),
        ({"old": 1e-6, "first": 1e-3, "later": 1e-4}, "too_small"),
    ],
)
def test_the_first_advice_follows_from_times_and_counts(changed, name):
    findings = advise(make_evidence(STEP_BY_STEP | changed))
    assert [finding["name"] for finding in findings][:1] == [name] * bool(name)


def test_the_function_to_jit_is_named_with_its_static_arguments():
    facts = {"eager": {"": 9}, "function": {"name": "f", "static": ["n"]}}
    (finding,) = advise(make_evidence(facts))
    assert "`f` (with static_argnames=['n'])" in finding["todo"]


def test_time_outside_is_given_to_a_line_but_not_to_a_short_call():
    spent = Counter({"--call:1": 1e-4, "a.py:1": 3.0, "a.py:2": 5.0})
    found = divide_time(spent, Counter({"a.py:2": 4.0}))
    assert found == {"percent": 50, "outside": "a.py:1"}
    found = divide_time(Counter({"--call:1": 1.0}), Counter())
    assert found == {"percent": 100, "outside": "--call:1"}


ROWS = np.array([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0], [3.0, 9.0, 27.0]])
SQUARES = np.arange(12).reshape(6, 2) ** 2


@pytest.mark.parametrize(
    ("got", "want", "name"),
    [
        (ROWS * [1, -1, 1], ROWS, "sign"),
        (ROWS[::-1], ROWS, "shuffled"),
        (SQUARES[1:], SQUARES[:-1], "steps"),
        (SQUARES[:-1], SQUARES[1:], "steps"),
        (ROWS.astype(np.uint8) * 9, ROWS.astype(int) * 9, "wrapped"),
        (np.ones((3, 3)), ROWS, "unchanged"),
        (ROWS**2, ROWS, ""),
    ],
)
def test_what_two_results_have_in_common(got, want, name):
    assert relate(got, want, {"x": np.ones((3, 3))})[0] == name


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no.py", "no.py", "--call", "f()"], "no.py"),
        (["--call", "f("], "call"),
        (["--call", "f()", "--rtol", "-1"], "rtol"),
        (["--call", "f()", "--atol", "nan"], "atol"),
        (["--call", "f()", "--seconds", "0"], "seconds"),
    ],
)
def test_bad_input_is_one_line(arguments, said, run_here):
    path = ROOT / "stages" / "stage0_numpy.py"
    paths = [] if arguments[0] == "no.py" else [path, path]
    assert_refused(run_here("port", *paths, *arguments), said)


def test_bad_input_is_refused_before_jax_is_imported():
    arguments = "no.py", "no.py", "--call", "f()"
    done = run_python("-X", "importtime", WORKSHOP, "port", *arguments)
    assert done.returncode == 2
    imported = re.findall(r"\| +([\w.]+)$", done.stderr, re.M)
    assert "workshop.port.advice" in imported
    assert "jax" not in imported
