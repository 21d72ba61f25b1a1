"""The notebooks run, their claims hold, and their exercises check answers."""

import functools
import re
import sys

import jax
import jax.numpy as jnp
import nbformat
import numpy as np
import pytest

import answers
import convert
import figures
import kernel
from running import NAMES, make_notebook, printed, write_pages
from support import (
    REFERENCE,
    ROOT,
    STAGES,
    assert_refused,
    copy_workshop,
    import_stage,
    output_of,
    run_python,
)
from workshop import doctor

each_run = pytest.mark.parametrize(  # slow: those that measure what is large
    "name",
    [NAMES[0], *(pytest.param(n, marks=pytest.mark.slow) for n in NAMES[1:])],
)


def tagged(cells, tag):
    """The cells with that tag."""
    return [cell for cell in cells if tag in cell.metadata.get("tags", [])]


@each_run
def test_it_runs_its_exercises_fail_and_its_solutions_pass(run_notebook, name):
    """In this Python; every plot names its axes."""
    run = run_notebook(name)
    assert run.python == sys.executable
    assert len(run.axes) > 0
    assert all(xlabel and ylabel for xlabel, ylabel in run.axes)
    cells = run.notebook.cells
    exercises, solutions = tagged(cells, "exercise"), tagged(cells, "solution")
    assert len(exercises) == len(solutions) == len(run.verdicts) >= 4
    assert all(verdict.startswith("Right: ") for verdict in run.verdicts)
    for exercise, solution in zip(exercises, solutions, strict=True):
        assert cells.index(solution) == cells.index(exercise) + 1
        assert printed(exercise).startswith("Not yet: ")
        # What JupyterLab shows of a folded cell gives nothing away.
        assert solution.source.startswith("# Solution\n")
        assert solution.metadata.jupyter == {"source_hidden": True}
        assert solution.outputs == []
        assert "jupyter" not in exercise.metadata


def test_all_stages_are_shown_and_none_is_restated():
    text = "\n".join(path.read_text("utf-8") for path in convert.SOURCES)
    shown = {int(n) for n in re.findall(r"^show_diff\((\d+)", text, re.M)}
    assert shown == set(STAGES) - {0}
    assert "def simulate(" not in text


FIRST_CODE = make_notebook(NAMES[0]).cells[1].source


def test_the_first_cell_is_the_same_everywhere_and_finds_the_stages(tmp_path):
    """In its folder, and beside a clone; it names a package too old."""
    firsts = {make_notebook(name).cells[1].source for name in NAMES}
    assert firsts == {FIRST_CODE}
    right = "The right kernel"
    done = run_python("-c", FIRST_CODE, cwd=convert.FOLDER)
    assert output_of(done).startswith(right)
    copy_workshop(tmp_path / "clone", "notebooks")
    old = tmp_path / "packages" / "jax-0.9.2.dist-info"
    old.mkdir(parents=True)
    (old / "METADATA").write_text("Name: jax\nVersion: 0.9.2\n")
    assert run_python("-c", FIRST_CODE, cwd=tmp_path).stdout.startswith(right)
    env = {"PYTHONPATH": str(old.parent)}
    told = run_python("-c", FIRST_CODE, cwd=tmp_path, env=env).stderr
    assert "it has jax 0.9.2, 0.10 or later is needed" in told
    assert str(tmp_path / "clone") in told


def test_in_a_wrong_place_the_first_cell_says_what_to_do(
    tmp_path, monkeypatch
):
    done = run_python("-c", FIRST_CODE, cwd=tmp_path)
    assert_refused(done, "git clone ADDRESS workshop", status=1)
    done = run_python("-S", "-c", FIRST_CODE, cwd=convert.FOLDER)
    assert done.returncode == 1
    assert "has no jax" in done.stderr
    assert "Change Kernel" in done.stderr
    assert f'%pip install -r "{ROOT}/requirements.txt"' in done.stderr
    assert "Traceback" not in done.stderr
    assert kernel.OLDEST_PYTHON == doctor.OLDEST_PYTHON
    oldest = ".".join(map(str, kernel.OLDEST_JAX))
    wanted = doctor.version_range("jax", doctor.REQUIREMENTS)
    assert wanted.startswith(f">={oldest},")
    monkeypatch.setattr(kernel, "OLDEST_PYTHON", (4, 0))
    with pytest.raises(SystemExit, match=r"Python 3\..*, 4\.0 or later"):
        kernel.check_kernel()


