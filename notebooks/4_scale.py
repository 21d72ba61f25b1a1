# %% [markdown]
# # 4 · Scale: 32 cells in a word, one ring over many devices
#
# **What you will do.** Find out what the compiled program spends its time on,
# replace that by another algorithm, and spread the ring over devices that
# exchange their edges. These are stages 8 and 9 of the workshop.
#
# **What you will learn.** Why a lookup is slow and a bitwise operation is not;
# how to know that a program is near what the machine can do; `jax.shard_map`
# and `jax.lax.ppermute`; and what changes on a GPU, a TPU pod, or many hosts.
#
# **What you need.** The second notebook, or to know what jit and scan are. One
# ordinary computer: the devices are simulated.
#
# **Minutes.** 60, half of them for the exercises at the end.

# %%
# Where are the stages, and can this kernel run them? If not: what to do.
import sys
from pathlib import Path

here = Path.cwd()
found = [p for p in (here, *here.parents) if (p / "stages/workshop").is_dir()]
if not found:
    sys.exit(f"There is no workshop in {here}: type `make lab` in its folder.")
sys.path.insert(0, str(found[0] / "stages"))

from workshop.kernel import check_kernel

check_kernel()

# %%
import os

import jax

jax.config.update("jax_platforms", "cpu")  # only before the first use of JAX
jax.config.update("jax_num_cpu_devices", 8)

import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, PartitionSpec

import stage0_numpy
import stage2_at_set
import stage5_scan
import stage8_bitpack
import stage9_shard
from workshop import answers
from workshop.harness import time_call
from workshop.notebook import (
    show_diff,
    show_halo,
    show_lanes,
    show_rates,
    show_table,
)


def best_time(function, *args, **kwargs):
    """The least of three calls, after one that compiles."""
    time_call(function, *args, **kwargs)
    return min(time_call(function, *args, **kwargs)[1] for _ in range(3))


# %% [markdown]
# ## What takes the time?
#
# A step does little: pad, slice, look up. To find out what costs, leave
# something out, and time the rest. Rule 90 helps: its next state is the left
# neighbor *xor* the right one, with no table. Here are three programs that
# make the same 200 steps: the lookup of stage 5; xor in its place; and xor
# once more, where the compiler must finish the padding before it goes on.
#
# **Predict.** All three read and write the same bytes. What are the ratios?


# %%
def step_by_xor(state, _):
    """Rule 90 without a table."""
    padded = jnp.pad(state, 1, mode="wrap")
    return padded[:-2] ^ padded[2:]


def step_by_xor_after_padding(state, _):
    """The same, but the padded state is there before it is used."""
    padded = jax.lax.optimization_barrier(jnp.pad(state, 1, mode="wrap"))
    return padded[:-2] ^ padded[2:]


state = stage5_scan.make_initial_state(2**16)
rule_table = stage5_scan.make_rule_table(90)
seconds, last_rows = {}, []
for name, step in {
    "lookup": stage5_scan.step,
    "xor": step_by_xor,
    "xor after padding": step_by_xor_after_padding,
}.items():

    @jax.jit
    def last_row(state, step=step):
        """The state after 200 steps."""
        return jax.lax.fori_loop(
            0, 200, lambda _, state: step(state, rule_table), state
        )

    seconds[name] = best_time(last_row, state)
    last_rows.append(last_row(state))

np.testing.assert_array_equal(last_rows[0], last_rows[1])
np.testing.assert_array_equal(last_rows[0], last_rows[2])
fastest = min(seconds.values())
show_table(
    ["step", "milliseconds", "times the fastest"],
    [
        (name, f"{1000 * value:.2f}", f"{value / fastest:.0f}")
        for name, value in seconds.items()
    ],
)

