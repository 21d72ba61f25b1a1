# %% [markdown]
# # 4 · Scale: 32 cells in a word, one ring over many devices
#
# **What you will do.** Find out what the compiled program spends its time on,
# replace that by another algorithm, and spread the ring over devices that
# exchange their edges. These are stages 8 and 9 of the workshop.
#
# **What you will learn.** Why a lookup is slow and a bitwise operation is not;
# how to know that a program is near what the machine can do; who pays for
# fresh memory; `jax.shard_map` and `jax.lax.ppermute`; and what changes on a
# GPU, a TPU pod, or many hosts.
#
# **What you need.** The second notebook, or to know what jit and scan are. One
# ordinary computer: the devices are simulated.
#
# **Minutes.** 80, 30 of them for the exercises at the end. In an hour, leave
# out exercises 2 and 4: nothing builds on them.

# %%
# Where are the stages, and can this kernel run them? If not: what to do.
import sys
from pathlib import Path

here = Path.cwd()
near = [*here.glob("*/"), here, *here.parents]
found = [p for p in near if (p / "stages" / "workshop").is_dir()]
if not found:
    sys.exit(
        f"There is no workshop in {here}: type `make lab` in its folder; or"
        " here, in a cell of its own, `!git clone ADDRESS workshop` with the"
        " address that this notebook is from, and run this cell again."
    )
sys.path[:0] = [str(found[0] / name) for name in ("stages", "notebooks")]

from kernel import check_kernel

check_kernel()

# %%
import os
import subprocess
from functools import partial

import jax

jax.config.update("jax_platforms", "cpu")  # only before the first use of JAX
jax.config.update("jax_num_cpu_devices", 8)

import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, PartitionSpec

import answers
import stage0_numpy
import stage2_at_set
import stage5_scan
import stage6_vmap
import stage8_bitpack
import stage9_shard
from figures import (
    median_time,
    show_curves,
    show_diff,
    show_halo,
    show_lanes,
    show_table,
)
from workshop.inspection import inspect
from workshop.tracing import equations

ALL_RULES = jnp.arange(256, dtype=jnp.uint8)

# %% [markdown]
# ## What takes the time?
#
# A step does little: pad, slice, look up. To find out what costs, leave
# something out, and time the rest. Rule 90 helps: its next state is the left
# neighbor *xor* the right one, with no table. Here are three programs that
# make the same 1000 steps: the lookup of stage 5; xor in its place; and xor
# once more, where the compiler is told to finish the padding before it goes
# on.
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


state = stage5_scan.make_initial_state(2**12)
rule_table = stage5_scan.make_rule_table(90)
seconds, last_rows = {}, []
for name, step in {
    "lookup": stage5_scan.step,
    "xor": step_by_xor,
    "xor after padding": step_by_xor_after_padding,
}.items():

    @jax.jit
    def last_row(state, step=step):
        """The state after 1000 steps."""
        return jax.lax.fori_loop(
            0, 1000, lambda _, state: step(state, rule_table), state
        )

    seconds[name] = median_time(last_row, state)
    last_rows.append(last_row(state))

np.testing.assert_array_equal(last_rows[0], last_rows[1])
np.testing.assert_array_equal(last_rows[0], last_rows[2])
show_table(
    ["step", "milliseconds", "times xor"],
    [
        (name, f"{1000 * value:.2f}", f"{value / seconds['xor']:.1f}")
        for name, value in seconds.items()
    ],
)
assert seconds["lookup"] > 2 * seconds["xor"]

# %% [markdown]
# A processor has instructions that xor many bytes at once, and XLA uses them.
# But XLA makes the lookup a gather, which computes an address for every single
# cell. So the lookup was the first bottleneck.
#
# The third row is a warning. XLA fuses operations, so that a result need not
# be written and read again; `jax.lax.optimization_barrier` keeps two apart.
# With jax 0.10 this program was about three times faster with the barrier,
# with 0.12, on the same machine, more than ten times slower: as slow as the
# lookup. What steers the compiler ages with the compiler. Work that is not
# there costs nothing in any version: so look for that first.
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
# them. So the yardstick is the time to fill as many bytes, by `np.full`, on
# one core. Packed states are an eighth of the bytes, and may be faster still.
#
# **Predict.** Write down an order for the five programs below, and how many
# times the first is slower than the last.

