"""The checker: what is right passes, what is wrong is named."""

import sys

import numpy as np
import psutil
import pytest

from workplace import copy_workshop, run_script
from workshop.compare import (
    MISTAKES,
    explain_difference,
    load_reference,
    name_mistake,
)
from workshop.exercises import check, examine
from workshop.exercises.commands import make_exercise
from workshop.exercises.points import POINTS, NotYet
from workshop.exercises.sandbox import Limits
from workshop.exercises.tasks import find_tasks
from workshop.stages import failure, find_stages, stage_before

TASKS = find_tasks()
STAGES = find_stages()
DEFAULT = Limits()
RULE, WIDTH, NUM_STEPS = examine.CASES[0]

# Each classic mistake, made in stage 5: text there, text instead.
MADE_IN_JAX = [
    ('mode="wrap"', 'mode="constant"'),
    ('mode="wrap"', 'mode="symmetric"'),
    ('mode="wrap"', 'mode="reflect"'),
    ('bitorder="little"', 'bitorder="big"'),
    ("rule_table[left, center, right]", "rule_table[right, center, left]"),
    (
        "return step(state, rule_table), state",
        "return (step(state, rule_table),) * 2",
    ),
    ("length=num_steps", "length=num_steps + 1"),
    ("length=num_steps", "length=num_steps - 1"),
    ("return state.at[width // 2].set(1)", "return state"),
    (
        "return step(state, rule_table), state",
        "return state, step(state, rule_table)",
    ),
    ("_, states = ", "states, _ = "),
]


def read_stage(number):
    return STAGES[number].read_text(encoding="utf-8")


def write_attempt(source, folder):
    path = folder / "attempt.py"
    path.write_text(source, encoding="utf-8")
    return path


def examine_source(number, source, folder):
    """The steps begun, the fact found, and why not, of a file's source."""
    path, steps = write_attempt(source, folder), []
    try:
        fact = examine.examine(TASKS[number], path, steps.append)
    except NotYet as reason:
        return steps, "", str(reason)
    except Exception as error:
        return steps, "", examine.explain_error(error, path)
    return steps, fact, ""


def miss_the_point(number, source, folder):
    """What the check of the stage's own point alone says is not right."""
    path = write_attempt(source, folder)
    module = examine.import_file(path)
    try:
        fact = POINTS[TASKS[number].point](module)
    except NotYet as reason:
        return str(reason)
    except Exception as error:
        return examine.explain_error(error, path)
    pytest.fail(f"it passes: {fact}")


def test_there_is_an_exercise_for_every_stage_that_can_be_solved():
    solvable = [
        number
        for number, path in STAGES.items()
        if number > 0 and failure(path.read_text(encoding="utf-8")) is None
    ]
    assert list(TASKS) == solvable


@pytest.mark.parametrize("number", TASKS)
def test_the_untouched_exercise_fails_for_the_reason_of_its_stage(
    number, tmp_path
):
    source = make_exercise(TASKS[number])
    steps, fact, why = examine_source(number, source, tmp_path)
    assert not fact
    before = read_stage(stage_before(number))
    if fails_with := failure(before):
        assert steps[-1] == "runs"
        assert f"\n{fails_with[0].__name__}: " in why
        assert fails_with[1] in why
    else:
        added = [f"has {name}" for name in TASKS[number].functions[1:]]
        assert steps[-1] in [TASKS[number].point, *added]


@pytest.mark.parametrize("number", TASKS)
def test_the_stage_itself_passes(number, tmp_path):
    steps, fact, why = examine_source(number, read_stage(number), tmp_path)
    assert why == ""
    assert steps[-1] == TASKS[number].point
    assert fact


def test_each_classic_mistake_is_one_edit_of_the_reference():
    source = read_stage(0)
    for _, old, _ in MISTAKES:
        assert source.count(old) == 1


def test_the_first_case_tells_all_mistakes_apart():
    mistaken = [
        load_reference(old, new).simulate(RULE, WIDTH, NUM_STEPS)
        for _, old, new in MISTAKES
    ]
    mistaken.append(load_reference().simulate(RULE, WIDTH, NUM_STEPS))
    for i, states in enumerate(mistaken):
        for other in mistaken[:i]:
            assert not np.array_equal(states, other)


