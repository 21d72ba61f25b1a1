"""The checker: what is right passes, what is wrong is named."""

import contextlib
import dataclasses
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import numpy as np
import psutil
import pytest

from support import clean_environment
from workplace import copy_workshop, run_script
from workshop.compare import (
    CASES,
    MISTAKES,
    explain_difference,
    load_reference,
    name_mistake,
    some_cases,
)
from workshop.exercises import check, examine
from workshop.exercises.commands import make_exercise
from workshop.exercises.expect import NotYet
from workshop.exercises.limits import Limits
from workshop.exercises.tasks import find_tasks
from workshop.jaxprs import describe_compilation
from workshop.stages import failure, find_stages, stage_before

TASKS = find_tasks()
STAGES = find_stages()
DEFAULT = Limits()


def read_stage(number):
    return STAGES[number].read_text(encoding="utf-8")


@dataclasses.dataclass(frozen=True)
class Attempt:
    """An edit of a stage, and what the check says of it."""

    number: int
    name: str
    old: str
    new: str
    passes: bool
    said: str

    @property
    def source(self):
        """The stage with this edit; at its end, if there is no old text."""
        source = read_stage(self.number)
        if not self.old:
            code = source.partition("\n\nif __name__")[0]
            return f"{code}\n\n{self.new}\n"
        assert source.count(self.old) == 1
        return source.replace(self.old, self.new)


def read_attempts():
    text = Path(__file__).with_name("attempts.txt").read_text("utf-8")
    for block in re.split(r"\n\n(?=\d)", text)[1:]:
        title, *lines = block.strip("\n").splitlines()
        number, name = title.split(": ", 1)
        old, new = (
            "\n".join(line[2:] for line in lines if line[0] == sign)
            for sign in "-+"
        )
        mark, said = lines[-1][0], lines[-1][2:]
        assert mark in "?="
        yield Attempt(int(number), name, old, new, mark == "=", said)


ATTEMPTS = list(read_attempts())


def examine_source(number, source, folder, cases=5):
    """The steps begun, the fact found, and why not, of a file's source."""
    path, steps = folder / "attempt.py", []
    path.write_text(source, encoding="utf-8")
    with (
        pytest.MonkeyPatch.context() as patch,
        jax.numpy_dtype_promotion("standard"),  # as attendees have it
        jax.numpy_rank_promotion("allow"),
    ):
        patch.setattr(examine, "some_cases", lambda: some_cases(0, cases))
        try:
            fact = examine.examine(TASKS[number], path, steps.append)
        except NotYet as reason:
            return steps, "", str(reason)
        except Exception as error:
            why = examine.explain_error(error, path, TASKS[number])
            return steps, "", why
        finally:
            jax.config.update("jax_disable_jit", False)
    return steps, fact, ""


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
        assert "What to do" not in why  # the hints say it
    else:
        added = [f"has {name}" for name in TASKS[number].functions[1:]]
        assert steps[-1] in [TASKS[number].point, *added]


@pytest.mark.parametrize(
    "attempt",
    [
        pytest.param(
            attempt,
            id=f"{attempt.number}: {attempt.name}",
            marks=[pytest.mark.slow] * (attempt.number != 5 or attempt.passes),
        )
        for attempt in ATTEMPTS
    ],
)
def test_right_attempts_pass_and_wrong_ones_are_told_why(attempt, tmp_path):
    number, cases = attempt.number, 3 if attempt.passes else 10
    _, fact, why = examine_source(number, attempt.source, tmp_path, cases)
    assert bool(fact) == attempt.passes, why
    assert attempt.said in " ".join(f"{fact} {why}".split())
    assert ("It looks like" in why) == ("It looks like" in attempt.said)


@pytest.mark.slow
@pytest.mark.parametrize("number", TASKS)
def test_the_stage_itself_passes(number, tmp_path):
    steps, fact, why = examine_source(number, read_stage(number), tmp_path)
    assert why == ""
    assert steps[-1] == TASKS[number].point
    assert fact


def test_the_cases_are_of_every_kind():
    assert len(CASES) >= 24
    rules, widths, _ = zip(*CASES, strict=True)
    assert {1, 2, 3, 16, 31, 32, 33, 64, 96, 257} <= set(widths)
    assert max(widths) > 1000
    assert [w for _, w, n in CASES if w == n] == [17]
    assert min(n / w for _, w, n in CASES) < 0.1
    assert max(n / w for _, w, n in CASES) > 10
    tables = [load_reference().make_rule_table(rule) for rule in set(rules)]
    assert sum(not np.array_equal(t, t.T) for t in tables) > 5
    first = list(some_cases(seconds=0, at_least=3))
    assert first == CASES[:3]


def test_each_classic_mistake_is_one_edit_of_the_reference_and_attempted():
    source = read_stage(0)
    said = " ".join(attempt.said for attempt in ATTEMPTS)
    for name, (old, _, stages) in MISTAKES.items():
        assert source.count(old) == 1
        assert set(stages) <= set(TASKS) | {3}
        assert f"It looks like this: {name}." in said


