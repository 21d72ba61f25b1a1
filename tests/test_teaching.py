"""Check the claims of TEACHING.md and the handout by computing them."""

import contextlib
import functools
import html
import io
import re
import shutil
import subprocess
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from support import ROOT, STAGES, import_stage
from workshop.exercises.tasks import find_tasks

GUIDE = (ROOT / "TEACHING.md").read_text(encoding="utf-8")
HANDOUT = (ROOT / "notebooks" / "handout.html").read_text(encoding="utf-8")
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


def marked(comment):
    """Return the text between this comment and the next one."""
    return GUIDE.split(f"<!-- {comment} -->")[1].partition("<!--")[0]


@pytest.mark.parametrize("minutes", re.findall(r"<!-- minutes (\d+)", GUIDE))
def test_each_schedule_adds_up(minutes):
    at, late, stages = 0, [], []
    table = marked(f"minutes {minutes}").strip().partition("\n\n")[0]
    for line in table.splitlines()[2:]:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        start, talk, exercise, _, command, cut = cells
        assert int(start) == at
        at += int(talk) + int(exercise or 0)
        stages += [int(n) for n in re.findall(r"^\D+ N=(\d+)", command)]
        if "make exercise" in command:
            assert stages[-1] in find_tasks()
        assert bool(exercise) == bool(re.search("exercise|port", command))
        late += [int(n) for n in re.findall(r"\d+", cut)]
    assert at == int(minutes)
    assert stages == [n for n in STAGES if n <= max(stages)]
    assert sorted(late) == [*range(1, len(late) + 1)] != []


@contextlib.contextmanager
def watch(number, name):
    """Record the calls of a function. Under jit, only tracing calls it."""
    stage = import_stage(number)
    jax.clear_caches()
    function = mock.Mock(wraps=getattr(stage, name))
    with mock.patch.object(stage, name, function):
        yield function.call_args_list


def count_messages(jaxpr, times=1):
    """Return how many times a program calls ppermute when it runs."""
    found = 0
    for equation in jaxpr.eqns:
        name, params = equation.primitive.name, equation.params
        found += times * (name == "ppermute")
        inner = times * params["length"] if name == "scan" else times
        for program in jaxprs_in_params(params):
            found += count_messages(program, inner)
    return found


def messages_to_the_right(number, width):
    """Return how many messages a device sends to the right in 80 rows."""
    simulate = import_stage(number).simulate
    traced = simulate.trace(110, width, 80, num_devices=4)
    return count_messages(traced.jaxpr.jaxpr) // 2


def calls_of_step_in_numpy():
    with watch(0, "step") as calls:
        import_stage(0).simulate(110, 80, 80)
    return len(calls)


def the_old_name_after_an_increment():
    y = x = jnp.zeros(2)
    x += 1
    return y.tolist()


def what_a_jitted_print_shows():
    jitted = jax.jit(print)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        for number in (80, 80, 81):
            jitted(number)
    return re.findall(r"80|81|Tracer", out.getvalue())


def compilations_of_stage_4():
    simulate = import_stage(4).simulate
    with watch(4, "make_initial_state") as traces:
        simulate(30, 80, 80)
        simulate(90, 80, 80)
        simulate(30, 80, 40)
        simulate(30, width=80, num_steps=40)
    return len(traces)


def copies_of_step_in_a_scan():
    with watch(5, "step") as traces:
        states = import_stage(5).simulate(30, 8, 8000)
    return len(traces), len(states)


def traces_and_loops_for_256_rules():
    rules = np.arange(256, dtype=np.uint8)
    with watch(6, "step") as traces:
        program = import_stage(6).simulate_rules.trace(rules, 8, 9).jaxpr
    return len(traces), str(program).count(" scan[")


def arguments_that_have_a_gradient():
    stage = import_stage(7)

    def error(table, states, rule):
        return stage.prediction_error(table, states) + 0.0 * rule

    arguments = jnp.full((2, 2, 2), 0.5), stage.simulate(30, 8, 6), 30
    found = []
    for number in range(3):
        with contextlib.suppress(TypeError):
            jax.grad(error, argnums=number)(*arguments)
            found.append(number)
    return found


def dtype_of_given_uint64():
    return jax.jit(lambda words: words)(np.zeros(1, np.uint64)).dtype.name