@pytest.mark.parametrize(
    ("mistake", "edit"), list(zip(MISTAKES, MADE_IN_JAX, strict=True))
)
def test_each_classic_mistake_is_named(mistake, edit, tmp_path):
    source = read_stage(5)
    assert source.count(edit[0]) == 1
    _, _, why = examine_source(5, source.replace(*edit), tmp_path)
    assert f"It looks like this: {mistake[0]}." in why


def test_right_states_are_no_mistake_and_other_wrong_ones_have_no_name():
    states = load_reference().simulate(RULE, WIDTH, NUM_STEPS)
    assert name_mistake(states, RULE, WIDTH, NUM_STEPS) is None
    assert name_mistake(1 - states, RULE, WIDTH, NUM_STEPS) is None


# Stage, text there, text instead, a part of what the check says.
OFF_THE_POINT = [
    (
        2,
        "    return state.at[width // 2].set(1)",
        "    import numpy as np\n    state = np.array(state)\n"
        "    state[width // 2] = 1\n    return jnp.array(state)",
        "imports NumPy: import numpy as np",
    ),
    (
        2,
        "    return jnp.stack(states)",
        "    import numpy\n    return numpy.stack(states)",
        "imports NumPy",
    ),
    (4, '("width"', '("rule", "width"', "was traced again"),
    (
        4,
        '@jax.jit(static_argnames=("width", "num_steps"))\n',
        "",
        "simulate itself is not compiled",
    ),
    (
        5,
        "    _, states = jax.lax.scan(advance, initial_state, "
        "length=num_steps)\n    return states",
        "    states, state = [], initial_state\n"
        "    for _ in range(num_steps):\n"
        "        state, row = advance(state, None)\n"
        "        states.append(row)\n"
        "    return jnp.stack(states)",
        "the loop still runs in Python",
    ),
    (
        6,
        "    return simulate_each(rules, width, num_steps)",
        "    return jnp.stack([simulate(r, width, num_steps) for r in rules])",
        "Python loop copies",
    ),
    (
        6,
        "    return simulate_each(rules, width, num_steps)",
        "    return simulate_each(rules[::-1], width, num_steps)",
        "simulate_rules, rule 0:\n",
    ),
    (
        6,
        "    return simulate_each(rules, width, num_steps)",
        "    rules = jnp.arange(256, dtype=jnp.uint8)\n"
        "    return simulate_each(rules, width, num_steps)",
        "simulate_rules of 4 rules: shape is (256, 16, 16)",
    ),
    (
        6,
        "    return simulate_each(rules, width, num_steps)",
        "    return simulate_each(rules, num_steps, width)[:9]",
        "want (256, 16, 16)",
    ),
    (
        6,
        "(rules, width, num_steps)\n\n\nif",
        "(rules, width=width, num_steps=num_steps)\n\n\nif",
        "vmap in_axes",
    ),
]


@pytest.mark.parametrize(("number", "old", "new", "said"), OFF_THE_POINT)
def test_right_states_that_miss_the_point_do_not_pass(
    number, old, new, said, tmp_path
):
    source = read_stage(number)
    assert source.count(old) == 1
    assert said in miss_the_point(number, source.replace(old, new), tmp_path)


def test_a_python_loop_over_the_values_of_the_rules_does_not_pass(tmp_path):
    head, _, tail = read_stage(6).partition("@jax.jit(static_argnames")
    tail = tail.partition("@jax.jit(static_argnames")[0]
    source = (
        f"{head}@jax.jit(static_argnames{tail}"
        "def simulate_rules(rules, width, num_steps):\n"
        "    return jnp.stack(\n"
        "        [simulate(int(r), width, num_steps) for r in rules]\n"
        "    )\n"
    )
    why = miss_the_point(6, source, tmp_path)
    assert "takes the rules out one by one, in Python" in why


FINITE_DIFFERENCES = """
def learn_rule(states):
    def loss(table):
        return prediction_error(table, states)

    def update(table, _):
        slopes = [
            (loss(table + nudge) - loss(table - nudge)) / 0.2
            for nudge in 0.1 * jnp.eye(8).reshape(8, 2, 2, 2)
        ]
        return table - 0.5 * jnp.stack(slopes).reshape(2, 2, 2), 0.0

    return jax.lax.scan(update, jnp.full((2, 2, 2), 0.5), length=1000)
"""

