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

from support import ROOT, assert_refused, plain_environment, run_python
from workshop.port.observe import is_own
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
SUM = "def simulate(x, num_steps):\n    return np.sum(x * num_steps)\n"
ONE_BY_ONE = """
import jax, jax.numpy as jnp

@jax.jit
def simulate(x, num_steps):
    add = lambda i, total: total + x[i] * num_steps
    return jax.lax.fori_loop(0, len(x), add, 0.0)
"""
CALL = "simulate(x, num_steps=12)"
SETUP = "x = np.random.default_rng(0).normal(size=50)"
KEY = "\nKEY = jax.random.key(0)\n"
TWO_THREE = """
def two(x):
    return jnp.sin(jnp.sin(jnp.sin(jnp.sin(jnp.sin(x)))))

def three(x):
    return jnp.cos(jnp.cos(jnp.cos(x)))

"""
MIXED = "step(x) + 0 * (two(two(x)) + three(three(three(x))))"
LARGER = SETUP.replace("50", "100_000")


def loop(body="step(x)", returned="x"):
    """A port of OLD by a loop in Python."""
    return (
        "\ndef simulate(x, num_steps):\n    for i in range(num_steps):\n"
        f"        x = {body}\n    return {returned}\n"
    )


LOOP = loop()

# What is said, as a pattern, of a port; what is not OLD and SETUP.
SAID = [
    ("Nothing of JAX", OLD),
    (r"x \+ 0.1 \* \(np.roll\(x, 1\)", OLD.replace("numpy", "jax.numpy")),
    (
        r"- x\)\n+Put jax.jit on the body of the loop",
        STEP + loop("step(x)\n        if x[0] > 99: break"),
    ),
    ("^$", GOOD, OLD, LARGER),
    ("unrolled .* 12 times", STEP + STATIC + LOOP),
    ("unrolled .* 12 times", STEP + TWO_THREE + STATIC + loop(MIXED)),
    (r"jit\(scan\) is compiled again", STEP + SCAN),
    ("called 12 times.*\nEach call takes what the one", STEP + JIT + LOOP),
    ("^(?!.*traced).*called 12 times", STEP + loop("jax.jit(step)(x)")),
    (
        r"traced and compiled again .*\n.*lambda x: step\(x\)\)\(x\)",
        STEP + loop("jax.jit(lambda x: step(x))(x)"),
    ),
    (
        "traced and compiled 12 times .*now int 11",
        STEP.replace("step(x)", "step(x, i)")
        + "step = jax.jit(step, static_argnums=1)"
        + loop("step(x, i)"),
    ),
    (
        r"traced and compiled .*float32\[",
        STEP + JIT + loop("step(x); step(x[len(x) // 2 + i :])"),
    ),
    (
        "called 12 times.*\n.*jax.lax.scan. Python asks .*\n.*x\\[0] > 99",
        STEP + JIT + loop("step(x)\n        if x[0] > 99: break"),
    ),
    ("12 times a value is brought", STEP + loop("np.asarray(step(x))")),
    (
        "calls Python back: debug",
        GOOD.replace("return x", 'jax.debug.print("{}", x[0]); return x'),
    ),
    (
        "2.4 MB of constants",
        GOOD.replace("return x", "return TABLE[0, 0] * TABLE[1, 1] + x")
        + "\nTABLE = jnp.zeros(600_000).reshape(2, -1)\n",
    ),
    (
        "64 bits are asked for",
        GOOD.replace("return jax", "x = x.astype(jnp.float64); return jax"),
    ),
    ("2 MB anew", STEP + JIT + LOOP, OLD, SETUP.replace("50", "500_000")),
    (
        *("whose steps, .* each do little", ONE_BY_ONE),
        *("import numpy as np\n" + SUM, LARGER.replace("100", "30")),
    ),
    (
        "Once a value",
        GOOD.replace("simulate", "inner") + "\ndef simulate(x, num_steps):\n"
        "    return np.asarray(inner(x, num_steps=num_steps))\n",
    ),
    ("too little work", TINY.replace("numpy", "jax.numpy"), TINY),
    ("let it return them", GOOD, OLD.replace("return x", "x[0] = 1")),
    ("In --setup: NameError", GOOD, OLD, "x = nothing"),
    (
        "JAX and NumPy draw different numbers",
        STEP + STATIC + loop(returned="jax.random.normal(KEY, 3)") + KEY,
        OLD.replace("return x", "return np.random.default_rng(0).random(3)"),
    ),
    (
        "Two like calls of the new program differ",
        STEP
        + "KEYS = iter(jax.random.split(jax.random.key(0), 99))"
        + loop(returned="jax.random.normal(next(KEYS), 50)"),
    ),
    (
        "drawn once, and then a constant",
        STEP + STATIC + loop(returned="jnp.array(np.random.random(3))"),
        OLD.replace("return x", "return np.random.random(3)"),
    ),
    (
        "A key is used again, .*\n.*jax.random.normal",
        STEP + loop("x + jax.random.normal(KEY, 50)") + KEY,
    ),
    (
        "not used, in new.py, line 14",
        STEP + loop("step(x)\n        x.at[0].set(7)"),
        OLD.replace("return x", "x[0] = 7\n    return x"),
    ),
    (
        "left the function that is traced",
        STEP
        + "KEPT = []\n"
        + "keep = jax.jit(lambda x: KEPT.append(x) or x)"
        + loop("keep(x)", "KEPT"),
    ),
    (
        "first call is right and the second",
        STEP
        + "CALLS = []"
        + loop(returned="CALLS.append(1) or x * len(CALLS)"),
    ),
    ("item assignment", STEP + loop("jnp.array(x); x[0] = 1")),
    ("over a traced `n`", STEP + "@jax.jit" + LOOP),
    ("how many it picks", STEP + STATIC + loop(returned="x[x > 0]")),
]

