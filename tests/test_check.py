"""The checker: what is right passes, what is wrong is named."""

import re
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import psutil
import pytest

from support import (
    DOOR,
    NOT_ON_WINDOWS,
    STAGES,
    WORKING,
    assert_refused,
    start_python,
    wait_for,
)
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
from workshop.exercises.tasks import find_tasks
from workshop.stages import failure, stage_before
from workshop.tracing import describe_compilation

TASKS = find_tasks()


def read_stage(number):
    return STAGES[number].read_text(encoding="utf-8")


class Attempt(NamedTuple):
    """An edit of a stage, and what the check says of it."""

    number: int
    name: str
    source: str
    passes: bool
    said: str


def read_attempts():
    text = Path(__file__).with_name("attempts.txt").read_text("utf-8")
    for block in re.split(r"\n\n(?=\d)", text)[1:]:
        title, *lines = block.strip("\n").splitlines()
        number, name = title.split(": ", 1)
        old, new, right, wrong = (
            "\n".join(line[2:] for line in lines if line[0] == sign)
            for sign in "-+=?"
        )
        source = read_stage(int(number))
        if not old:  # at its end
            old, new = "\n\nif __name__", f"\n\n{new}\n\nif __name__"
        assert source.count(old) == 1
        passes = "?" not in {line[0] for line in lines}
        source = source.replace(old, new)
        yield Attempt(int(number), name, source, passes, right or wrong)


ATTEMPTS = list(read_attempts())
ATTEMPTS += [Attempt(n, "the stage", read_stage(n), True, "") for n in TASKS]
# Every day those at exercise 5 that are wrong, but not by a long program.
EVERY_DAY = [
    attempt
    for attempt in ATTEMPTS
    if (attempt.number, attempt.passes) == (5, False)
    and not re.search("unroll|in Python|not compiled", attempt.said)
]


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
        except (Exception, SystemExit) as error:
            why = examine.explain_error(error, path, TASKS[number])
            return steps, "", why
        finally:
            jax.config.update("jax_disable_jit", False)
    return steps, fact, ""


def test_there_is_an_exercise_for_every_stage_that_can_be_solved():
    assert list(TASKS) == [number for number in WORKING if number > 0]


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
            marks=[pytest.mark.slow] * (attempt not in EVERY_DAY),
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


def test_each_classic_mistake_is_one_edit_of_the_reference_and_attempted():
    source = read_stage(0)
    said = " ".join(attempt.said for attempt in ATTEMPTS)
    for name, (old, _, stages) in MISTAKES.items():
        assert source.count(old) == 1
        assert set(stages) <= set(TASKS) | {3}
        assert f"It looks like this: {name}." in said


def test_the_first_case_tells_all_mistakes_apart():
    edits = [(), *(mistake[:2] for mistake in MISTAKES.values())]
    results = [load_reference(*edit).simulate(*CASES[0]) for edit in edits]
    assert len({states.tobytes() for states in results}) == len(edits)


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
    """Check a file for stage 5; the exit status, and what is printed."""

    def check_file(body, **limits):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("COLUMNS", "80")
        path = tmp_path / "attempt.py"
        path.write_text(body, encoding="utf-8")
        status = check.check(5, path, **limits)
        printed, errors = capfd.readouterr()
        assert errors == ""
        return status, printed

    return check_file


NO_SIMULATE = "There is no function `simulate` in the file."


# A file, limits, and the end of what the check prints.
@pytest.mark.parametrize(
    ("body", "limits", "end"),
    [
        (
            "def simulate(*_):\n    while True: print('x' * 1000)\n",
            {"seconds": 1},
            "FAIL  runs\n\nIt still runs after 1 seconds:\nattempt.py,"
            " line 2, in simulate:\n    while True: print('x' * 1000)\n",
        ),
        (
            "rows = []\nwhile True:\n    rows.append(bytearray(10**7))\n",
            {"gigabytes": 0.8},
            "It takes more than 0.8 GB of memory:\nattempt.py, line 3,"
            " in <module>:\n    rows.append(bytearray(10**7))\n",
        ),
        (
            "import os\nos._exit(3)\n",
            {},
            "FAIL  imports\n\nThe file ended Python, status 3.\n",
        ),
        (
            "def simulate(rule, width, num_steps):\n    print('here', width)\n"
            "    return divide(rule)\ndef divide(x):\n    return x / 0\n",
            {},
            "attempt.py, line 5, in divide:\n    return x / 0\n"
            "ZeroDivisionError: division by zero\n\n"
            "The last lines that the file printed:\n    here 16\n",
        ),
    ],
)
def test_a_broken_file_gets_a_short_message_with_its_own_line(
    body, limits, end, check_file
):
    status, printed = check_file(body, **limits)
    assert status == 1
    assert printed.endswith(end)
    assert "Traceback" not in printed
    assert len(printed.splitlines()) <= 25


