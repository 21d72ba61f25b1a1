"""Stage 8: another algorithm, with up to 32 cells in each word.

What changes, from stage 5: a state is an array of words, and each cell is one
bit of a word. Bitwise logic replaces the table lookup: one operation serves
all cells of a word. The left neighbor of a cell is the same bit of the
previous word, and the right neighbor is the same bit of the next word. Where
the last word meets the first, the neighbor is one lane (bit position) away.
What to notice: the states equal stage 0's. `simulate_packed` keeps them as
words. A word holds gcd(width, 32) cells, so this stage is fast if 32
divides the width. If the width is odd, a word holds only one cell.

    python stages/stage8_bitpack.py --width 8000 --num-steps 8000
"""

import math

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import UInt8, UInt32

Words = UInt32[Array, " num_words"]


def make_rule_table(rule: ArrayLike) -> UInt8[Array, "2 2 2"]:
    """Return the eight bits of the rule, indexed [left, center, right]."""
    rule_bits = jnp.unpackbits(jnp.uint8(rule), bitorder="little")
    return rule_bits.reshape(2, 2, 2)


def make_initial_state(width: int, num_lanes: int) -> Words:
    """Return words with one live cell, at `width // 2`.

    Cell `lane * num_words + word` is bit `lane` of word `word`.
    """
    num_words = width // num_lanes
    lane, word = divmod(width // 2, num_words)
    words = jnp.zeros(num_words, dtype=jnp.uint32)
    return words.at[word].set(jnp.uint32(1 << lane))


def unpack(words: Words, num_lanes: int) -> UInt8[Array, "lanes words"]:
    """Return the cells as bytes; the lanes, joined in order, are the state."""
    lanes = jnp.arange(num_lanes, dtype=jnp.uint32)[:, None]
    return (words >> lanes & 1).astype(jnp.uint8)


def pad(words: Words, num_lanes: int) -> UInt32[Array, " num_words+2"]:
    """Add one word before the first and one after the last."""
    before = words[-1:] << 1 | words[-1:] >> num_lanes - 1
    after = words[:1] >> 1 | words[:1] << num_lanes - 1
    return jnp.pad(words, 1).at[:1].set(before).at[-1:].set(after)


def choose(bits: Words, dead: Array, live: Array) -> Words:
    """Take each bit from `live` where `bits` has a 1, else from `dead`."""
    return dead ^ (bits & (dead ^ live))


def step(padded: Array, rule_table: UInt32[Array, "2 2 2"]) -> Words:
    """Return the next words: choose an entry of the table for each bit."""
    left, center, right = padded[:-2], padded[1:-1], padded[2:]
    by_right = [[choose(right, *pair) for pair in row] for row in rule_table]
    by_center = [choose(center, *pair) for pair in by_right]
    return choose(left, *by_center)


def scan_words(rule: ArrayLike, width: int, num_steps: int, record):
    """Return the final words, and the record made before each step."""
    num_lanes = math.gcd(width, 32)
    all_lanes = jnp.uint32(2**num_lanes - 1)
    rule_table = jnp.where(make_rule_table(rule), all_lanes, 0)
    words = make_initial_state(width, num_lanes)

    def advance(words, _):
        padded = pad(words, num_lanes)
        return step(padded, rule_table), record(words, num_lanes)

    return jax.lax.scan(advance, words, length=num_steps)


@jax.jit(static_argnames=("width", "num_steps"))
def simulate(
    rule: ArrayLike, width: int, num_steps: int
) -> UInt8[Array, "{num_steps} {width}"]:
    """Return one state per row; row 0 is the initial state."""
    _, states = scan_words(rule, width, num_steps, record=unpack)
    return states.reshape(num_steps, -1)


@jax.jit(static_argnames=("width", "num_steps"))
def simulate_packed(
    rule: ArrayLike, width: int, num_steps: int
) -> UInt32[Array, "{num_steps} num_words"]:
    """Return one state per row, as words."""
    _, states = scan_words(rule, width, num_steps, lambda words, _: words)
    return states


if __name__ == "__main__":
    from workshop.harness import run

    run(simulate)