# For each vote: a function that computes the answer, then the answers A, B, C
# and D. None stands for an error, or for something else.
VOTES = {
    0: (calls_of_step_in_numpy, 1, 80, 6400),
    1: (the_old_name_after_an_increment, [1, 1], [0, 0], None),
    2: (lambda: int(jnp.arange(5)[10]), None, 4, None),
    3: (
        what_a_jitted_print_shows,
        *(["80", "80", "81"], ["80", "81"], ["Tracer"], []),
    ),
    4: (compilations_of_stage_4, 1, 2, 3, 4),
    5: (copies_of_step_in_a_scan, None, (1, 8000), (1, 1), (8000, 8000)),
    6: (traces_and_loops_for_256_rules, (256, 1), None, (1, 1), (1, 2)),
    7: (arguments_that_have_a_gradient, [], [0], [1], [2]),
    8: (dtype_of_given_uint64, "uint64", "uint32", None),
    9: (lambda: messages_to_the_right(9, 80), 0, 1, 80),
    # Each of four shares has 8 words of 32 cells.
    10: (lambda: 80 // messages_to_the_right(10, 1024), 1, 8, 256),
}


@pytest.mark.parametrize("number", STAGES)
def test_the_right_answer_of_each_vote_is_in_bold(number):
    compute, *outcomes = VOTES[number]
    right = "ABCD"[outcomes.index(compute())]
    notes = marked(f"stage {number}")
    answers = re.findall(r"^- (\**)([A-D])\. ", notes, flags=re.M)
    assert "".join(letter for _, letter in answers) == "ABCD"[: len(outcomes)]
    assert [letter for bold, letter in answers if bold] == [right]


@pytest.mark.parametrize("number", STAGES)
def test_the_notes_run_the_stage(number):
    assert f"make stage N={number}" in marked(f"stage {number}")


def test_a_learning_rate_that_is_too_large_ends_as_nan(monkeypatch):
    stage = import_stage(7)
    monkeypatch.setattr(stage, "LEARNING_RATE", 5.0)
    learn_rule = jax.jit(stage.learn_rule.__wrapped__)  # traced again
    _, losses = learn_rule(stage.simulate(30, 80, 80))
    assert losses[0] < losses[1] < losses[2]
    assert np.isnan(losses[-1])


def test_words_that_are_not_shifted_close_into_rings_of_five(monkeypatch):
    """Check that rule 110 dies after five rows on a ring of five cells."""
    stage = import_stage(8)
    wrap = functools.partial(jnp.pad, pad_width=1, mode="wrap")
    monkeypatch.setattr(stage, "pad", lambda words, _: wrap(words))
    states = stage.simulate.__wrapped__(110, 80, 7)
    assert states.sum(axis=1).tolist() == [1, 2, 3, 3, 5, 0, 0]


def test_the_code_on_the_handout_is_that_of_the_stages():
    block = r'<pre data-stage="(\d+)">(.*?)</pre>'
    blocks = re.findall(block, HANDOUT, flags=re.S)
    assert [int(number) for number, _ in blocks] == [*STAGES]
    for number, code in blocks:
        source = STAGES[int(number)].read_text(encoding="utf-8")
        lines = {line.strip() for line in source.splitlines()}
        shown = html.unescape(code).splitlines()
        assert {line.strip() for line in shown} <= lines


def test_the_errors_on_the_handout_are_rows_of_the_table():
    table = (ROOT / "ERRORS.md").read_text(encoding="utf-8")
    error = r"<tr><td><code>(\w+)</code>(?:\s<q>(.*?)</q>)?"
    errors = re.findall(error, HANDOUT, flags=re.S)
    for kind, message in errors:
        assert f"| `{kind}` | {' '.join(message.split())}" in table
    assert len(errors) > 5


@pytest.mark.skipif(BROWSER is None, reason="chromium is not installed")
@pytest.mark.parametrize("size", ["A4", "Letter"])
def test_the_handout_is_one_sheet_in_letters_of_9_pt(size, tmp_path):
    sizes = re.findall(r"font(?:-size)?: ([\d.]+)(\w+)", HANDOUT)
    assert all(unit == "pt" and float(n) >= 9 for n, unit in sizes)
    page, pdf = tmp_path / "handout.html", tmp_path / "handout.pdf"
    style = f"<style>@page {{ size: {size}; }}</style></head>"
    page.write_text(HANDOUT.replace("</head>", style), encoding="utf-8")
    options = "--headless", "--no-sandbox", f"--user-data-dir={tmp_path}"
    subprocess.run(
        [BROWSER, *options, f"--print-to-pdf={pdf}", page.as_uri()],
        capture_output=True,
        timeout=120,
        check=True,
    )
    assert len(re.findall(rb"/Type /Page\b", pdf.read_bytes())) == 2
