"""The notebooks run, their claims hold, and their exercises check answers."""

import ast
import base64
import functools
import re
import sys

import jax
import jax.numpy as jnp
import nbformat
import numpy as np
import pytest

import convert
from running import NAMES, make_notebook, printed, write_pages
from support import REFERENCE, ROOT, import_stage, run_python
from workshop import answers, notebook
from workshop.links import read_table
from workshop.stages import find_stages

each_notebook = pytest.mark.parametrize("name", NAMES)


def tagged(cells, tag):
    """The cells with that tag."""
    return [cell for cell in cells if tag in cell.metadata.get("tags", [])]


@each_notebook
def test_it_runs_in_this_python_and_every_plot_names_its_axes(
    run_notebook, name
):
    run = run_notebook(name)
    assert run.python == sys.executable
    assert len(run.axes) > 0
    assert all(xlabel and ylabel for xlabel, ylabel in run.axes)


@each_notebook
def test_unsolved_exercises_fail_their_checks_and_solutions_pass(
    run_notebook, name
):
    run = run_notebook(name)
    cells = run.notebook.cells
    exercises, solutions = tagged(cells, "exercise"), tagged(cells, "solution")
    assert len(exercises) == len(solutions) >= 4
    for exercise, solution, verdict in zip(
        exercises, solutions, run.verdicts, strict=True
    ):
        assert cells.index(solution) == cells.index(exercise) + 1
        assert printed(exercise).startswith("Not yet: ")
        assert verdict.startswith("Right: ")
        # What JupyterLab shows of a folded cell gives nothing away.
        assert solution.source.startswith("# Solution\n")
        assert solution.metadata.jupyter == {"source_hidden": True}
        assert solution.outputs == []
        assert "jupyter" not in exercise.metadata


@each_notebook
def test_every_exercise_has_its_heading_in_order(name):
    text = "\n".join(cell.source for cell in make_notebook(name).cells)
    numbers = re.findall(r"^### Exercise (\d+): ", text, flags=re.M)
    assert [int(n) for n in numbers] == [
        1 + i
        for i in range(len(tagged(make_notebook(name).cells, "exercise")))
    ]


@each_notebook
def test_it_opens_with_what_to_expect(name):
    first = make_notebook(name).cells[0].source
    assert re.match(rf"# {name[0]} · \w+: ", first)
    words = ["What you will do", "What you will learn", "What you need"]
    parts = re.findall(r"^\*\*([\w ]+)\.\*\* \S", first, flags=re.M)
    assert parts == [*words, "Minutes"]
    assert re.search(r"\*\*Minutes\.\*\* \d+", first)


@each_notebook
def test_it_asks_for_predictions_before_the_cell_that_answers(name):
    cells = make_notebook(name).cells
    asking = [
        i
        for i, cell in enumerate(cells)
        if re.search(r"^\*\*Predict\.\*\* ", cell.source, flags=re.M)
    ]
    assert len(asking) >= 3
    assert all(cells[i + 1].cell_type == "code" for i in asking)


@each_notebook
def test_it_ends_with_a_summary_of_five(name):
    last = make_notebook(name).cells[-1].source
    summary = last.split("## Summary\n")[1].split("\n## ")[0]
    assert re.findall(r"^(\d)\. ", summary, flags=re.M) == list("12345")


def test_the_first_notebook_ends_with_a_glossary_in_order():
    last = make_notebook(NAMES[0]).cells[-1].source
    terms = re.findall(
        r"^\| ([\w -]+) \| ", last.split("## Glossary")[1], re.M
    )
    assert terms[0] == "term"
    assert len(terms) > 15
    assert terms[1:] == sorted(terms[1:], key=str.lower)


@each_notebook
def test_every_link_leads_somewhere(name):
    text = "\n".join(cell.source for cell in make_notebook(name).cells)
    links = re.findall(r"\]\(([^)]+)\)", text)
    for link in links:
        path, _, anchor = link.partition("#")
        assert (convert.FOLDER / path).exists(), link
        assert not anchor or anchor in read_table(), link
    assert links