# %%
size = {"width": 8000, "num_steps": 400}
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
        states = jax.vmap(stage8_bitpack.unpack)(states).reshape(want.shape)
    np.testing.assert_array_equal(states, want)
    seconds[name] = median_time(simulate, 110, **size, num_calls=3)

floor = median_time(np.full, want.shape, 1, dtype=np.uint8)
show_table(
    ["program", "milliseconds", "cells a second", "times np.full"],
    [
        (name, f"{1000 * t:.2f}", f"{want.size / t:.1e}", f"{t / floor:.1f}")
        for name, t in {**seconds, "np.full": floor}.items()
    ],
)
assert seconds["stage 2, eager"] > 2 * seconds["stage 5, scan"]
assert seconds["stage 0, NumPy"] > 2 * seconds["stage 8, packed"]

# %% [markdown]
# All of them computed the same states: that was compared before the clock was
# started. (The last rows take so little that on a busy machine they may change
# places: run the cell again.) From here on, a faster program has to write
# less, or to use more than one device.
#
# What one stage does to the algorithm, another does to the arguments: `vmap`
# maps stage 8 as it mapped stage 5, without a change to either.
#
# **Predict.** All 256 rules, 80 x 80: how many times faster than stage 6?

# %%
simulate_each = jax.jit(
    jax.vmap(lambda rule: stage8_bitpack.simulate(rule, 80, 80))
)
np.testing.assert_array_equal(
    simulate_each(ALL_RULES), stage6_vmap.simulate_rules(ALL_RULES, 80, 80)
)
by_lookup = median_time(stage6_vmap.simulate_rules, ALL_RULES, 80, 80)
by_words = median_time(simulate_each, ALL_RULES)
print(f"{by_lookup / by_words:.1f} times as fast as stage 6, all rules equal")
assert by_lookup > by_words

# %% [markdown]
# ## Who pays for fresh memory?
#
# `np.full` was called a yardstick. Is it one for JAX? A result is written to
# memory that the system has to hand out first, and clear, page by page. A page
# has 4 KiB, or 2 MiB if the program asks Linux for huge ones. NumPy asks; XLA
# does not. But the C library can ask for it, if it is told to before Python
# starts. Here a process of its own fills 64 MB by `np.full` and by a compiled
# `jnp.full`, first as it is, then with that setting.
#
# **Predict.** Which of the four numbers will stand out?

# %%
FILL = """
import jax, jax.numpy as jnp, numpy as np
from figures import median_time

shape = 8000, 8000
fill = jax.jit(lambda: jnp.full(shape, 1, dtype=jnp.uint8))
print(median_time(np.full, shape, 1, dtype=np.uint8), median_time(fill))
"""
rows = []
for tunables in ("", "glibc.malloc.hugetlb=1"):
    done = subprocess.run(
        [sys.executable, "-c", FILL],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path[:2]),
            "GLIBC_TUNABLES": tunables,
        },
        capture_output=True,
        text=True,
        check=True,
    )
    times = [f"{1000 * float(t):.1f} ms" for t in done.stdout.split()]
    rows.append([f"`{tunables}`" if tunables else "as it is", *times])

show_table(["GLIBC_TUNABLES", "np.full", "jnp.full, compiled"], rows)
pages = Path("/sys/kernel/mm/transparent_hugepage/enabled")
if not pages.exists() or "[never]" in pages.read_text(encoding="utf-8"):
    print("This system has no huge pages to ask for: the rows should agree.")

# %% [markdown]
# Where Linux has huge pages to give, and glibc is 2.35 or later, the compiled
# fill comes down to about NumPy's time. All that returns large arrays gains as
# much: stage 8 is mostly waiting for memory. `make` sets this for every stage
# that it runs, and `make doctor` says whether it works here. On a GPU, and on
# other systems, the setting changes nothing.
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
# The shares are packed, so the halo is `k` words at either end. In each of
# them 31 lanes go on in the next lane, which is at home; only one cell comes
# from the neighbor. So a message is `k` cells.

