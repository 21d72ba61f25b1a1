# %% [markdown]
# # 1 · Port: from NumPy to JAX
#
# **What you will do.** Take a small program in NumPy, put `jnp` where `np`
# was, see it fail, and mend it. These are stages 0, 1 and 2 of the workshop.
#
# **What you will learn.** What the program computes; why JAX arrays cannot be
# changed, and what to write instead; what JAX does with an index that is out
# of range, and with 64 bits; why the same program is slower in JAX, so far.
#
# **What you need.** To read Python and NumPy. Nothing about JAX.
#
# **Minutes.** 45, half of them for the exercises at the end.
#
# Run a cell with Shift+Enter. Where a text says **Predict**, stop: say aloud
# or write down what the next cell will show, and only then run it. A wrong
# prediction is where you learn.

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
import math
import operator

import jax
import jax.numpy as jnp
import numpy as np

import answers
import stage0_numpy
import stage1_jnp
import stage2_at_set
from figures import (
    expect_failure,
    explore,
    median_time,
    show_curves,
    show_diff,
    show_states,
    show_table,
)
from workshop.stages import failure

# %% [markdown]
# ## A rule is a number
#
# Cells stand in a row, and each is 0 (dead) or 1 (live). At every step each
# cell looks at three cells: its left neighbor, itself, and its right neighbor.
# This is its **neighborhood**. There are eight different ones, and a **rule**
# says for each of them what the cell becomes. Eight answers of one bit each
# make one number from 0 to 255: that is the name of the rule.

# %%
rule_table = stage0_numpy.make_rule_table(110)
rows = []
for left, center, right in np.ndindex(2, 2, 2):
    entry = 4 * left + 2 * center + right
    becomes = int(rule_table[left, center, right])
    assert becomes == 110 >> entry & 1
    rows.append([left, center, right, becomes, becomes * 2**entry])

assert sum(row[-1] for row in rows) == 110
show_table(["left", "center", "right", "becomes", "adds to the rule"], rows)

# %% [markdown]
# The last column adds up to 110. The table is an array of shape (2, 2, 2), and
# looking a neighborhood up is indexing it: `rule_table[left, center, right]`.
#
# The row of cells is a **ring**: beyond its last cell comes its first again.
# We begin with one live cell in the middle, and write each new state below the
# one before.
#
# **Predict.** Rule 254 is `0b11111110`. Only the neighborhood 0 0 0 becomes 0.
# What will the picture of 31 rows look like?

# %%
states = stage0_numpy.simulate(254, width=61, num_steps=31)
assert states.sum() == 31**2  # rows of 1, 3, 5, ... live cells
show_states({"rule 254": states})

# %% [markdown]
# The whole program is a table, an initial state, a step, and a loop. Open
# `stages/stage0_numpy.py` beside this notebook and find the four.
#
# Simple rules draw pictures that are not simple at all. Rule 90 draws Pascal's
# triangle, odd numbers black. Rule 30 looks random. Rule 110 can compute
# whatever a computer can.

# %%
pictures = {
    f"rule {rule}": stage0_numpy.simulate(rule, width=129, num_steps=64)
    for rule in (90, 30, 110)
}
pascal = [[math.comb(row, k) % 2 for k in range(row + 1)] for row in range(64)]
for row, odd in enumerate(pascal):
    middle = slice(64 - row, 65 + row, 2)
    assert pictures["rule 90"][row, middle].tolist() == odd
show_states(pictures)

# %% [markdown]
# ## Explore
#
# Move the sliders. Find a rule that draws one straight line, one that draws
# nested triangles, one that fills the ring with noise. Make the ring narrow
# and let the picture meet itself around the back.
#
# (On a page without a kernel there is only the picture.)

# %%
explore(stage0_numpy.simulate)

# %% [markdown]
# ## `np` becomes `jnp`
#
# `jax.numpy` has the functions of NumPy under the same names. Stage 1 changes
# the imports, writes `jnp` for `np`, lets `rule` be a JAX integer, and names
# the error that it ends in:

# %%
show_diff(1)

# %% [markdown]
# **Predict.** One line of the program does something to an array that JAX
# does not allow. It stands in the diff, but not as a changed line. Which one?

# %%
with expect_failure(*failure(stage1_jnp.__doc__)):
    stage1_jnp.simulate(110, width=80, num_steps=80)

# %% [markdown]
# The line was `state[width // 2] = 1`: it changes an array in place. **JAX
# arrays are immutable**: once made, they never change. What JAX will do with
# your program later, compiling it and transforming it, needs functions that
# take values and return values, and change nothing else.
#
# All the rest works already:

# %%
for rule in range(256):
    np.testing.assert_array_equal(
        stage1_jnp.make_rule_table(rule), stage0_numpy.make_rule_table(rule)
    )

state = stage0_numpy.make_initial_state(80)
next_state = stage1_jnp.step(jnp.array(state), jnp.array(rule_table))
np.testing.assert_array_equal(next_state, stage0_numpy.step(state, rule_table))
print(type(next_state))

# %% [markdown]
# ## A changed copy: `.at[].set()`
#
# The error itself names the remedy. `x.at[i].set(v)` is a new array, equal to
# `x` but for place `i`.
#
# **Predict.** What do the two prints show?

# %%
state = jnp.zeros(5, dtype=jnp.uint8)
state.at[2].set(1)
print(state)
changed = state.at[2].set(1)
print(changed)
assert state.sum() == 0
assert changed.sum() == 1

# %% [markdown]
# On its own, the second line does nothing: it makes a new array, and drops it.
# This is a common mistake, and nothing warns of it. Use the result.
#
# There is also `.at[i].add(v)`, `.multiply`, `.min`, `.max`. Here each of them
# copies the whole array, to change one place. In a compiled program none needs
# to: where the old array is not used again, the compiler changes that one
# place. The next notebook measures both. With `.at`, stage 2:

# %%
show_diff(2)

# %%
np.testing.assert_array_equal(
    stage2_at_set.simulate(110, width=80, num_steps=80),
    stage0_numpy.simulate(110, width=80, num_steps=80),
)
print("stage 2 computes the states of stage 0")

# %% [markdown]
# ## Out of range: no error
#
# **Predict.** An array has five places. You read place 10, and you write to
# place 10. What happens in NumPy, and what in JAX?

# %%
with expect_failure(IndexError, "out of bounds"):
    np.arange(5)[10]

numbers = jnp.arange(5)
print("read: ", numbers[10])
print("write:", numbers.at[10].set(99))
assert numbers[10] == numbers[4]
np.testing.assert_array_equal(numbers.at[10].set(99), numbers)

# %% [markdown]
# NumPy raises an error. JAX reads the nearest place that exists, and drops
# what is written elsewhere, both without a word: a compiled program on an
# accelerator has no good way to stop in the middle. So an index that is wrong
# by one gives numbers that are wrong, and no error. If you want to decide
# yourself what is beyond the end, say so:

# %%
beyond = numbers.at[10].get(mode="fill", fill_value=-1)
print(beyond)
assert beyond == -1

# %% [markdown]
# ## 32 bits, unless told otherwise
#
# Our cells have 8 bits, in NumPy and in JAX. Your own program may count on 64:
# NumPy makes `float64` and `int64` where nothing else is asked for.
#
# **Predict.** Here is an array of each. What are their dtypes in JAX, and what
# becomes of the value, one tenth, and of two to the power of 40?

# %%
for values in (np.array([0.1]), np.array([2**40])):
    converted = jnp.asarray(values)
    print(values.dtype, "->", converted.dtype)
    print(values.item(), "->", converted.item())
    assert converted.dtype.itemsize == 4
    assert converted.item() != values.item()

# %% [markdown]
# JAX computes in 32 bits, since accelerators are much faster so. What comes in
# wider is narrowed without a word: a fraction keeps about 7 digits of 16, and
# of a whole number only the lowest 32 bits are left. A program under jit does
# the same to its arguments. Two remedies: compare with NumPy, with a tolerance
# that 7 digits can meet; or ask for 64 bits, by `JAX_ENABLE_X64=1` before you
# start Python, or by `jax.config.update("jax_enable_x64", True)` before
# anything else. Here it is asked for one block alone:

# %%
with jax.enable_x64(True):
    converted = jnp.asarray(np.array([2**40]))
    print(converted.dtype, converted.item())
    assert converted.item() == 2**40

# %% [markdown]
# ## Right, and slower
#
# **Predict.** Which is faster for 80 cells and 80 rows: stage 0, in NumPy, or
# stage 2, in JAX? By a little, or by far? We call both once before we look at
# the clock, so that nothing is counted that happens only once.

# %%
seconds = {
    stage.__name__: median_time(stage.simulate, 110, 80, 80)
    for stage in (stage0_numpy, stage2_at_set)
}
ratio = seconds["stage2_at_set"] / seconds["stage0_numpy"]
for name, value in seconds.items():
    print(f"{name:15} {1000 * value:8.2f} ms")
print(f"stage 2 takes {ratio:.0f} times as long")
assert ratio > 2

# %% [markdown]
# Why? Let us ask JAX for the list of operations that stage 2 sends out:

# %%
program = jax.make_jaxpr(lambda: stage2_at_set.simulate(110, 80, 80))()
num_operations = len(program.eqns)
print(f"{num_operations} operations for {80 * 80} cells")
assert num_operations > 5 * 80

# %% [markdown]
# Each of them is sent to the device on its own, a few cells of work at a time.
# What costs is not the work but the sending. To see this, let us time a single
# operation, `x ^ x`, for longer and longer arrays.
#
# **Predict.** From 10 cells to 100,000 the work grows ten thousand times. How
# much longer will one operation take?

# %%
sizes = [10**k for k in range(1, 8)]
curves = {}
for name, module in {"NumPy": np, "JAX": jnp}.items():
    arrays = [module.ones(size, dtype=module.uint8) for size in sizes]
    times = [1e6 * median_time(operator.xor, x, x) for x in arrays]
    curves[name] = sizes, times
    print(f"{name}: {times[4] / times[0]:.0f} times as long")
    assert times[4] / times[0] < 1000

show_curves(curves, "cells", "microseconds for x ^ x", scale="log")

# %% [markdown]
# If the work were what costs, a curve would rise tenfold from each mark to the
# next. It does at the right, if your machine lets it. At the left it hardly
# rises: there the time is that of sending one operation, and JAX, which can
# send to any device, needs longer for it than NumPy. (A step on the way is a
# change of method: JAX hands larger work to other threads.) Our ring of 80
# cells is far out on the left. The remedy is not a larger ring but fewer
# operations: hand JAX the whole program at once, so that it can compile it
# into one. That is the next notebook.
#
# ## Exercises
#
# Put your answer in place of the three dots, run the cell, and read what the
# check says. A solution is folded below each: open it when you have tried. To
# see it pass, give `solution_1` to the check in place of your answer.
#
# ### Exercise 1: move right
#
# Which rule moves every cell one place to the right at each step? Every cell
# must take the value of its **left** neighbor, whatever the other two are. Use
# the table on top, or the explorer.

# %% tags=["exercise"]
move_right = ...

answers.check_move_right(move_right)

# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
# The neighborhoods with left = 1 are entries 4, 5, 6 and 7.
solution_1 = 2**4 + 2**5 + 2**6 + 2**7

# %% [markdown]
# ### Exercise 2: from the table to the number
#
# `make_rule_table` goes from a number to a table. Write the way back: an array
# of shape (2, 2, 2), of zeros and ones, to its rule.


# %% tags=["exercise"]
def make_rule(rule_table):
    """The rule whose table this is."""
    return ...


answers.check_rule_number(make_rule)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
def solution_2(rule_table):
    """Entry i of the flattened table is bit i of the rule."""
    return sum(int(bit) << i for i, bit in enumerate(rule_table.ravel()))


