"""Stage 9: one ring over many devices, by `jax.shard_map` and `ppermute`.

What changes: `shard_map` runs one function on every device: each keeps a share
of the ring. `ppermute` sends the cells at its ends to its neighbors: the halo.
What to notice: any number of devices that divides width gives the same
states. A halo of k words serves k steps: at each its outermost word goes
wrong, and in the end it is thrown away. So devices wait once in k steps.

    python stages/stage9_shard.py --num-devices 4
"""

import math

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import AxisType, Mesh
from jax.typing import ArrayLike
from jaxtyping import Integer, UInt8, UInt32

LANES = 32
MAX_HALO = 64
Words = UInt32[Array, " num_words"]


def make_rule_table(rule: Integer[ArrayLike, ""]) -> UInt8[Array, "2 2 2"]:
    """The eight bits of the rule, indexed [left, center, right]."""
    rule_bits = jnp.unpackbits(jnp.uint8(rule), bitorder="little")
    return rule_bits.reshape(2, 2, 2)


def make_mesh(width: int, num_devices: int | None) -> Mesh:
    """That many devices. Raises ValueError if they do not divide the ring."""
    if num_devices is None:
        num_devices = math.gcd(width, jax.device_count())
    if num_devices < 1 or width % num_devices:
        raise ValueError(f"{num_devices=} must divide {width=}")
    return jax.make_mesh((num_devices,), ("ring",), (AxisType.Auto,))


def make_initial_state(width: int, share: int) -> Words:
    """This device's share. Words that it does not fill hold what follows."""
    num_words = -(-share // LANES)
    start = share * jax.lax.axis_index("ring")
    cells = start + jnp.arange(LANES * num_words).reshape(LANES, num_words)
    live = (cells % width == width // 2).astype(jnp.uint32)
    lanes = jnp.arange(LANES, dtype=jnp.uint32)[:, None]
    return jnp.sum(live << lanes, axis=0, dtype=jnp.uint32)


def unpack(words: Words) -> UInt8[Array, "32 num_words"]:
    """The cells of each lane; row after row they are the state."""
    lanes = jnp.arange(LANES, dtype=jnp.uint32)[:, None]
    return (words[None, :] >> lanes & 1).astype(jnp.uint8)


def get_cells(words: Words, cells: ArrayLike) -> UInt32[Array, "..."]:
    """Those cells of a packed state, each 0 or 1."""
    lane, word = divmod(cells, len(words))
    return words[word] >> lane & 1


def choose(bits: Words, dead: Array, live: Array) -> Words:
    """Each bit from `live` where that of `bits` is 1, from `dead` where 0."""
    return dead ^ (bits & (dead ^ live))


def step(padded: Array, rule_table: UInt32[Array, "2 2 2"]) -> Words:
    """The next state. An entry of the table is a word, all 0s or all 1s."""
    left, center, right = padded[:-2], padded[1:-1], padded[2:]
    by_right = [[choose(right, *pair) for pair in row] for row in rule_table]
    by_center = [choose(center, *pair) for pair in by_right]
    return choose(left, *by_center)


def add_halo(words: Words, share: int, halo: int) -> UInt32[Array, " padded"]:
    """The words, and at both ends what `step` needs beyond them."""
    num_devices = jax.lax.axis_size("ring")
    forward = [(i, (i + 1) % num_devices) for i in range(num_devices)]
    ends = jnp.arange(halo, dtype=jnp.uint32)
    last = get_cells(words, ends + (share - halo))
    first = get_cells(words, ends + (LANES * len(words) - share))
    last = jax.lax.ppermute(last, "ring", forward)
    first = jax.lax.ppermute(first, "ring", [(j, i) for i, j in forward])
    left = words[-halo:] << 1 | last
    right = words[:halo] >> 1 | first << LANES - 1
    return jnp.pad(words, halo).at[:halo].set(left).at[-halo:].set(right)


def scan_words(rule, width, num_steps, record):
    """The words after `num_steps` steps; what `record` made before each."""
    rule_table = -make_rule_table(rule).astype(jnp.uint32)
    share = width // jax.lax.axis_size("ring")
    words = make_initial_state(width, share)
    halos = range(1, min(MAX_HALO, len(words)) + 1)
    halo = max(k for k in halos if num_steps % k == 0)

    def advance(words, _):
        return step(jnp.pad(words, 1), rule_table), record(words[halo:-halo])

    def exchange(words, _):
        words = add_halo(words, share, halo)
        words, records = jax.lax.scan(advance, words, length=halo)
        return words[halo:-halo], records

    return jax.lax.scan(exchange, words, length=num_steps // halo)


@jax.jit(static_argnames=("width", "num_steps", "num_devices"))
def simulate(
    rule: Integer[ArrayLike, ""],
    width: int,
    num_steps: int,
    num_devices: int | None = None,
) -> UInt8[Array, "{num_steps} {width}"]:
    """All states, one a row: row 0 is the initial state."""
    mesh = make_mesh(width, num_devices)

    @jax.shard_map(mesh=mesh, in_specs=(), out_specs=jax.P(None, "ring"))
    def simulate_share():
        _, states = scan_words(rule, width, num_steps, record=unpack)
        return states.reshape(num_steps, -1)[:, : width // mesh.size]

    return simulate_share()


if __name__ == "__main__":
    from workshop.harness import run

    run(simulate)
