# %% [markdown]
# # 3 · Transform: all rules at once, and a rule learned back
#
# **What you will do.** Run one simulator over 256 rules, over random initial
# states, over both, without changing it; sort the rules by how complicated
# their pictures are; then let gradient descent find the rule that made a
# picture. These are stages 6 and 7 of the workshop.
#
# **What you will learn.** `jax.vmap`, which adds an axis to a function;
# `jax.value_and_grad`, which differentiates it; what either asks of a
# function; where a lookup has a gradient and where it has none; and what
# cannot be learned from a picture.
#
# **What you need.** The second notebook, or to know what jit, static arguments
# and scan are. No calculus beyond: a gradient points uphill.
#
# **Minutes.** 80, 35 of them for the exercises at the end. In an hour, leave
# out exercises 4 and 5: nothing builds on them.

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
import itertools
import zlib

import jax
import jax.numpy as jnp
import numpy as np

import answers
import stage5_scan
import stage6_vmap
import stage7_grad
from figures import (
    expect_failure,
    median_time,
    show_curves,
    show_diff,
    show_grid,
    show_points,
    show_states,
    show_table,
)

ALL_RULES = jnp.arange(256, dtype=jnp.uint8)

# %% [markdown]
# ## One more axis
#
# `make_rule_table` takes one rule to one table of shape (2, 2, 2). `jax.vmap`
# of it takes many rules to many tables. The function itself never learns of
# the new axis: the programmer writes for one, JAX computes for all.

# %%
make_rule_tables = jax.vmap(stage6_vmap.make_rule_table)
rule_tables = make_rule_tables(ALL_RULES)
print(rule_tables.shape)
assert rule_tables.shape == (256, 2, 2, 2)

# %% [markdown]
# A function of two arguments may have the new axis in one of them, or in both.
# `in_axes` says so, argument by argument: a number is the axis to map over,
# `None` means: the same for all.
#
# **Predict.** What are the three shapes below?

# %%
state = stage6_vmap.make_initial_state(9)
two_states = jnp.stack([state, 1 - state])
step = jax.jit(stage6_vmap.step)

all_rules = jax.vmap(step, in_axes=(None, 0))(state, rule_tables)
both_states = jax.vmap(step, in_axes=(0, None))(two_states, rule_tables[30])
in_pairs = jax.vmap(step, in_axes=(0, 0))(two_states, rule_tables[:2])
print(all_rules.shape, both_states.shape, in_pairs.shape)
assert all_rules.shape == (256, 9)
assert both_states.shape == in_pairs.shape == (2, 9)

# %% [markdown]
# The last is no table of all combinations: with two zeros the arguments are
# taken in pairs, as `zip` does. For all combinations map twice, one axis each:

# %%
over_rules = jax.vmap(step, in_axes=(None, 0))
over_states_and_rules = jax.vmap(over_rules, in_axes=(0, None))
print(over_states_and_rules(two_states, rule_tables).shape)
assert over_states_and_rules(two_states, rule_tables).shape == (2, 256, 9)

# %% [markdown]
# ## All rules in one call
#
# Stage 6 maps the whole simulator over its first argument:

# %%
show_diff(6)

# %% [markdown]
# **Predict.** 256 rules, 64 rows, 64 cells, one byte a cell: how large is the
# result? And is one call for all rules faster than 256 calls of the compiled
# stage 5? For 16 rows of 16 cells, and for 256 rows of 256?

# %%
states = stage6_vmap.simulate_rules(ALL_RULES, 64, 64)
print(f"{states.nbytes:,} bytes")
assert states.nbytes == 256 * 64 * 64


def simulate_one_by_one(width, num_steps):
    """The states of all rules, one call of stage 5 for each."""
    simulate = stage5_scan.simulate
    return [simulate(rule, width, num_steps) for rule in range(256)]


ratios = {}
for size in (16, 256):
    one_by_one = simulate_one_by_one(size, size)
    together = stage6_vmap.simulate_rules(ALL_RULES, size, size)
    np.testing.assert_array_equal(together, np.stack(one_by_one))
    ratios[size] = median_time(simulate_one_by_one, size, size) / median_time(
        stage6_vmap.simulate_rules, ALL_RULES, size, size
    )
    print(f"{size} x {size}: 256 calls take {ratios[size]:.1f} times as long")
assert ratios[16] > 2 * ratios[256]

