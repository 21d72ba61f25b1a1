# %% [markdown]
# # 1 · Port: from NumPy to JAX
#
# You take a small NumPy program, write `jnp` where `np` was, see it fail, and
# fix it. These are stages 0, 1 and 2 of the workshop. You will learn how to
# work with arrays that never change, which mistakes JAX does not report, and
# why the program gets slower at first.
#
# You need to be able to read Python and NumPy. Allow 45 minutes, half of them
# for the exercises at the end.
#
# Run a cell with Shift+Enter. Where the text says **Predict**, stop and write
# down what you expect the next cell to show. Then run it. You learn most from
# wrong predictions.

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
    best_time,
    explore,
    show_curves,
    show_diff,
    show_error,
    show_states,
    show_table,
)

ALTS = {  # what the pictures show, for those who cannot see them
    254: "a full triangle, which grows by one cell on each side in every row",
    90: "triangles within triangles, each half as large as the one around it",
    30: "stripes at the left edge, and noise without a pattern elsewhere",
    110: "triangles of many sizes; the pattern grows to the left only",
    "x ^ x": "both curves are flat at the left and rise at the right; the"
    " curve of JAX is higher",
}

# %% [markdown]
# ## A rule is a number
#
# The cells form a row, and each cell is 0 (dead) or 1 (live). At every step,
# each cell looks at three cells: its left neighbor, itself, and its right
# neighbor. These three are its **neighborhood**. There are eight possible
# neighborhoods. A **rule** says what the cell becomes for each of them. These
# eight answers, of one bit each, form a number from 0 to 255. This number is
# the rule's name.

# %%
rule_table = stage0_numpy.make_rule_table(110)
rows = []
for left, center, right in np.ndindex(2, 2, 2):
    entry = 4 * left + 2 * center + right
    becomes = rule_table[left, center, right]
    rows.append([left, center, right, becomes, int(becomes) * 2**entry])

show_table(["left", "center", "right", "becomes", "adds to the rule"], rows)
print("sum of the last column:", sum(row[-1] for row in rows))

# %% [markdown]
# The table is an array of shape (2, 2, 2). To look up a neighborhood, the
# program indexes the table: `rule_table[left, center, right]`.
#
# The row of cells is a **ring**: the first cell comes after the last. We begin
# with one live cell in the middle, and write each new state below the previous
# one.
#
# **Predict.** Rule 254 is `0b11111110`. Only the neighborhood 0 0 0 becomes 0.
# What will the picture of 31 rows look like?

# %%
states = stage0_numpy.simulate(254, width=61, num_steps=31)
show_states({"rule 254": states}, ALTS[254])
print(states.sum(), "live cells")

# %% [markdown]
# The rows have 1, 3, 5, … live cells, which makes 31² in all.
#
# The whole program is a table, an initial state, a step, and a loop. Open
# [stages/stage0_numpy.py](../stages/stage0_numpy.py) and find these four
# parts. The type annotations say what each array holds:
#
# - `UInt8[Array, "2 2 2"]` is an array of 8-bit unsigned integers of shape (2,
#   2, 2). In `"{num_steps} {width}"`, the two lengths are the values of the
#   arguments `num_steps` and `width`.
# - `" width"` without braces stands for any length, but for the same length
#   everywhere in that function.
# - The space in `" width"` keeps Python tools from reading a single name as
#   code.
#
# Simple rules can draw complicated pictures. Rule 90 draws Pascal's triangle:
# its odd numbers are the live cells. Rule 30 looks random. Rule 110 can
# compute anything that a computer can.

# %%
pictures = {
    f"rule {rule}": stage0_numpy.simulate(rule, width=113, num_steps=56)
    for rule in (90, 30, 110)
}
show_states(pictures, ALTS[90], ALTS[30], ALTS[110])
print("rule 90, row 5: ", pictures["rule 90"][5, 51:62:2].tolist())
print("Pascal modulo 2:", [math.comb(5, k) % 2 for k in range(6)])

# %% [markdown]
# ## Explore
#
# Move the sliders. Find a rule that draws one straight line, one that draws
# nested triangles, and one that fills the ring with noise. Make the ring
# narrow, and watch the two ends of the pattern meet on the far side of the
# ring.
#
# (If you read this as a web page, you see only one picture, because no kernel
# is running.)

# %%
explore(stage0_numpy.simulate)

