"""Test that `port` names what is wrong, what is slow and what comes next."""

import json
import numbers
import re
import tomllib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from support import ROOT, assert_refused, plain_environment, run_python
from workshop import tracing
from workshop.errors import STANDARD_LIBRARY
from workshop.port.advice import WORDS, advise, explain
from workshop.port.causes import find_rebound, find_statements
from workshop.port.evidence import copied_buffer
from workshop.port.facts import DRAWS, make_evidence
from workshop.port.results import compare_results, flatten, relate
from workshop.tracing import is_own

WORKSHOP = ROOT / "stages" / "workshop"
CASES = ROOT / "tests" / "cases"
TABLE = tomllib.loads((CASES / "cases.toml").read_text(encoding="utf-8"))

OLD = """
import numpy as np

def simulate(x, num_steps):
    for _ in range(num_steps):
        x = x + 0.1 * (np.roll(x, 1) - x)
    return x
"""
STEP = """
import functools
import jax
import jax.numpy as jnp
import numpy as np

def step(x):
    return x + 0.1 * (jnp.roll(x, 1) - x)

"""
JITTED = STEP + "step = jax.jit(step)\n"
LOOP = """
def simulate(x, num_steps):
    for _ in range(num_steps):
        x = step(x)
    return x
"""
SCAN = """
@functools.partial(jax.jit, static_argnames="num_steps")
def simulate(x, num_steps):
    return jax.lax.fori_loop(0, num_steps, lambda _, x: step(x), x)
"""
CALL = "simulate(x, num_steps=12)"
SMALL = "x = np.linspace(0, 1, 99) ** 2"
SETUP = "x = np.random.default_rng(0).normal(size=50_000)"

# For each finding: a port of OLD that must get it. The ports follow the method
# from NumPy towards a finished port, one idea at a time.
FINDINGS = {
    "no_jax": OLD,
    "one_by_one": STEP + LOOP,
    "calls_chained": JITTED + LOOP,
    "unrolled": STEP
    + "@functools.partial(jax.jit, static_argnames='num_steps')"
    + LOOP,
    "traced_again": STEP
    + LOOP.replace("step(x)", "jax.jit(lambda x: step(x))(x)"),
    "loop_outside": STEP + SCAN.split("\n", 2)[2],
}


@pytest.fixture
def port(tmp_path):
    """Return a function that runs port on two texts."""

    def run_port(old, new, call=CALL, setup=SETUP, *arguments):
        (tmp_path / "old.py").write_text(old, encoding="utf-8")
        (tmp_path / "new.py").write_text(new, encoding="utf-8")
        report = tmp_path / "report.json"
        done = run_python(
            *(WORKSHOP, "port", "old.py", "new.py", "--call", call),
            *("--setup", setup, "--json", report, *arguments),
            cwd=tmp_path,
        )
        facts = json.loads(report.read_text()) if report.exists() else {}
        return done, facts

    return run_port


@pytest.mark.slow
@pytest.mark.parametrize("name", FINDINGS)
def test_each_step_of_a_port_has_its_finding(name, port):
    done, facts = port(OLD, FINDINGS[name])
    assert done.returncode == 0, done.stdout
    assert name in [finding["name"] for finding in facts["findings"]]


def test_a_good_port_is_done(port):
    done, facts = port(OLD, STEP + SCAN)
    assert done.returncode == 0, done.stdout + done.stderr
    assert facts["same"]
    assert facts["findings"] == []
    assert facts["later"] < facts["old"]


def test_a_wrong_port_is_named_with_its_first_difference(port):
    new = (STEP + SCAN).replace("return x +", "return x.at[7].add(1) +")
    done, facts = port(OLD, new, "simulate(x, num_steps=1)", SMALL)
    assert done.returncode == 1
    assert facts["differs"]["index"] == [7]
    assert not facts["same"]


@pytest.mark.slow
def test_values_that_should_be_0_are_rounding_and_can_be_allowed(port):
    old = "import numpy as np\n\ndef f(x):\n    return (x - x.mean()).mean()\n"
    new = "import jax.numpy as jnp\n\ndef f(x):\n    x = jnp.asarray(x)\n"
    new += "    return (x - x.mean()).mean()\n"
    done, facts = port(old, new, "f(x)", SMALL)
    assert done.returncode == 1
    assert float(facts["shrinks"][1]) < 1e-4 * float(facts["shrinks"][0])
    assert "--atol" in facts["verdict"]
    done, facts = port(old, new, "f(x)", SMALL, *facts["allow"].split())
    assert facts["same"]


