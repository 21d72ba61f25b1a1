"""Test the checker: right answers pass, and mistakes are named."""

import operator
import re
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest

from support import (
    DOOR,
    STAGES,
    WORKING,
    assert_refused,
    output_of,
    run_python,
)
from workshop import tracing
from workshop.compare import CASES, explain_difference, load_reference
from workshop.exercises import checks, commands
from workshop.exercises.commands import make_exercise
from workshop.exercises.tasks import find_tasks
from workshop.sandbox import Report
from workshop.stages import failure, stage_before
from workshop.tracing import count_runs

TASKS = find_tasks()
MISTAKES = checks.MISTAKES


def read_stage(number):
    return STAGES[number].read_text(encoding="utf-8")


class Attempt(NamedTuple):
    """An edited stage, the step of the check that fails, and the reason."""

    number: int
    name: str
    source: str
    step: str = "passes"
    key: str = ""


def read_attempts():
    text = Path(__file__).with_name("attempts.txt").read_text("utf-8")
    for block in re.split(r"\n\n(?=\d)", text)[1:]:
        title, *lines = block.strip("\n").splitlines()
        head, name = title.split(": ", 1)
        number, *verdict = head.split()
        source = edit(read_stage(int(number)), lines)
        yield Attempt(int(number), name, source, *verdict)


def edit(source, lines):
    """Return the source with each block of "-" lines replaced by "+" lines."""
    text = "\n".join(lines)
    for old, new in re.findall(r"((?:^-.*\n)*)((?:^\+.*\n?)+)", text, re.M):
        old, new = (re.sub("^[-+] ?", "", x, flags=re.M) for x in (old, new))
        old, new = old.rstrip("\n"), new.rstrip("\n")
        if not old:  # insert before the main guard
            old, new = "\n\nif __name__", f"\n\n{new}\n\nif __name__"
        assert source.count(old) == 1
        source = source.replace(old, new)
    return source


ATTEMPTS = list(read_attempts())
ATTEMPTS += [Attempt(n, "the stage", read_stage(n)) for n in TASKS]


def examine_source(number, source, folder):
    """Return the step that fails, the key of the reason, and the reason."""
    path, reported = folder / "attempt.py", {}
    path.write_text(source, encoding="utf-8")
    names = {shown: name for name, shown in checks.STEPS.items()}
    with (
        pytest.MonkeyPatch.context() as patch,
        jax.numpy_dtype_promotion("standard"),  # as for attendees
        jax.numpy_rank_promotion("allow"),
    ):
        patch.setattr(checks, "CASES", CASES[:3])
        checks.work(reported.update, str(number), path)
    if "fact" in reported:
        return "passes", "", ""
    step = names.get(reported["step"], reported["step"])
    return step, reported["key"], reported["why"]


def test_there_is_an_exercise_for_every_stage_that_can_be_solved():
    assert list(TASKS) == [number for number in WORKING if number > 0]


def slow_unless(is_fast, value, name):
    """Return a parameter of a test, marked slow unless it is fast."""
    marks = [] if is_fast else [pytest.mark.slow]
    return pytest.param(value, id=name, marks=marks)


@pytest.mark.parametrize(
    "number", [slow_unless(n < 9, n, str(n)) for n in TASKS]
)
def test_the_exercise_as_handed_out_fails_at_what_it_is_about(
    number, tmp_path
):
    source = make_exercise(TASKS[number])
    step, key, why = examine_source(number, source, tmp_path)
    if fails_with := failure(read_stage(stage_before(number))):
        assert (step, key) == ("states_equal", fails_with[0].__name__)
        assert fails_with[1] in why
        assert "What to do" not in why  # the hints say that
    else:
        assert step in TASKS[number].checks[1:]


@pytest.mark.parametrize(
    "attempt",
    [
        slow_unless(
            a.number == 5 or a.key == "static_rule", a, f"{a.number}: {a.name}"
        )
        for a in ATTEMPTS
    ],
)
def test_right_attempts_pass_and_wrong_ones_fail_for_their_reason(
    attempt, tmp_path
):
    step, key, why = examine_source(attempt.number, attempt.source, tmp_path)
    assert (step, key) == (attempt.step, attempt.key), why
    assert "{" not in why  # every value has been filled in


def test_every_check_and_every_reason_has_an_attempt():
    names = {name for task in TASKS.values() for name in task.checks}
    assert all(callable(getattr(checks, name)) for name in names)
    keys = {attempt.key for attempt in ATTEMPTS}
    assert {*checks.REASONS, *MISTAKES} <= keys
    assert names == {*checks.STEPS}
    assert names <= {attempt.step for attempt in ATTEMPTS}
    right = [a.number for a in ATTEMPTS if a.step == "passes"]
    assert all(right.count(number) >= 3 for number in TASKS)


def test_the_cases_are_as_different_as_their_comment_says():
    rules, widths, lengths = zip(*CASES, strict=True)
    assert {1, 2, 3, 31, 32, 33, 1025} <= {*widths}
    assert (min(lengths), max(lengths)) == (1, 200)
    assert all(map(operator.ne, widths, lengths))
    tables = map(load_reference().make_rule_table, {*rules})
    assert sum((t != t.transpose(2, 1, 0)).any() for t in tables) > 3


def test_a_mistake_is_named_only_where_chance_is_excluded():
    edit, small = MISTAKES["no_live_cell"], (30, 5, 7)
    lost = load_reference(edit["old"], edit["new"])
    nothing = lost.simulate(*CASES[0])
    assert checks.name_mistake(nothing, CASES[0]) == "no_live_cell"
    assert checks.name_mistake(1 - nothing, CASES[0]) is None
    assert checks.name_mistake(lost.simulate(*small), small) is None