def test_all_stages_are_shown_and_none_is_restated():
    text = "\n".join(
        cell.source for name in NAMES for cell in make_notebook(name).cells
    )
    shown = {int(n) for n in re.findall(r"^show_diff\((\d+)", text, re.M)}
    assert shown == set(find_stages()) - {0}
    assert "def simulate(" not in text


def test_all_notebooks_begin_by_the_same_check():
    first = {make_notebook(name).cells[1].source for name in NAMES}
    assert len(first) == 1
    assert "check_kernel()" in first.pop()


FIRST_CODE = make_notebook(NAMES[0]).cells[1].source


def test_the_first_cell_finds_the_stages():
    done = run_python("-c", FIRST_CODE, cwd=convert.FOLDER)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("The right kernel")


def test_opened_elsewhere_the_first_cell_says_what_to_do(tmp_path):
    done = run_python("-c", FIRST_CODE, cwd=tmp_path)
    assert done.returncode == 1
    assert "make lab" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_in_the_wrong_kernel_the_first_cell_says_what_to_do():
    done = run_python("-S", "-c", FIRST_CODE, cwd=convert.FOLDER)
    assert done.returncode == 1
    assert "has no jax" in done.stderr
    assert "Change Kernel" in done.stderr
    assert "Traceback" not in done.stderr