def test_what_a_row_of_the_table_of_errors_fits_has_its_remedy(port):
    new = "import jax.numpy as jnp\n\ndef simulate(x, num_steps):\n"
    new += "    x = jnp.asarray(x)\n    x[0] = 1\n    return x\n"
    done, facts = port(OLD, new, "simulate(x, num_steps=1)", SMALL)
    assert done.returncode == 1
    assert "new.py, line 5" in facts["why"]
    assert ".at" in facts["why"]


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
    ("got", "want", "same"),
    [
        (1.0, 1.0 + 1e-6, True),
        (1.0, 1.001, False),
        (np.nan, np.nan, True),
        (np.array([1, 2]), [1, 2], True),
        (np.array([1, 2]), np.array([1.0, 2.0]), False),
        (np.zeros(3), np.zeros((3, 1)), False),
        ({"a": 1, "b": "text"}, {"b": "text", "a": 1}, True),
        ({"a": 1}, {"b": 1}, False),
        ("one", "two", False),
        ((1, [2, 3]), (1, np.array([2, 3])), True),
        (np.array([1, np.inf]), np.array([1, np.inf]), True),
    ],
)
def test_results_are_compared_by_value(got, want, same):
    difference = compare_results(flatten(got), flatten(want))
    assert (difference is None) == same


def test_only_the_users_files_count_as_the_users():
    folder = str(ROOT)  # the user's folder, which also contains our files
    assert is_own(str(ROOT / "program.py"), folder)
    assert is_own(str(ROOT / "stages" / "mine.py"), folder)
    assert not is_own(str(WORKSHOP / "port" / "evidence.py"), folder)
    assert not is_own(str(ROOT / ".venv/site-packages/jax/jit.py"), folder)
    home = str(Path(STANDARD_LIBRARY).parents[1])  # it contains Python
    assert not is_own(numbers.__file__, home)
    assert is_own(str(Path(home, "program.py")), home)


STEP_BY_STEP = {
    "old": 1.0,
    "first": 2.0,
    "later": 1.0,
    "is_jax": True,
    "calls": {"f": 1},
    "inside": 1.0,
    "loops": [{"line": "", "size": 1, "copied": ""}],
}
WIDE_STEP = {"loops": [{"line": "", "size": 10_000, "copied": ""}]}
WRITES = {"scatters": {"": 10_000}, "loops": []}


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({}, "slow_loop"),
        ({"later": 0.2}, ""),  # it is faster
        (WIDE_STEP, ""),  # each step is large
        ({"compiling": 0.9}, "compiled_again"),  # the loop is not to blame
        ({"eager": {"": 100}}, "one_by_one"),
        ({"eager": {"": 1000}, "small": 900}, "one_by_one_small"),
        ({"calls": {"f": 100}, "chained": {"f": 99}}, "calls_chained"),
        ({"calls": {"f": 100}}, "calls"),
        ({"later": 0.2, "grows": [100, 160]}, "unrolled_grows"),
        ({"later": 0.2, "grows": [100, 140]}, ""),
        (WRITES, "scatter"),
        (WRITES | {"later": 0.2}, ""),
        ({"later": 0.2, "outside": {"a.py:1": 0.7}, "inside": 0.3}, "outside"),
        ({"later": 0.2, "outside": {"--call:1": 1e-4}, "inside": 1e-5}, ""),
        ({"old": 1e-6, "first": 1e-3, "later": 1e-4}, "too_small"),
    ],
)
def test_the_first_advice_follows_from_times_and_counts(changed, name):
    findings = advise(make_evidence(STEP_BY_STEP | changed))
    assert [finding["name"] for finding in findings][:1] == [name] * bool(name)


def test_a_run_that_came_to_no_end_excludes_nothing():
    """Check that changes are named, and only tried causes are excluded."""
    facts = {"differs": {"text": ""}, "repeats": True, "old_repeats": True}
    facts |= {"tried": ["with_64_bits"]}
    changed = {"name": "RNG", "function": "step", "line": "old.py:1"}
    changed |= {"before": f"{DRAWS} 1", "after": f"{DRAWS} 2"}
    named = explain(make_evidence(facts | {"changed": changed}))
    assert "`RNG`" in named
    unknown = explain(make_evidence(facts))
    assert WORDS["tried"]["with_64_bits"] in unknown
    assert WORDS["tried"]["without_jit"][:10] not in unknown
    assert "fewer steps" in unknown


def test_wrong_counts_and_shapes_come_before_floats():
    want = {"result[0]": np.ones(3), "result[1]": np.array(5)}
    got = {"result[0]": np.zeros(3), "result[1]": np.array(4)}
    assert compare_results(got, want).path == "result[1]"
    got["result[1]"] = np.zeros((2, 2))
    assert "(2, 2)" in compare_results(got, want).text