# %% [markdown]
# A processor has instructions that xor many bytes at once, and XLA uses them.
# But XLA makes the lookup a gather, which computes an address for every single
# cell. So the lookup was the first bottleneck.
#
# The second is the padding. XLA fuses operations, so that a result need not be
# written and read again. Mostly that is a gain. Here it means that for each
# cell the program asks whether it is at the edge of the ring.
# `jax.lax.optimization_barrier` keeps the two apart.
#
# ## 32 cells in a word
#
# And a cell is one bit, but takes eight. If 32 cells share a **word** of 32
# bits, then one operation on words works on 32 cells. Which cells go together?
# Stage 8 cuts the ring into 32 stretches, the **lanes**, and puts one bit of
# each into every word: cell `lane * num_words + word` is bit `lane` of that
# word. So the neighbors of all cells of a word are in the *neighboring word*,
# at the same bits, and no bit has to move. Only at the seam, the first and the
# last word, a lane goes on in the next lane.
#
# **Predict.** A ring of 128 cells has 4 words. In which word and lane is cell
# 50, and where are its neighbors? And those of cell 52?

# %%
num_words = 4
cells = np.arange(32 * num_words).reshape(32, num_words)
show_lanes(cells, {"50": (49, 50, 51), "52": (51, 52, 53)})
assert divmod(50, num_words) == (12, 2)
assert divmod(52, num_words) == (13, 0)

words = stage8_bitpack.simulate_packed(30, width=128, num_steps=9)[-1]
unpacked = stage8_bitpack.unpack(words).reshape(-1)
np.testing.assert_array_equal(unpacked, stage0_numpy.simulate(30, 128, 9)[-1])

# %% [markdown]
# The table becomes bitwise logic as well. An entry is a word of all ones or
# all zeros, and `dead ^ (bits & (dead ^ live))` chooses between two of them,
# bit by bit: from `live` where a bit is 1, from `dead` where it is 0. Seven
# choices take the eight entries to the next word, for any rule. Here is what
# is different from stage 5:

# %%
show_diff(8)

# %% [markdown]
# What if 32 does not divide the width? Then the words begin the ring again,
# and some cells are there twice. Equal states for each rule and some awkward
# widths:

# %%
for rule, width in [(30, 97), (110, 1), (45, 33)]:
    np.testing.assert_array_equal(
        stage8_bitpack.simulate(rule, width, 40),
        stage0_numpy.simulate(rule, width, 40),
    )
print("stage 8 computes the states of stage 0")

# %% [markdown]
# ## The ladder
#
# How fast can it be at all? Whoever wants all states as bytes has to write
# them. So the yardstick is the time to fill as many bytes of fresh memory with
# zeros, by `np.full`, on one core. Packed states are an eighth of the bytes,
# and may be faster still.
#
# **Predict.** Write down an order for the five rows below `np.full`, and how
# many times the first is slower than the last.

# %%
size = {"width": 8000, "num_steps": 200}
want = stage0_numpy.simulate(110, **size)
ladder = {
    "stage 2, eager": stage2_at_set.simulate,
    "stage 0, NumPy": stage0_numpy.simulate,
    "stage 5, scan": stage5_scan.simulate,
    "stage 8, bytes": stage8_bitpack.simulate,
    "stage 8, packed": stage8_bitpack.simulate_packed,
}
seconds = {}
for name, simulate in ladder.items():
    states = np.asarray(simulate(110, **size))
    if states.shape != want.shape:
        states = jax.vmap(stage8_bitpack.unpack)(states)
        states = states.reshape(len(want), -1)[:, : want.shape[1]]
    np.testing.assert_array_equal(states, want)
    seconds[name] = best_time(simulate, 110, **size)

floor = best_time(np.full, want.shape, 0, dtype=np.uint8)
show_rates(
    {name: want.size / value for name, value in seconds.items()},
    {"np.full": want.size / floor},
    "cells a second",
)

# %% [markdown]
# All of them computed the same states: that was compared before the clock was
# started. From here on, a faster program has to write less, or to use more
# than one device.
#
# ## Devices
#
# JAX sees the devices of this machine, and a CPU can be told to act as
# several. `jax_num_cpu_devices`, on top of this notebook, asked for eight.

# %%
print(f"{len(jax.devices())} devices, on {os.cpu_count()} cores")
assert len(jax.devices()) == 8

# %% [markdown]
# Eight simulated devices teach how a program for eight devices is written, and
# prove that it is right. They do not make it faster than the cores that there
# are.
#
# ## The halo
#
# Stage 9 cuts the ring into shares, one for each device. To step its share, a
# device needs one cell more at either end, and those belong to its neighbors.
# Copies of them are the **halo**. A halo of `k` cells serves several steps:
# at each step its outermost cell lacks a neighbor and goes wrong, and the next
# one does one step later.
#
# **Predict.** A share of 24 cells has a halo of 8 cells on either side. After
# how many steps is the first cell of the share itself wrong?

