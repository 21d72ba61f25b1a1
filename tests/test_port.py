"""A program against its port: what is not right with it is named."""

import json
import re
import shlex
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

from support import ROOT, plain_environment, run_python
from workshop.port.results import compare_results, flatten

WORKSHOP = ROOT / "stages" / "workshop"
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
LOOP = """
def simulate(x, num_steps):
    for _ in range(num_steps):
        x = step(x)
    return x
"""
SCAN = """
def simulate(x, num_steps):
    return jax.lax.fori_loop(0, num_steps, lambda _, x: step(x), x)
"""
STATIC = '@functools.partial(jax.jit, static_argnames="num_steps")'
JIT = "step = jax.jit(step)\n"
GOOD = STEP + STATIC + SCAN
TINY = """
import numpy as np

def simulate(x, num_steps):
    return np.multiply(x, 1 + 0.1 * num_steps)
"""
CALL = "simulate(x, num_steps=12)"
SETUP = "x = np.random.default_rng(0).normal(size=50)"

# A port of OLD that gives the same; what is found, in which words.
STANDS = {
    "still NumPy": (OLD, "no jax", "Nothing of JAX"),
    "not compiled": (STEP + LOOP, "one by one", "x + 0.1 * (jnp.roll(x, 1)"),
    "compiled once": (GOOD, None, ""),
    "unrolled": (STEP + STATIC + LOOP, "unrolled", " 12 times"),
    "a loop outside of jit": (STEP + SCAN, "compiled again", "jit(scan)"),
    "Python's loop": (
        STEP + JIT + LOOP,
        "loop of calls",
        "takes what the one before",
    ),
    "jit of a known function": (
        STEP + LOOP.replace("step(x)", "jax.jit(step)(x)"),
        "loop of calls",
        "called 12 times",
    ),
    "jit at every call": (
        STEP + LOOP.replace("step(x)", "jax.jit(lambda x: step(x))(x)"),
        "traced again",
        "jax.jit(lambda x: step(x))(x)",
    ),
    "a static value that changes": (
        STEP.replace("step(x)", "step(x, i)")
        + "step = jax.jit(step, static_argnums=1)"
        + LOOP.replace("for _", "for i").replace("step(x)", "step(x, i)"),
        "traced often",
        "now int 11",
    ),
    "shapes that change": (
        STEP
        + JIT
        + LOOP.replace("x = step", "step(x[len(x) // 2 + _ :]); x = step"),
        "traced often",
        "float32[",
    ),
    "a value asked for": (
        STEP
        + JIT
        + LOOP.replace("= step(x)", "= step(x)\n        if x[0] > 99: break"),
        "loop of calls",
        "jax.lax.while_loop",
    ),
    "NumPy in the loop": (
        STEP + LOOP.replace("x = step(x)", "x = np.asarray(step(x))"),
        "values read",
        "12 times",
    ),
    "a print": (
        GOOD.replace("return x", 'jax.debug.print("{}", x[0]); return x'),
        "callbacks",
        "debug",
    ),
    "a large constant": (
        GOOD.replace("return x", "return TABLE[0, 0] * TABLE[1, 1] + x")
        + "\nTABLE = jnp.zeros(600_000).reshape(2, -1)\n",
        "constants",
        "2.4 MB",
    ),
    "64 bits": (
        GOOD.replace("return jax", "x = x.astype(jnp.float64); return jax"),
        "narrowed",
        "JAX_ENABLE_X64",
    ),
    "memory to give": (STEP + JIT + LOOP, "donate", "MB anew"),
    "a loop over numbers": (
        "import jax, jax.numpy as jnp\n"
        "@jax.jit\n"
        "def simulate(x, num_steps):\n"
        "    add = lambda i, total: total + x[i] * num_steps\n"
        "    return jax.lax.fori_loop(0, len(x), add, 0.0)\n",
        "slow loop",
        "jax.vmap",
    ),
    "NumPy at the end": (
        GOOD.replace("def simulate", "def inner")
        + "\ndef simulate(x, num_steps):\n"
        + "    return np.asarray(inner(x, num_steps=num_steps))\n",
        "values read",
        "Once a value",
    ),
    "too small": (
        "import jax.numpy as jnp\n" + TINY.replace("np.", "jnp."),
        "too small",
        "too little work",
    ),
}
OLDS = {
    "too small": TINY,
    "a loop over numbers": TINY.replace("multiply(x,", "sum(x *").replace(
        "1 + 0.1 * num_steps", "num_steps"
    ),
}
SETUPS = {
    "memory to give": "x = np.random.default_rng(0).normal(size=500_000)",
    "a loop over numbers": "x = np.random.default_rng(0).random(30_000)",
    "compiled once": "x = np.random.default_rng(0).normal(size=100_000)",
}