def test_a_notebook_that_its_source_does_not_make_is_noticed(
    tmp_path, monkeypatch, capsys
):
    convert.check_notebooks()  # those that there are
    source = tmp_path / "1_port.py"
    source.write_bytes((convert.FOLDER / "1_port.py").read_bytes())
    monkeypatch.setattr(convert, "SOURCES", [source])
    monkeypatch.setattr(convert, "ROOT", tmp_path)
    convert.write_notebooks()
    nb = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    nb.cells[1].outputs = [nbformat.v4.new_output("stream", text="hello")]
    nbformat.write(nb, source.with_suffix(".ipynb"))
    with pytest.raises(SystemExit):
        convert.check_notebooks()
    convert.write_notebooks()
    convert.check_notebooks()
    with source.open("a", encoding="utf-8") as more:
        more.write("\n# %%\n1 + 1\n")
    with pytest.raises(SystemExit, match="1"):
        convert.check_notebooks()
    assert "make notebooks" in capsys.readouterr().err


@pytest.mark.slow  # all notebooks are run
def test_pages_need_nothing_else(run_notebook, tmp_path):
    write_pages(tmp_path, run_notebook)
    pages = {path.stem: path for path in tmp_path.glob("*.html")}
    assert set(pages) == {"index", "handout", *NAMES}
    for name, path in pages.items():
        page = path.read_text(encoding="utf-8")
        sources = re.findall(r'\ssrc="([^"]{,30})', page)
        assert all(src.startswith("data:image/png;") for src in sources)
        for loads in ("<link", "@import", "<script src"):
            assert loads not in page
        for local in re.findall(r'href="([\w.]+)(?:#[\w.-]*)?"', page):
            assert (tmp_path / local).exists()
        if name in NAMES:
            assert f'<a download="" href="{name}.ipynb">' in page
            alts = re.findall(r'<img[^>]*\salt="[^"]+"', page)
            assert len(sources) == len(alts) > 0
            assert page.count("<details>") >= 4
            assert "Right: " not in page


@pytest.mark.parametrize(
    ("width", "num_steps", "scale"),
    [(160, 160, 3), (1, 400, 1), (40, 160, 3), (400, 1, 1), (1, 1, 480)],
)
def test_the_explorer_follows_its_sliders_and_fits_a_screen(
    width, num_steps, scale
):
    explorer = figures.make_explorer(REFERENCE.simulate)
    *sliders, picture, caption = explorer.children
    seen = {picture.value}
    for slider, value in zip(sliders, (30, width, num_steps), strict=True):
        slider.value = value
        seen.add(picture.value)
    assert len(seen) == 2 + (width != 160) + (num_steps != 160)
    alt = f'alt="rule 30, width {width}, num_steps {num_steps}"'
    size = f'width="{scale * width}" height="{scale * num_steps}"'
    assert f"{alt} {size}" in picture.value
    assert re.fullmatch(r"this frame took \d+ ms", caption.value)


def fail_with(error):
    with figures.expect_failure(TypeError, "immutable"):
        if error:
            raise error


def test_an_expected_failure_is_shown_shortly(capsys):
    with figures.expect_failure(TypeError, "immutable"):
        jnp.zeros(3)[0] = 1
    shown = capsys.readouterr().out
    assert shown.startswith("TypeError: JAX arrays are immutable")
    assert max(map(len, shown.splitlines())) < 80
    for error in (ValueError("immutable"), TypeError("other")):
        with pytest.raises(type(error)):
            fail_with(error)
    with pytest.raises(AssertionError):
        fail_with(None)


