"""What the README says is so; ERRORS.md is read, and JAX agrees."""

import ast
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from PIL import Image

from support import FAILING, ROOT, STAGES, import_stage, run_python
from workshop.errors import ROWS, TABLE, find_row

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


def keep(carry, _):
    return carry, carry


def drift(carry, _):
    return jnp.float32(carry), None


def leak():
    kept = []
    jax.jit(kept.append)(1)
    return kept[0] + 1


def scan_on_devices():
    """The carry begins the same on both devices, then differs."""
    mesh = jax.make_mesh((2,), ("ring",), (AxisType.Auto,))

    @jax.shard_map(mesh=mesh, in_specs=P("ring"), out_specs=P("ring"))
    def sum_share(xs):
        return jax.lax.scan(lambda c, x: (c + x, x), jnp.float32(0), xs)[1]

    return sum_share(jnp.ones(4))


def slice_a_sharded_axis():
    mesh = jax.make_mesh((2,), ("ring",))  # explicit, by default
    return jax.device_put(jnp.ones(4), NamedSharding(mesh, P("ring")))[1:]


PROVOKE = {
    "JAX arrays are immutable": lambda: import_stage(1).simulate(30, 5, 5),
    "out of bounds for uint8": lambda: import_stage(2).make_rule_table(300),
    "Shapes must be 1D": lambda: jax.jit(jnp.zeros)(3),
    "Indexer must have": lambda: jnp.arange(3)[jnp.ones(2)],
    "incompatible shapes": lambda: jnp.ones((2, 3)) + jnp.ones((2, 4)),
    "is not a valid JAX": lambda: jax.lax.scan(keep, 0, range(3)),
    "The __index__() method": lambda: jax.jit(range)(3),
    "Attempted boolean": lambda: jax.jit(lambda x: 1 if x else 2)(3),
    "The numpy.ndarray conv": lambda: jax.jit(np.asarray)(3),
    "Abstract tracer value": lambda: jax.jit(float)(3.0),
    "boolean indices": lambda: jax.jit(lambda x: x[x > 1])(jnp.ones(3)),
    "static": lambda: jax.jit(lambda n: jnp.ones(3)[:n])(2),
    "must have __hash__": lambda: jax.jit(jax.random.split)(
        jax.random.key(0), 2
    ),
    "PRNG key": lambda: jax.random.normal((3,)),
    "'numpy.ndarray' object": lambda: np.ones(3).at,
    "unsupported format": lambda: jax.jit(lambda rule: f"{rule:08b}")(110),
    "Non-hashable static": lambda: jax.jit(id, static_argnums=0)([1]),
    "Encountered an unexpected tracer": leak,
    "'tuple' object": lambda: jax.lax.scan(keep, 0, length=2).shape,
    "scan body output": lambda: jax.lax.scan(jnp.add, 0, jnp.arange(2)),
    "manual axis types": scan_on_devices,
    "carry input": lambda: jax.lax.scan(drift, jnp.int8(0), length=3),
    "vmap in_axes": lambda: jax.vmap(jnp.add, (0, None))(jnp.ones(3), y=4),
    "vmap was requested": lambda: jax.vmap(jnp.add)(jnp.ones(3), 4),
    "grad requires": lambda: jax.grad(jnp.sum)(jnp.arange(3)),
    "Gradient only": lambda: jax.grad(jnp.sin)(jnp.ones(3)),
    "sharding": slice_a_sharded_axis,
    "RESOURCE_EXHAUSTED": lambda: jnp.zeros(2**46, jnp.uint8),
    "No module named": lambda: __import__("not_installed"),
}


def test_every_line_of_the_table_is_read():
    lines = TABLE.read_text(encoding="utf-8").count("\n| `")
    assert len(ROWS) == len(PROVOKE) == lines


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.keyword)
def test_every_error_is_the_one_that_users_get(row):
    (provoke,) = (
        provoke
        for beginning, provoke in PROVOKE.items()
        if row.keyword.startswith(beginning)
    )
    with pytest.raises(Exception, match=re.escape(row.keyword)) as caught:
        provoke()
    assert type(caught.value).__name__ == row.type
    assert find_row(caught.value) is row


def test_a_python_without_our_packages_is_the_last_row():
    done = run_python("-S", STAGES[0])
    assert f"{ROWS[-1].type}: {ROWS[-1].keyword}" in done.stderr