def fill(i, carry):
    record, x = carry
    x = x + record[i - 1] * record[i - 2]
    record = record + 0 * record.sum()  # XLA needs the old record here
    return record.at[i].set(x), x


def keep_boundary(_, x):
    return (x + jnp.roll(x, 1, 0)).at[0].set(1.0)


@pytest.mark.parametrize(
    ("body", "start", "copied"),
    [
        (fill, lambda: (jnp.zeros((100, 1000)), jnp.zeros(1000)), "100,1000"),
        (fill, lambda: (jnp.zeros((10, 8)), jnp.zeros(8)), ""),  # small
        (keep_boundary, lambda: jnp.zeros((200, 1000)), ""),
    ],
)
def test_only_a_large_record_is_reported_as_copied(body, start, copied):
    program = jax.make_jaxpr(
        lambda start: jax.lax.fori_loop(0, 10, body, start)
    )(start())
    (loop,) = tracing.loops(program.jaxpr)
    assert copied_buffer(program, loop) == copied


ROWS = np.array([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0], [3.0, 9.0, 27.0]])
SQUARES = np.arange(12).reshape(6, 2) ** 2


@pytest.mark.parametrize(
    ("got", "want", "name"),
    [
        (-ROWS, ROWS, "negated"),
        (ROWS * [1, -1, 1], ROWS, "sign"),
        (ROWS.T, ROWS, "order"),
        (ROWS[::-1], ROWS, "order"),
        (ROWS[[1, 0, 2]], ROWS, "shuffled"),
        (SQUARES[1:], SQUARES[:-1], "steps"),
        (ROWS / 2, ROWS, "factor"),
        (ROWS + 3, ROWS, "offset"),
        (ROWS.astype(np.uint8) * 9, ROWS.astype(int) * 9, "wrapped"),
        (np.ones((3, 3)), ROWS, "unchanged"),
        (ROWS**2, ROWS, ""),
    ],
)
def test_what_two_results_have_in_common(got, want, name):
    assert relate(got, want, {"x": np.ones((3, 3))})[0] == name


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("x = x.at[0].set(1)", 2),
        ("x = x.at[0].set(1)\n    return x", 0),
        ("y = x.at[0].set(1)", 0),
    ],
)
def test_an_argument_that_gets_a_new_array_has_to_be_returned(
    body, line, tmp_path
):
    path = tmp_path / "new.py"
    path.write_text(f"def f(x):\n    {body}\n", encoding="utf-8")
    found = find_rebound(path)
    assert found.get("line", f"{path}:0") == f"{path}:{line}"


def test_only_a_result_that_nothing_takes_is_unused(tmp_path):
    path = tmp_path / "new.py"
    lines = "x.sort()", "x.at[0].set(1)", "kept.append(x.sum())", "y = f(x)"
    path.write_text("\n".join(lines), encoding="utf-8")
    assert find_statements(str(path)) == {1, 2}


def test_only_what_the_tolerance_allows_may_differ():
    got, want = flatten(np.array([1.0, 2.0])), flatten(np.array([1.0, 2.1]))
    assert compare_results(got, want, rtol=0.1) is None
    assert compare_results(got, want, rtol=0.01).index == (1,)
    assert compare_results(got, want, rtol=0.01, atol=0.2) is None
    assert compare_results(got, want, rtol=0.01, atol=0.05).index == (1,)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("no.py", "no.py", "--call", "f()"), "no.py"),
        (("stage0_numpy.py", "stage0_numpy.py", "--call", "f("), "call"),
        (
            ("stage0_numpy.py", "stage0_numpy.py", "--call=f()", "--rtol=-1"),
            "rtol",
        ),
        (
            ("stage0_numpy.py",) * 2 + ("--call=f()", "--atol=nan"),
            "atol",
        ),
        (
            ("stage0_numpy.py",) * 2 + ("--call=f()", "--seconds=0"),
            "seconds",
        ),
    ],
)
def test_bad_input_is_one_line(arguments, said):
    done = run_python(WORKSHOP, "port", *arguments, cwd=ROOT / "stages")
    assert_refused(done, said)


def test_bad_input_is_refused_before_jax_is_imported():
    arguments = "no.py", "no.py", "--call", "f()"
    done = run_python("-X", "importtime", WORKSHOP, "port", *arguments)
    assert done.returncode == 2
    imported = re.findall(r"\| +([\w.]+)$", done.stderr, re.M)
    assert "workshop.port.advice" in imported
    assert "jax" not in imported
