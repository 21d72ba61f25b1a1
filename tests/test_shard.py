"""Stage 9: the same states from any number of devices, and what is sent."""

import inspect
from pathlib import Path

import numpy as np
import pytest

import stage0_numpy
import stage8_bitpack
import stage9_shard
from support import run_python
from workshop.jaxprs import equations
from workshop.stages import find_stages

STAGE = find_stages()[9]
MANY_DEVICES = """
import sys

import jax
import numpy as np

jax.config.update("jax_num_cpu_devices", 8)
sys.path.insert(0, "{folder}")
import stage0_numpy
import stage9_shard

for num_devices in (3, 4, 8):
    for width in (9, 97, 1031):
        expected = stage0_numpy.simulate(30, width, 70)
        states = stage9_shard.simulate(30, width, 70, num_devices)
        np.testing.assert_array_equal(states, expected)
    print(num_devices, len(states.sharding.device_set))

kept = stage9_shard.simulate(30, 80, 5, 8)
assert {{shard.data.shape for shard in kept.addressable_shards}} == {{(5, 10)}}
"""


def cells_of(words, width, num_devices):
    """The state whose words lie on the devices, a row for each."""
    shares = stage9_shard.split(width, num_devices)
    lanes = np.arange(32, dtype=np.uint32)[:, None]
    cells = np.asarray(words)[:, None] >> lanes & 1
    cells = cells.reshape(num_devices, -1).astype(np.uint8)
    return np.concatenate(
        [part[:share] for part, share in zip(cells, shares, strict=True)]
    )


def sent(num_devices, width=100_000, num_steps=1000):
    """What each ppermute of the program for the last row sends."""
    traced = stage9_shard.simulate_last.trace(
        110, width=width, num_steps=num_steps, num_devices=num_devices
    )
    return [
        equation.invars[0].aval
        for equation in equations(traced.jaxpr.jaxpr)
        if equation.primitive.name == "ppermute"
    ]


def exchanges(name, num_devices, width=100_000, num_steps=1000):
    """How many there are, and the steps that follow each."""
    traced = getattr(stage9_shard, name).trace(
        110, width=width, num_steps=num_steps, num_devices=num_devices
    )
    lengths = [
        equation.params["length"]
        for equation in equations(traced.jaxpr.jaxpr)
        if equation.primitive.name == "scan"
    ]
    return lengths