# %% [markdown]
# ### Exercise 3: two live cells
#
# Write `make_two_cells(width)`: a JAX array of `uint8`, all 0 but for a 1 in
# the first place and a 1 in the last.


# %% tags=["exercise"]
def make_two_cells(width):
    """A state with the first and the last cell live."""
    return ...


answers.check_two_cells(make_two_cells)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
def solution_3(width):
    """Each .set returns a new array, on which the next one works."""
    state = jnp.zeros(width, dtype=jnp.uint8)
    return state.at[0].set(1).at[-1].set(1)


# %% [markdown]
# ### Exercise 4: in the mirror
#
# Every rule has a mirrored one, which draws the same picture with left and
# right swapped. Write a function that takes a rule table to the mirrored one.
# No loop is needed.


# %% tags=["exercise"]
def mirror(rule_table):
    """The table of the rule that draws the mirrored picture."""
    return ...


answers.check_mirror(mirror)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
def solution_4(rule_table):
    """Axis 0 is left, axis 2 is right: swap them."""
    return rule_table.transpose(2, 1, 0)


# %% [markdown]
# ### Exercise 5: beyond the end
#
# Write `read(array, i)` for JAX arrays and `i >= 0`: the value at place `i`,
# or 0 if there is no such place.


# %% tags=["exercise"]
def read(array, i):
    """The value at place i, 0 beyond the end."""
    return ...


answers.check_read(read)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
def solution_5(array, i):
    """Out of range is filled, not clamped."""
    return array.at[i].get(mode="fill", fill_value=0)


# %% [markdown]
# ## Summary
#
# 1. A rule is a table of eight bits; the next state is every neighborhood
#    looked up in it.
# 2. `jax.numpy` has NumPy's functions under their names: most lines of a port
#    change by one letter.
# 3. JAX arrays never change: `x.at[i].set(v)` is a new array, and is lost if
#    you do not use it.
# 4. Silent: an index out of range (a read takes the nearest place, a write is
#    dropped), and 64 bits that become 32.
# 5. Sending operations out one by one costs more than their work: next, we
#    compile them into one.
#
# More: [jax.numpy], [.at]. Next: [2 · Compile](2_compile.ipynb).
#
# [jax.numpy]: https://docs.jax.dev/en/latest/jax.numpy.html
# [.at]: https://docs.jax.dev/en/latest/_autosummary/jax.numpy.ndarray.at.html
#
# ## Glossary, for all notebooks
#
# | term | meaning |
# |---|---|
# | carry | what a scan hands from one iteration to the next: the state |
# | cell | one place of the ring, 0 (dead) or 1 (live) |
# | concrete | a value that is there: no tracer |
# | device | what JAX computes on: CPU, GPU or TPU; a CPU can act as many |
# | dispatch | sending an operation or a compiled program to a device |
# | eager | without jit: an operation is sent when Python comes to it |
# | halo | copies of the neighboring devices' cells, beside a share |
# | jaxpr | JAX's own listing of a traced program, one operation a line |
# | key | what JAX draws random numbers from: same key, same numbers |
# | lane | the same bit of every word: a stretch of the ring |
# | lower | to turn a traced program into one that the compiler reads |
# | mesh | the devices, arranged along named axes |
# | neighborhood | the three cells `left`, `center`, `right` |
# | packed | a state as words, up to 32 cells in each |
# | periodic boundary | beyond the last cell comes the first: a ring |
# | pytree | nested tuples, lists and dicts of arrays |
# | rule | Wolfram's number of a rule table, 0 to 255 |
# | rule table | what each neighborhood becomes, `[left, center, right]` |
# | share | the cells, or words, that one device keeps |
# | space-time diagram | the picture of all states, time running downwards |
# | state | all cells at one time; `states` are all of them, one a row |
# | static argument | is part of the program for jit, not data |
# | trace | to run a Python function on tracers, and record what it does |
# | tracer | stands for an array: it has a shape and a dtype, no value |
# | word | one integer of 32 bits, as a container of cells |
# | XLA | the compiler behind JAX |
