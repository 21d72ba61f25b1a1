"""Test that the notebooks run, show what they claim, and check answers."""

import ast
import base64
import io
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import answers
import convert
import figures
from running import NAMES, make_notebook, printed
from support import REFERENCE, STAGES, import_stage
from workshop.exercises.expect import NotYet
from workshop.tracing import count_compilations

each_run = pytest.mark.parametrize(
    "name",
    [NAMES[0], *(pytest.param(n, marks=pytest.mark.slow) for n in NAMES[1:])],
)
SHOWN = {  # parts of what is printed, in this order
    "1_port": "column: 110|961 live|[1, 1, 0, 0, 1, 1]|[1, 1, 0, 0, 1, 1]|"
    "TypeError: JAX arrays are immutable|equal: True|[0 0 0 0 0]|[0 0 1 0 0]|"
    "equal: True|IndexError|IndexError|reads 4|writes [0 1 2 3 4]|-1|"
    "float32|0.1000000014|int32|-> 0|int64 1099511627776",
    "2_compile": "tracing with|6\n8|mul|TypeError: unsupported format|"
    "running with 3\nrunning with 4|TypeError: Shapes|ValueError: Non-hash|"
    "Compiling|tuple of length 1 and before tuple of length 2|20 rows:  7|"
    "8000 rows: 7|gather|scan|while|u8[80,80]|line 40|first call|first call|"
    "equal: True|OverflowError|44|1866|Error: rule|Error: out-of-bounds",
    "3_transform": "(256, 2, 2, 2)|(256, 9) (2, 9) (2, 9)|(2, 256, 9)|"
    "409,600|(256, 64, 64)|ValueError: vmap in_axes|"
    "ValueError: vmap was|(256, 64, 64)|(3, 64)|(256, 3, 64, 64)|cond|log|"
    "7.0, by jax.grad: 7.0|TypeError: grad|rule 110|146 of 256|0 of 1890|"
    "222 draws the same: True|nan|FloatingPointError|TypeError: Indexer|"
    "[0. 0. 0. 0. 0. 0. 0. 0.]|equal for all rules: True",
}


def tagged(cells, tag):
    return [cell for cell in cells if tag in cell.metadata.get("tags", [])]


@each_run
def test_it_runs_shows_its_claims_and_checks_its_exercises(run_notebook, name):
    run = run_notebook(name)
    assert run.python == sys.executable
    assert all(xlabel and ylabel for xlabel, ylabel in run.axes)
    cells = run.notebook.cells
    exercises, solutions = tagged(cells, "exercise"), tagged(cells, "solution")
    assert len(exercises) == len(solutions) >= 4
    for exercise, solution in zip(exercises, solutions, strict=True):
        place = cells.index(exercise)
        assert "<summary>Hint</summary>" in cells[place - 1].source
        assert printed(exercise).startswith("Not yet: ")
        assert cells[place + 1] is solution
        assert printed(solution).startswith("Right: ")
        assert solution.source.startswith("# Solution\n")
        assert solution.metadata.jupyter == {"source_hidden": True}
    text = "\n".join(printed(c) for c in cells if c.cell_type == "code")
    assert ": False" not in text
    for part in filter(None, SHOWN.get(name, "").split("|")):
        before, found, text = text.partition(part)
        assert found == part, (part, before)


def find_column(run, title):
    """Return the column with this title; only one table may have it."""
    outputs = (o for c in run.notebook.cells for o in c.get("outputs", []))
    texts = [o.get("data", {}).get("text/markdown", "") for o in outputs]
    (text,) = (text for text in texts if f"| {title} |" in text)
    names, _, *rows = (x.strip("| ").split(" | ") for x in text.splitlines())
    return [row[names.index(title)] for row in rows]


