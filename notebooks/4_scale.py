# %% [markdown]
# # 4 · Scale: 32 cells in a word, one ring over many devices
#
# You find out what the compiled program spends its time on, and replace that
# part with another algorithm. Then you divide the ring over devices that
# exchange messages, and reduce the number of messages. These are stages 8, 9
# and 10 of the workshop. You will learn why a lookup is slow and a bitwise
# operation is not, how to use `jax.shard_map` and `jax.lax.ppermute`, how long
# a message takes, which kind of sharding to choose, and what changes on a GPU,
# a TPU pod, or many hosts.
#
# You should have worked through the second notebook, or know what jit and scan
# are. One ordinary computer is enough, because the devices are simulated. Plan
# 100 minutes, 30 of them for the exercises at the end. If you have an hour,
# leave out exercises 2 and 4.

# %% jupyter={"source_hidden": true} tags=["setup"]
# Set-up: find the workshop, or clone it on a hosted Jupyter.
import subprocess
import sys
from pathlib import Path

ADDRESS = ""  # `make notebooks` writes the repository's address here


def find_workshop():
    """Return the folder of the workshop, or end this cell with one line."""
    here = Path.cwd()
    for folder in (here, *here.parents, *here.glob("*/")):
        if (folder / "stages" / "workshop").is_dir():
            return folder
    clone = ["git", "clone", "--quiet", "--depth=1", ADDRESS, "workshop"]
    if ADDRESS and subprocess.run(clone).returncode == 0:
        return here / "workshop"
    sys.exit(
        f"There is no workshop in {here}. Type `make lab` in its folder, or"
        " clone it into this folder and run this cell again."
    )


workshop = find_workshop()
sys.path[:0] = [str(workshop / name) for name in ("stages", "notebooks")]

from kernel import check_kernel

check_kernel()

import os
from functools import partial

import jax

jax.config.update("jax_platforms", "cpu")  # only before the first use of JAX
jax.config.update("jax_num_cpu_devices", 8)

import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxprs_in_params
from jax.sharding import AxisType

import answers
import stage0_numpy
import stage2_at_set
import stage5_scan
import stage6_vmap
import stage8_bitpack
import stage9_shard
import stage10_halo
from figures import best_time, show_diff, show_error, show_states, show_table
from workshop.inspection import inspect

ALL_RULES = jnp.arange(256, dtype=jnp.uint8)

# %% [markdown]
# ## What takes the time?
#
# A step does three things: it pads, slices and looks up. To find out which of
# them is slow, leave one out and time the rest. Rule 90 helps here, because it
# needs no table: the next state is the left neighbor *xor* the right one.
# Below, two programs compute the same 1000 steps of rule 90. One uses the
# lookup of stage 5, the other uses xor.
#
# **Predict.** Both read and write the same bytes. What is the ratio of their
# times?


# %%
def step_by_xor(state, _):
    """Take one step of rule 90 without a table."""
    padded = jnp.pad(state, 1, mode="wrap")
    return padded[:-2] ^ padded[2:]


@partial(jax.jit, static_argnames="step")
def run(state, step):
    """Return the state after 1000 steps."""
    rule_table = stage5_scan.make_rule_table(90)
    return jax.lax.fori_loop(
        0, 1000, lambda _, state: step(state, rule_table), state
    )


# %%
state = stage5_scan.make_initial_state(2**12)
by_lookup = best_time(run, state, stage5_scan.step)
by_xor = best_time(run, state, step_by_xor)
show_table(
    ["step", "milliseconds"],
    [
        ["lookup", 1000 * by_lookup],
        ["xor", 1000 * by_xor],
    ],
)

# %% [markdown]
# A processor has instructions that xor many bytes at once, and XLA uses them.
# But XLA turns the lookup into a gather, which computes an address for every
# single cell. So the lookup takes most of the time. (If a time here or later
# contradicts the text below it, something else is keeping this machine busy:
# run the cell again.)
#
# ## 32 cells in a word
#
# A cell needs one bit, but we store it in eight. If 32 cells share a **word**
# of 32 bits, one operation on a word works on 32 cells. But which cells should
# share a word?
#
# Stage 8 cuts the ring into 32 stretches of equal length, the **lanes**. Each
# word has one bit from each lane: cell `lane * num_words + word` is bit `lane`
# of that word. So the neighbors of all cells of a word are in the *neighboring
# words*, at the same bits. Only at the ends of a lane must bits move, because
# the next cell is in the next lane.
#
# A word cannot always hold 32 cells, because the number of lanes must divide
# the width. Stage 8 uses `gcd(width, 32)` lanes. So a ring of 24 cells has 8
# lanes and 3 words.
#
# **Predict.** In which lane and which word is cell 10, and where are its two
# neighbors? Where are cell 12 and its neighbors?

