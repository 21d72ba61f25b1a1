"""Stage 9: the same states from any number of devices, and what is sent."""

import jax
import numpy as np
import pytest

import stage9_shard
from support import REFERENCE
from workshop.tracing import equations

HALO = stage9_shard.MAX_HALO


def scan_last(width, num_steps, num_devices, rule=110):
    """The words after num_steps steps, to call, trace or compile."""
    mesh = stage9_shard.make_mesh(width, num_devices)

    @jax.jit
    @jax.shard_map(mesh=mesh, in_specs=(), out_specs=jax.P("ring"))
    def scan_share():
        last, _ = stage9_shard.scan_words(
            rule, width, num_steps, record=lambda words: None
        )
        return last

    return scan_share


def find(name, width=100_000, num_steps=1024):
    """The operations of that name, in the program that keeps the last row."""
    program = scan_last(width, num_steps, 2).trace().jaxpr.jaxpr
    return [x for x in equations(program) if x.primitive.name == name]


@pytest.mark.parametrize(
    ("num_devices", "share", "num_steps"),
    [(3, 1, 70), (4, 33, 71), (2, 1031, 70), (2, 32 * HALO + 1, 2 * HALO)],
)
def test_history_and_last_row_equal_the_reference(
    num_devices, share, num_steps
):
    """Halos of 1 to 64 words, shares of a cell, words that are not full."""
    width = num_devices * share
    expected = REFERENCE.simulate(110, width, num_steps)
    states = stage9_shard.simulate(110, width, num_steps, num_devices)
    np.testing.assert_array_equal(states, expected)
    shapes = [shard.data.shape for shard in states.addressable_shards]
    assert shapes == [(num_steps, share)] * num_devices
    words = np.asarray(scan_last(width, num_steps - 1, num_devices)())
    lanes = np.arange(32, dtype=np.uint32)[:, None]
    cells = words.reshape(num_devices, 1, -1) >> lanes & 1
    last = cells.reshape(num_devices, -1)[:, :share].ravel()
    np.testing.assert_array_equal(last, expected[-1])


@pytest.mark.parametrize(("width", "num_devices"), [(80, 4), (6, 2), (9, 1)])
def test_as_many_devices_as_divide_the_width(width, num_devices):
    states = stage9_shard.simulate(30, width, 2)
    assert len(states.sharding.device_set) == num_devices


def test_bytes_sent_in_an_exchange():
    """Two messages of k words, however large the ring is."""
    for width in (10**5, 10**8):
        exchanges = find("ppermute", width)
        messages = [exchange.invars[0].aval for exchange in exchanges]
        sizes = [message.size * message.dtype.itemsize for message in messages]
        assert sizes == [4 * HALO] * 2


def test_number_of_exchanges():
    """The steps, divided by the deepest halo that divides them."""
    for width, num_steps, halo in [
        (100_000, 10 * HALO, HALO),
        (100_000, 45, 45),
        (100_000, 2 * 37, 37),
        (100_000, 101, 1),
        (32 * 2 * 6, 100, 5),
    ]:
        scans = find("scan", width, num_steps)
        lengths = [scan.params["length"] for scan in scans]
        assert lengths == [num_steps // halo, halo]


def test_words_computed_in_a_step():
    """A step works on the share's words and a halo of words on both sides."""
    _, steps = find("scan")
    num_words = -(-50_000 // 32)
    sizes = {
        equation.outvars[0].aval.size
        for equation in equations(steps.params["jaxpr"].jaxpr)
        if equation.primitive.name == "xor"
    }
    assert sizes == {1, num_words + 2 * HALO}


def test_program_does_not_grow():
    """As many operations for a large ring and many steps as for small ones."""
    texts = [
        stage9_shard.simulate.lower(110, *shape, num_devices=2).as_text()
        for shape in [(150, 4), (2**20 + 6, 64_000)]
    ]
    assert len({text.count(" = ") for text in texts}) == 1


def test_nothing_is_gathered():
    """The only exchange is with neighbors, and cells stay where they are."""
    whole = jax.jit(lambda: stage9_shard.simulate(110, 6400, 100, 2))
    for program, share in [(whole, 3200), (scan_last(6400, 100, 2), 100)]:
        text = program.lower().compile().as_text()
        assert "collective-permute" in text
        for gathering in ("all-gather", "all-reduce", "all-to-all"):
            assert gathering not in text
        shards = program().addressable_shards
        assert {shard.data.shape[-1] for shard in shards} == {share}


def test_devices_that_do_not_divide_the_ring():
    """JAX's own convention: a sharded axis is divided evenly."""
    for num_devices in (-1, 0, 3, 81):
        message = f"num_devices={num_devices} must divide width=80"
        with pytest.raises(ValueError, match=message):
            stage9_shard.simulate(110, 80, 5, num_devices)