def test_every_notebook_is_what_its_source_makes():
    convert.check_notebooks()


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A source in another folder, with the notebook that it makes."""
    source = tmp_path / "1_port.py"
    source.write_bytes((convert.FOLDER / "1_port.py").read_bytes())
    monkeypatch.setattr(convert, "SOURCES", [source])
    monkeypatch.setattr(convert, "ROOT", tmp_path)
    convert.write_notebooks()
    convert.check_notebooks()
    return source


def test_a_source_that_was_edited_is_noticed(copied, capsys):
    text = copied.read_text(encoding="utf-8")
    copied.write_text(text + "\n# %%\n1 + 1\n", encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        convert.check_notebooks()
    assert ended.value.code == 1
    assert "make notebooks" in capsys.readouterr().err


def test_a_notebook_with_outputs_is_noticed(copied):
    path = convert.notebook_path(copied)
    nb = nbformat.read(path, as_version=4)
    nb.cells[1].outputs = [nbformat.v4.new_output("stream", text="hello")]
    nbformat.write(nb, path)
    with pytest.raises(SystemExit):
        convert.check_notebooks()
    convert.write_notebooks()
    convert.check_notebooks()


def test_pages_need_nothing_else(run_notebook, tmp_path):
    write_pages(tmp_path, run_notebook)
    pages = {path.stem: path for path in tmp_path.glob("*.html")}
    assert set(pages) == {"index", "links", *NAMES}
    for name, path in pages.items():
        page = path.read_text(encoding="utf-8")
        sources = re.findall(r'\ssrc="([^"]{,30})', page)
        assert all(src.startswith("data:image/png;") for src in sources)
        assert "<link" not in page
        assert "@import" not in page
        assert "<script" not in page
        local = set(re.findall(r'href="([\w.]+)(?:#[\w.-]*)?"', page))
        assert local == {path.name for path in pages.values()} & local
        if name in NAMES:
            assert len(sources) == sum(
                "image/png" in output.get("data", {})
                for cell in run_notebook(name).notebook.cells
                for output in cell.get("outputs", [])
            )
            assert all(re.findall(r"<img[^>]*\salt=\"[^\"]+\"", page))
            assert page.count("<details>") >= 4
            assert "Right: " not in page


def test_the_explorer_has_a_picture_for_pages_without_a_kernel(run_notebook):
    cells = run_notebook("1_port").notebook.cells
    cell = next(c for c in cells if c.source.startswith("explore("))
    (output,) = cell.outputs
    assert convert.WIDGET in output.data
    assert base64.b64decode(output.data["image/png"]).startswith(b"\x89PNG")


def test_the_explorer_follows_its_sliders():
    explorer = notebook.make_explorer(REFERENCE.simulate)
    *sliders, picture, caption = explorer.children
    seen = {picture.value}
    for slider, value in zip(sliders, (30, 33, 50), strict=True):
        slider.value = value
        seen.add(picture.value)
    assert len(seen) == 4
    assert re.fullmatch(r"this frame took \d+ ms", caption.value)


def test_an_expected_failure_is_shown_shortly(capsys):
    with notebook.expect_failure(TypeError, "immutable"):
        jnp.zeros(3)[0] = 1
    shown = capsys.readouterr().out
    assert shown.startswith("TypeError: JAX arrays are immutable")
    assert max(map(len, shown.splitlines())) < 80


def test_another_failure_is_not_expected():
    with (
        pytest.raises(ValueError, match="other"),
        notebook.expect_failure(TypeError, "immutable"),
    ):
        raise ValueError("other")
    with (
        pytest.raises(TypeError, match="other"),
        notebook.expect_failure(TypeError, "immutable"),
    ):
        raise TypeError("other")
    with (
        pytest.raises(AssertionError, match="immutable"),
        notebook.expect_failure(TypeError, "immutable"),
    ):
        pass


def raise_error(*_):
    raise KeyError("mine")


@functools.cache
def answers_for_all():
    """What is asked for, of all rules and not of those that are given."""
    last_rows = [REFERENCE.simulate(rule, 32, 32)[-1] for rule in range(256)]
    return np.array([row.mean() for row in last_rows])


@jax.jit
def loop_over_rules(rules):
    """Right, and one equation for the jit: the loop is inside it."""
    fractions = jnp.asarray(answers_for_all())[rules]
    for _ in range(len(rules)):
        fractions = fractions + jnp.zeros_like(fractions)
    return fractions


def loop_over_rows(states):
    """Right, row by row."""
    return jnp.array(
        [[jnp.sum(a != b, dtype=jnp.int32) for b in states] for a in states]
    )


def influence_by_differences(cells, rule_table):
    """Right, with two steps for each cell."""
    step = import_stage(7).step

    def grown(cell):
        low, high = (cells.at[cell].set(value) for value in (0.0, 1.0))
        return step(high, rule_table).sum() - step(low, rule_table).sum()

    return jnp.stack([grown(cell) for cell in range(len(cells))])


WRONG = [
    (answers.check_move_right, 170, "row 1, cell 9: got 1, want 0"),
    (answers.check_move_right, 256, "a rule is a whole number"),
    (answers.check_rule_number, lambda table: 110, "rule 0: got 110, want 0"),
    (answers.check_rule_number, lambda table: None, "does it say `return`?"),
    (answers.check_rule_number, raise_error, "it raises KeyError: 'mine'"),
    (answers.check_two_cells, jnp.zeros, "dtype: got float32, want uint8"),
    (answers.check_mirror, lambda table: table, "row 1, cell 6: got 1, want"),
    (answers.check_num_programs, 7, "got 7"),
    (answers.check_mappable, {"rule", "width"}, "width shapes the states"),
    (answers.check_mappable, {"rule"}, "there is one more"),
    (answers.check_lesson, [0, 0, 0, 1, 0, 1, 1, 0], "never occur"),
    (answers.check_live_fractions, loop_over_rules, "that is a loop"),
    (
        answers.check_live_fractions,
        lambda rules: answers_for_all(),
        "4 rules: shape: got (256,), want (4,)",
    ),
    (answers.check_differences, loop_over_rows, "that is a loop"),
    (answers.check_influence, influence_by_differences, "no gradient"),
    (answers.check_find_cell, lambda i, n: divmod(i, 8), "cell 3 of 3 words"),
    (answers.check_exchanges, lambda n, halo: n // halo, "(258, 256)"),
    (
        answers.check_rule_110,
        lambda left, center, right: center ^ right,
        "neighborhood 0 1 1: got 0, want 1",
    ),
]


@pytest.mark.parametrize(("check", "answer", "said"), WRONG)
def test_checks_say_what_is_wrong(check, answer, said, capsys):
    check(answer)
    shown = capsys.readouterr().out
    assert shown.startswith("Not yet: ")
    assert said in shown


def test_only_time_call_looks_at_the_clock():
    for source in convert.SOURCES:
        tree = ast.parse(source.read_text(encoding="utf-8"))
        imported = {
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        assert not imported & {"time", "timeit"}


def test_make_lab_and_the_readme_open_notebooks_that_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (opened,) = re.findall(r"default_url=/lab/tree/(\S+)", makefile)
    assert (ROOT / opened).is_file()
