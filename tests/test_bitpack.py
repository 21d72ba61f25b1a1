"""Stage 8: the layout of the words, and every form of the states."""

import numpy as np
import pytest

import stage0_numpy
import stage8_bitpack


def cells_of(words):
    """All cells that words hold, in order, repeated ones included."""
    lanes = np.arange(32, dtype=np.uint32)[:, None]
    return (np.asarray(words)[None] >> lanes & 1).ravel().astype(np.uint8)


@pytest.mark.parametrize("width", [1, 31, 33, 1009])
def test_every_form_equals_the_reference(width):
    """Unpacked, packed, last; repeated cells are what they repeat."""
    num_steps, num_words = 40, -(-width // 32)
    for rule in (30, 57, 110):
        expected = stage0_numpy.simulate(rule, width, num_steps)
        states = stage8_bitpack.simulate(rule, width, num_steps)
        np.testing.assert_array_equal(states, expected, err_msg=f"{rule}")
        packed = stage8_bitpack.simulate_packed(rule, width, num_steps)
        packed = np.asarray(packed)
        assert (packed.shape, packed.dtype) == ((40, num_words), np.uint32)
        for words, state in zip(packed, expected, strict=True):
            np.testing.assert_array_equal(
                cells_of(words), np.resize(state, 32 * num_words)
            )
        last, nothing = stage8_bitpack.scan_words(
            rule, width, num_steps - 1, record=lambda words: None
        )
        np.testing.assert_array_equal(last, packed[-1])
        assert nothing is None


@pytest.mark.parametrize("name", ["simulate", "simulate_packed"])
def test_program_does_not_grow(name):
    """As many operations compiled for a large size as for a small one."""
    simulate = getattr(stage8_bitpack, name)
    texts = [
        simulate.lower(110, width, num_steps).as_text()
        for width, num_steps in [(97, 3), (2**20 + 7, 100_000)]
    ]
    assert len({text.count(" = ") for text in texts}) == 1
