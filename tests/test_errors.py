"""Test that every row of ERRORS.md is read, and that JAX raises its error."""

import dataclasses
import functools
import io
import math
import operator
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from scipy.ndimage import gaussian_filter

from support import import_stage
from workshop.errors import ROWS, TABLE, describe, find_row


@dataclasses.dataclass
class Grid:
    width: int = 3


class Heat:
    @jax.jit
    def step(self, u):
        return u


def keep(carry, _):
    return carry, carry


def drift(carry, _):
    return jnp.float32(carry), None


def leak():
    kept = []
    jax.jit(kept.append)(1)
    return kept[0] + 1


def scan_on_devices():
    """Scan with a carry that begins equal on both devices, then differs."""
    mesh = jax.make_mesh((2,), ("ring",), (AxisType.Auto,))

    @jax.shard_map(mesh=mesh, in_specs=P("ring"), out_specs=P("ring"))
    def sum_share(xs):
        return jax.lax.scan(lambda c, x: (c + x, x), jnp.float32(0), xs)[1]

    return sum_share(jnp.ones(4))


def slice_a_sharded_axis():
    mesh = jax.make_mesh((2,), ("ring",))  # axes are explicit by default
    return jax.device_put(jnp.ones(4), NamedSharding(mesh, P("ring")))[1:]


def assert_positive(x):
    assert x > 0


def fill(x):
    out = np.zeros(3)
    out[0] = x


def use_donated():
    x = jnp.ones(4)
    jax.jit(jnp.negative, donate_argnums=0)(x)
    return x + 1


def use_key_again():
    key = jax.random.key(0)
    with jax.debug_key_reuse(True):
        return jax.random.split(key), jax.random.split(key)


def find_nan():
    with jax.debug_nans(True):
        return jnp.log(-1.0)


def static(f, *args):
    return jax.jit(f, static_argnums=0)(*args)


ONES = np.ones(3)
GENERATOR = np.random.default_rng

# A function for each row of ERRORS.md, in the same order.
PROVOKE = [
    lambda: GENERATOR(0).shuffle(jnp.ones(3)),
    lambda: import_stage(1).simulate(30, 5, 5),
    lambda: ONES.at,
    lambda: jnp.ones(3).at(0),
    lambda: operator.setitem(jnp.ones(3).at, 0, 1),
    lambda: jnp.ones(3).at.set(0),
    lambda: jnp.ones(3).fill(0),
    lambda: np.add.at(jnp.ones(3), 0, 1),
    lambda: np.add(ONES, 1, jnp.ones(3)),
    lambda: np.copyto(jnp.ones(3), 1),
    lambda: jnp.add(ONES, 1.0, out=ONES),
    lambda: import_stage(2).make_rule_table(300),
    lambda: jnp.int32(2**40),
    lambda: jnp.uint32(3) & 0xFFFFFFFF,
    lambda: static(lambda n: jnp.zeros(jnp.ceil(n).astype(int)), 3.5),
    lambda: jax.jit(jnp.zeros)(3),
    lambda: jax.jit(np.zeros)(3),
    lambda: jnp.arange(3)[jnp.ones(2)],
    lambda: jnp.ones((2, 3)) + jnp.ones((2, 4)),
    lambda: jax.lax.scan(keep, 0, range(3)),
    lambda: Heat().step(1),
    lambda: jax.jit(keep)(1, "periodic"),
    lambda: jax.jit(keep)(1, GENERATOR(0)),
    lambda: jax.jit(keep)(1, Heat()),
    lambda: jnp.pad(None, 1),
    lambda: jnp.mean([1, 2]),
    lambda: {jnp.int32(1): 2},
    lambda: jax.jit(lambda i: {1: 2}[i])(1),
    lambda: jnp.random,
    lambda: jnp.matrix,
    lambda: jnp.clip(ONES, 0, 1, out=ONES),
    lambda: jnp.clip(ONES, a_min=0),
    lambda: jax.random.normal(jax.random.key(0), size=3),
    lambda: jax.jit(lambda n: [*range(n)])(3),
    lambda: jax.jit(lambda i: (1, 2)[i])(1),
    lambda: jax.jit(np.random.rand)(1),
    lambda: jax.jit(assert_positive)(3),
    lambda: jax.jit(lambda x: 1 if x else 2)(3),
    lambda: jax.jit(lambda x: gaussian_filter(x, 2.0))(ONES),
    lambda: jax.jit(lambda x: np.random.normal(x))(3.0),
    lambda: jax.jit(np.asarray)(3),
    lambda: jax.jit(jnp.unique)(ONES),
    lambda: jax.jit(lambda x: math.sqrt(x))(3.0),
    lambda: jax.jit(float)(3.0),
    lambda: jax.jit(lambda x: x[x > 1])(ONES),
    lambda: jax.jit(lambda i: jnp.ones(3)[i : i + 2])(0),
    lambda: jax.jit(lambda n: jnp.ones(3)[:n])(2),
    lambda: jax.jit(fill)(3),
    lambda: jax.jit(jax.random.split)(jax.random.key(0), 2),
    lambda: jax.random.normal((3,)),
    use_key_again,
    lambda: jax.jit(GENERATOR)(3),
    lambda: jax.jit(lambda rule: f"{rule:08b}")(110),
    lambda: static(id, [1]),
    lambda: jax.jit(functools.partial(static, id))(1),
    lambda: static(id, ONES),
    lambda: static(id, Grid()),
    leak,
    use_donated,
    lambda: jax.lax.scan(keep, 0, length=2).shape,
    lambda: jax.lax.scan(jnp.add, 0, jnp.arange(2)),
    scan_on_devices,
    lambda: jax.lax.scan(drift, jnp.int8(0), length=3),
    lambda: jax.lax.cond(True, jnp.sum, jnp.abs, ONES),
    lambda: jax.grad(
        lambda x: jax.lax.while_loop(lambda x: x < 9, lambda x: 2 * x, x)
    )(1.0),
    lambda: jax.vmap(jnp.add, (0, None))(jnp.ones(3), y=4),
    lambda: jax.vmap(jnp.add)(jnp.ones(3), jnp.ones(4)),
    lambda: jax.vmap(jnp.add)(jnp.ones(3), 4),
    lambda: jax.pmap(jnp.sin, devices=jax.devices()[:1])(ONES),
    lambda: jax.grad(jnp.sum)(jnp.arange(3)),
    lambda: jax.grad(lambda x: None)(1.0),
    lambda: jax.grad(jnp.sin)(jnp.ones(3)),
    find_nan,
    slice_a_sharded_axis,
    lambda: jnp.zeros(2**46, jnp.uint8),
    lambda: __import__("not_installed"),
    input,
    sys.exit,
]


def test_every_line_of_the_table_is_read():
    lines = TABLE.read_text(encoding="utf-8").count("\n| `")
    assert len(ROWS) == len(PROVOKE) == lines


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("row", "provoke"),
    [*zip(ROWS, PROVOKE, strict=True)],
    ids=[f"{row.keyword} {row.line}" for row in ROWS],
)
def test_every_error_is_the_one_that_users_get(row, provoke, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    keyword = re.escape(row.keyword)
    with pytest.raises(BaseException, match=keyword) as caught:
        provoke()
    assert row.type in [kind.__name__ for kind in type(caught.value).__mro__]
    assert find_row(caught.value) is row


def test_a_message_that_ends_with_a_colon_has_its_next_paragraph_too():
    error = TypeError("they differ:\n\nhere\n\nand there")
    assert describe(error) == "TypeError: they differ:\nhere"