def test_the_first_case_tells_all_mistakes_apart():
    mistaken = [
        load_reference(old, new).simulate(*CASES[0])
        for old, new, _ in MISTAKES.values()
    ]
    mistaken.append(load_reference().simulate(*CASES[0]))
    for i, states in enumerate(mistaken):
        for other in mistaken[:i]:
            assert not np.array_equal(states, other)


def test_a_mistake_is_named_where_it_can_be_made_and_told_from_others():
    name, (old, new, _) = [*MISTAKES.items()][8]
    right, lost = load_reference(), load_reference(old, new)
    assert name_mistake(right.simulate(*CASES[0]), *CASES[0]) is None
    assert name_mistake(1 - right.simulate(*CASES[0]), *CASES[0]) is None
    nothing = lost.simulate(*CASES[0])
    assert name_mistake(nothing, *CASES[0], stage=2) == name
    assert name_mistake(nothing, *CASES[0], stage=8) is None
    small = (30, 5, 7)
    assert name_mistake(lost.simulate(*small), *small, stage=2) is None


@pytest.fixture
def check_file(tmp_path, monkeypatch, capfd):
    """Check a file for stage 5; whether it passes, and what is printed."""

    def check_file(body, limits=DEFAULT, columns=80):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("COLUMNS", str(columns))
        path = tmp_path / "attempt.py"
        path.write_text(body, encoding="utf-8")
        outcome = check.run_examiner(TASKS[5], path, limits)
        check.show_outcome(TASKS[5], outcome)
        printed, errors = capfd.readouterr()
        assert errors == ""
        return not outcome.why, printed

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
        "    return divide(rule)\ndef divide(rule):\n    return rule / 0\n",
        DEFAULT,
        "attempt.py, line 5, in divide:\n    return rule / 0\n"
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
        "TypeError: simulate() takes 1 positional argument but 3 were given\n",
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
    assert not runs(int((tmp_path / "pid").read_text()))


@pytest.mark.skipif(sys.platform == "win32", reason="it has no such signals")
@pytest.mark.parametrize("name", ["SIGHUP", "SIGTERM", "SIGKILL"])
def test_nothing_runs_on_when_a_check_is_ended(name, tmp_path, workshop):
    path, temporary = tmp_path / "attempt.py", tmp_path / "temporary"
    temporary.mkdir()
    path.write_text(
        "import os, subprocess, sys\n"
        "sleep = [sys.executable, '-c', 'import time; time.sleep(100)']\n"
        "child = subprocess.Popen(sleep, start_new_session=True)\n"
        f"with open({str(tmp_path / 'pids')!r}, 'w') as file:\n"
        "    print(os.getpid(), child.pid, file=file)\n"
        "while True: pass\n",
        encoding="utf-8",
    )
    process = subprocess.Popen(
        [
            sys.executable,
            *["stages/workshop", "check", "--seconds", "999", "5"],
            path,
        ],
        cwd=workshop,
        env=clean_environment({"TMPDIR": str(temporary)}),
        stdout=subprocess.DEVNULL,
    )
    pids = wait_for(lambda: (tmp_path / "pids").read_text().split())
    process.send_signal(getattr(signal, name))
    process.wait()
    wait_for(lambda: not any(map(runs, map(int, pids))))
    wait_for(lambda: not list(temporary.iterdir()))


def runs(pid):
    if not psutil.pid_exists(pid):
        return False
    return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def wait_for(condition, seconds=60):
    """What it returns once it is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError, psutil.Error):
            if found := condition():
                return found
        time.sleep(0.05)
    pytest.fail("it took too long")


def test_who_waits_for_xla_is_told_so():
    seen = []

    def look():
        while not seen:
            if said := describe_compilation():
                seen.append(said)
            time.sleep(0.01)

    def sort_often(x):
        def sort(x, _):
            return jax.lax.sort(-x), None

        return jax.lax.scan(sort, x, length=100, unroll=True)[0]

    values = jax.block_until_ready(jax.numpy.ones(7))
    assert describe_compilation() == ""
    threading.Thread(target=look, daemon=True).start()
    jax.block_until_ready(jax.jit(sort_often)(values))
    (number,) = re.findall(r"program of ([\d,]+) equations", *seen)
    assert int(number.replace(",", "")) >= 200


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
    expected[0, cell - 1] = 1
    states = expected.copy()
    states[1, cell] = 1
    message, *picture = explain_difference(states, expected).splitlines()
    assert "neighborhood 1 0 0 is entry 4 " in message
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


def test_between_two_exercises_there_is_one_that_fails(capsys):
    check.congratulate(TASKS[2])
    out = capsys.readouterr().out
    assert "Next, to see it fail: make stage N=3\n" in out
    assert out.endswith("Then: make exercise N=4\n")


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
        *(
            (
                [5, f"--seconds={x}"],
                f"must be above 0 and at most 86400, got {x}",
            )
            for x in ("nan", "-1", "0", "inf")
        ),
        ([5, "Makefile"], "path must be a Python file, .py, got Makefile: "),
    ],
)
def test_bad_input_is_one_line_and_status_2(arguments, said, workshop):
    done = run_script(workshop, "check", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