# %% [markdown]
# ## `np` becomes `jnp`
#
# `jax.numpy` has the functions of NumPy under the same names. Stage 1 changes
# the imports and writes `jnp` for `np`. The rule may now be a Python number or
# an array: `ArrayLike` is JAX's type for either.

# %%
show_diff(1)

# %% [markdown]
# **Predict.** One line of the program does something to an array that JAX does
# not allow. The diff shows this line, but stage 1 has not changed it. Which
# line is it?

# %%
with show_error():
    stage1_jnp.simulate(110, width=80, num_steps=80)

# %% [markdown]
# The line was `state[width // 2] = 1`: it changes an array in place. **JAX
# arrays are immutable**: they never change. Later, JAX will compile and
# transform your program. For this, it needs functions that only take values
# and return new values, and that change nothing.
#
# Everything else already works. Here is one step, in NumPy and in JAX:

# %%
state = stage0_numpy.make_initial_state(80)
want = stage0_numpy.step(state, rule_table)
got = stage1_jnp.step(jnp.asarray(state), jnp.asarray(rule_table))
print(type(want), type(got), sep="\n")
print("equal:", np.array_equal(got, want))

# %% [markdown]
# ## A changed copy: `.at[].set()`
#
# The error message names the remedy: `x.at[i].set(v)` returns a new array,
# which is equal to `x` except for element `i`.
#
# **Predict.** What do the two prints show?

# %%
state = jnp.zeros(5, dtype=jnp.uint8)
state.at[2].set(1)
print(state)
changed = state.at[2].set(1)
print(changed)

# %% [markdown]
# The second line makes a new array, but nothing keeps it. This is a common
# mistake, and nothing warns you of it. So always use the result.
#
# `.at[i].add(v)`, `.multiply`, `.min` and `.max` work in the same way. Here,
# each of them copies the whole array to change one element. A compiled program
# need not copy: if the old array is not used again, it changes the element in
# place. The next notebook measures the difference. Stage 2 uses `.at`:

# %%
show_diff(2)

# %%
got = stage2_at_set.simulate(110, width=80, num_steps=80)
want = stage0_numpy.simulate(110, width=80, num_steps=80)
print("equal:", np.array_equal(got, want))

# %% [markdown]
# ## Out of range: no error
#
# **Predict.** An array has five elements. You read index 10, and you write to
# index 10. What happens in NumPy, and what happens in JAX?

# %%
numbers, jax_numbers = np.arange(5), jnp.arange(5)
with show_error():
    print("NumPy reads", numbers[10])
with show_error():
    numbers[10] = 99
    print("NumPy writes", numbers)
with show_error():
    print("JAX reads", jax_numbers[10])
with show_error():
    print("JAX writes", jax_numbers.at[10].set(99))

# %% [markdown]
# NumPy raises an error. JAX says nothing: a read takes the last element
# instead, and a write is dropped. The reason is that a compiled program on an
# accelerator has no good way to stop in the middle. So if an index is wrong by
# one, you get wrong numbers and no error. But you can choose which value a
# read beyond the end returns:

# %%
print(jax_numbers.at[10].get(mode="fill", fill_value=-1))

# %% [markdown]
# ## 32 bits by default
#
# Our cells have 8 bits, in NumPy and in JAX. Your own program may rely on 64
# bits, because NumPy makes `float64` and `int64` unless you ask for another
# dtype.
#
# **Predict.** Below are two arrays, one of each dtype. Which dtypes will they
# have in JAX? What will happen to the values 0.1 and 2 to the power of 40?

# %%
for values in (np.array([0.1]), np.array([2**40])):
    converted = jnp.asarray(values)
    print(values.dtype, "->", converted.dtype)
    print(values.item(), "->", converted.item())

# %% [markdown]
# JAX computes in 32 bits, because accelerators are much faster that way. It
# narrows wider values without a message: a fraction keeps about 7 of its 16
# digits, and a whole number keeps only its lowest 32 bits. A compiled function
# narrows its arguments in the same way. You have two choices:
#
# - Accept 7 digits, and allow for them when you compare with NumPy.
# - Ask for 64 bits. Set `JAX_ENABLE_X64=1` before Python starts, or call
#   `jax.config.update("jax_enable_x64", True)` before you use JAX. Here, only
#   one block asks for them:

# %%
with jax.enable_x64(True):
    converted = jnp.asarray(np.array([2**40]))
    print(converted.dtype, converted.item())

# %% [markdown]
# ## Correct, and slower
#
# **Predict.** Which is faster for 80 cells and 80 rows: stage 0 in NumPy, or
# stage 2 in JAX? By a little, or by a lot? (`best_time` first makes one call
# that does not count. Then it makes nine more, and returns the shortest time.)

# %%
numpy_time = best_time(stage0_numpy.simulate, 110, 80, 80)
jax_time = best_time(stage2_at_set.simulate, 110, 80, 80)
show_table(
    ["stage", "milliseconds", "times NumPy"],
    [
        ["0, NumPy", 1000 * numpy_time, 1.0],
        ["2, JAX", 1000 * jax_time, jax_time / numpy_time],
    ],
)

# %% [markdown]
# If a time here or later contradicts the text below it, something else is
# keeping this machine busy: run the cell again.
#
# Why is stage 2 so slow? JAX can list the operations of this call:

# %%
program = jax.make_jaxpr(lambda: stage2_at_set.simulate(110, 80, 80))()
print(f"{len(program.eqns)} operations for {80 * 80} cells")

# %% [markdown]
# Each operation is sent to the device separately, and works on only a few
# cells. Sending it takes longer than the work itself. To see this, we time a
# single operation, `x ^ x`, for longer and longer arrays.
#
# **Predict.** 100,000 cells are ten thousand times as much work as 10 cells.
# How many times longer will the operation take?

# %%
sizes = [10**k for k in range(1, 8)]
curves = {}
for name, module in {"NumPy": np, "JAX": jnp}.items():
    arrays = [module.ones(size, dtype=module.uint8) for size in sizes]
    times = [1e6 * best_time(operator.xor, x, x) for x in arrays]
    curves[name] = sizes, times
    print(f"{name}: {times[4] / times[0]:.0f} times as long")

labels = "cells", "microseconds for x ^ x", ALTS["x ^ x"]
show_curves(curves, *labels, xscale="log", yscale="log")

# %% [markdown]
# If the work took most of the time, each curve would rise tenfold from one
# mark to the next. On the right the curves do this, unless the machine is
# busy. On the left they hardly rise, because sending the operation takes most
# of the time. JAX's curve is higher there: JAX can send operations to any
# device, and this takes longer. (A jump in between means that JAX has begun to
# use several threads.)
#
# Our ring of 80 cells is at the left end of this plot. To be faster, we need
# fewer operations. If JAX gets the whole program at once, it can compile all
# operations into one. The next notebook does this.
#
# ## Exercises
#
# Put your answer in place of the three dots, run the cell, and read what the
# check prints. Each exercise has a hint and a solution, both folded. Open them
# once you have tried.
#
# ### Exercise 1: move right
#
# Which rule moves every cell one place to the right at each step? Every cell
# must take the value of its **left** neighbor, whatever the other two cells
# are. Use the table at the top, or the explorer.
#
# <details><summary>Hint</summary>
#
# In which rows of the table is `left` 1? In these rows, and in no others, the
# cell becomes 1. Row `i`, counted from 0, then adds `2**i` to the rule.
#
# </details>

# %% tags=["exercise"]
move_right = ...

answers.check_move_right(move_right)

# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
# The neighborhoods with left = 1 are entries 4, 5, 6 and 7.
solution_1 = 2**4 + 2**5 + 2**6 + 2**7

answers.check_move_right(solution_1)

# %% [markdown]
# ### Exercise 2: from the table to the number
#
# `make_rule_table` makes a table from a number. Write the reverse: a function
# that takes an array of zeros and ones, of shape (2, 2, 2), and returns its
# rule.
#
# <details><summary>Hint</summary>
#
# `rule_table.ravel()` has the eight entries in order. Entry `i` is bit `i` of
# the rule, so it is worth `2**i`.
#
# </details>


# %% tags=["exercise"]
def make_rule(rule_table):
    """Return the rule that has this table."""
    return ...


answers.check_rule_number(make_rule)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
def solution_2(rule_table):
    """Return the sum of all bits: entry i of the flat table is bit i."""
    return sum(int(bit) << i for i, bit in enumerate(rule_table.ravel()))


answers.check_rule_number(solution_2)