# %%
num_lanes, num_words = 8, 3
cells = np.arange(num_lanes * num_words).reshape(num_lanes, num_words)
titles = ["word", *[f"lane {lane}" for lane in range(num_lanes)]]
rows = [[word, *cells[:, word].tolist()] for word in range(num_words)]
show_table(titles, rows)

# %% [markdown]
# Cell 10 is in lane 3, word 1. Its neighbors are in words 0 and 2 of the same
# lane. Cell 12 is the first of lane 4, so its left neighbor is in the last
# word of lane 3.
#
# The states are right for every width. Multiples of 32 are fast. An odd width
# has only one lane, so each word holds only one cell.
#
# ## Stage 8, function by function
#
# The initial state has one live bit:

# %%
show_diff(8, only="make_initial_state")

# %% [markdown]
# `pad` adds a word at each end. The word before the first one is a copy of the
# last one. But its cells are the left neighbors of cells in the next lane, so
# its bits move up by one lane, and the top lane becomes lane 0:

# %%
show_diff(8, only="pad")

# %% [markdown]
# The table lookup becomes bitwise logic. `choose` takes each bit from `live`
# where `bits` has a 1, and from `dead` where it has a 0:

# %%
show_diff(8, only="choose")

# %% [markdown]
# An entry of the table is now a word of only ones or only zeros. `step`
# chooses four times with the right neighbor, twice with the center, and once
# with the left neighbor. This reduces eight entries to one word:

# %%
show_diff(8, only="step")

# %% [markdown]
# `scan_words` is the scan of stage 5. The caller decides what it records:
# `simulate` records bytes, and `simulate_packed` records the words themselves.

# %%
show_diff(8, only="scan_words")

# %% [markdown]
# The states are those of stage 0, also for widths that 32 does not divide:

# %%
for rule, width in [(30, 97), (110, 1), (45, 33), (30, 128)]:
    got = stage8_bitpack.simulate(rule, width, 40)
    want = stage0_numpy.simulate(rule, width, 40)
    print(f"rule {rule}, {width} cells, equal:", np.array_equal(got, want))

# %% [markdown]
# ## How fast can it be?
#
# A program that returns all states as bytes must write these bytes. So we
# compare its time with the time that `np.full` takes to fill as many bytes on
# one core. Packed states have an eighth of the bytes, so they can be even
# faster.
#
# **Predict.** Order the five programs below, from the slowest to the fastest.
# How many times slower is the slowest than the fastest?

# %%
size = {"width": 8000, "num_steps": 400}
programs = {
    "stage 2, eager": stage2_at_set.simulate,
    "stage 0, NumPy": stage0_numpy.simulate,
    "stage 5, scan": stage5_scan.simulate,
    "stage 8, bytes": stage8_bitpack.simulate,
    "stage 8, packed": stage8_bitpack.simulate_packed,
}
rows = []
for name, simulate in programs.items():
    seconds = best_time(simulate, 110, **size, num_calls=3)
    rows.append([name, 1000 * seconds])
floor = best_time(np.full, (400, 8000), 1, dtype=np.uint8)
rows.append(["np.full", 1000 * floor])
show_table(["program", "milliseconds"], rows)

# %% [markdown]
# The better algorithm gains more than the compiler did. (The last three rows
# take so little time that their order may change on a busy machine.)
#
# You can combine the ideas of the stages: `vmap` maps stage 8 as it mapped
# stage 5, and no line of stage 8 changes.
#
# **Predict.** For all 256 rules and 96 rows of 64 cells, how much faster is
# the mapped stage 8 than stage 6?