# %% [markdown]
# Small pictures gain much, since it was the 256 calls that took the time.
# Large ones gain little, or even lose: there is as much to compute either way,
# and a processor has only so many hands. (A GPU has more, and gains for
# longer.)
#
# vmap is not a loop: every operation of the program got one more axis, and is
# dispatched once for all rules. The price is memory: all results are there at
# once. Here are those of 64 x 64, rule = 16 * row + column:

# %%
show_grid(states, "rule's column", "rule's row")

# %% [markdown]
# ## The keyword trap
#
# **Predict.** Below is the same call twice, once with the arguments by
# position, once by keyword. One of them fails. Which?

# %%
simulate_each = jax.vmap(stage6_vmap.simulate, in_axes=(0, None, None))
print(simulate_each(ALL_RULES, 64, 64).shape)

with expect_failure(ValueError, "in_axes"):
    simulate_each(ALL_RULES, width=64, num_steps=64)

# %% [markdown]
# `in_axes` speaks of **positional** arguments. What is passed by keyword is
# always mapped over its first axis, and a width has none. The remedy is to
# pass by position, as stage 6 does, or to fix the other arguments beforehand:

# %%
simulate_each = jax.vmap(
    lambda rule: stage6_vmap.simulate(rule, width=64, num_steps=64)
)
np.testing.assert_array_equal(simulate_each(ALL_RULES), states)

# %% [markdown]
# ## Random initial states
#
# Stage 6 begins with one live cell. How does a rule go on from anywhere else?
# The parts are there: here is a simulator that takes its row 0 as an argument.
# It is written for one rule and one state, in the words of stage 5. The random
# rows are NumPy's: they are only data.


# %%
@jax.jit(static_argnames="num_steps")
def simulate_from(rule, state, num_steps):
    """All states, one a row: row 0 is the state that is given."""
    rule_table = stage5_scan.make_rule_table(rule)

    def advance(state, _):
        return stage5_scan.step(state, rule_table), state

    return jax.lax.scan(advance, state, length=num_steps)[1]


rng = np.random.default_rng(seed=1)
random_states = rng.integers(0, 2, (3, 64), dtype=np.uint8)

# %% [markdown]
# **Predict.** Three random rows, 256 rules, every rule from every row, 64 rows
# of states. In which order do you map, and what will the shape be?

# %%
from_each = jax.vmap(simulate_from, in_axes=(None, 0, None))
all_from_each = jax.vmap(from_each, in_axes=(0, None, None))
from_random = all_from_each(ALL_RULES, random_states, 64)
print(from_random.shape)
assert from_random.shape == (256, 3, 64, 64)
show_states({f"rule 30, start {i}": from_random[30, i] for i in range(3)})

# %% [markdown]
# ## Four classes
#
# Stephen Wolfram sorted the rules by eye, from random initial states:
#
# 1. all cells become equal;
# 2. simple pieces that stay as they are, or repeat;
# 3. noise without end;
# 4. pieces that move, meet, and interact.
#
# **Predict.** The next cell shows four pictures. Which of them is in which
# class? If each were a file, and zipped, which file would be the smallest, and
# which the largest?

# %%
all_from = jax.vmap(simulate_from, in_axes=(0, None, None))
random_state = rng.integers(0, 2, 128, dtype=np.uint8)
random_start = np.asarray(all_from(ALL_RULES, random_state, 256))
settled = random_start[:, 128:]  # when what comes first has passed
show_states({f"rule {rule}": settled[rule] for rule in (110, 30, 4, 160)})

# %% [markdown]
# An eye is slow, and no two agree. A number that is quick: how many bytes are
# left of a picture if it is compressed? What repeats can be said in few words.


# %%
def compressed_size(states):
    """Bytes of the states, packed into bits and compressed."""
    return len(zlib.compress(np.packbits(states, axis=1).tobytes(), 9))


num_bytes = np.array([compressed_size(picture) for picture in settled])
for rule, name in {160: "1", 4: "2", 110: "4", 30: "3"}.items():
    print(f"rule {rule:3d}, class {name}: {num_bytes[rule]:5d} bytes")
assert num_bytes[160] < num_bytes[4] < num_bytes[110] < num_bytes[30]
assert num_bytes[4] < num_bytes[2] < num_bytes[110]
for row, next_row in itertools.pairwise(settled[2]):
    np.testing.assert_array_equal(next_row, np.roll(row, -1))

show_points(
    ALL_RULES,
    num_bytes,
    "rule",
    "bytes of the compressed picture",
    {f"{rule}": rule for rule in (160, 4, 110, 30)},
)