# Compares many in one process, instead of three for each.
DRIVER = """
import json, sys
from pathlib import Path
from workshop.port import child, port

def run(request, mode, path):
    facts = {"steps": [], "printed": ""}

    def tell(step="", **more):
        facts.update(more)
        facts["steps"] += [step] * bool(step)

    child.work(tell, mode, json.dumps(request), path)
    return facts

child.BUDGET = 0  # seconds of later calls, beyond three
for folder in map(Path, sys.argv[1:]):
    request = json.loads((folder / "request").read_text(encoding="utf-8"))
    paths = folder / "old.py", folder / "new.py"
    facts = port.compare_programs(request, *paths, run)
    (folder / "facts").write_text(json.dumps(facts), encoding="utf-8")
"""


def write_case(folder, new, old=OLD, setup=SETUP):
    folder.mkdir()
    (folder / "old.py").write_text(old, encoding="utf-8")
    (folder / "new.py").write_text(new, encoding="utf-8")
    request = {"call": CALL, "setup": setup, "larger": "", "rtol": None}
    request["results"] = str(folder / "results")
    (folder / "request").write_text(json.dumps(request), encoding="utf-8")
    return folder


def read_said(folder):
    """All that is found or explained in a comparison."""
    facts = json.loads((folder / "facts").read_text(encoding="utf-8"))
    why = facts.get("old_program", facts).get("why", "")
    if "differs" in facts:
        why += facts["differs"]["text"] + " " + facts["verdict"]
    found = facts.get("findings", [])
    return why + "\n".join(f["stands"] + "\n" + f["todo"] for f in found)


@pytest.mark.parametrize(
    "cases",
    [SAID[::9], pytest.param(SAID, marks=pytest.mark.slow)],
    ids=["some", "all"],
)
def test_what_is_said_of_a_port(cases, tmp_path):
    folders = [
        write_case(tmp_path / str(i), *case)
        for i, (_, *case) in enumerate(cases)
    ]
    done = run_python(
        *("-c", DRIVER, *folders),
        env={"PYTHONPATH": str(ROOT / "stages"), "NPROC": "1"},
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    said = map(read_said, folders)
    missed = [
        (words, found)
        for (words, *_), found in zip(cases, said, strict=True)
        if not re.search(words, found)
    ]
    assert missed == []


def run_port(folder, *arguments, env=None, **kwargs):
    return run_python(
        *(WORKSHOP, "port", folder / "old.py", folder / "new.py"),
        *("--call", CALL, "--setup", SETUP, *arguments),
        env=env,
        **kwargs,
    )


def test_report_of_a_port_as_its_user_sees_it(tmp_path):
    folder = write_case(tmp_path / "case", STEP + STATIC + LOOP)
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
    done = run_port(write_case(tmp_path / "case", new, old))
    assert done.returncode == 1
    assert "Precision, not a mistake" in done.stdout
    assert "--rtol" not in done.stdout  # nothing narrow enough helps


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "limit", "words"),
    [
        ("while True: pass", ("--seconds", "8"), "after 8 .*while True: pass"),
        (
            "return jax.lax.while_loop(lambda x: True, step, x)",
            *(("--seconds", "8"), "each jax.lax.while_loop come to its end"),
        ),
        (
            "x = np.ones(300_000_000); return x",
            *(("--gigabytes", "1"), "more than 1 GB of memory:.*300_000_000"),
        ),
    ],
)
def test_time_and_memory_are_limited(end, limit, words, tmp_path):
    new = STEP + STATIC + LOOP.replace("return x", end)
    folder = write_case(tmp_path / "case", new)
    done = run_port(folder, *limit)
    assert done.returncode == 1
    assert re.search(words, " ".join(done.stdout.split()))


@pytest.mark.slow
def test_a_larger_call_shows_that_a_short_loop_is_unrolled(tmp_path):
    folder = write_case(tmp_path / "c", STEP + STATIC + LOOP)
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
    new = STEP + loop("beside.step(x)")
    old, new = (source + read for source in (OLD, new))
    folder = write_case(tmp_path / "a case", new, old)
    np.save(folder / "data.npy", np.ones(3))
    (folder / "beside.py").write_text(STEP + JIT, encoding="utf-8")
    done = run_port(folder, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "`step` is compiled, but called 12 times" in done.stdout
    packages = folder / ".venv" / "site-packages" / "jax.py"
    assert is_own(str(folder / "new.py"), str(folder))
    assert not is_own(str(packages), str(folder))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--call", "f("), "--call must be an expression of Python, got 'f('"),
        (("--setup", "x ="), "--setup must be statements of Python, got"),
        (("--rtol", "inf"), "--rtol must be at least 0, and finite, got inf"),
        (("--json", "no/such/f"), "--json must be in a folder that exists"),
    ],
)
def test_bad_arguments_say_so_in_one_line(
    arguments, message, tmp_path, run_here
):
    folder = write_case(tmp_path / "c", OLD)
    files = folder / "old.py", folder / "new.py"
    done = run_here("port", *files, "--call", "1", *arguments)
    assert_refused(done, message)


def test_file_that_is_not_there_is_said_in_one_line(tmp_path, run_here):
    done = run_here("port", tmp_path / "old.py", "new.py", "--call", "1")
    assert_refused(done, f"old must be a file, got {tmp_path / 'old.py'}\n")


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
        (np.array([np.nan, 1]), np.ones(2), "1 of 2 differ, 1 of them NaN"),
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


@pytest.mark.slow
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