# What makes the results differ: the old program, the port, and what is said.
DIFFERS = {
    "nothing returned": (
        OLD.replace("return x", "x[0] = 1"),
        GOOD,
        "let it return them",
    ),
    "a wrong cell": (
        OLD,
        STEP + LOOP.replace("return x", "return x.at[7].add(1)"),
        r"result\[7\]: got .*; 1 of 50 differ",
    ),
    "not a number": (
        OLD,
        STEP + LOOP.replace("return x", "return jnp.log(x)"),
        "of them NaN",
    ),
    "one step too many": (
        OLD,
        STEP + LOOP.replace("range(num", "range(1 + num"),
        "50 of 50 differ",
    ),
    "another structure": (
        OLD,
        STEP + LOOP.replace("return x", "return x, x"),
        r"structure: got result\[0\], result\[1\], want result",
    ),
    "integers": (
        OLD,
        STEP + LOOP.replace("return x", "return x.astype(int)"),
        "dtype: got int32, want float64",
    ),
    "other random numbers": (
        OLD.replace("return x", "return np.random.default_rng(0).random(3)"),
        STEP
        + STATIC
        + LOOP.replace("return x", "return jax.random.normal(KEY, 3)")
        + "KEY = jax.random.key(0)",
        "JAX and NumPy draw different numbers",
    ),
    "a new key at each call": (
        OLD,
        STEP
        + "KEYS = iter(jax.random.split(jax.random.key(0), 99))"
        + LOOP.replace("return x", "return jax.random.normal(next(KEYS), 50)"),
        "Two like calls of the port differ",
    ),
    "random, and frozen by jit": (
        OLD.replace("return x", "return np.random.random(3)"),
        STEP
        + STATIC
        + LOOP.replace("return x", "return jnp.array(np.random.random(3))"),
        "drawn once, and then a constant",
    ),
    "right only once": (
        OLD,
        STEP
        + "CALLS = []"
        + LOOP.replace("return x", "CALLS.append(1); return x * len(CALLS)"),
        "first call is right and the second",
    ),
    "item assignment": (
        OLD,
        STEP
        + LOOP.replace("return x", "x = jnp.array(x); x[0] = 1; return x"),
        "item assignment",
    ),
    "a traced count": (OLD, STEP + "@jax.jit" + LOOP, "over a traced `n`"),
    "a mask under jit": (
        OLD,
        STEP + STATIC + LOOP.replace("return x", "return x[x > 0]"),
        "how many it picks",
    ),
}

# Looks at many in one process: what port does in one for each program.
DRIVER = """
import json, sys
from pathlib import Path
from workshop.port import child
from workshop.port.child import Program, explain, run_new, run_old
from workshop.port.findings import find
from workshop.port.port import name_cause

child.BUDGET = 0  # seconds of later calls, beyond three
for name in sys.argv[1:]:
    folder, old, new = Path(name), {"steps": []}, {"steps": []}

    def tell(facts, begin="", **more):
        facts.update(more)
        facts["steps"] += [begin] * bool(begin)

    request = json.loads((folder / "request").read_text(encoding="utf-8"))
    report = folder / "report"
    for run, path, facts in (run_old, "old", old), (run_new, "new", new):
        if "failed" in old:
            new = old
            break
        content = request | {"path": str(folder / f"{path}.py")}
        try:
            run(Program(content), report, lambda **f: tell(facts, **f))
        except Exception as error:
            facts["failed"] = explain(error, Path(content["path"]))
    if "stands" in new:
        facts = {**new, "old": old["old"], "call": request["call"]}
        said = {f.name: f.stands + f.todo for f in find(facts)}
    elif "differs" in new:
        said = new["differs"]["text"] + name_cause(old, new)
    else:
        said = str(new["failed"])
    print(json.dumps(said))
"""