# %% [markdown]
# At the bottom are the rules that stop, or stand still. In the band above them
# pieces travel sideways without end, as those of rule 2 do; this compressor
# sees less well that they repeat. Noise lies on top: this compressor finds
# nothing shorter, though a rule and one row say it all. The few in between are
# worth a look: go back to the explorer of the first notebook with them.
#
# ## A table of fractions
#
# Now backwards: given the states, which rule made them? We could count. But
# there is a way that needs no idea of the problem, only a number that says how
# wrong a guess is: follow its **gradient** downhill.
#
# A rule is eight zeros and ones, and between 0 and 1 there is nothing to
# follow. But the lookup does not mind what it looks up. Let the table hold any
# numbers: `step` stays as it is, and predicts with fractions. Stage 7 changes
# stage 5:

# %%
show_diff(7)

# %% [markdown]
# **Predict.** What is the next state if the table is 0.5 everywhere? Now raise
# the entry for `0 1 1` a little. Which cells of the next state change, and by
# how much does their sum?

# %%
state = jnp.asarray(random_states[0])
undecided = jnp.full((2, 2, 2), 0.5)
nudged = undecided.at[0, 1, 1].add(0.25)
change = stage7_grad.step(state, nudged) - stage7_grad.step(state, undecided)
print(stage7_grad.step(state, undecided)[:8])
print(change[:8])


def sum_of_next(rule_table):
    """The sum of the next state, looked up in that table."""
    return stage7_grad.step(state, rule_table).sum()


slope = jax.grad(sum_of_next)(undecided)
print(f"change / nudge: {change.sum() / 0.25}, gradient: {slope[0, 1, 1]}")
occurs = (jnp.roll(state, 1) == 0) & (state == 1) & (jnp.roll(state, -1) == 1)
assert slope[0, 1, 1] == occurs.sum() == change.sum() / 0.25
assert slope.sum() == state.size

# %% [markdown]
# Each cell takes one entry. So an entry has as much influence as there are
# cells that look it up: that is the gradient of a lookup, **in its table**.
# The cells that do the looking up are another matter: we come to them at the
# end.
#
# The table has to be of floats. Whole numbers have no gradient, and JAX says
# so:

# %%
with expect_failure(TypeError, "grad requires"):
    jax.grad(sum_of_next)(stage7_grad.make_rule_table(110))

# %% [markdown]
# ## Which way is downhill?
#
# `prediction_error(rule_table, states)` is how wrong a table is: each row
# predicts the next, and the squared errors are added up, divided by the number
# of cells. `jax.value_and_grad` gives it, and its gradient: for each of the
# eight entries, by how much the error grows if that entry does.
#
# **Predict.** The states below are those of rule 110, the table is 0.5
# everywhere. For which entries should the gradient be negative?

# %%
states = simulate_from(110, random_states[0], 64)
error_and_gradient = jax.jit(jax.value_and_grad(stage7_grad.prediction_error))
error, gradient = error_and_gradient(undecided, states)

true_table = stage7_grad.make_rule_table(110)
nudge = 0.01
rows = []
for index in np.ndindex(2, 2, 2):
    up = undecided.at[index].add(nudge)
    down = undecided.at[index].add(-nudge)
    error_up, _ = error_and_gradient(up, states)
    error_down, _ = error_and_gradient(down, states)
    measured = (error_up - error_down) / (2 * nudge)
    np.testing.assert_allclose(measured, gradient[index], atol=1e-4)
    numbers = f"{gradient[index]:+.4f}", f"{measured:+.4f}"
    rows.append([*index, true_table[index], *numbers])

assert ((gradient < 0) == (true_table == 1)).all()
show_table(
    ["left", "center", "right", "true entry", "gradient", "by nudging"], rows
)

# %% [markdown]
# Where the true entry is 1, more of it makes the error smaller: the gradient
# is negative. The last column is the same by hand: nudge an entry, and look
# how the error changes. That takes two runs for each entry; the gradient of
# all of them together takes as long as a few runs, be they eight or a billion.
#
# ## Learn the rule back
#
# `learn_rule` starts at 0.5 everywhere, and takes small steps downhill, in a
# scan. Nothing in it knows what a rule is.