# %%
simulate_each = jax.jit(
    jax.vmap(lambda rule: stage8_bitpack.simulate(rule, 64, 96))
)
want = stage6_vmap.simulate_rules(ALL_RULES, 64, 96)
print("equal:", np.array_equal(simulate_each(ALL_RULES), want))
by_lookup = best_time(stage6_vmap.simulate_rules, ALL_RULES, 64, 96)
by_words = best_time(simulate_each, ALL_RULES)
print(f"{by_lookup / by_words:.1f} times as fast as stage 6")

# %% [markdown]
# ## Devices
#
# Another way to be faster is to use more processors. JAX calls each of them a
# device, and a CPU can act as several devices. The set-up cell of this
# notebook asked for eight (`jax_num_cpu_devices`).

# %%
print(f"{len(jax.devices())} devices, on {os.cpu_count()} cores")

# %% [markdown]
# With simulated devices, you can write a program for eight devices and test
# that it is right. But it cannot be faster than the cores of this machine.
#
# **Which kind of sharding?** The rules of stage 6 do not depend on each other,
# so each device can compute some of them. You only have to say how the
# *argument* is divided. A mesh arranges the devices along named axes, and
# `jax.P("rules")` divides the first axis of an array over the devices along
# `rules`. No line of stage 6 changes:

# %%
with jax.set_mesh(jax.make_mesh((8,), ("rules",))):
    rules = jax.device_put(ALL_RULES, jax.P("rules"))
    states = stage6_vmap.simulate_rules(rules, 80, 80)

print("type of the states:", jax.typeof(states))
print("on each device:", states.addressable_shards[0].data.shape)

# %% [markdown]
# The type shows that the axis of 256 rules is divided over `rules`, so each
# device has 32 of them. This is **explicit sharding**: JAX tracks at every
# operation which axes are divided.
#
# A ring is different. Each cell needs its neighbors, and at the ends of a
# device's share, a neighbor is on another device. Explicit sharding refuses to
# guess what you want:

# %%
state = stage5_scan.make_initial_state(80)
rule_table = stage5_scan.make_rule_table(110)
with jax.set_mesh(jax.make_mesh((8,), ("ring",))), show_error():
    stage5_scan.step(jax.device_put(state, jax.P("ring")), rule_table)

# %% [markdown]
# On an **automatic** mesh, the compiler decides what the devices send. The
# result is right, but there may be more messages than necessary.
#
# **Predict.** What is the smallest number of messages that each device must
# send in one step, if it needs one cell from its left neighbor and one from
# its right neighbor?

# %%
mesh = jax.make_mesh((8,), ("ring",), axis_types=(AxisType.Auto,))
divided = jax.device_put(state, jax.NamedSharding(mesh, jax.P("ring")))
compiled = jax.jit(stage5_scan.step).lower(divided, rule_table).compile()
messages = compiled.as_text().count(" collective-permute(")
print(f"{messages} messages in one step, where 2 are enough")

# %% [markdown]
# With **`jax.shard_map`**, you write the program of one device, and send the
# messages yourself. For a ring, choose `shard_map`:
#
# | sharding | you write | good for |
# |---|---|---|
# | automatic | how arguments are divided | a first try; JAX adds messages |
# | explicit | how arguments are divided | work without neighbors |
# | `shard_map` | what each device does and sends | neighbors, halos |
#
# ## Stage 9: one message a step
#
# Each device has a share of the words. `pad` gets the words beyond the ends of
# the share from the neighboring devices: one `jax.lax.ppermute` sends from
# device i to device i + 1, for all i at once, and another one sends in the
# other direction.

# %%
show_diff(9, only="pad")

# %% [markdown]
# `simulate` runs `simulate_share` on every device. `in_specs` says how the
# arguments are divided: the words are divided over the ring, and each device
# gets the whole table. `out_specs` says that the second axis of the result,
# the cells, is divided.

# %%
show_diff(9, only="simulate")

# %% [markdown]
# `make_initial_state` puts the shares one after another. `step` has not
# changed. The states are the same for any number of devices:

# %%
want = stage0_numpy.simulate(110, width=1000, num_steps=60)
for num_devices in (1, 2, 5, 8):
    got = stage9_shard.simulate(110, 1000, 60, num_devices)
    print(f"devices: {num_devices}, equal:", np.array_equal(got, want))