def write_case(folder, old, new, setup):
    folder.mkdir()
    (folder / "old.py").write_text(old, encoding="utf-8")
    (folder / "new.py").write_text(new, encoding="utf-8")
    request = {"call": CALL, "setup": setup, "larger": "", "rtol": None}
    (folder / "request").write_text(json.dumps(request), encoding="utf-8")
    return folder


def look_at(folders):
    """What is said of each, in one process of its own."""
    done = run_python(
        *("-c", DRIVER, *folders),
        env={"PYTHONPATH": str(ROOT / "stages"), "NPROC": "1"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line[:1] in '{"']
    return list(map(json.loads, lines))


def test_where_a_port_stands(tmp_path):
    folders = [
        write_case(
            tmp_path / str(i),
            *(OLDS.get(name, OLD), new, SETUPS.get(name, SETUP)),
        )
        for i, (name, (new, _, _)) in enumerate(STANDS.items())
    ]
    seen = dict(zip(STANDS, look_at(folders), strict=True))
    missed = {
        name: seen[name]
        for name, (_, finding, words) in STANDS.items()
        if words not in seen[name].get(finding, "")
        or (finding is None and seen[name])
    }
    assert missed == {}
    # jit knows again what it compiled, though it is called anew.
    assert "traced again" not in seen["jit of a known function"]


def test_why_results_differ(tmp_path):
    folders = [
        write_case(tmp_path / str(i), old, new, SETUP)
        for i, (old, new, _) in enumerate(DIFFERS.values())
    ]
    seen = dict(zip(DIFFERS, look_at(folders), strict=True))
    missed = {
        name: seen[name]
        for name, (_, _, words) in DIFFERS.items()
        if not re.search(words, seen[name])
    }
    assert missed == {}


def run_port(folder, *arguments, env=None, **kwargs):
    return run_python(
        *(WORKSHOP, "port", folder / "old.py", folder / "new.py"),
        *("--call", CALL, "--setup", SETUP, *arguments),
        env=env,
        **kwargs,
    )


def test_report_of_a_port_as_its_user_sees_it(tmp_path):
    folder = write_case(tmp_path / "case", OLD, STEP + STATIC + LOOP, SETUP)
    before = sorted(folder.iterdir())
    done = run_port(
        folder, "--json", tmp_path / "facts.json", env={"COLUMNS": "40"}
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert max(map(len, done.stdout.splitlines())) <= 40
    assert "OK    same at the second call" in done.stdout
    questions = [line for line in done.stdout.splitlines() if "?" in line]
    assert questions == [
        "Where does it stand?",
        "What is gained?",
        "What next?",
    ]
    facts = json.loads((tmp_path / "facts.json").read_text(encoding="utf-8"))
    assert facts["same"]
    assert 0 < facts["later"] < facts["first"]
    assert "unrolled" in [f["name"] for f in facts["findings"]]
    assert [p for p in sorted(folder.iterdir()) if p.suffix] == [
        p for p in before if p.suffix
    ]


@pytest.mark.slow
def test_precision_is_no_mistake(tmp_path):
    old = OLD.replace("return x", "return (x + 1e8) - 1e8")
    new = STEP + LOOP.replace("return x", "return (x + 1e8) - 1e8")
    done = run_port(write_case(tmp_path / "case", old, new, SETUP))
    assert done.returncode == 1
    assert "Precision, not a mistake" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "limit", "words"),
    [
        ("while True: pass", ("--seconds", "8"), "It still runs after 8"),
        (
            "x = np.ones(300_000_000); return x",
            ("--gigabytes", "1"),
            "It takes more than 1 GB of memory",
        ),
    ],
)
def test_time_and_memory_are_limited(end, limit, words, tmp_path):
    new = STEP + LOOP.replace("return x", end)
    folder = write_case(tmp_path / "case", OLD, new, SETUP)
    done = run_port(folder, *limit)
    assert done.returncode == 1
    assert words in done.stdout
    assert end in done.stdout