# Stage, code after it, a part of what the check says.
SPOILED = [
    (7, FINITE_DIFFERENCES, "There is no gradient of JAX's"),
    (
        7,
        FINITE_DIFFERENCES.replace("error(table", "error(jax.nn.relu(table)"),
        "There is no gradient of JAX's",
    ),
    (7, "NUM_UPDATES = 2\n", "the loss goes from 0.23 to 0.18"),
    (
        7,
        "learned = learn_rule\n"
        "def learn_rule(states):\n    return learned(states)[0], None\n",
        "want one for each update",
    ),
    (
        7,
        "learned = learn_rule\n"
        "def learn_rule(states):\n"
        "    table, losses = learned(states)\n"
        "    return jnp.round(table + 0.1), losses\n",
        "The other entries must stay 0.5",
    ),
    (
        7,
        "learned = learn_rule\n"
        "def learn_rule(states):\n"
        "    table, losses = learned(states)\n"
        "    return table[::-1], losses\n",
        "from states of rule 30: entry 0 of the table is 1.00",
    ),
    (
        7,
        "learned = learn_rule\n"
        "def learn_rule(states):\n    return learned(states)[0]\n",
        "must return two",
    ),
    (
        8,
        f"from {STAGES[5].stem} import simulate\n",
        "the loop carries 1024 bytes, 1024 in stage 5",
    ),
    (8, "simulate_packed = simulate\n", "keep them packed"),
    (
        8,
        "bitwise = step\n"
        "def step(words, rule_table, width):\n"
        "    cells = unpack(words).astype(jnp.uint32)\n"
        "    return bitwise(words, rule_table, width) | 0 * cells[0]\n",
        "has values of 1024 elements for 1024 cells",
    ),
    (
        8,
        "packed = simulate_packed\n"
        "def simulate_packed(rule, width, num_steps):\n"
        "    return packed(rule, width, num_steps)[::-1]\n",
        "simulate_packed, row 0: ",
    ),
    (
        9,
        f"from {STAGES[8].stem} import simulate_last\n",
        "each device must send cells to its neighbors",
    ),
    (
        9,
        "last = simulate_last\n"
        "def simulate_last(rule, width, num_steps):\n"
        "    row = last(rule, width, num_steps)\n"
        "    everywhere = NamedSharding(make_mesh(width, None), P())\n"
        "    return jax.device_put(row, everywhere)\n",
        "up to 32 bytes on one",
    ),
    (
        9,
        "last = simulate_last\n"
        "def simulate_last(rule, width, num_steps):\n"
        "    return last(rule, width, num_steps).astype(jnp.uint8)\n",
        "simulate_last returns uint8, want uint32",
    ),
    (
        9,
        "last = simulate_last\n"
        "def simulate_last(rule, width, num_steps):\n"
        "    return last(rule, width, num_steps - 1)\n",
        "simulate_last(30, width=256, num_steps=256): bits set",
    ),
    (
        9,
        "def get_cells(words, cells):\n"
        "    return jnp.zeros(len(cells), jnp.uint8)\n",
        "simulate_last(30, width=256, num_steps=256): bits set",
    ),
]


@pytest.mark.parametrize(("number", "code", "said"), SPOILED)
def test_the_later_points_can_be_missed(number, code, said, tmp_path):
    source = read_stage(number).partition("\n\nif __name__")[0]
    assert said in miss_the_point(number, f"{source}\n{code}", tmp_path)


# Right for the widths that are easy: stage, text there, text instead.
WRONG_SEAMS = [
    (
        8,
        "get_cell(words, width - 1)",
        "words[-1:] >> LANES - 1",
    ),
    (
        8,
        "get_cell(words, after_last)",
        "(words[:1] & 1)",
    ),
    (9, "shares[device - 1]\n", "shares[device]\n"),
]


@pytest.mark.parametrize(("number", "old", "new"), WRONG_SEAMS)
def test_a_wrong_seam_does_not_pass(number, old, new, tmp_path, capsys):
    source = read_stage(number)
    assert source.count(old) == 1
    path = write_attempt(source.replace(old, new), tmp_path)
    assert not check.check_file(
        TASKS[number], path, DEFAULT
    )  # on four devices
    assert "FAIL  states equal stage 0's" in capsys.readouterr().out