# %%
rule_table, losses = stage7_grad.learn_rule(states)
show_curves(
    {"error": (np.arange(len(losses))[::15], losses[::15])},
    "updates",
    "squared error per cell",
)
learned_rule = sum(
    int(entry > 0.5) << i for i, entry in enumerate(rule_table.ravel())
)
print(f"learned: rule {learned_rule}")
assert learned_rule == 110

# %% [markdown]
# And since `learn_rule` is a function like any other, it can be mapped. Here
# all 256 rules are learned at once, each from 16 rows of 32 cells.
#
# **Predict.** From how many of the 256 pictures is the rule learned back in
# full, all eight entries decided?

# %%
pictures = all_from(ALL_RULES, random_states[0, :32], 16)
learned_tables, _ = jax.vmap(stage7_grad.learn_rule)(pictures)
learned_tables = np.asarray(learned_tables).reshape(256, 8)
true_tables = np.asarray(rule_tables).reshape(256, 8)
decided = learned_tables != 0.5
np.testing.assert_array_equal(
    (learned_tables > 0.5)[decided], true_tables[decided] == 1
)
print(f"{decided.all(axis=1).sum()} of 256 in full")
print("no entry that is decided is wrong")

# %% [markdown]
# ## What cannot be learned
#
# **Predict.** Rule 254 from a single live cell: the black triangle of the
# first notebook. Which of the eight neighborhoods never occur in it?

# %%
triangle = stage7_grad.simulate(254, width=64, num_steps=24)
rule_table, _ = stage7_grad.learn_rule(triangle)
rows = []
for (left, center, right), entry in np.ndenumerate(np.asarray(rule_table)):
    note = "undetermined" if entry == 0.5 else ""
    rows.append([left, center, right, f"{entry:.2f}", note])

show_table(["left", "center", "right", "learned", ""], rows)
assert rule_table[0, 1, 1] > 0.99
assert rule_table[1, 0, 1] == 0.5

# %% [markdown]
# An entry that is never used has gradient 0: it stays where it was. No method
# can do better, since the picture is the same whatever that entry is. (One
# that is used once, `0 1 0` in row 0, is on its way, but slowly.)

# %%
other = 254 - 2**5  # entry 5, for 1 0 1, the other way round
np.testing.assert_array_equal(
    stage7_grad.simulate(other, width=64, num_steps=24), triangle
)
print(f"rule {other} draws the same triangle")

# %% [markdown]
# ## The other direction: the cells
#
# Which *cells* does the next state depend on? This asks for a gradient in what
# indexes the table. An index is a whole number.
#
# **Predict.** Give the lookup cells of float32, or turn floats into whole
# numbers on the way. Which of the two fails, and what does the other say?

# %%
cells = state.astype(jnp.float32)
true_table = stage7_grad.make_rule_table(110).astype(jnp.float32)
with expect_failure(TypeError, "must have integer"):
    stage7_grad.step(cells, true_table)


def sum_by_lookup(cells):
    """The sum of the next state: the floats become indices."""
    return stage7_grad.step(cells.astype(jnp.uint8), true_table).sum()


print(jax.grad(sum_by_lookup)(cells)[:8])
assert not jax.grad(sum_by_lookup)(cells).any()

# %% [markdown]
# The second is worse: no error, and zeros everywhere. A lookup stays the same
# between two whole numbers, and jumps from one to the next: it has no slope
# that JAX could follow. If the cells are to have a gradient, then the lookup
# has to become arithmetic: a sum over all eight entries, in which a cell `x`
# weighs those for a live cell by `x`, and those for a dead one by `1 - x`.


# %%
@jax.jit
def step_by_weights(cells, rule_table):
    """The next state, as a sum over all entries, weighted by the cells."""
    padded = jnp.pad(cells, 1, mode="wrap")
    shifted = padded[:-2], padded[1:-1], padded[2:]
    weights = [jnp.stack([1 - x, x]) for x in shifted]
    return jnp.einsum("lw,cw,rw,lcr->w", *weights, rule_table)


float_tables = rule_tables.astype(jnp.float32)
np.testing.assert_array_equal(
    jax.vmap(step_by_weights, in_axes=(None, 0))(cells, float_tables),
    jax.vmap(stage7_grad.step, in_axes=(None, 0))(state, rule_tables),
)
print("equal to the lookup, for all 256 rules")

slope_by_weights = jax.grad(
    lambda rule_table: step_by_weights(cells, rule_table).sum()
)(undecided)
np.testing.assert_allclose(slope_by_weights, slope)
print("with the same gradient in the table")