# %% [markdown]
# ### Exercise 3: two live cells
#
# Write `make_two_cells(width)`. It returns a JAX array of `uint8` whose first
# and last elements are 1, and all others 0.
#
# <details><summary>Hint</summary>
#
# Begin with `jnp.zeros` and its `dtype`. `.at[0].set(1)` returns a new array,
# which has an `.at` of its own. Index -1 is the last element.
#
# </details>


# %% tags=["exercise"]
def make_two_cells(width):
    """Return a state with the first and the last cell live."""
    return ...


answers.check_two_cells(make_two_cells)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
def solution_3(width):
    """Set the first cell in a copy, and the last cell in a copy of that."""
    state = jnp.zeros(width, dtype=jnp.uint8)
    return state.at[0].set(1).at[-1].set(1)


answers.check_two_cells(solution_3)

# %% [markdown]
# ### Exercise 4: in the mirror
#
# Every rule has a mirrored rule, which draws the same picture with left and
# right swapped. Write a function from a rule table to the table of the
# mirrored rule. You need no loop.
#
# <details><summary>Hint</summary>
#
# The table is indexed `[left, center, right]`. Which two axes must change
# places? `transpose` takes the new order of the axes.
#
# </details>


# %% tags=["exercise"]
def mirror(rule_table):
    """Return the table of the rule that draws the mirrored picture."""
    return ...


answers.check_mirror(mirror)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
def solution_4(rule_table):
    """Return the table with axis 0, left, and axis 2, right, swapped."""
    return rule_table.transpose(2, 1, 0)


answers.check_mirror(solution_4)

# %% [markdown]
# ### Exercise 5: beyond the end
#
# Write `read(array, i)` for JAX arrays and `i >= 0`: it returns element `i`,
# or 0 if there is no such element.
#
# <details><summary>Hint</summary>
#
# You have seen `.at[10].get(…)` with a `mode` and a `fill_value`.
#
# </details>


# %% tags=["exercise"]
def read(array, i):
    """Return element i, or 0 beyond the end."""
    return ...


answers.check_read(read)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
def solution_5(array, i):
    """Return element i; a read beyond the end is filled with 0."""
    return array.at[i].get(mode="fill", fill_value=0)


answers.check_read(solution_5)

# %% [markdown]
# ## Summary
#
# 1. A rule is a table of eight bits. To compute the next state, look up every
#    neighborhood in it.
# 2. `jax.numpy` has NumPy's functions under the same names: most lines of a
#    port change by one letter.
# 3. JAX arrays never change. `x.at[i].set(v)` returns a new array: use it.
# 4. JAX does two things without a message. For an index out of range, it reads
#    the last element and drops a write. And it narrows 64 bits to 32.
# 5. Sending operations one by one takes longer than the work itself. The next
#    notebook compiles them into one.
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
# | carry | the value that a scan passes to its next step: here the state |
# | cell | one element of the ring, 0 (dead) or 1 (live) |
# | concrete | with a known value, unlike a tracer |
# | device | a CPU, GPU or TPU that JAX uses; a CPU can act as several |
# | dispatch | to send an operation or a compiled program to a device |
# | eager | without jit: each operation is sent when Python reaches it |
# | halo | copies of words of the neighboring devices, at the ends of a share |
# | jaxpr | JAX's own listing of a traced program, one operation a line |
# | key | the seed for one random draw: the same key gives the same numbers |
# | lane | a stretch of the ring, stored in the same bit of every word |
# | lower | to translate a traced program into one that the compiler reads |
# | mesh | the devices, arranged along named axes |
# | neighborhood | the three cells `left`, `center`, `right` |
# | packed | stored as words, with up to 32 cells in each |
# | periodic boundary | the first cell comes after the last: a ring |
# | pytree | nested tuples, lists and dicts of arrays |
# | rule | Wolfram's number of a rule table, 0 to 255 |
# | rule table | the next cell for each neighborhood, `[left, center, right]` |
# | share | the cells, or words, that one device holds |
# | space-time diagram | the picture of all states; time runs downwards |
# | state | all cells at one time; `states` has one state a row |
# | static argument | an argument that is part of the program, not data |
# | trace | to run a Python function on tracers and record its operations |
# | tracer | a stand-in for an array: a shape and a dtype, but no value |
# | word | an integer of 32 bits that holds several cells |
# | XLA | the compiler behind JAX |