# Right, and unlike the stage itself.
UNUSUAL = {
    7: """
def learn_rule(states):
    value_and_grad = jax.jit(jax.value_and_grad(prediction_error))
    table, losses = jnp.full((2, 2, 2), 0.5), []
    while not losses or losses[-1] > 1e-3:
        loss, slope = value_and_grad(table, states)
        table = table - 0.5 * slope
        losses.append(float(loss))
    return table, losses
""",
    8: """
@jax.jit(static_argnames=("width", "num_steps"))
def simulate(rule, width, num_steps):
    rule_table = -make_rule_table(rule).astype(jnp.uint32)
    words = make_initial_state(width)
    states = jnp.zeros((num_steps, len(words)), dtype=jnp.uint32)

    def turn(t, carry):
        words, states = carry
        return step(words, rule_table, width), states.at[t].set(words)

    _, states = jax.lax.fori_loop(0, num_steps, turn, (words, states))
    return jax.vmap(unpack)(states).reshape(num_steps, -1)[:, :width]
""",
}


@pytest.mark.parametrize("number", UNUSUAL)
def test_an_unusual_solution_passes(number, tmp_path):
    source = read_stage(number).partition("\n\nif __name__")[0]
    _, fact, why = examine_source(number, source + UNUSUAL[number], tmp_path)
    assert fact, why


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("(states)", "(states).tolist()", "returns a list, want an array"),
        ("(states)", "(states).astype(int)", "dtype: got int32, want uint8"),
        (
            "(states)",
            "(states).T[:, 1:]",
            "shape: got (16, 15), want (16, 16)",
        ),
    ],
)
def test_what_is_not_of_the_right_kind_does_not_pass(old, new, said, tmp_path):
    source = read_stage(2).replace(f"jnp.stack{old}", f"jnp.stack{new}")
    assert said in examine_source(2, source, tmp_path)[2]


@pytest.fixture
def check_file(tmp_path, monkeypatch, capfd):
    """Check a file for stage 5; whether it passes, and what is printed."""

    def check_file(body, limits=DEFAULT, columns=80):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("COLUMNS", str(columns))
        path = tmp_path / "attempt.py"
        path.write_text(body, encoding="utf-8")
        passed = check.check_file(TASKS[5], path, limits)
        printed, errors = capfd.readouterr()
        assert errors == ""
        return passed, printed

    return check_file