def count_words(width, num_devices):
    """Words of each device: those that hold the largest share."""
    largest_share = -(-width // num_devices)
    return -(-largest_share // 32)


@pytest.mark.parametrize("num_devices", [1, 2])
@pytest.mark.parametrize("width", [2, 3, 33, 64, 1031])
def test_history_and_last_row_equal_the_reference(num_devices, width):
    """70 rows: halos of 1 to 16 cells, and steps left over at the end."""
    expected = stage0_numpy.simulate(110, width, 70)
    states = stage9_shard.simulate(110, width, 70, num_devices)
    np.testing.assert_array_equal(states, expected)
    words = stage9_shard.simulate_last(110, width, 70, num_devices)
    last = cells_of(words, width, num_devices)
    np.testing.assert_array_equal(last, expected[-1])


def test_deepest_halo_equals_the_reference():
    """A ring that is wide enough for the deepest halo, over two exchanges."""
    width, num_steps = 2 * 32 * stage9_shard.MAX_HALO + 1, 300
    assert {message.size for message in sent(2, width, num_steps)} == {
        stage9_shard.MAX_HALO
    }
    expected = stage0_numpy.simulate(30, width, num_steps)
    words = stage9_shard.simulate_last(30, width, num_steps, 2)
    np.testing.assert_array_equal(cells_of(words, width, 2), expected[-1])


def test_three_four_and_eight_devices_equal_the_reference():
    """In a process of its own, which has so many."""
    code = MANY_DEVICES.format(folder=STAGE.parent.as_posix())
    done = run_python("-c", code, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["3", "3", "4", "4", "8", "8"]


@pytest.mark.parametrize("num_devices", [1, 2])
def test_bytes_sent_in_a_step(num_devices):
    """Two messages an exchange, a byte a cell: two bytes a step and device."""
    messages = sent(num_devices)
    assert [message.dtype for message in messages] == [np.uint8] * 2
    _, halo = exchanges("simulate_last", num_devices)
    assert [message.size for message in messages] == [halo] * 2


@pytest.mark.parametrize(
    ("name", "num_advanced"), [("simulate", 1000), ("simulate_last", 999)]
)
def test_number_of_exchanges(name, num_advanced):
    """That many steps, divided by the halo, rounded up."""
    num_exchanges, halo = exchanges(name, 2)
    assert halo == stage9_shard.MAX_HALO
    assert num_exchanges == -(-num_advanced // halo)


def test_words_computed_in_a_step():
    """A step works on the share's words and a halo of words on both sides."""
    traced = stage9_shard.simulate_last.trace(
        110, width=100_000, num_steps=1000, num_devices=2
    )
    _, halo = exchanges("simulate_last", 2)
    num_words = count_words(100_000, 2)
    sizes = [
        equation.outvars[0].aval.size
        for equation in equations(traced.jaxpr.jaxpr)
        if equation.primitive.name == "optimization_barrier"
    ]
    assert sizes == [num_words + 2 * halo + 2]


def test_message_does_not_grow_with_the_ring():
    """Weak scaling: what is sent depends on the halo alone."""
    small, large = (sent(2, width) for width in (10**5, 10**8))
    assert [m.size for m in small] == [m.size for m in large]


def test_last_row_is_never_gathered():
    """It stays a share a device, and the only exchange is with neighbors."""
    width = 64 * 100 + 7
    compiled = stage9_shard.simulate_last.lower(
        110, width=width, num_steps=100, num_devices=2
    ).compile()
    program = compiled.as_text()
    assert "collective-permute" in program
    for gathering in ("all-gather", "all-reduce", "all-to-all"):
        assert gathering not in program
    words = stage9_shard.simulate_last(110, width, 100, 2)
    shapes = {shard.data.shape for shard in words.addressable_shards}
    assert shapes == {(1, count_words(width, 2))}


@pytest.mark.parametrize("width", [1, 2, 5, 31, 1000, 10**6 + 3])
@pytest.mark.parametrize("num_devices", [1, 2, 3, 8, 4096])
def test_shares_hold_the_ring(width, num_devices):
    """No cell is left over, and no share a cell larger than it must be."""
    if num_devices > width:
        with pytest.raises(ValueError, match="num_devices must be between"):
            stage9_shard.make_mesh(width, num_devices)
        return
    shares = stage9_shard.split(width, num_devices)
    assert sum(shares) == width
    assert sorted(shares) == shares
    assert shares[-1] - shares[0] == bool(width % num_devices)


@pytest.mark.parametrize("name", ["make_rule_table", "unpack", "choose"])
def test_what_is_not_the_lesson_is_stage_8(name):
    """Functions that the stage does not teach are unchanged."""
    ours, theirs = (
        inspect.getsource(getattr(stage, name))
        for stage in (stage9_shard, stage8_bitpack)
    )
    assert ours == theirs


def test_script_simulates_devices():
    """Four on any machine; the picture is the one of one device."""
    one, four = (
        run_python(STAGE, "--num-devices", number, "--num-steps", 20)
        for number in ("1", "4")
    )
    assert one.returncode == four.returncode == 0, four.stderr
    assert "devices: 4, processes: 1" in four.stdout
    assert one.stdout.splitlines()[-10:] == four.stdout.splitlines()[-10:]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--num-devices 0", "num_devices must be between 1 and 80"),
        ("--num-devices 81", "num_devices must be between 1 and 80"),
        ("--num-devices two", "--num-devices must be an integer, got 'two'"),
        ("--coordinator h:1", "must be given together, got only coordinator"),
        (
            "--coordinator h --num-processes 2 --process-id 0",
            "coordinator must be HOST:PORT, got h",
        ),
        (
            "--coordinator h:1 --num-processes 0 --process-id 0",
            "num_processes must be at least 1, got 0",
        ),
        (
            "--coordinator h:1 --num-processes 2 --process-id 2",
            "process_id must be between 0 and 1, got 2",
        ),
        (
            "--coordinator h:1 --num-processes 2 --process-id 0"
            " --num-devices 41",
            "num_devices must be between 1 and 40",
        ),
    ],
)
def test_bad_input_is_one_line(arguments, message, run_stage_here):
    """Refused before any work, with status 2."""
    status, out, err = run_stage_here(9, *arguments.split())
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("number", [0, 5, 9])
def test_only_this_stage_has_devices(number, run_stage_here):
    """The other stages do not offer what they would not use."""
    _, out, _ = run_stage_here(number, "--help")
    for option in ("--num-devices", "--coordinator", "--process-id"):
        assert (option in out) == (number == 9)


def test_stage_0_needs_no_jax(tmp_path):
    """Not even by way of the harness."""
    blocker = Path(tmp_path, "jax.py")
    blocker.write_text("raise ImportError('stage 0 imports jax')\n")
    done = run_python(
        find_stages()[0], "--num-steps", 2, env={"PYTHONPATH": str(tmp_path)}
    )
    assert done.returncode == 0, done.stderr
