"""Test that the notebooks run and show what they claim, and their figures."""

import base64
import io
import re

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import convert
import figures
import lab
from running import printed
from support import REFERENCE, STAGES

FIRST, *OTHERS = convert.NAMES
SHOWN = {  # parts of what is shown, in this order
    "1_port": "column: 110;961 live;[1, 1, 0, 0, 1, 1];[1, 1, 0, 0, 1, 1];"
    "TypeError: JAX arrays are immutable;equal: True;[0 0 0 0 0];[0 0 1 0 0];"
    "equal: True;IndexError;IndexError;reads 4;writes [0 1 2 3 4];-1;"
    "float32;0.1000000014;int32;-> 0;int64 1099511627776",
    "2_compile": "tracing with;6\n8;mul;TypeError: unsupported format;"
    "running with 3\nrunning with 4;TypeError: Shapes;ValueError: Non-hash;"
    "| yes;| no;| no;| yes;| yes;| yes;| no;| yes;| yes;| yes;Compiling;"
    "tuple of length 1 and before tuple of length 2;| 247 |;| 96,007 |;"
    "20 rows:  7;8000 rows: 7;gather;scan;while;u8[80,80];line 40;"
    "first call;first call;equal: True;OverflowError;44;1866;Error: rule;"
    "Error: out-of-bounds",
    "3_transform": "(256, 2, 2, 2);(256, 9) (2, 9) (2, 9);(2, 256, 9);"
    "409,600;(256, 64, 64);ValueError: vmap in_axes;"
    "ValueError: vmap was;(256, 64, 64);(3, 64);(256, 3, 64, 64);cond;log;"
    "7.0, by jax.grad: 7.0;TypeError: grad;| 0 | 0.112 |;| 1 | -0.118 |;"
    "rule 110;146 of 256;0 of 1890;| 0.5 |;222 draws the same: True;nan;"
    "FloatingPointError;TypeError: Indexer;[0. 0. 0. 0. 0. 0. 0. 0.];"
    "equal for all rules: True",
    "4_scale": "97 cells, equal: True;uint8[256@rules,80,80];(32, 80, 80);"
    "ShardingTypeError;devices: 8, equal: True;stage 9: 512;stage 10: 4;"
    "collective-permute;stage 9: 500 x 1000;stage 10: 500 x 1000",
    "5_transfer": "TypeError: JAX arrays;ndarray [1. 1. 1.];[0. 0. 0.];"
    "rate 0.5: 0.9;rate 0.5: 0.5;ValueError: Reverse;same result",
}


def tagged(cells, tag):
    return [cell for cell in cells if tag in cell.metadata.get("tags", [])]


@pytest.mark.parametrize(
    "name",
    [FIRST, *(pytest.param(n, marks=pytest.mark.slow) for n in OTHERS)],
)
def test_it_runs_shows_its_claims_and_checks_its_exercises(run_notebook, name):
    cells = run_notebook(name).cells
    exercises, solutions = tagged(cells, "exercise"), tagged(cells, "solution")
    assert len(exercises) == len(solutions) >= 4
    for exercise, solution in zip(exercises, solutions, strict=True):
        place = cells.index(exercise)
        assert "<summary>Hint</summary>" in cells[place - 1].source
        assert printed(exercise).startswith("Not yet: ")
        assert cells[place + 1] is solution
        assert printed(solution).startswith("Right: ")
        assert solution.metadata.jupyter == {"source_hidden": True}
    outputs = [o for c in cells for o in c.get("outputs", [])]
    text = "\n".join(
        o.get("text") or o.get("data", {}).get("text/markdown", "")
        for o in outputs
    )
    assert ": False" not in text
    for part in SHOWN[name].split(";"):
        before, found, text = text.partition(part)
        assert found == part, (part, before)


def test_cells_are_short_and_show_all_stages_and_no_answers():
    notebooks = map(convert.make_notebook, convert.NAMES)
    cells = [c for n in notebooks for c in n.cells if c.cell_type == "code"]
    for cell in cells:
        is_folded = cell.metadata.get("jupyter") == {"source_hidden": True}
        assert is_folded or len(cell.source.splitlines()) <= 20
        assert "assert" not in cell.source
    text = "\n".join(cell.source for cell in cells)
    shown = {int(n) for n in re.findall(r"^show_diff\((\d+)", text, re.M)}
    assert shown == set(STAGES) - {0}


@pytest.mark.parametrize(
    ("width", "num_steps", "scale"), [(160, 150, 3), (1, 400, 1), (1, 1, 480)]
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


def test_tables_show_three_digits_and_align_numbers(monkeypatch):
    shown = []
    monkeypatch.setattr(figures, "display", shown.append)
    rows = [["a", 1234, 1234.5], ["b", np.uint8(7), jnp.float32(0.012345)]]
    rows.append(["c", 99, 99.96])
    figures.show_table(["name", "whole", "fraction"], rows)
    assert shown[0].data.splitlines()[1:] == [
        "| :--- | ---: | ---: |",
        "| a | 1,234 | 1,234 |",
        "| b | 7 | 0.0123 |",
        "| c | 99 | 100 |",
    ]


def test_an_error_is_shown_in_short_and_goes_no_further(capsys):
    with figures.show_error():
        jnp.zeros(3)[0] = 1
    shown = capsys.readouterr().out
    assert shown.startswith("TypeError: JAX arrays are immutable")
    assert max(map(len, shown.splitlines())) < 80
    with pytest.raises(KeyboardInterrupt), figures.show_error():
        raise KeyboardInterrupt


def test_lab_copies_what_is_missing_and_keeps_your_copies(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(lab, "COPIES", tmp_path / "mine")
    lab.copy_notebooks()
    copies = sorted(lab.COPIES.iterdir())
    assert [path.stem for path in copies] == convert.NAMES
    copies[0].write_text("my own", encoding="utf-8")
    copies[1].unlink()
    lab.copy_notebooks()
    assert copies[0].read_text(encoding="utf-8") == "my own"
    assert copies[1].exists()
    monkeypatch.setattr(lab, "COPIES", copies[0] / "below a file")
    with pytest.raises(SystemExit, match="2"):
        lab.copy_notebooks()
    assert capsys.readouterr().err.startswith("cannot write")