@pytest.mark.slow
def test_tables_show_what_the_text_claims(run_notebook):
    run = run_notebook("2_compile")
    traced = "yes no no yes yes yes no yes yes yes"
    assert find_column(run, "traced") == traced.split()
    counts = find_column(run, "operations of stage 4")
    assert (counts[0], counts[-1]) == ("247", "96,007")
    run = run_notebook("3_transform")
    slopes = list(map(float, find_column(run, "gradient")))
    differences = list(map(float, find_column(run, "by differences")))
    assert differences == pytest.approx(slopes, rel=0.02)
    live = [x == "1" for x in find_column(run, "true entry")]
    assert live == [slope < 0 for slope in slopes]
    assert find_column(run, "learned")[5] == "0.500"
    sizes = [int(x.replace(",", "")) for x in find_column(run, "bytes")]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("name", NAMES)
def test_cells_are_short_and_no_test_gives_an_answer_away(name):
    cells = [c for c in make_notebook(name).cells if c.cell_type == "code"]
    assert cells[0].metadata.tags == ["setup"]
    assert cells[0].metadata.jupyter == {"source_hidden": True}
    for cell in cells[1:]:
        assert len(cell.source.splitlines()) <= 20, cell.source
        for node in ast.walk(ast.parse(cell.source)):
            assert not isinstance(node, ast.Assert)
            compares = "assert" in getattr(node, "attr", "")
            assert not compares


def test_all_stages_are_shown_and_none_is_restated():
    text = "\n".join(path.read_text("utf-8") for path in convert.SOURCES)
    shown = {int(n) for n in re.findall(r"^show_diff\((\d+)", text, re.M)}
    assert shown == set(STAGES) - {0}
    assert "def simulate(" not in text


def test_seven_calls_compile_four_programs():
    @jax.jit(static_argnames=("width", "num_steps"))
    def f(rule, width, num_steps):
        return jnp.zeros((num_steps, width)) + rule.astype(jnp.float32)

    with count_compilations() as compiled:
        for rule, n in [(30, 8), (110, 8), (30, 9), (110, 9), (True, 9)]:
            f(rule, n, 8)
        f(90, 8, 8)
        f(30, 8, num_steps=8)
    assert len(compiled) == 4


def test_a_compiled_loop_of_sets_needs_one_array():
    def set_a_thousand(x):
        return jax.lax.fori_loop(0, 1000, lambda i, x: x.at[i].set(1), x)

    cells = jnp.zeros(100_000, dtype=jnp.uint8)
    compiled = jax.jit(set_a_thousand).lower(cells).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < cells.nbytes


@pytest.mark.parametrize(
    ("width", "num_steps", "scale"),
    [(160, 160, 3), (1, 400, 1), (40, 160, 3), (400, 1, 1), (1, 1, 480)],
)
def test_the_explorer_follows_its_numbers(width, num_steps, scale):
    explorer = figures.make_explorer(REFERENCE.simulate)
    *rows, picture = explorer.children
    values = {"rule": 30, "width": width, "num_steps": num_steps}
    for row in rows:
        number, slider = row.children
        assert (number.max, number.min) == (slider.max, slider.min)
        number.value = values[number.description]
    data = re.search(r'src="data:image/png;base64,(.*?)"', picture.value)[1]
    pixels = Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA")
    states = REFERENCE.simulate(**values)
    np.testing.assert_array_equal(np.array(pixels)[..., 3], 255 * states)
    size = f"width: {scale * width}px; height: {scale * num_steps}px"
    assert size in picture.value
    entries = re.findall(r"([01]{3})&rarr;<b>([01])</b>", picture.value)
    assert sum(int(bit) << int(cells, 2) for cells, bit in entries) == 30


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *[(1234, "1,234"), (1234.5, "1,234"), (0.012345, "0.0123")],
        *[(0.0, "0.0"), (jnp.float32(0.5), "0.500"), (np.uint8(7), "7")],
        *[(3.9e-36, "3.90e-36"), ("seven", "seven"), (-2.5, "-2.50")],
    ],
)
def test_tables_show_three_digits(value, text):
    assert figures.format_value(value) == text


