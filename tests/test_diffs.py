"""The diff between neighboring stages is the lesson: small, one idea."""

import ast
import re
import sys

import pytest

from support import ROOT, STAGES, run_python
from workshop.stages import diff_lines, stage_before, strip_docstring

DIFF = ROOT / "stages" / "workshop", "diff"
BUDGETS = {**dict.fromkeys(range(1, 7), 40), 7: 45, 9: 80}  # lines


def functions(number):
    """Name to source, decorators included, of a stage's functions."""
    source = STAGES[number].read_text(encoding="utf-8")
    lines = source.splitlines()
    return {
        node.name: "\n".join(lines[first_line(node) - 1 : node.end_lineno])
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef)
    }


def first_line(function):
    return min(
        [function.lineno, *(node.lineno for node in function.decorator_list)]
    )


@pytest.mark.parametrize("number", BUDGETS)
def test_the_budget_of_changed_lines(number):
    changed = [
        line
        for line in diff_lines(number)
        if line[:1] in "+-" and line[:3] not in ("+++", "---")
    ]
    assert 0 < len(changed) <= BUDGETS[number]


@pytest.mark.parametrize("number", range(2, 7))
def test_one_function_changes_and_the_others_are_identical(number):
    before, after = functions(number - 1), functions(number)
    assert before.keys() <= after.keys()
    changed = [name for name in after if after[name] != before.get(name)]
    assert len(changed) == 1


def test_stage_7_adds_to_stage_5_and_only_its_table_may_be_of_floats():
    before, after = functions(5), functions(7)
    (changed,) = (name for name in before if after[name] != before[name])
    assert changed == "step"
    table = 'rule_table: {0}[Array, "2 2 2"],\n) -> {0}[Array, " width"]:'
    assert after["step"] == before["step"].replace(
        table.format("UInt8"), table.format("Real")
    )


@pytest.mark.parametrize(
    ("number", "changed"),
    [
        (8, {"make_initial_state", "step", "simulate"}),
        (
            9,
            {
                "make_initial_state",
                "add_halo",
                "scan_words",
                "simulate",
                "simulate_packed",
            },
        ),
    ],
)
def test_what_stages_8_and_9_do_not_teach_is_identical(number, changed):
    before, after = functions(stage_before(number)), functions(number)
    different = {name for name in before if after.get(name) != before[name]}
    assert different == changed


def test_stage_1_only_renames_np_and_widens_the_type_of_rule():
    before, after = functions(0), functions(1)
    for name in before:
        renamed = re.sub(r"\bnp\.", "jnp.", before[name])
        widened = renamed.replace("rule: int", 'rule: Integer[ArrayLike, ""]')
        assert after[name] == widened


@pytest.mark.parametrize("number", [n for n in STAGES if n > 0])
def test_the_diff_fits_the_projector(number):
    assert all(len(line) <= 79 for line in diff_lines(number))


def test_stages_7_and_8_change_stage_5_and_the_others_the_one_before():
    before = {number: stage_before(number) for number in STAGES if number > 0}
    assert before == {n: 5 if n in (7, 8) else n - 1 for n in before}
    assert diff_lines(8)[0] == f"--- {STAGES[5].name}"


def test_the_diff_of_stage_5_is_the_scan():
    done = run_python(*DIFF, 5)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    added = [line for line in lines if re.match(r"\+(?!\+)", line)]
    assert any("jax.lax.scan" in line for line in added)
    assert len(added) <= 8
    assert '"""Stage' not in done.stdout


def test_one_function_on_request():
    done = run_python(*DIFF, 8, "--only", "step")
    assert (done.returncode, done.stderr) == (0, "")
    before, after = (functions(n)["step"].splitlines() for n in (5, 8))
    lines = [line for line in done.stdout.splitlines() if line[0] in " +-"]
    assert {line[1:] for line in lines[2:]} <= {*before, *after}
    done = run_python(*DIFF, 5, "--only", "step")  # as in stage 4
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("that stage 5 changes, got step\n")


def test_docstrings_on_request():
    done = run_python(*DIFF, 5, "--docstrings")
    assert '+"""Stage 5' in done.stdout


@pytest.mark.parametrize("number", ["0", "-1", "99", "x", None])
def test_a_stage_that_is_not_there(number):
    done = run_python(*DIFF, *([] if number is None else [number]))
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1


def test_plain_text_through_a_pipe():
    assert "\x1b" not in run_python(*DIFF, 5).stdout


@pytest.mark.parametrize(
    ("env", "colored"),
    [({}, True), ({"TERM": "dumb"}, False), ({"NO_COLOR": "1"}, False)],
)
def test_color_on_a_terminal(env, colored, run_in_terminal):
    command = [sys.executable, *DIFF, 5]
    output, status = run_in_terminal(command, {"PAGER": "cat", **env})
    assert status == 0
    assert ("\x1b[32m+" in output) == colored
    assert "jax.lax.scan" in output


def test_a_pager_gets_it_on_a_terminal(run_in_terminal):
    command = [sys.executable, *DIFF, 8]
    output, _ = run_in_terminal(command, {"PAGER": "head -n 2"})
    assert len(output.splitlines()) == 2


@pytest.mark.parametrize("number", STAGES)
def test_the_form_of_a_stage(number):
    source = STAGES[number].read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(source))
    assert docstring.startswith(f"Stage {number}: ")
    assert re.search(r"^What changes(, from stage \d+)?: ", docstring, re.M)
    assert "What to notice: " in docstring
    assert docstring.splitlines()[0].endswith(".")
    imports = re.findall(r"^(?:import|from) (\w+)", source, flags=re.M)
    assert not any(name.startswith("stage") for name in imports)
    assert "workshop" not in imports  # imported inside the main guard
    assert strip_docstring(source).startswith("import ")


@pytest.mark.parametrize("number", STAGES)
def test_what_is_above_the_main_guard_can_be_pasted(number):
    source = STAGES[number].read_text(encoding="utf-8")
    above, guard, _ = source.partition('\n\nif __name__ == "__main__":\n')
    assert guard
    pasted = {"__name__": "__main__"}
    exec(above, pasted)
    simulate, rule_table = pasted["simulate"], pasted["make_rule_table"](110)
    assert simulate.__module__ == "__main__"
    assert rule_table.ravel().tolist() == [0, 1, 1, 1, 0, 1, 1, 0]


@pytest.mark.parametrize("number", STAGES)
def test_the_command_in_the_docstring_runs(number, tmp_path):
    docstring = ast.get_docstring(ast.parse(STAGES[number].read_text()))
    (command,) = re.findall(r"^ +python (stages/.*)$", docstring, flags=re.M)
    script, *arguments = command.split()
    assert ROOT / script == STAGES[number]
    done = run_python(ROOT / script, *arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