# %%
share, halo = 24, 8
rng = np.random.default_rng(0)
wrong = np.zeros((12, share + 2 * halo), dtype=bool)
for rule in range(256):
    rule_table = stage0_numpy.make_rule_table(rule)
    ring = rng.integers(0, 2, 99).astype(np.uint8)
    piece = ring[: share + 2 * halo]  # what one device holds
    for t in range(len(wrong)):
        wrong[t] |= piece != ring[: len(piece)]
        piece = stage0_numpy.step(piece, rule_table)
        ring = stage0_numpy.step(ring, rule_table)

show_halo(wrong, halo)
in_share = wrong[:, halo:-halo].any(axis=1)
assert not in_share[: halo + 1].any()
assert in_share[halo + 1]

# %% [markdown]
# After 8 steps the share is still right, after 9 it is not: a halo of `k`
# serves `k` steps. Then its rest is thrown away, and the devices exchange
# again. A wider halo means fewer messages, each a bit longer, and a few cells
# that are computed twice. Since a message costs mostly for being sent at all,
# that is a good bargain.
#
# `jax.shard_map` runs one function on every device, each on its own share. In
# it, `jax.lax.ppermute` sends: from device i to device i + 1, say, for all i.

# %%
show_diff(9)

# %% [markdown]
# **Predict.** How often does `ppermute` stand in the program for 8 devices?
# How often for 2?

# %%
for num_devices in (2, 8):
    traced = stage9_shard.simulate_last.trace(110, 2**16, 300, num_devices)
    number = str(traced.jaxpr).count("= ppermute")
    print(f"{num_devices} devices: {number} times")
    assert number == 2

# %% [markdown]
# Twice, to the right and to the left, whatever the number of devices: the
# program is the same for all of them, and it does not grow.
#
# ## One ring, 1 to 8 devices
#
# The states must not depend on how many devices computed them. Neither 3 nor
# 8 divides the width below: not all shares are equal.

# %%
want = stage0_numpy.simulate(110, width=1001, num_steps=60)
for num_devices in (3, 8):
    got = stage9_shard.simulate(110, 1001, 60, num_devices)
    np.testing.assert_array_equal(got, want)
print("3 and 8 devices compute the states of stage 0")

# %% [markdown]
# The last row alone stays where it was computed: no device ever holds it all.
#
# **Predict.** Which is the fastest number of devices, on the cores that this
# machine has?

# %%
width, num_steps = 2**20, 257
rows = []
for num_devices in (1, 2, 4, 8):
    last_row, _ = time_call(
        stage9_shard.simulate_last, 110, width, num_steps, num_devices
    )
    value = best_time(
        stage9_shard.simulate_last, 110, width, num_steps, num_devices
    )
    shards = [shard.data.nbytes for shard in last_row.addressable_shards]
    assert len(shards) == num_devices
    assert sum(shards) == width // 8
    rows.append([num_devices, shards[0], f"{1000 * value:.1f}"])

show_table(["devices", "bytes on each", "milliseconds"], rows)

# %% [markdown]
# ## From here to a cluster
#
# **A GPU, or several.** Nothing in the stages changes. (This notebook asks for
# the CPU, to simulate eight devices.) Install JAX for it:
# `jax.devices()` then lists the GPUs, and the same programs are compiled for
# them. Two things to know: JAX takes most of the GPU's memory at the start
# (`XLA_CLIENT_MEM_FRACTION` says how much), and small rings cannot fill a GPU,
# just as they could not fill eager JAX in the first notebook.
#
# **A TPU pod, or many hosts.** Each host runs the same script as a process of
# its own, and sees its own devices, and all others'. One line comes first:
# `jax.distributed.initialize()`. On a TPU pod and under SLURM it needs no
# arguments, elsewhere the address of process 0, the number of processes and
# the own number. The mesh is then that of all devices, and `ppermute` sends
# over the network where it must. Here are two processes, of two devices each,
# on this machine:

# %%
import subprocess

door = [sys.executable, found[0] / "stages" / "workshop"]
done = subprocess.run(
    [*door, "cluster"], capture_output=True, text=True, check=True
)
print(done.stdout)
assert "equal to stage 0's" in " ".join(done.stdout.split())

# %% [markdown]
# **How far does it go?** What a device sends for one step does not depend on
# the width of the ring, nor on the number of devices: in `k` steps, two
# messages of `k` cells. So with more devices and a wider ring, each has as
# much to do as before, and as much to send: this is weak scaling at its best.
#
# ## Exercises
#
# Put your answer in place of the three dots, run the cell, and read what the
# check says. A solution is folded below each: open it when you have tried. To
# see it pass, give `solution_1` to the check in place of your answer.
#
# ### Exercise 1: where is it?
#
# Write `find_cell(cell, num_words)`: in which lane and in which word a cell
# is, as a pair `(lane, word)`.


# %% tags=["exercise"]
def find_cell(cell, num_words):
    """The lane and the word of a cell."""
    return ...


answers.check_find_cell(find_cell)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
def solution_1(cell, num_words):
    """A lane is a stretch of num_words cells."""
    return divmod(cell, num_words)


# %% [markdown]
# ### Exercise 2: rule 110 in a few operations
#
# Write rule 110 for words: `left`, `center`, `right` are arrays of `uint32`,
# each bit is one cell. Use `&`, `|`, `^` and `~` alone. Four operations are
# enough, but any number will do.


# %% tags=["exercise"]
def rule_110(left, center, right):
    """The next word, 32 cells at once."""
    return ...


answers.check_rule_110(rule_110)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
def solution_2(left, center, right):
    """Live if center or right is, but not if all three are."""
    return (center | right) ^ (left & center & right)


# %% [markdown]
# ### Exercise 3: how many exchanges?
#
# Write `count_exchanges(num_steps, halo)`: how often devices exchange their
# edges if row `num_steps - 1` is wanted, row 0 is there, and a halo serves
# `halo` steps.


# %% tags=["exercise"]
def count_exchanges(num_steps, halo):
    """How often the devices exchange their edges."""
    return ...


answers.check_exchanges(count_exchanges)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
def solution_3(num_steps, halo):
    """num_steps - 1 steps, divided by halo, rounded up."""
    return -(-(num_steps - 1) // halo)


# %% [markdown]
# ### Exercise 4: move right, over eight devices
#
# `move_right` runs on each of eight devices, on its share of a ring. Every
# cell of the whole ring is to move one place to the right: send the last cell
# of each share to the next device, by `jax.lax.ppermute`.

# %% tags=["exercise"]
mesh = jax.make_mesh((8,), ("ring",), (AxisType.Auto,))
spec = PartitionSpec("ring")


@jax.jit
@jax.shard_map(mesh=mesh, in_specs=spec, out_specs=spec)
def move_right(share):
    """The share after all cells have moved one place to the right."""
    return share


answers.check_move_right_sharded(move_right)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
@jax.jit
@jax.shard_map(mesh=mesh, in_specs=spec, out_specs=spec)
def solution_4(share):
    """What comes in from the left, then all but the last."""
    to_the_right = [(i, (i + 1) % 8) for i in range(8)]
    from_left = jax.lax.ppermute(share[-1:], "ring", to_the_right)
    return jnp.concatenate([from_left, share[:-1]])


# %% [markdown]
# ## Summary
#
# 1. Leave something out and time the rest: the lookup was what cost.
# 2. A better algorithm gains more than a better compiler: words of 32 cells
#    and bitwise logic.
# 3. Know the floor: the time to write the result at all.
# 4. With `shard_map` every device runs the same function on its share, and
#    `ppermute` sends the edges; a halo of k cells serves k steps.
# 5. Simulated devices prove that it is right; real ones make it fast, with
#    the same program.
#
# More: [jax.shard_map](../LINKS.md#jax.shard_map),
# [jax.lax.ppermute](../LINKS.md#jax.lax.ppermute),
# [JAX on many hosts](../LINKS.md#multi-process),
# [JAX for GPU and TPU](../LINKS.md#install).