# %%
show_diff(9)

# %% [markdown]
# The program can be asked what it sends, before it runs.
#
# **Predict.** How many messages does a device send in one exchange if there
# are 2 devices, and how many if there are 8? How many bytes a step, if the
# ring is 16 times as wide?

# %%
NUM_STEPS = 256
rows = []
for num_devices, width in [(2, 2**16), (8, 2**16), (8, 2**20)]:
    traced = stage9_shard.simulate.trace(110, width, NUM_STEPS, num_devices)
    program = list(equations(traced.jaxpr))
    sent = [x for x in program if x.primitive.name == "ppermute"]
    message = sent[0].outvars[0].aval  # an array of one cell a word of halo
    exchanges = NUM_STEPS // message.size
    num_bytes = len(sent) * message.size * message.dtype.itemsize
    rows.append([num_devices, width, len(sent), message.size, exchanges])
    rows[-1].append(num_bytes // message.size)
    assert any(x.params.get("length") == exchanges for x in program)

show_table(
    ["devices", "width", "messages", "k", "exchanges", "bytes a step"], rows
)
assert len({tuple(row[2:]) for row in rows}) == 1
assert rows[0][-1] == 8

# %% [markdown]
# Two messages, to the right and to the left, whatever the number of devices
# and the width: the program is the same for all of them, and does not grow.
#
# **Predict.** Below is what XLA made of stages 8 and 9. Which rows will be
# empty, or 0, for stage 8? How large is a device's part of the result?

# %%
inspect("8", "9", width=1024, num_steps=64)

# %% [markdown]
# Only stage 9 sends: two `collective-permute`, as many as there are
# `ppermute`. They stand in the outer one of its two loops, which exchanges;
# the inner one steps. A device holds an eighth of the states.
#
# ## On paper
#
# Let `D` be the number of devices, `w = width / D` the cells of each, and `k`
# the depth of the halo in words. Then each device
#
# - sends 2 messages an exchange, of `k` cells each, 4 bytes a cell: 8 bytes a
#   step, whatever the width, `D` and `k` are;
# - waits for its neighbors `num_steps / k` times;
# - computes `w / 32 + 2 k` words a step, of which `2 k` are thrown away;
# - keeps `w / 8` bytes of a packed row.
#
# Eight bytes are nothing; what costs is the waiting. If an exchange takes `L`
# seconds and a device computes `G` words a second, then a step takes
#
#     (w / 32 + 2 k) / G + L / k
#
# A deeper halo divides the waiting by `k`, and adds words that are thrown
# away: the sum is least at `k = sqrt(L G / 2)`. Stage 9 takes the largest `k`
# up to 64 that divides the number of rows, and no more than a share has words.
# `D` does not occur in the sum. So if the ring grows with the number of
# devices, a step takes as long on many of them as on two: this is **weak
# scaling**. For a ring of one size `w` shrinks as `D` grows, until the other
# terms outweigh it: that is where **strong scaling** ends.
#
# ## One ring, 1 to 8 devices
#
# The states must not depend on how many devices computed them. Any number will
# do that divides the width:

# %%
want = stage0_numpy.simulate(110, width=1000, num_steps=60)
for num_devices in (1, 2, 5, 8):
    got = stage9_shard.simulate(110, 1000, 60, num_devices)
    np.testing.assert_array_equal(got, want)
print("1, 2, 5 and 8 devices compute the states of stage 0")

# %% [markdown]
# A history of all states is large. Often the last row is enough, and it can
# stay where it was computed: no device ever holds it all. `scan_words` of
# stages 8 and 9 returns it, if nothing is recorded on the way.
#
# **Predict.** One million cells: which is the fastest number of devices, on
# the cores that this machine has?


# %%
@jax.jit(static_argnames=("width", "num_steps", "num_devices"))
def last_row(width, num_steps, num_devices):
    """Rule 110 after num_steps steps, as words, sharded over devices."""
    mesh = stage9_shard.make_mesh(width, num_devices)

    @jax.shard_map(mesh=mesh, in_specs=(), out_specs=PartitionSpec("ring"))
    def last_share():
        return stage9_shard.scan_words(110, width, num_steps, lambda *_: None)[
            0
        ]

    return last_share()


rows = []
for num_devices in (1, 2, 4, 8):
    words = last_row(2**20, 256, num_devices)
    shards = [shard.data.nbytes for shard in words.addressable_shards]
    assert len(shards) == num_devices
    assert sum(shards) == 2**20 // 8
    value = median_time(last_row, 2**20, 256, num_devices)
    rows.append([num_devices, shards[0], f"{1000 * value:.1f}"])

show_table(["devices", "bytes on each", "milliseconds"], rows)

# %% [markdown]
# And for which rings does it pay? Here are the cells a second of the last row,
# from a small ring to one of four million cells: by lookup, by words, and by
# words on as many devices as there are cores (eight at most).
#
# **Predict.** Draw the three curves. Where does the sending of the program
# outweigh its work, where do messages, where is a ring too large for the
# cache?


# %%
@jax.jit(static_argnames=("width", "num_steps"))
def last_by_lookup(width, num_steps):
    """Rule 110 after num_steps steps, by stage 5."""
    rule_table = stage5_scan.make_rule_table(110)
    return jax.lax.fori_loop(
        0,
        num_steps,
        lambda _, state: stage5_scan.step(state, rule_table),
        stage5_scan.make_initial_state(width),
    )


@jax.jit(static_argnames=("width", "num_steps"))
def last_by_words(width, num_steps):
    """The same by stage 8, packed."""
    return stage8_bitpack.scan_words(110, width, num_steps, lambda *_: None)[0]


cores = max(n for n in (1, 2, 4, 8) if n <= os.cpu_count())
programs = {
    "stage 5": last_by_lookup,
    "stage 8": last_by_words,
    f"stage 9 on {cores}": partial(last_row, num_devices=cores),
}
widths = [2**k for k in range(10, 23, 3)]
curves = {}
for name, program in programs.items():
    num_steps = 16 if program is last_by_lookup else 256
    rates = [
        width * num_steps / median_time(program, width, num_steps)
        for width in widths
    ]
    curves[name] = widths, rates

show_curves(curves, "cells of the ring", "cells a second", scale="log")
assert curves["stage 8"][1][-1] > 2 * curves["stage 5"][1][-1]

# %% [markdown]
# At the left all three wait for the call, and stage 9 for messages that are
# longer than the work between them. A second device can pay only where the
# curves of stages 8 and 9 cross; if they do not cross here, this machine has
# not the free cores for it, or the ring is not large enough. At the right a
# curve may fall again: that is where the words no longer fit into a cache.
#
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
# over the network where it must. Under SLURM, on four hosts:
#
#     srun --nodes=4 --ntasks-per-node=1 python stages/stage9_shard.py
#
# Here are two processes, of two devices each, on this machine:

# %%
door = [sys.executable, found[0] / "stages" / "workshop"]
done = subprocess.run(
    [*door, "cluster"], capture_output=True, text=True, check=True
)
print(done.stdout)
assert "equal to stage 0's" in " ".join(done.stdout.split())

# %% [markdown]
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
# 1. Leave something out and time the rest: the lookup was what cost. Tricks on
#    the compiler age with it.
# 2. A better algorithm gains more than a better compiler: words of 32 cells
#    and bitwise logic.
# 3. Know the floor: the time to write the result at all, and who asks for the
#    memory.
# 4. With `shard_map` every device runs the same function on its share, and
#    `ppermute` sends the edges; a halo of k cells serves k steps.
# 5. Simulated devices prove that it is right; real ones make it fast, with
#    the same program.
#
# More: [jax.shard_map], [jax.lax.ppermute], [JAX on many hosts], [JAX for GPU
# and TPU]. Next: [5 · Transfer](5_transfer.ipynb).
#
# [jax.shard_map]: https://docs.jax.dev/en/latest/_autosummary/jax.shard_map.html
# [jax.lax.ppermute]: https://docs.jax.dev/en/latest/_autosummary/jax.lax.ppermute.html
# [JAX on many hosts]: https://docs.jax.dev/en/latest/multi_process.html
# [JAX for GPU and TPU]: https://docs.jax.dev/en/latest/installation.html