def test_a_larger_call_shows_that_a_short_loop_is_unrolled(tmp_path):
    folder = write_case(tmp_path / "c", OLD, STEP + STATIC + LOOP, SETUP)
    short = "--call", "simulate(x, num_steps=2)"
    assert "unrolled" not in run_port(folder, *short).stdout
    done = run_port(folder, *short, "--larger", CALL)
    assert done.returncode == 0
    found = r"A loop is unrolled .* (\d+) operations, (\d+) for the larger"
    few, many = re.search(found, " ".join(done.stdout.split())).groups()
    assert int(few) < int(many)


@pytest.mark.slow
def test_file_finds_what_lies_beside_it(tmp_path):
    read = 'DATA = np.load("data.npy")\nimport beside\n'
    old, new = (s + read for s in (OLD, GOOD))
    folder = write_case(tmp_path / "case", old, new, SETUP)
    np.save(folder / "data.npy", np.ones(3))
    (folder / "beside.py").write_text("", encoding="utf-8")
    done = run_port(folder, cwd=tmp_path)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--call", "f("), "--call must be an expression of Python, got 'f('"),
        (("--setup", "x ="), "--setup must be statements of Python, got"),
        (("--rtol", "-1"), "--rtol must be at least 0, got -1.0"),
        (("--json", "no/such/f"), "--json must be in a folder that exists"),
    ],
)
def test_bad_arguments_say_so_in_one_line(arguments, message, tmp_path):
    done = run_port(write_case(tmp_path / "c", OLD, OLD, SETUP), *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1


def test_file_that_is_not_there_is_said_in_one_line(tmp_path):
    done = run_port(tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"old must be a file, got {tmp_path / 'old.py'}\n"


@pytest.mark.parametrize(
    ("got", "want", "words"),
    [
        (np.float32([1, 2, 3]), np.array([1.0, 2, 3 + 1e-6]), None),
        (np.array([1, 2, 3.0]), np.array([1.0, 2, 3 + 1e-6]), "[2]: got 3"),
        ([1.0, 2.0], np.array([1.0, 2.0]), None),
        (np.int32([1, 2]), np.int64([1, 2]), None),
        (np.int32([1, 2]), np.int64([1, 3]), "result[1]: got 2, want 3"),
        (np.array([np.nan, 1]), np.array([np.nan, 1]), None),
        (np.array([1e9, np.inf]), np.array([1e9, 1]), "1 of them infinite"),
        ({"a": 1.0}, {"b": 1.0}, "got result['a'], want result['b']"),
        (np.zeros(3), np.zeros((3, 1)), "got (3,), want (3, 1)"),
        (True, 1, "got bool, want int64"),
        (jax.numpy.ones(2, "bfloat16") * 1.005, np.ones(2), None),
    ],
)
def test_results_of_any_shape_are_compared(got, want, words):
    difference = compare_results(flatten(got), flatten(want))
    if words is None:
        assert difference is None
    else:
        assert words in difference.text


def test_make_hands_on_any_text(tmp_path):
    """Quotes in the call, and a space in the name of the file."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    old = tmp_path / "my old.py"
    old.write_text(OLD, encoding="utf-8")
    done = subprocess.run(
        [
            *("make", "port", "--old-file=.venv/has-core"),
            *(f"OLD={old}", f"NEW={old}", f"SETUP={SETUP}"),
            'CALL=simulate(x, num_steps={"a": 1, \'b\': 2}["a"])',
            f"DOOR={shlex.quote(sys.executable)} stages/workshop",
        ],
        cwd=ROOT,
        env=plain_environment(),
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "OK    same result" in done.stdout
