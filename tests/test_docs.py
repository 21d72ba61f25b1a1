"""What the README says is so."""

import ast
import re

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from support import FAILING, ROOT, STAGES, import_stage

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_heart_is_the_code_of_stages_0_and_5():
    heart = re.search(r"```diff\n(.*?)```", README, flags=re.S)[1]
    for number, sign in ((0, "-"), (5, "+")):
        lines = [x[1:] for x in heart.splitlines() if x[0] in (" ", sign)]
        functions = ast.parse(STAGES[number].read_text("utf-8")).body
        (simulate,) = (
            x for x in functions if vars(x).get("name") == "simulate"
        )
        del simulate.body[0]  # the docstring
        for argument in (simulate, *simulate.args.args):
            argument.annotation = argument.returns = None
        assert ast.unparse(ast.parse("\n".join(lines))) == ast.unparse(
            simulate
        )


def test_the_table_has_the_stages_that_exist_and_marks_those_that_fail():
    rows = re.findall(r"^\| \[(\d+)\]\(stages/(.+?)\) \|(.*)", README, re.M)
    listed = [(int(number), name) for number, name, _ in rows]
    assert listed == [(n, path.name) for n, path in STAGES.items()]
    failing = [int(number) for number, _, row in rows if "**it fails" in row]
    assert failing == FAILING


def test_the_picture_is_what_stage_5_draws():
    states = np.asarray(import_stage(5).simulate(110, 360, 360))
    with Image.open(ROOT / ".github" / "rule110.png") as image:
        np.testing.assert_array_equal(np.asarray(image) == 0, states)


def test_jax_computes_in_32_bits_unless_told_otherwise():
    given = np.ones(3, dtype=np.float64)
    assert jax.jit(jnp.sin)(given).dtype == jnp.float32
    with jax.enable_x64(True):
        assert jax.jit(jnp.sin)(given).dtype == jnp.float64