@functools.cache
def fractions_of_all():
    rows = [REFERENCE.simulate(rule, 32, 32)[-1] for rule in range(256)]
    return np.mean(rows, axis=1)


def answers_for_all(rules=range(256)):
    """What is asked for, of all rules and not of those that are given."""
    return fractions_of_all()[: len(rules)]


@jax.jit
def loop_over_rules(rules):
    """Right, and one equation for the jit: the loop is inside it."""
    fractions = jnp.asarray(answers_for_all())[rules]
    for _ in range(len(rules)):
        fractions = fractions + jnp.zeros_like(fractions)
    return fractions


@jax.jit(static_argnames=("width", "num_steps"))
def count_in_all_rows(rule, width, num_steps):
    """Right, from rows that are all there first."""
    states = import_stage(5).simulate(rule, width, num_steps)
    return jnp.sum(states, axis=1, dtype=jnp.int32)


def loop_over_rows(states):
    """Right, row by row."""
    return jnp.array(
        [[jnp.sum(a != b, dtype=jnp.int32) for b in states] for a in states]
    )


def sum_of_next(cells, rule_table):
    """The sum of the next state, by a lookup."""
    return import_stage(7).step(cells.astype(jnp.uint8), rule_table).sum()


def influence_by_differences(cells, rule_table):
    """Right, with two steps for each cell."""

    def with_cell(i, x):
        return sum_of_next(cells.at[i].set(x), rule_table)

    cell_numbers = range(len(cells))
    pairs = [(with_cell(i, 0.0), with_cell(i, 1.0)) for i in cell_numbers]
    return jnp.stack([high - low for low, high in pairs])


WRONG = [  # the name of a check, an answer, what is said of it
    ("move_right", 170, "row 1, cell 9: got 1, want 0"),
    ("move_right", 256, "a rule is a whole number"),
    ("rule_number", lambda table: 110, "rule 0: got 110, want 0"),
    ("rule_number", lambda table: None, "does it say `return`?"),
    ("rule_number", lambda table: {}[table.size], "it raises KeyError: 8"),
    ("two_cells", jnp.zeros, "dtype: got float32, want uint8"),
    ("mirror", lambda table: table, "row 1, cell 6: got 1, want"),
    ("read", lambda array, i: array[i], "place 5 of 5: got 11"),
    ("num_programs", 7, "got 7"),
    ("mappable", {"rule", "width"}, "two values give two shapes"),
    ("mappable", {"rule"}, "there is one more"),
    ("mappable", {"seed"}, "some of ['num_steps', 'rule'"),
    ("count_live", count_in_all_rows, "Record the sums alone"),
    ("lesson", [0, 0, 0, 1, 0, 1, 1, 0], "never occur"),
    ("live_fractions", loop_over_rules, "that is a loop"),
    ("live_fractions", lambda rules: answers_for_all(), "shape: got (256,)"),
    ("live_fractions", answers_for_all, "4 rules, number 0: got"),
    ("differences", loop_over_rows, "that is a loop"),
    ("influence", influence_by_differences, "no gradient"),
    ("influence", jax.grad(sum_of_next), "cell 4: got 0.0, want 2"),
    ("find_cell", lambda i, n: divmod(i, 8), "got (0, 3), want (1, 0)"),
    ("exchanges", lambda n, halo: n // halo, "(258, 256)"),
    ("rule_110", lambda a, b, c: b ^ c, "0 1 1: got 0, want 1"),
    ("rule_110", lambda a, b, c: (b | c) ^ (a & b & c) & 1, "of the other 31"),
]


@pytest.mark.parametrize(("name", "answer", "said"), WRONG)
def test_checks_say_what_is_wrong(name, answer, said, capsys):
    getattr(answers, f"check_{name}")(answer)
    shown = capsys.readouterr().out
    assert shown.startswith("Not yet: ")
    assert said in shown
