"""Stage 9: one ring over many devices, by `jax.shard_map` and `ppermute`.

What changes: each device keeps a share of the ring, packed as in stage 8.
`shard_map` runs one function on every device; in it, `ppermute` sends cells
from the ends of each share to the neighboring devices: the halo.
What to notice: the states are the same from any number of devices. A halo of
k cells serves k steps: at every step its outermost cell goes wrong, and in
the end it is thrown away. So devices wait for each other once in k steps.

    python stages/stage9_shard.py --num-devices 4
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jax.typing import ArrayLike
from jaxtyping import Integer, UInt8, UInt32

LANES = 32
MAX_HALO = 256


def make_rule_table(rule: Integer[ArrayLike, ""]) -> UInt8[Array, "2 2 2"]:
    """The eight bits of the rule, indexed [left, center, right]."""
    rule_bits = jnp.unpackbits(jnp.uint8(rule), bitorder="little")
    return rule_bits.reshape(2, 2, 2)


def make_mesh(width: int, num_devices: int | None) -> Mesh:
    """That many devices; by default all that can have a cell of the ring."""
    if num_devices is None:
        num_devices = min(len(jax.devices()), width)
    if not 1 <= num_devices <= width:
        raise ValueError(
            f"num_devices must be between 1 and {width}, got {num_devices}"
        )
    return jax.make_mesh((num_devices,), ("ring",), (AxisType.Auto,))


def split(width: int, num_devices: int) -> list[int]:
    """The number of cells of each device's share, larger ones last."""
    return [(width + i) // num_devices for i in range(num_devices)]


def make_initial_state(width: int) -> UInt32[Array, " num_words"]:
    """One live cell, at `width // 2`: this device's words of it.

    Cell `lane * num_words + word` of the share is bit `lane` of that word.
    Where the share ends before its words do, the ring goes on in them.
    """
    num_devices = jax.lax.axis_size("ring")
    device = jax.lax.axis_index("ring")
    shares = jnp.array(split(width, num_devices))
    start = jnp.cumsum(shares)[device] - shares[device]
    num_words = -(-width // (LANES * num_devices))
    cells = start + jnp.arange(LANES * num_words).reshape(LANES, num_words)
    live = (cells % width == width // 2).astype(jnp.uint32)
    lanes = jnp.arange(LANES, dtype=jnp.uint32)[:, None]
    return jnp.sum(live << lanes, axis=0, dtype=jnp.uint32)


def unpack(
    words: UInt32[Array, " num_words"],
) -> UInt8[Array, "32 num_words"]:
    """The cells of each lane; row after row they are the state."""
    lanes = jnp.arange(LANES, dtype=jnp.uint32)[:, None]
    return (words[None, :] >> lanes & 1).astype(jnp.uint8)


def get_cells(
    words: UInt32[Array, " num_words"], cells: Integer[Array, " num_cells"]
) -> UInt8[Array, " num_cells"]:
    """Those cells of a packed state."""
    lanes = (cells // len(words)).astype(jnp.uint32)
    return (words[cells % len(words)] >> lanes & 1).astype(jnp.uint8)


def choose(
    bits: UInt32[Array, " num_words"],
    dead: UInt32[Array, "..."],
    live: UInt32[Array, "..."],
) -> UInt32[Array, " num_words"]:
    """Each bit from `live` where that of `bits` is 1, from `dead` where 0."""
    return dead ^ (bits & (dead ^ live))


def step(
    words: UInt32[Array, " num_words"],
    rule_table: UInt32[Array, "2 2 2"],
) -> UInt32[Array, " num_words"]:
    """The next state, wrong in the first and the last word: they are halo."""
    edge = jnp.zeros(1, dtype=jnp.uint32)
    padded = jnp.concatenate([edge, words, edge])
    # Else XLA fuses this into the lookup, and asks of every word which of the
    # three pieces it comes from.
    padded = jax.lax.optimization_barrier(padded)
    left, center, right = padded[:-2], padded[1:-1], padded[2:]
    by_right = [[choose(right, *pair) for pair in row] for row in rule_table]
    by_center = [choose(center, *pair) for pair in by_right]
    return choose(left, *by_center)


def add_halo(
    words: UInt32[Array, " num_words"], width: int, halo: int
) -> UInt32[Array, " num_words+2*{halo}"]:
    """The words, and at both ends what `halo` steps will need beyond them."""
    num_devices = jax.lax.axis_size("ring")
    device = jax.lax.axis_index("ring")
    shares = jnp.array(split(width, num_devices))
    # The last cells here, and the first that the device before lacks.
    last = get_cells(words, shares[device] - halo + jnp.arange(halo))
    missing = LANES * len(words) - shares[device - 1]
    first = get_cells(words, missing + jnp.arange(halo))
    forward = [(i, (i + 1) % num_devices) for i in range(num_devices)]
    back = [(j, i) for i, j in forward]
    left = jax.lax.ppermute(last, "ring", forward).astype(jnp.uint32)
    right = jax.lax.ppermute(first, "ring", back).astype(jnp.uint32)
    seam_left = words[-halo:] << 1 | left
    seam_right = words[:halo] >> 1 | right << LANES - 1
    return jnp.concatenate([seam_left, words, seam_right])


def scan_share(rule, width, num_steps, record):
    """This device's words after `num_steps` steps; what `record` made before.

    Steps beyond, which use up the last halo, change nothing.
    """
    rule_table = -make_rule_table(rule).astype(jnp.uint32)
    initial_state = make_initial_state(width)
    halo = min(MAX_HALO, len(initial_state), max(num_steps, 1))

    def advance(words, t):
        next_words = step(words, rule_table)
        next_words = jnp.where(t < num_steps, next_words, words)
        return next_words, record(words[halo:-halo])

    def exchange(words, times):
        words = add_halo(words, width, halo)
        words, records = jax.lax.scan(advance, words, times)
        return words[halo:-halo], records

    num_exchanges = -(-num_steps // halo)
    times = jnp.arange(num_exchanges * halo).reshape(-1, halo)
    return jax.lax.scan(exchange, initial_state, times)


@jax.jit(static_argnames=("width", "num_steps", "num_devices"))
def simulate(
    rule: Integer[ArrayLike, ""],
    width: int,
    num_steps: int,
    num_devices: int | None = None,
) -> UInt8[Array, "{num_steps} {width}"]:
    """All states, one a row. Each device keeps its cells, if they divide.

    If not, or if there are several processes, every device gets all cells.
    """
    mesh = make_mesh(width, num_devices)
    shares = split(width, mesh.size)

    @jax.shard_map(mesh=mesh, in_specs=(), out_specs=P(None, "ring"))
    def simulate_share():
        _, states = scan_share(rule, width, num_steps, record=unpack)
        states = states.reshape(-1, LANES * states.shape[-1])
        return states[:num_steps, : shares[-1]]

    states = simulate_share()
    if shares[0] == shares[-1] and jax.process_count() == 1:
        return states
    states = states.reshape(num_steps, mesh.size, shares[-1])
    parts = [states[:, i, :share] for i, share in enumerate(shares)]
    states = jnp.concatenate(parts, axis=1)
    return jax.lax.with_sharding_constraint(states, NamedSharding(mesh, P()))


@jax.jit(static_argnames=("width", "num_steps", "num_devices"))
def simulate_last(
    rule: Integer[ArrayLike, ""],
    width: int,
    num_steps: int,
    num_devices: int | None = None,
) -> UInt32[Array, "num_devices num_words"]:
    """Row `num_steps - 1` alone, as words, which stay where they are."""
    mesh = make_mesh(width, num_devices)

    @jax.shard_map(mesh=mesh, in_specs=(), out_specs=P("ring"))
    def simulate_share():
        last, _ = scan_share(rule, width, num_steps - 1, lambda words: None)
        return last[None]

    return simulate_share()


if __name__ == "__main__":
    from workshop.harness import run

    run(simulate)