@NOT_ON_WINDOWS
def test_what_the_file_has_started_ends_with_it(check_file, tmp_path):
    script = "import time; open('begun', 'w'); time.sleep(100)"
    body = (
        "import subprocess, sys, time\nfrom pathlib import Path\n"
        f"child = subprocess.Popen([sys.executable, '-c', {script!r}])\n"
        "while not Path('begun').exists(): time.sleep(0.01)\n"
        "Path('pid').write_text(str(child.pid))\n"
    )
    _, printed = check_file(body)
    assert NO_SIMULATE in printed
    assert not runs(int((tmp_path / "pid").read_text()))


@NOT_ON_WINDOWS
@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
def test_nothing_runs_on_when_a_check_is_ended(name, tmp_path):
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
    quiet = dict.fromkeys(("stdout", "stderr"), subprocess.DEVNULL)
    command = DOOR, "check", "--seconds", 999, 5, path
    process = start_python(*command, env={"TMPDIR": str(temporary)}, **quiet)
    pids = wait_for(lambda: (tmp_path / "pids").read_text().split())
    process.send_signal(getattr(signal, name))
    process.wait()
    wait_for(lambda: not any(map(runs, map(int, pids))))
    wait_for(lambda: not list(temporary.iterdir()))


def runs(pid):
    if not psutil.pid_exists(pid):
        return False
    return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_who_waits_for_xla_is_told_so():
    @jax.jit
    def sort_often(values):
        for _ in range(100):
            values = jax.lax.sort(-values)
        return values

    assert describe_compilation() == ""
    with ThreadPoolExecutor() as pool:  # from the thread that keeps the time
        seen = pool.submit(wait_for, describe_compilation)
        sort_often(np.ones(7))
    (number,) = re.findall(r"program of (\d+) equations", seen.result())
    assert int(number) >= 200


def test_a_long_line_of_the_file_is_cut_and_says_so(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    check.show(f"    print({'1 + ' * 20}none)")
    assert capsys.readouterr().out == f"    print({'1 + ' * 6}1 +...\n"


def test_the_first_mismatch_is_a_picture(check_file):
    source = read_stage(5).replace('mode="wrap"', 'mode="constant"')
    status, printed = check_file(source)
    assert status == 1
    assert len(printed.splitlines()) <= 25
    words = " ".join(printed.split())
    assert "row 8, cell 0: got 1, want 0; neighborhood 1 0 1 is" in words
    assert "the edges are not wrapped" in words
    assert "\n   row 9 #.####" in printed


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


def test_success_says_what_to_notice_and_what_is_next(
    check_file, monkeypatch, capfd
):
    """Whatever is set from outside; in few words, at 40 columns too."""
    monkeypatch.setenv("JAX_ENABLE_X64", "1")
    monkeypatch.setenv("XLA_FLAGS", "--no_such_flag")
    status, printed = check_file(read_stage(5))
    assert status == 0
    words = " ".join(printed.split())
    assert "Well done: " in words
    assert f"Notice: {TASKS[5].notice} {TASKS[5].try_this}" in words
    assert words.endswith("Next: make exercise N=6")
    assert len(printed.splitlines()) < 25
    monkeypatch.setenv("COLUMNS", "40")
    check.congratulate(TASKS[5])
    lines = capfd.readouterr().out.splitlines()
    lines.remove(f"    {TASKS[5].try_this}")  # to be copied, never cut
    assert max(map(len, lines)) <= 40


def test_between_two_exercises_there_is_one_that_fails(capsys):
    check.congratulate(TASKS[2])
    out = capsys.readouterr().out
    assert "Next, to see it fail: make stage N=3\n" in out
    assert out.endswith("Then: make exercise N=4\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("0", "got 0: it is where all starts"),
        ("3", "got 3: it fails on purpose, there is nothing to solve"),
        ("99", "got 99: there is no stage 99"),
        ("5 no.py", "path must be a file, got no.py"),
        ("5 Makefile", "path must be a Python file, .py, got Makefile: "),
        ("five", "N must be an integer, got 'five'"),
        ("", "N is missing"),
        ("5 --seconds x", "--seconds must be a number, got 'x'"),
        ("5 --seconds", "--seconds needs a value"),
        ("5 --seconds=nan", "must be above 0 and at most 86400, got nan"),
        ("5 --gigabytes=0", "must be above 0 and at most 86400, got 0"),
        ("5 --seconds=inf", "must be above 0 and at most 86400, got inf"),
    ],
)
def test_bad_input_is_refused(
    arguments, said, run_here, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Makefile").touch()
    assert_refused(run_here("check", *arguments.split()), said)
