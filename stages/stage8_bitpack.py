"""Stage 8: another algorithm: 32 cells in a word, looked up all at once.

What changes, from stage 5: a state becomes words, and the lookup becomes
bitwise logic: one operation on a word works on its 32 cells. Neighbors of
cells are the same bits of the neighboring words, except at the seam: where
the last word meets the first, the bits move on by one, and one cell closes
the ring.
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


def make_rule_table(rule: Integer[ArrayLike, ""]) -> UInt8[Array, "2 2 2"]:
    """The eight bits of the rule, indexed [left, center, right]."""
    rule_bits = jnp.unpackbits(jnp.uint8(rule), bitorder="little")
    return rule_bits.reshape(2, 2, 2)


def make_initial_state(width: int) -> UInt32[Array, " num_words"]:
    """One live cell, at `width // 2`, packed into words.

    Cell `lane * num_words + word` is bit `lane` of that word. Where the ring
    ends before its words do, it begins again: some cells are there twice.
    """
    num_words = -(-width // LANES)
    cells = jnp.arange(LANES * num_words).reshape(LANES, num_words)
    live = (cells % width == width // 2).astype(jnp.uint32)
    lanes = jnp.arange(LANES, dtype=jnp.uint32)[:, None]
    return jnp.sum(live << lanes, axis=0, dtype=jnp.uint32)


def unpack(
    words: UInt32[Array, " num_words"],
) -> UInt8[Array, "32 num_words"]:
    """The cells of each lane; row after row they are the state."""
    lanes = jnp.arange(LANES, dtype=jnp.uint32)[:, None]
    return (words[None, :] >> lanes & 1).astype(jnp.uint8)


def get_cell(words: UInt32[Array, " num_words"], i: int) -> UInt32[Array, ""]:
    """Cell i of a packed state, 0 or 1."""
    lane, word = divmod(i, len(words))
    return words[word] >> lane & 1


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
    width: int,
) -> UInt32[Array, " num_words"]:
    """The next state. An entry of the table is a word, all 0s or all 1s."""
    after_last = LANES * len(words) - width
    seam_left = words[-1:] << 1 | get_cell(words, width - 1)
    seam_right = words[:1] >> 1 | get_cell(words, after_last) << LANES - 1
    padded = jnp.concatenate([seam_left, words, seam_right])
    # Else XLA fuses this into the lookup, and asks of every word which of the
    # three pieces it comes from.
    padded = jax.lax.optimization_barrier(padded)
    left, center, right = padded[:-2], padded[1:-1], padded[2:]
    by_right = [[choose(right, *pair) for pair in row] for row in rule_table]
    by_center = [choose(center, *pair) for pair in by_right]
    return choose(left, *by_center)


def scan_words(rule, width, num_steps, record):
    """The words after `num_steps` steps; what `record` made before each."""
    rule_table = -make_rule_table(rule).astype(jnp.uint32)
    initial_state = make_initial_state(width)

    def advance(words, _):
        return step(words, rule_table, width), record(words)

    return jax.lax.scan(advance, initial_state, length=num_steps)


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


@jax.jit(static_argnames=("width", "num_steps"))
def simulate_last(
    rule: Integer[ArrayLike, ""], width: int, num_steps: int
) -> UInt32[Array, " num_words"]:
    """Row `num_steps - 1` alone, as words: what came before is not kept."""
    num_updates = num_steps - 1
    last, _ = scan_words(rule, width, num_updates, record=lambda words: None)
    return last


if __name__ == "__main__":
    from workshop.harness import run

    run(simulate)