# A file, arguments, and the end of what the check prints.
BROKEN = {
    "endless loop": (
        "def simulate(rule, width, num_steps):\n    while True: pass\n",
        Limits(seconds=1),
        "FAIL  runs\n\nIt still runs after 1 seconds:\n"
        "attempt.py, line 2, in simulate:\n    while True: pass\n",
    ),
    "endless printing": (
        "while True:\n    print('x' * 1000)\n",
        Limits(seconds=1),
        "line 2, in <module>:\n    print('x' * 1000)\n",
    ),
    "all the memory, slowly": (
        "rows = []\nwhile True:\n    rows.append(bytearray(10**7))\n",
        Limits(gigabytes=0.8),
        "It takes more than 0.8 GB of memory:\nattempt.py, line 3,"
        " in <module>:\n    rows.append(bytearray(10**7))\n",
    ),
    "all the memory, at once": (
        "import numpy as np\nstates = np.ones(10**15)\n",
        DEFAULT,
        "attempt.py, line 2:\n    states = np.ones(10**15)\n"
        "MemoryError: Unable to allocate 7.11 PiB for an array with"
        " shape\n(1000000000000000,) and data type float64\n",
    ),
    "exit": (
        "import sys\nsys.exit('bye')\n",
        DEFAULT,
        "attempt.py, line 2:\n    sys.exit('bye')\n"
        "The file ends the program here (SystemExit).\n",
    ),
    "end without a word": (
        "import os\nos._exit(3)\n",
        DEFAULT,
        "FAIL  imports\n\nThe file ended Python, status 3.\n",
    ),
    "syntax": (
        "def simulate(:\n    pass\n",
        DEFAULT,
        "attempt.py, line 1:\n    def simulate(:\nSyntaxError: invalid"
        " syntax\n",
    ),
    "exception": (
        "def simulate(rule, width, num_steps):\n    print('here', width)\n"
        "    return rule / 0\n",
        DEFAULT,
        "attempt.py, line 3, in simulate:\n    return rule / 0\n"
        "ZeroDivisionError: division by zero\n\n"
        "The last lines that the file printed:\n    here 16\n",
    ),
    "nothing in it": (
        "",
        DEFAULT,
        "FAIL  has simulate\n\nThere is no function `simulate` in the file.\n",
    ),
    "other arguments": (
        "def simulate(rule):\n    return rule\n",
        DEFAULT,
        "TypeError: simulate() got an unexpected keyword argument 'width'\n",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_gets_a_short_message_with_its_own_line(
    name, check_file
):
    body, limits, end = BROKEN[name]
    passed, printed = check_file(body, limits)
    assert not passed
    assert printed.endswith(end)
    assert "Traceback" not in printed
    assert len(printed.splitlines()) <= 24


@pytest.mark.skipif(
    sys.platform == "win32", reason="Windows has no sessions of processes"
)
def test_what_the_file_has_started_ends_with_it(check_file, tmp_path):
    script = "import time; open('begun', 'w'); time.sleep(100)"
    body = (
        "import subprocess, sys, time\nfrom pathlib import Path\n"
        f"child = subprocess.Popen([sys.executable, '-c', {script!r}])\n"
        "while not Path('begun').exists(): time.sleep(0.01)\n"
        "Path('pid').write_text(str(child.pid))\n"
    )
    _, printed = check_file(body)
    assert "no function `simulate`" in printed
    child = int((tmp_path / "pid").read_text())
    assert not psutil.pid_exists(child) or (
        psutil.Process(child).status() == psutil.STATUS_ZOMBIE
    )


def test_a_long_line_of_the_file_is_cut_and_says_so(check_file):
    line = f"print({'1 + ' * 20}none)"
    _, printed = check_file(f"{line}\n", columns=40)
    assert f"    {line[:33]}...\n" in printed


@pytest.mark.parametrize("columns", [80, 40])
def test_the_first_mismatch_is_a_picture_that_fits(columns, check_file):
    source = read_stage(5).replace('mode="wrap"', 'mode="constant"')
    passed, printed = check_file(source, columns=columns)
    assert not passed
    lines = printed.splitlines()
    assert max(map(len, lines)) <= columns
    assert len(lines) <= 24
    words = " ".join(printed.split())
    assert "row 8, cell 0: got 1, want 0; neighborhood 1 0 1 is" in words
    assert "the edges are not wrapped" in words
    assert any(line.startswith("   row 9 #.####") for line in lines)


@pytest.mark.parametrize("columns", [80, 40])
@pytest.mark.parametrize("cell", [0, 50, 99])
def test_a_picture_fits_wherever_the_wrong_cell_is(cell, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    expected = np.zeros((3, 100), dtype=np.uint8)
    states = expected.copy()
    states[1, cell] = 1
    _, *picture = explain_difference(states, expected).splitlines()
    assert max(map(len, picture)) <= columns
    marks = [i for i, c in enumerate(picture[-1]) if c == "^"]
    assert [picture[2][i] for i in marks] == ["#", "."]


@pytest.mark.parametrize("columns", [80, 40])
def test_success_says_what_to_notice_and_what_is_next(columns, check_file):
    passed, printed = check_file(read_stage(5), columns=columns)
    assert passed
    words = " ".join(printed.split())
    assert "Well done: " in words
    assert f"Notice: {TASKS[5].notice} {TASKS[5].try_this}" in words
    assert words.endswith("Next: make exercise N=6")
    lines = printed.splitlines()
    lines.remove(f"    {TASKS[5].try_this}")  # to be copied, never cut
    assert max(map(len, lines)) <= columns
    assert len(lines) < 24


def test_settings_from_outside_do_not_reach_the_file(check_file, monkeypatch):
    monkeypatch.setenv("JAX_ENABLE_X64", "1")
    monkeypatch.setenv("XLA_FLAGS", "--no_such_flag")
    assert check_file(read_stage(5))[0]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    return copy_workshop(tmp_path_factory.mktemp("workshop"))


@pytest.mark.parametrize(
    ("file", "status"), [("stage4_static_args.py", 1), ("stage5_scan.py", 0)]
)
def test_the_exit_status_says_whether_it_passes(file, status, workshop):
    done = run_script(workshop, "check", 5, f"stages/{file}")
    assert (done.returncode, done.stderr) == (status, "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([0], "got 0: it is where all starts"),
        ([3], "got 3: it fails on purpose, there is nothing to solve"),
        ([99], "got 99: there is no stage 99"),
        ([5], "exercises/stage5_scan.py does not exist yet: make exercise"),
        ([5, "no.py"], "path must be a file, got no.py"),
        (["five"], "N must be an integer, got 'five'"),
        ([], "N is missing"),
        ([5, "--seconds", "x"], "--seconds must be a number, got 'x'"),
        ([5, "--seconds"], "--seconds needs a value"),
    ],
)
def test_bad_input_is_one_line_and_status_2(arguments, said, workshop):
    done = run_script(workshop, "check", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