# %% [markdown]
# On 0 and 1 it is exact, and in between it is a straight line in each cell.
# To learn a table it would be a waste: eight products for a cell, where the
# lookup reads one entry, and the gradient is the same. For a gradient in the
# cells there is no way around it, and exercise 4 takes it.
#
# ## Exercises
#
# Put your answer in place of the three dots, run the cell, and read what the
# check says. A solution is folded below each: open it when you have tried. To
# see it pass, give `solution_1` to the check in place of your answer.
#
# ### Exercise 1: what can be mapped?
#
# `stage6_vmap.simulate` takes `rule`, `width` and `num_steps`; `simulate_from`
# takes `rule`, `state` and `num_steps`. Over which of these four can
# `jax.vmap` map? Answer with a set of names.

# %% tags=["exercise"]
mappable = ...

answers.check_mappable(mappable)

# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
# Width and num_steps shape the result, and all results have one shape.
solution_1 = {"rule", "state"}

# %% [markdown]
# ### Exercise 2: how much lives
#
# Write `live_fractions(rules)`: for each rule the fraction of live cells in
# the last of 32 rows of 32 cells, from one live cell, as an array of shape
# `(num_rules,)`. Write it for one rule, then map it.


# %% tags=["exercise"]
def live_fractions(rules):
    """The fraction of live cells in the last row, for each rule."""
    return ...


answers.check_live_fractions(live_fractions)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
def solution_2(rules):
    """One rule's fraction, mapped."""

    def live_fraction(rule):
        return stage6_vmap.simulate(rule, width=32, num_steps=32)[-1].mean()

    return jax.vmap(live_fraction)(rules)


# %% [markdown]
# ### Exercise 3: all pairs
#
# Write `count_differences(states)`: an array of shape `(n, width)` to one of
# shape `(n, n)`, the number of cells in which row i differs from row j. Map
# twice. (Sum with `dtype=jnp.int32`.)


# %% tags=["exercise"]
def count_differences(states):
    """In how many cells any two rows differ."""
    return ...


answers.check_differences(count_differences)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
def solution_3(states):
    """One pair, mapped over the second row, then over the first."""

    def differences(row, other):
        return jnp.sum(row != other, dtype=jnp.int32)

    with_all = jax.vmap(differences, in_axes=(None, 0))
    return jax.vmap(with_all, in_axes=(0, None))(states, states)


# %% [markdown]
# ### Exercise 4: which cell matters?
#
# Write `influence(cells, rule_table)`, both float32: for each cell, by how
# much the number of live cells of the **next** state grows as that cell goes
# from 0 to 1. One call of `jax.grad` does it: `step_by_weights` is a straight
# line in each single cell, so the slope is the whole difference.


# %% tags=["exercise"]
def influence(cells, rule_table):
    """How the next state's number of live cells depends on each cell."""
    return ...


answers.check_influence(influence)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
def solution_4(cells, rule_table):
    """The gradient of the sum, with respect to the cells."""

    def num_live(cells):
        return step_by_weights(cells, rule_table).sum()

    return jax.grad(num_live)(cells)


# %% [markdown]
# ### Exercise 5: the shortest lesson
#
# Find eight cells, a list of 0 and 1, from which any rule can be learned in
# full by seeing only the one step that follows. All eight neighborhoods must
# occur on the ring, so each of them once.

# %% tags=["exercise"]
initial_state = ...

answers.check_lesson(initial_state)

# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
# A de Bruijn sequence: each word of three bits once, around the ring.
solution_5 = [0, 0, 0, 1, 0, 1, 1, 1]

# %% [markdown]
# ## Summary
#
# 1. `jax.vmap` adds an axis to a function that was written without it; one
#    call then does the work of many, and holds all their results.
# 2. `in_axes` speaks of positional arguments; keywords are always mapped over
#    their first axis.
# 3. `jax.value_and_grad` needs floats. A lookup has a gradient in its table,
#    and none in what indexes it: that takes arithmetic.
# 4. One gradient costs as much as a few runs, for however many numbers.
# 5. What the data never show cannot be learned from them; its gradient is 0.
#
# More: [jax.vmap], [jax.value_and_grad]. Next: [4 · Scale](4_scale.ipynb).
#
# [jax.vmap]: https://docs.jax.dev/en/latest/_autosummary/jax.vmap.html
# [jax.value_and_grad]: https://docs.jax.dev/en/latest/_autosummary/jax.value_and_grad.html