def test_an_error_is_shown_with_the_line_of_the_file(tmp_path):
    step, key, why = examine_source(
        5,
        "def simulate(rule, width, num_steps):\n    return divide(rule)\n"
        "def divide(x):\n    return x / 0\n",
        tmp_path,
    )
    assert (step, key) == ("states_equal", "ZeroDivisionError")
    call, where, line, error, *_ = why.splitlines()
    assert call == "simulate(30, 32, 40)"
    assert where.endswith("attempt.py, line 4, in divide:")
    assert line == "    return x / 0"
    assert error.startswith("ZeroDivisionError: ")
    _, key, why = examine_source(5, "import sys\nsys.exit(3)\n", tmp_path)
    assert (key, "line 2" in why, "__main__" in why) == ("SystemExit", 1, 1)
    *_, why = examine_source(5, "\nx = (\n", tmp_path)
    assert "attempt.py, line 2:\n    x = (\nSyntaxError" in why


def test_messages_are_counted_as_often_as_they_are_sent():
    def count(function):
        return count_runs(jax.make_jaxpr(function)(1.0), "sin")

    def repeat(body):
        return lambda x: jax.lax.fori_loop(0, 5, lambda _, x: body(x), x)

    assert count(jax.numpy.cos) == 0
    assert count(lambda x: jax.numpy.sin(jax.numpy.sin(x))) == 2
    assert count(jax.jit(repeat(repeat(jax.numpy.sin)))) == 25
    either = (jax.numpy.sin, repeat(jax.numpy.sin))
    assert count(repeat(lambda x: jax.lax.cond(x > 0, *either, x))) == 5
    until = (lambda x: x > 0, jax.numpy.sin)
    assert count(lambda x: jax.lax.while_loop(*until, x)) == float("inf")


def test_the_first_mismatch_is_a_picture(tmp_path):
    source = read_stage(5).replace('mode="wrap"', 'mode="constant"')
    _, _, why = examine_source(5, source, tmp_path)
    assert why.startswith("simulate(30, 32, 40)\nrow 16, cell 0: ")
    assert len(why.splitlines()) < 15
    words = " ".join(why.split())
    assert "row 16, cell 0: got 1, want 0; neighborhood 1 0 1 is" in words
    assert " ".join(MISTAKES["edges_dead"]["what"].split()) in words
    assert "\n  row 17 #.####" in why


@pytest.mark.parametrize("cell", [0, 50, 99])
def test_a_picture_fits_wherever_the_wrong_cell_is(cell, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    expected = np.zeros((3, 100), dtype=np.uint8)
    expected[0, cell - 1] = 1
    states = expected.copy()
    states[1, cell] = 1
    message, *picture = explain_difference(states, expected).splitlines()
    assert "row 1, " in message
    assert "neighborhood 1 0 0 is entry 4 " in message
    assert max(map(len, picture)) <= 40
    marks = [i for i, c in enumerate(picture[-1]) if c == "^"]
    assert [picture[2][i] for i in marks] == ["#", "."]


def test_success_says_what_to_notice_and_what_is_next():
    """Set variables that must have no effect."""
    stray = {"JAX_ENABLE_X64": "1", "XLA_FLAGS": "--no_such_flag"}
    done = run_python(
        *(DOOR, "check", 5, STAGES[5]), env=stray | {"MAKELEVEL": "1"}
    )
    words = " ".join(output_of(done).split())
    notice = " ".join(TASKS[5].notice.split())
    assert f'{notice} make run N=5 ARGS="{TASKS[5].run}" ' in words
    assert " ".join(TASKS[5].extra.split()) in words
    assert words.endswith(" make exercise N=6")
    assert len(done.stdout.splitlines()) < 25


def test_a_check_runs_on_four_simulated_devices(monkeypatch):
    given = []
    monkeypatch.setattr(
        commands,
        "run_within",
        lambda *_, environment, **__: given.append(environment),
    )
    monkeypatch.setenv("XLA_FLAGS", "--no_such_flag")
    commands.examine(TASKS[9], STAGES[9])
    chosen = {k: v for k, v in given[0].items() if k[:3] in ("JAX", "XLA")}
    assert chosen == {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "4"}


def test_a_report_fits_a_narrow_terminal(monkeypatch, capsys):
    monkeypatch.delenv("MAKELEVEL", raising=False)
    monkeypatch.setenv("COLUMNS", "40")
    wrong = Report(steps=["imports"], why=f"No.\n    {'1 + ' * 20}")
    wrong.printed = "shape (9,)\n"
    commands.show_report(TASKS[2], wrong)
    commands.show_report(TASKS[2], Report(["imports"], facts={"fact": ""}))
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 40
    words = " ".join(printed.split())
    assert "\n    shape (9,)\n" in printed
    assert "run a stage that fails: python stages/workshop stage 3 " in words
    assert words.count("workshop stage ") == 1
    assert words.endswith(" python stages/workshop exercise 4")


def test_a_file_that_cannot_be_checked_is_refused(run_here):
    assert_refused(run_here("check", 5, "Makefile"), "got Makefile")


def test_a_jax_that_hides_its_programs_is_not_the_attendees_mistake(
    monkeypatch,
):
    monkeypatch.setattr(tracing, "find_program", lambda frame: None)
    with pytest.raises(RuntimeError, match=re.escape(jax.__version__)):
        tracing.largest_compiled(jax.jit(lambda x: x * 2), 3)