def test_an_error_is_shown_in_short_and_goes_no_further(capsys):
    with figures.show_error():
        jnp.zeros(3)[0] = 1
    shown = capsys.readouterr().out
    assert shown.startswith("TypeError: JAX arrays are immutable")
    assert max(map(len, shown.splitlines())) < 80
    with pytest.raises(KeyboardInterrupt), figures.show_error():
        raise KeyboardInterrupt


def sum_of_next(cells, rule_table):
    return import_stage(7).step(cells.astype(jnp.uint8), rule_table).sum()


def influence_by_differences(cells, rule_table):
    pairs = [[cells.at[i].set(x) for x in (0.0, 1.0)] for i in range(9)]
    sums = [[sum_of_next(c, rule_table) for c in pair] for pair in pairs]
    return jnp.diff(jnp.array(sums))[:, 0]


@jax.jit(static_argnames=("width", "num_steps"))
def count_in_all_rows(rule, width, num_steps):
    return jnp.sum(import_stage(5).simulate(rule, width, num_steps), axis=1)


def two_steps(state, table):
    return import_stage(5).step(import_stage(5).step(state, table), table)


def count_pairs(states, dtype=jnp.uint8):
    return jnp.sum(states[:, None] != states[None], axis=-1, dtype=dtype)


def count_rows(states):
    return jnp.stack([jnp.sum(states != row, axis=1) for row in states])


WRONG = [  # a check, a wrong answer, and the key or a part of the reason
    ("move_right", 170, "cell 2: got 1, want 0"),
    ("move_right", 256, "256"),
    ("rule_number", lambda table: None, "none"),
    ("rule_number", lambda table: {}[table.size], "KeyError: 8"),
    ("two_cells", jnp.zeros, "float32"),
    ("mirror", lambda table: table, "0, 0, 1: got 1, want 0"),
    ("read", lambda array, i: array[i], "element 5 of 5: got 11"),
    ("num_programs", 7, "7"),
    ("stripes", lambda n: jnp.arange(n, dtype=jnp.uint8) % 2, "not_compiled"),
    ("stripes", jax.jit(lambda n: jnp.zeros(n)), "stages 3, 4"),
    ("count_live", count_in_all_rows, "rows"),
    ("count_live", lambda *_: (jnp.zeros(20), None), "array"),
    ("advance_twice", two_steps, "not_compiled"),
    ("mappable", {"rule", "width"}, "names"),
    ("live_fractions", lambda rules: jnp.zeros(4), "shape: got (4,)"),
    ("differences", count_pairs, "dtype"),
    ("differences", count_rows, "grows"),
    ("influence", influence_by_differences, "gradient"),
    ("influence", jax.grad(sum_of_next), "cell 4: got 0.0, want 2"),
    ("lesson", [0, 0, 0, 1, 0, 1, 1, 0], "only 7"),
    ("find_cell", lambda i, n: divmod(i, 8), "(50, 3)"),
    ("find_cell", lambda i, n: (i / n, i % n), "0.0"),
    ("exchanges", lambda n, halo: n // halo, "(258, 256): got 1, want 2"),
    ("rule_110", lambda a, b, c: b ^ c, "3: got 0, want 4294967295"),
    ("rule_110", lambda a, b, c: (b | c) ^ (a & b & c) & 1, "4294967294"),
]


@pytest.mark.parametrize(("name", "answer", "reason"), WRONG)
def test_checks_say_what_is_wrong(name, answer, reason, capsys):
    check = getattr(answers, f"check_{name}")
    check(answer)
    shown = capsys.readouterr().out
    assert shown.startswith("Not yet: ")
    # A wrong answer is refused, or raises an error of its own.
    with pytest.raises((NotYet, KeyError, TypeError)) as refused:
        check.__wrapped__(answer)
    is_key = reason.replace("_", "").isalpha()
    assert reason == refused.value.key if is_key else reason in shown
