"""Stage 8: another algorithm: 32 cells in a word, looked up all at once.

What changes, from stage 5: a state becomes words, the lookup bitwise logic.
Neighbors of cells are the same bits of the neighboring words, except at the
seam: where the last word meets the first, the bits move on by one, and one
cell closes the ring.
What to notice: the states equal stage 0's for any width, a prime as well.
`simulate_packed` keeps them as words, a bit for each cell. The program still
does not grow with width or num_steps.

    python stages/stage8_bitpack.py --width 8000 --num-steps 8000
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Integer, UInt8, UInt32

LANES = 32
Words = UInt32[Array, " num_words"]


def make_rule_table(rule: Integer[ArrayLike, ""]) -> UInt8[Array, "2 2 2"]:
    """The eight bits of the rule, indexed [left, center, right]."""
    rule_bits = jnp.unpackbits(jnp.uint8(rule), bitorder="little")
    return rule_bits.reshape(2, 2, 2)


def make_initial_state(width: int) -> Words:
    """One live cell, at `width // 2`, packed into words.

    Cell `lane * num_words + word` is bit `lane` of that word. Where the ring
    ends before its words do, it begins again: some cells are there twice.
    """
    num_words = -(-width // LANES)
    cells = jnp.arange(LANES * num_words).reshape(LANES, num_words)
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


def add_halo(words: Words, width: int) -> UInt32[Array, " num_words+2"]:
    """The words, and at both ends what `step` needs beyond them."""
    last = get_cells(words, width - 1)
    first = get_cells(words, LANES * len(words) - width)
    left = words[-1:] << 1 | last
    right = words[:1] >> 1 | first << LANES - 1
    return jnp.pad(words, 1).at[:1].set(left).at[-1:].set(right)


def scan_words(rule, width, num_steps, record):
    """The words after `num_steps` steps; what `record` made before each."""
    rule_table = -make_rule_table(rule).astype(jnp.uint32)
    words = make_initial_state(width)

    def advance(words, _):
        return step(add_halo(words, width), rule_table), record(words)

    return jax.lax.scan(advance, words, length=num_steps)


@jax.jit(static_argnames=("width", "num_steps"))
def simulate(
    rule: Integer[ArrayLike, ""], width: int, num_steps: int
) -> UInt8[Array, "{num_steps} {width}"]:
    """All states, one a row: row 0 is the initial state."""
    _, states = scan_words(rule, width, num_steps, record=unpack)
    return states.reshape(num_steps, -1)[:, :width]


@jax.jit(static_argnames=("width", "num_steps"))
def simulate_packed(
    rule: Integer[ArrayLike, ""], width: int, num_steps: int
) -> UInt32[Array, "{num_steps} num_words"]:
    """All states, as words, one state a row."""
    _, states = scan_words(rule, width, num_steps, record=lambda words: words)
    return states


if __name__ == "__main__":
    from workshop.harness import run

    run(simulate)
