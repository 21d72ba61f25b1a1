"""The diff between neighboring stages is the lesson: small, one idea."""

import ast
import re
import sys

import pytest

from support import DOOR, ROOT, STAGES, assert_refused, output_of
from workshop.stages import cut_function, diff_lines, find_stages, stage_before

# The lines that may change, and the functions of the stage before that do.
CHANGES = {
    1: (40, "make_rule_table make_initial_state step simulate"),
    2: (40, "make_initial_state"),
    3: (40, "simulate"),
    4: (40, "simulate"),
    5: (40, "simulate"),
    6: (40, ""),
    7: (45, "step"),
    8: (100, "make_initial_state step simulate"),
    9: (80, "make_initial_state simulate add_halo scan_words simulate_packed"),
}


def functions(number):
    """Name to source, decorators included, of a stage's functions."""
    source = STAGES[number].read_text(encoding="utf-8")
    names = re.findall(r"^def (\w+)", source, flags=re.M)
    return {name: cut_function(source, name) for name in names}


@pytest.mark.parametrize("number", CHANGES)
def test_the_diff_is_small_and_what_it_does_not_teach_is_identical(number):
    most, names = CHANGES[number]
    _, _, *lines = diff_lines(number)
    assert 0 < sum(line[0] in "+-" for line in lines) <= most
    assert max(map(len, lines)) <= 79
    before, after = functions(stage_before(number)), functions(number)
    changed = {name for name in before if after.get(name) != before[name]}
    assert changed == set(names.split())
    assert number > 6 or len(after.keys() - before.keys()) == (number == 6)


def test_stage_7_changes_but_the_type_of_the_table():
    table = 'rule_table: {0}[Array, "2 2 2"],\n) -> {0}[Array, " width"]:'
    assert functions(7)["step"] == functions(5)["step"].replace(
        table.format("UInt8"), table.format("Real")
    )


def test_stage_1_only_renames_np_and_widens_the_type_of_rule():
    before, after = functions(0), functions(1)
    for name in before:
        renamed = re.sub(r"\bnp\.", "jnp.", before[name])
        widened = renamed.replace("rule: int", 'rule: Integer[ArrayLike, ""]')
        assert after[name] == widened


def test_the_diff_of_stage_5_is_the_scan(run_here):
    out = output_of(run_here("diff", 5))
    added = re.findall(r"^\+(?!\+).*", out, flags=re.M)
    assert any("jax.lax.scan" in line for line in added)
    assert len(added) <= 8
    assert '"""Stage' not in out
    assert "\x1b" not in out
    assert '+"""Stage 5' in run_here("diff", 5, "--docstrings").stdout


def test_one_function_on_request(run_here):
    out = output_of(run_here("diff", 8, "--only", "step"))
    before, after = (functions(n)["step"].splitlines() for n in (5, 8))
    lines = [line for line in out.splitlines() if line[0] in " +-"]
    assert {line[1:] for line in lines[2:]} <= {*before, *after}
    said = "that stage 5 changes, got step\n"
    assert_refused(run_here("diff", 5, "--only", "step"), said)
    for number in (0, 99):
        assert_refused(run_here("diff", number), f"got {number}\n")


def test_two_files_of_one_stage_are_bad_input(tmp_path, capsys):
    for name in ("stage5_a.py", "stage5_b.py"):
        (tmp_path / name).touch()
    with pytest.raises(SystemExit, match="2"):
        find_stages(tmp_path)
    told = "stage 5 must be one file, got stage5_a.py and stage5_b.py\n"
    assert capsys.readouterr().err == told


def test_on_a_terminal_a_pager_gets_it_in_color(run_in_terminal):
    command = [sys.executable, DOOR, "diff", 8]
    output, status = run_in_terminal(command, {"PAGER": "head -n 2"})
    assert status == 0
    first, second = output.splitlines()
    assert first.startswith("\x1b[1m--- stage5")
    assert second.startswith("\x1b[1m+++ stage8")


@pytest.mark.parametrize("number", STAGES)
def test_a_stage_says_what_it_is_and_imports_no_other(number):
    source = STAGES[number].read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(source))
    assert docstring.startswith(f"Stage {number}: ")
    assert "What to notice: " in docstring
    imports = re.findall(r"^(?:import|from) (\w+)", source, flags=re.M)
    assert not any(re.match("stage|workshop", name) for name in imports)


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
def test_the_command_in_the_docstring_runs(
    number, tmp_path, monkeypatch, run_here
):
    """At a smaller size."""
    docstring = ast.get_docstring(ast.parse(STAGES[number].read_text("utf-8")))
    (command,) = re.findall(r"^ +python (stages/.*)$", docstring, re.M)
    script, *arguments = command.split()
    assert ROOT / script == STAGES[number]
    monkeypatch.chdir(tmp_path)
    size = "--width", 8, "--num-steps", 5
    out = output_of(run_here(number, *arguments, *size))
    assert ("devices: 4, processes: 1" in out) == (number == 9)