# %% [markdown]
# You can count the messages of a program without running it: a `ppermute` in
# the body of a loop runs once in every iteration.
#
# **Predict.** How many messages does each device send for 256 rows? Stage 8
# sends no messages. How many times longer does stage 9 take on two devices?


# %%
def count_messages(jaxpr, times=1):
    """Count how often a program runs ppermute."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "ppermute":
            total += times
        inside = times * equation.params.get("length", 1)
        for inner in jaxprs_in_params(equation.params):
            total += count_messages(inner, inside)
    return total


# %%
size = 8000, 256
traced = stage9_shard.simulate.trace(110, *size, num_devices=2)
alone = best_time(stage8_bitpack.simulate, 110, *size)
by_two = best_time(stage9_shard.simulate, 110, *size, 2, num_calls=3)
print("messages of stage 9:", count_messages(traced.jaxpr))
print(f"two devices take {by_two / alone:.0f} times as long as one")

# %% [markdown]
# Two devices are much *slower* than one. A step takes a few microseconds. Then
# the devices send each other a word, and waiting for this word takes far
# longer than the step.
#
# ## Stage 10: a halo
#
# A message of many words takes barely longer than a message of one word. So
# each device asks for more words at a time. Copies of `k` words from each
# neighbor are the **halo**, and one halo is enough for several steps. In each
# step, one more word at each end becomes wrong, because its neighbor is
# missing or already wrong.
#
# **Predict.** A share of 24 cells has a halo of 8 cells on each side. After
# how many steps does a cell of the share itself become wrong for the first
# time?

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

alt = "a triangle grows from each end; row 9 is the first to reach the share"
titles = "black: wrong; 8 cells of halo, 24 of the share, 8 of halo"
show_states({titles: wrong}, alt)

# %% [markdown]
# After 8 steps the share is still right, and after 9 steps it is not. So a
# halo of `k` words is enough for `k` steps. Then the devices drop their halos
# and exchange new ones. There are fewer messages, but the words of the halo
# are computed on two devices instead of one.
#
# Two functions change. `pad` sends `halo` words instead of one:

# %%
show_diff(10, only="pad")

# %% [markdown]
# In `scan_words`, one loop becomes two: each iteration of the outer loop
# exchanges halos, and the inner loop then takes `halo` steps:

# %%
show_diff(10, only="scan_words")

# %% [markdown]
# **Predict.** With 8000 cells on two devices, a share has 125 words. How many
# messages does each device send for 250 rows in stage 10? How much faster is
# stage 10 than stage 9?

# %%
size = 8000, 250
traced = stage10_halo.simulate.trace(110, *size, num_devices=2)
by_message = best_time(stage9_shard.simulate, 110, *size, 2, num_calls=3)
by_halo = best_time(stage10_halo.simulate, 110, *size, 2)
print("messages of stage 10:", count_messages(traced.jaxpr))
print(f"{by_message / by_halo:.0f} times as fast as stage 9")

# %% [markdown]
# **Predict.** The next cell shows the compiled programs of stages 9 and 10.
# Both send messages with `collective-permute`. In which loop does each of them
# do so? How large is each device's part of the result?

# %%
inspect("9", "10", call="simulate(110, 1024, 64)")

# %% [markdown]
# ## On paper
#
# Let `w` be the number of cells in a share, and `k` the number of words in a
# halo. Then each device
#
# - sends 2 messages of `k` words in `k` steps;
# - waits for its neighbors `num_steps / k` times;
# - computes `w / 32 + 2 k` words in each step. `2 k` of these are the halos,
#   which are dropped after `k` steps.
#
# If an exchange takes `L` seconds and a device computes `G` words a second,
# then a step takes this many seconds:
#
#     (w / 32 + 2 k) / G + L / k
#
# A larger `k` makes the waiting shorter, but adds words to compute. The sum is
# smallest for `k = sqrt(L G / 2)`. Stage 10 takes the largest `k` up to 256
# that divides the number of rows and fits in a share.
#
# The sum does not contain the number of devices. So if the ring grows with the
# number of devices, a step takes as long on many devices as on two: this is
# **weak scaling**. For a ring of fixed size, each new device makes `w`
# smaller, and a step faster: this is **strong scaling**. It ends when the
# other terms of the sum are larger than `w / (32 G)`.
#
# ## When does a second device pay off?
#
# Writing all states takes a lot of time. Often the last row is enough, and it
# can stay divided over the devices that computed it. `scan_words` returns the
# last words. In the next cell, it records nothing.


# %%
@jax.jit(static_argnames=("width", "num_steps", "num_devices"))
def last_row(width, num_steps, num_devices):
    """Return the last words of rule 110, divided over the devices."""
    words = stage10_halo.make_initial_state(width, num_devices, num_lanes=32)
    rule_table = stage10_halo.make_rule_table(110)
    rule_table = jnp.where(rule_table, jnp.uint32(2**32 - 1), 0)
    auto = (AxisType.Auto,)
    mesh = jax.make_mesh((num_devices,), ("ring",), axis_types=auto)

    def scan_share(words, rule_table):
        return stage10_halo.scan_words(
            words, rule_table, 32, num_steps, record=lambda *_: None
        )[0]

    ring, whole = jax.P("ring"), jax.P()
    run = jax.shard_map(
        scan_share, mesh=mesh, in_specs=(ring, whole), out_specs=ring
    )
    return run(words, rule_table)


# %% [markdown]
# **Predict.** Suppose that this machine has two cores. How much faster are two
# devices than one, for a ring of 16 thousand cells, and for one of four
# million?

# %%
rows = []
for width in (2**14, 2**18, 2**22):
    one, two = (
        best_time(last_row, width, 512, num_devices) for num_devices in (1, 2)
    )
    rows.append([width, 1000 * one, 1000 * two])

show_table(["cells", "1 device, ms", "2 devices, ms"], rows)

# %% [markdown]
# For a small ring, the work takes less time than a message, so a second device
# only adds waiting. A large ring has enough work between two messages. `make
# bench ARGS="--only scale"` measures more widths. (The second device needs a
# second core that has nothing else to do: on a busy machine, it never pays
# off.)
#
# ## From here to a cluster
#
# **One GPU, or several.** Nothing in the stages changes. Install JAX for your
# GPU: `jax.devices()` then lists it, and JAX compiles the same programs for
# it. (Only this notebook asks for the CPU, to simulate eight devices.) You
# should know two things. JAX reserves most of the GPU's memory at the start,
# and `XLA_CLIENT_MEM_FRACTION` sets the fraction. And small rings do not have
# enough work for a GPU: sending the work takes most of the time, as in the
# first notebook.
#
# **A TPU pod, or many hosts.** Each host runs the same script in a process of
# its own. First, each process calls `jax.distributed.initialize()`. On a TPU
# pod and under SLURM, this call needs no arguments. Elsewhere, it needs the
# address of process 0, how many processes there are, and the index of this
# process. Then every process sees the devices of all processes, the mesh
# contains them, and `ppermute` sends over the network where necessary. When
# you start a stage, `workshop.harness` makes this call. So under SLURM, on
# four hosts, this command is enough:
#
#     srun --nodes=4 --ntasks-per-node=1 python stages/stage10_halo.py
#
# Here are two processes of two devices each, on this machine:

# %%
command = [sys.executable, workshop / "stages" / "workshop", "cluster"]
done = subprocess.run(command, capture_output=True, text=True)
print(done.stdout or done.stderr)

# %% [markdown]
# ## Exercises
#
# Put your answer in place of the three dots, run the cell, and read what the
# check prints. Each exercise has a hint and a solution, both folded. Open them
# once you have tried.
#
# ### Exercise 1: where is it?
#
# Write `find_cell(cell, num_words)`: it returns the lane and the word of a
# cell, as a pair of integers `(lane, word)`.
#
# <details><summary>Hint</summary>
#
# A lane is a stretch of `num_words` cells. How many whole lanes are before the
# cell? How many cells of its own lane are before it?
#
# </details>


# %% tags=["exercise"]
def find_cell(cell, num_words):
    """Return the lane and the word of a cell."""
    return ...


answers.check_find_cell(find_cell)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
def solution_1(cell, num_words):
    """Divide by the length of a lane; the remainder is the word."""
    return divmod(cell, num_words)


answers.check_find_cell(solution_1)


# %% [markdown]
# ### Exercise 2: rule 110 in a few operations
#
# Write rule 110 for words: `left`, `center` and `right` are arrays of
# `uint32`, and each bit is a cell. Use only `&`, `|`, `^` and `~`. Four
# operations are enough, but any number will do.
#
# <details><summary>Hint</summary>
#
# Under rule 110, a cell becomes live if the cell itself or its right neighbor
# is live. There is one exception: it becomes dead if all three are live. Find
# the cells of the exception, and use `^` to turn their 1 into 0.
#
# </details>


# %% tags=["exercise"]
def rule_110(left, center, right):
    """Return the next words, 32 cells at once."""
    return ...


answers.check_rule_110(rule_110)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
def solution_2(left, center, right):
    """Return 1 where center or right is live, but not all three."""
    return (center | right) ^ (left & center & right)


answers.check_rule_110(solution_2)


# %% [markdown]
# ### Exercise 3: how many exchanges?
#
# The devices have row 0 and compute row `num_steps - 1`. One halo is enough
# for `halo` steps. Write `count_exchanges(num_steps, halo)`: it returns how
# often the devices exchange halos.
#
# <details><summary>Hint</summary>
#
# From row 0 to row `num_steps - 1` there are `num_steps - 1` steps. After the
# last exchange, there may be fewer steps than after the others.
#
# </details>


# %% tags=["exercise"]
def count_exchanges(num_steps, halo):
    """Return how often the devices exchange halos."""
    return ...


answers.check_exchanges(count_exchanges)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
def solution_3(num_steps, halo):
    """Divide num_steps - 1 steps by halo, and round up."""
    return -(-(num_steps - 1) // halo)


answers.check_exchanges(solution_3)


# %% [markdown]
# ### Exercise 4: move right, over eight devices
#
# `move_right` runs on each of eight devices, and gets its share of a ring.
# Move every cell of the whole ring to the right by one. Send the last cell of
# each share to the next device, with `jax.lax.ppermute`.
#
# <details><summary>Hint</summary>
#
# `jax.lax.ppermute(x, "ring", pairs)` sends `x` along each pair (from, to).
# The last device sends to the first. The new share is the cell that arrives,
# followed by the old share without its last cell.
#
# </details>

# %% tags=["exercise"]
mesh = jax.make_mesh((8,), ("ring",), axis_types=(AxisType.Auto,))


@jax.jit
@jax.shard_map(mesh=mesh, in_specs=jax.P("ring"), out_specs=jax.P("ring"))
def move_right(share):
    """Return the share after all cells of the ring have moved right."""
    return ...


answers.check_move_right_sharded(move_right)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
@jax.jit
@jax.shard_map(mesh=mesh, in_specs=jax.P("ring"), out_specs=jax.P("ring"))
def solution_4(share):
    """Return the cell from the left, then all but the last cell."""
    to_the_right = [(i, (i + 1) % 8) for i in range(8)]
    from_left = jax.lax.ppermute(share[-1:], "ring", to_the_right)
    return jnp.concatenate([from_left, share[:-1]])


answers.check_move_right_sharded(solution_4)


# %% [markdown]
# ## Summary
#
# 1. To find what is slow, leave something out and time the rest. Here the
#    lookup took most of the time.
# 2. A better algorithm can gain more than a compiler: here 32 cells in a word,
#    and bitwise logic instead of a lookup.
# 3. Independent work needs no new program: divide the argument over a mesh. If
#    cells need neighbors, use `shard_map`: each device runs the same function
#    on its share, and `ppermute` sends messages.
# 4. A message takes time mostly because devices wait for it. A halo of `k`
#    words is enough for `k` steps, so only one step in `k` needs messages.
# 5. Simulated devices show that a program is right. The same program is fast
#    on real devices.
#
# More: [jax.shard_map], [jax.lax.ppermute], [JAX on many hosts], [JAX for GPU
# and TPU]. Next: [5 · Transfer](5_transfer.ipynb).
#
# [jax.shard_map]: https://docs.jax.dev/en/latest/_autosummary/jax.shard_map.html
# [jax.lax.ppermute]: https://docs.jax.dev/en/latest/_autosummary/jax.lax.ppermute.html
# [JAX on many hosts]: https://docs.jax.dev/en/latest/501/multiprocess.html
# [JAX for GPU and TPU]: https://docs.jax.dev/en/latest/installation.html
