# %% [markdown]
# # 3 · Transform: all rules at once, and a rule learned from its states
#
# You run one simulator for 256 rules and for many initial states, without
# changing it. You sort the rules by how complicated their pictures are. Then
# gradient descent finds the rule that made a picture. These are stages 6 and 7
# of the workshop. You will learn `jax.vmap`, random numbers in JAX,
# `jax.value_and_grad`, and where a gradient becomes 0 or NaN.
#
# You should have worked through the second notebook, or know what jit, static
# arguments and scan are. The only calculus you need is that a gradient points
# uphill. Allow 85 minutes, 40 of them for the exercises at the end. If you
# have an hour, leave out exercises 4 and 5.

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

import zlib

import jax
import jax.numpy as jnp
import numpy as np

import answers
import stage5_scan
import stage6_vmap
import stage7_grad
from figures import (
    best_time,
    show_curves,
    show_diff,
    show_error,
    show_states,
    show_table,
)
from workshop.rendering import make_grid

ALL_RULES = jnp.arange(256, dtype=jnp.uint8)
ALTS = {  # what the pictures show, for those who cannot see them
    "grid": "a grid of pictures: lines, stripes, triangles, and some noise",
    110: "triangles on a regular background, and slanted lines that meet",
    30: "noise from the first row to the last",
    4: "a few vertical lines",
    160: "nothing: all cells are dead",
    "bytes": "few bytes for most rules, then a slow rise, and a high plateau",
    "error": "the error falls along a nearly straight line",
}

# %% [markdown]
# ## One more axis
#
# `make_rule_table` makes one table, of shape (2, 2, 2), from one rule.
# `jax.vmap(make_rule_table)` makes many tables from many rules. The function
# itself does not know about the new axis: you write it for one rule, and JAX
# computes all of them.

# %%
make_rule_tables = jax.vmap(stage6_vmap.make_rule_table)
rule_tables = make_rule_tables(ALL_RULES)
print(rule_tables.shape)

# %% [markdown]
# If a function has two arguments, one or both of them may have the new axis.
# `in_axes` has an entry for each argument: a number is the axis to map over,
# and `None` means that all calls share this argument.
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

# %% [markdown]
# The last result does not contain all combinations: if both entries are 0,
# vmap takes the arguments in pairs, as `zip` does. To get all combinations,
# map twice, each time over one axis:

# %%
over_rules = jax.vmap(step, in_axes=(None, 0))
over_states_and_rules = jax.vmap(over_rules, in_axes=(0, None))
print(over_states_and_rules(two_states, rule_tables).shape)

# %% [markdown]
# ## All rules in one call
#
# Stage 6 maps the whole simulator over its first argument:

# %%
show_diff(6)

# %% [markdown]
# **Predict.** How large is the result for 256 rules, 40 rows and 40 cells,
# with one byte for each cell? Is one call for all rules faster than 256 calls
# of the compiled stage 5, for 16 rows of 16 cells? And for 256 rows of 256
# cells?


# %%
def simulate_one_by_one(width, num_steps):
    """Return the states of all rules, by one call of stage 5 for each."""
    simulate = stage5_scan.simulate
    return [simulate(rule, width, num_steps) for rule in range(256)]


states = stage6_vmap.simulate_rules(ALL_RULES, 40, 40)
print(f"{states.nbytes:,} bytes")
rows = []
for n in (16, 256):
    one_by_one = best_time(simulate_one_by_one, n, n, num_calls=3)
    together = best_time(stage6_vmap.simulate_rules, ALL_RULES, n, n)
    ratio = one_by_one / together
    rows.append([f"{n} x {n}", 1000 * one_by_one, 1000 * together, ratio])

show_table(["size", "256 calls, ms", "one call, ms", "ratio"], rows)

# %% [markdown]
# (If a time here or later contradicts the text below it, something else is
# keeping this machine busy: run the cell again.)
#
# For small pictures, one call is much faster, because making 256 calls took
# most of the time. For large pictures, it is hardly faster or even slower: the
# work is the same in both cases. (A GPU computes more at once, so it gains for
# larger pictures, too.)
#
# vmap is not a loop. Every operation of the program gets one more axis, and
# runs once for all rules. This takes more memory, because all results exist at
# the same time. Below are the pictures of all rules: `rule = 16 * row +
# column`, both counted from 0.

# %%
margins = [(0, 0), (0, 1), (0, 1)]  # a gray line between the pictures
framed = np.pad(np.float32(states), margins, constant_values=0.5)
show_states({"all rules": make_grid(framed)[:-1, :-1]}, ALTS["grid"])

# %% [markdown]
# ## The keyword trap
#
# **Predict.** Below are three calls. The first passes all arguments by
# position, the others pass two of them by keyword. Which calls fail?

# %%
simulate_each = jax.vmap(stage6_vmap.simulate, in_axes=(0, None, None))
print(simulate_each(ALL_RULES, 64, 64).shape)

with show_error():
    print(simulate_each(ALL_RULES, width=64, num_steps=64).shape)

simulate_each = jax.vmap(stage6_vmap.simulate, in_axes=0)
with show_error():
    print(simulate_each(ALL_RULES, width=64, num_steps=64).shape)

# %% [markdown]
# `in_axes` applies to **positional** arguments only. In the second call it has
# three entries, but only one argument is positional. The third call has the
# right `in_axes`, and fails for another reason: vmap always maps a keyword
# argument over its first axis, and a width has no axes.
#
# So pass all arguments by position, as stage 6 does. Or map a function of one
# argument:

# %%
simulate_each = jax.vmap(
    lambda rule: stage6_vmap.simulate(rule, width=64, num_steps=64)
)
print(simulate_each(ALL_RULES).shape)

# %% [markdown]
# ## Random initial states
#
# Stage 6 begins with one live cell. What does a rule draw if it begins with
# another row? Here is a simulator that takes row 0 as an argument. It is
# written for one rule and one state, with the functions of stage 5:


# %%
@jax.jit(static_argnames="num_steps")
def simulate_from(rule, state, num_steps):
    """Return one state per row; row 0 is the given state."""
    rule_table = stage5_scan.make_rule_table(rule)

    def advance(state, _):
        return stage5_scan.step(state, rule_table), state

    return jax.lax.scan(advance, state, length=num_steps)[1]


# %% [markdown]
# `np.random` draws random numbers from a hidden state, which each draw
# changes. A compiled function must not change anything hidden. So in JAX you
# pass a **key**, and the numbers are computed from this key.
#
# **Predict.** Which of the four rows below will be equal?

# %%
key = jax.random.key(1)
key_a, key_b = jax.random.split(key)
for name, k in {"key": key, "key again": key, "a": key_a, "b": key_b}.items():
    print(f"{name:10}", jax.random.bernoulli(k, 0.5, (16,)).astype(jnp.uint8))

# %% [markdown]
# The same key gives the same numbers. `jax.random.split` makes new keys from a
# key: two, or as many as you ask for. Use each key only once, for a draw or
# for a split. By default, nothing enforces this. If you use a key twice, the
# second draw looks random, but it is a copy of the first.
#
# vmap can map over an array of keys. Here are three keys, and a random row of
# 64 cells from each of them:

# %%
keys = jax.random.split(jax.random.key(2), 3)
draw_state = jax.vmap(lambda key: jax.random.bernoulli(key, 0.5, (64,)))
random_states = draw_state(keys).astype(jnp.uint8)
print(random_states.shape)

# %% [markdown]
# **Predict.** We run every rule from every random row, and keep 64 rows of
# states. In the cell below, which axis of the result counts the rules, and
# what is its whole shape?

# %%
from_each = jax.vmap(simulate_from, in_axes=(None, 0, None))
all_from_each = jax.vmap(from_each, in_axes=(0, None, None))
from_random = all_from_each(ALL_RULES, random_states, 64)
print(from_random.shape)
pictures = {f"rule 30, start {i}": from_random[30, i] for i in range(3)}
show_states(pictures, *[ALTS[30]] * 3)

# %% [markdown]
# ## Both branches
#
# `if` does not work on a traced value. `jax.lax.cond` runs one of two
# functions instead.
#
# **Predict.** Below are the operations of such a function, for one number and
# for three numbers under vmap. Does each number still run only one branch?


# %%
def log_or_zero(x):
    """Return the logarithm of x, or 0 if x is not positive."""
    return jax.lax.cond(x > 0, jnp.log, jnp.zeros_like, x)


one = jax.make_jaxpr(log_or_zero)(2.0)
many = jax.make_jaxpr(jax.vmap(log_or_zero))(jnp.arange(3.0))
print("one: ", *sorted({e.primitive.name for e in one.eqns}))
print("many:", *sorted({e.primitive.name for e in many.eqns}))

# %% [markdown]
# Under vmap, the `cond` is gone. The numbers may need different branches, so
# the program computes **both** branches for all numbers, and `select_n` picks
# the right values. The result is correct, but `cond` no longer saves time.
#
# ## Four classes
#
# Stephen Wolfram looked at the pictures that rules draw from random initial
# states, and sorted the rules into four classes:
#
# 1. All cells become equal.
# 2. Simple pieces stay as they are, or repeat.
# 3. The picture looks like noise to the end.
# 4. Pieces move, meet, and interact.
#
# **Predict.** The next cell shows four pictures. To which class does each of
# them belong? Suppose that you save each picture in a file and zip it. Which
# file will be the smallest, and which the largest?

# %%
all_from = jax.vmap(simulate_from, in_axes=(0, None, None))
random_state = jax.random.bernoulli(jax.random.key(3), 0.5, (84,))
states = np.asarray(all_from(ALL_RULES, random_state.astype(jnp.uint8), 256))
later = states[:, -84:]  # the rows in which the rule has settled
pictures = {f"rule {rule}": later[rule] for rule in (110, 30, 4, 160)}
show_states(pictures, ALTS[110], ALTS[30], ALTS[4], ALTS[160])

# %% [markdown]
# Sorting by eye is slow, and people may disagree. We can compute a number
# instead: how many bytes does the compressed picture have? A picture that
# repeats itself needs only a few bytes.


# %%
def compressed_size(states):
    """Return the number of bytes of the states, packed and compressed."""
    return len(zlib.compress(np.packbits(states, axis=1).tobytes(), 9))


num_bytes = np.array([compressed_size(picture) for picture in later])
classes = {160: 1, 4: 2, 110: 4, 30: 3}
rows = [[rule, name, num_bytes[rule]] for rule, name in classes.items()]
show_table(["rule", "class", "bytes"], rows)
curves = {"all rules": (range(0, 256, 5), np.sort(num_bytes)[::5])}
labels = "rules, sorted by size", "bytes of the compressed picture"
show_curves(curves, *labels, ALTS["bytes"])

# %% [markdown]
# On the left are the rules whose cells stop changing. Next come rules whose
# pieces travel sideways forever: this compressor does not fully notice that
# they repeat. On the right are the rules that make noise: the compressor finds
# no shorter description, although the rule and row 0 describe the whole
# picture. Try the few rules in between in the explorer of the first notebook.
#
# ## A table of fractions
#
# Now we go backwards: given some states, which rule made them? We could count
# what follows each neighborhood. But there is a method that knows nothing
# about rules. It needs only a number that says how wrong a guess is, and the
# **gradient** of this number, which shows how to make it smaller.
#
# A rule is eight zeros and ones, and there is no slope between 0 and 1 that we
# could follow. But a lookup works for a table of any numbers. So we allow
# fractions in the table, and `step` then predicts fractions. Stage 7 changes
# stage 5: `step` accepts floats, `prediction_error` says how wrong a table is,
# and `learn_rule` makes it better.

# %%
show_diff(7, only="step")
show_diff(7, only="prediction_error")
show_diff(7, only="learn_rule")

# %% [markdown]
# **Predict.** What is the next state if the table is 0.5 everywhere? Now raise
# the entry for `0 1 1` by 0.25. Which cells of the next state change? Divide
# the change in the sum of all cells by 0.25: what is the result?

# %%
state = random_states[0]
guess = jnp.full((2, 2, 2), 0.5)
raised = guess.at[0, 1, 1].add(0.25)
change = stage7_grad.step(state, raised) - stage7_grad.step(state, guess)
print(stage7_grad.step(state, guess)[:8])
print("cells that change:", jnp.flatnonzero(change))


def sum_of_next(rule_table):
    """Return the sum of the next state, by lookups in the table."""
    return stage7_grad.step(state, rule_table).sum()


slope = jax.grad(sum_of_next)(guess)
print(f"by raising: {change.sum() / 0.25}, by jax.grad: {slope[0, 1, 1]}")

# %% [markdown]
# Each cell looks up one entry. So the slope for an entry is the number of
# cells that look it up. This is the gradient of a lookup **with respect to its
# table**. The gradient with respect to the cells, which index the table, is
# another matter: see the end of this notebook.
#
# **Predict.** Does this also work with a table of integers, 0 and 1?

# %%
with show_error():
    print(jax.grad(sum_of_next)(stage7_grad.make_rule_table(110)))

# %% [markdown]
# JAX computes no gradient with respect to integers. The table must hold
# floats.
#
# ## Which way is downhill?
#
# `prediction_error(rule_table, states)` says how wrong a table is: the table
# predicts each row from the row before, and the result is the mean of the
# squared errors. `jax.value_and_grad` turns it into a function that returns
# this error together with its gradient, which says for each entry how fast the
# error rises when the entry rises.
#
# **Predict.** The states below are those of rule 110, and the table is 0.5
# everywhere. For which entries will the gradient be negative?

# %%
states = simulate_from(110, random_states[0], 64)
error_and_gradient = jax.jit(jax.value_and_grad(stage7_grad.prediction_error))
error, gradient = error_and_gradient(guess, states)
true_table = stage7_grad.make_rule_table(110)
rows = []
for index in np.ndindex(2, 2, 2):
    errors = [
        error_and_gradient(guess.at[index].add(shift), states)[0]
        for shift in (-0.01, 0.01)
    ]
    difference = (errors[1] - errors[0]) / 0.02
    rows.append([*index, true_table[index], gradient[index], difference])

names = ["left", "center", "right", "true entry", "gradient", "by differences"]
show_table(names, rows)

# %% [markdown]
# Where the true entry is 1, a larger entry makes the error smaller, so the
# gradient is negative. The last column computes the same slope by hand: it
# moves an entry down and up a little, and compares the two errors. This takes
# two runs for each entry. A gradient has the slopes for all entries, and takes
# only as long as a few runs, for eight entries or for a billion.
#
# ## Learn the rule back
#
# `learn_rule` starts at 0.5 everywhere, and takes small steps downhill, in a
# scan. Nothing in it knows what a rule is.

# %%
rule_table, losses = stage7_grad.learn_rule(states)
learned = [round(float(entry)) for entry in rule_table.ravel()]
print("learned: rule", sum(bit << i for i, bit in enumerate(learned)))
curves = {"rule 110": (range(0, len(losses), 15), losses[::15])}
labels = "updates", "mean squared error", ALTS["error"]
show_curves(curves, *labels, yscale="log")

# %% [markdown]
# `learn_rule` is a function like any other, so vmap can map it. Below, all 256
# rules are learned at once, each from 16 rows of 16 cells.
#
# **Predict.** For how many of the 256 rules are all eight entries determined,
# so that none stays at 0.5? How many of the determined entries are wrong?

# %%
pictures = all_from(ALL_RULES, random_states[0, :16], 16)
learned_tables, _ = jax.vmap(stage7_grad.learn_rule)(pictures)
determined = learned_tables != 0.5
wrong = determined & ((learned_tables > 0.5) != (rule_tables == 1))
print(determined.all(axis=(1, 2, 3)).sum(), "of 256 rules determined in full")
print(wrong.sum(), "of", determined.sum(), "determined entries are wrong")

# %% [markdown]
# ## What cannot be learned
#
# **Predict.** Rule 254 from a single live cell draws the triangle of the first
# notebook. Which of the eight neighborhoods never occur in it?

# %%
triangle = stage7_grad.simulate(254, width=64, num_steps=24)
rule_table, _ = stage7_grad.learn_rule(triangle)
show_table(
    ["left", "center", "right", "learned"],
    [[*index, rule_table[index]] for index in np.ndindex(2, 2, 2)],
)

# %% [markdown]
# An entry that is never looked up has gradient 0, and stays at 0.5. No method
# can do better, because the picture is the same for any value of this entry.
# (The entry for `0 1 0` is looked up only once, in row 0, so it has moved only
# a little.)
#
# **Predict.** Change the entry for `1 0 1` in rule 254. Which rule is that,
# and what does it draw?

# %%
other = 254 - 2**5
drawn = stage7_grad.simulate(other, width=64, num_steps=24)
print("rule", other, "draws the same:", np.array_equal(drawn, triangle))

# %% [markdown]
# ## A NaN in the gradient
#
# The entropy of an entry, `-p log(p)`, is 0 for `p = 0`. But `log(0)` is -inf,
# and 0 times -inf is NaN. So `where` picks 0 there.
#
# **Predict.** Is this enough for the value, and for the gradient?


# %%
def entropy(p):
    """Return -p log(p), and 0 for p = 0."""
    return jnp.where(p > 0, -p * jnp.log(p), 0)


print("value", entropy(0.0), "gradient", jax.grad(entropy)(0.0))
with show_error(), jax.debug_nans(True):
    jax.grad(entropy)(0.0)

# %% [markdown]
# The value is right, but the gradient is NaN. `where` computes both branches,
# and the gradient contains 0 times the slope of the other branch, which is
# infinite. The remedy is a second `where`, inside, which keeps the other
# branch finite: `jnp.log(jnp.where(p > 0, p, 1))`. To find the operation that
# makes a NaN, set `jax.debug_nans`, as the last lines of the cell do.
#
# ## The other direction: the cells
#
# On which *cells* does the next state depend? To find out, we need a gradient
# with respect to the cells. But the cells index the table, and an index is an
# integer.
#
# **Predict.** Suppose that you use cells of float32 as indices, or that you
# first convert them to integers. What happens in each case?

# %%
cells = state.astype(jnp.float32)
true_table = stage7_grad.make_rule_table(110).astype(jnp.float32)
with show_error():
    print(stage7_grad.step(cells, true_table)[:8])


def sum_by_lookup(cells):
    """Return the sum of the next state, with the cells as indices."""
    return stage7_grad.step(cells.astype(jnp.uint8), true_table).sum()


with show_error():
    print(jax.grad(sum_by_lookup)(cells)[:8])

# %% [markdown]
# The second case is worse: there is no error, and the gradient is 0. Between
# two integers, the result of a lookup does not change, and at an integer it
# jumps. So it has no slope that JAX could follow.
#
# To get a gradient with respect to the cells, replace the lookup by
# arithmetic. We add up all eight entries with weights: a cell `x` multiplies
# the entries for a live cell by `x`, and those for a dead cell by `1 - x`.


# %%
@jax.jit
def step_by_weights(cells, rule_table):
    """Return the next state, as a weighted sum over all entries."""
    padded = jnp.pad(cells, 1, mode="wrap")
    shifted = padded[:-2], padded[1:-1], padded[2:]
    weights = [jnp.stack([1 - x, x]) for x in shifted]
    return jnp.einsum("lw,cw,rw,lcr->w", *weights, rule_table)


float_tables = rule_tables.astype(jnp.float32)
by_weights = jax.vmap(step_by_weights, in_axes=(None, 0))(cells, float_tables)
by_lookup = jax.vmap(stage7_grad.step, in_axes=(None, 0))(state, rule_tables)
print("equal for all rules:", np.array_equal(by_weights, by_lookup))

# %% [markdown]
# For cells of 0 and 1, the sum is exact. Between 0 and 1, it is a straight
# line as a function of each cell. To learn a table, you do not need it, and it
# is slower: for each cell it computes eight products, where a lookup reads one
# entry. But it has a gradient with respect to the cells. Exercise 4 uses it.
#
# ## Exercises
#
# Put your answer in place of the three dots, run the cell, and read what the
# check prints. Each exercise has a hint and a solution, both folded. Open them
# once you have tried.
#
# ### Exercise 1: what can be mapped?
#
# `stage6_vmap.simulate` takes `rule`, `width` and `num_steps`. `simulate_from`
# takes `rule`, `state` and `num_steps`. Over which of these four arguments can
# `jax.vmap` map? Answer with a set of names.
#
# <details><summary>Hint</summary>
#
# All results of a mapped call form one array. Which arguments decide the shape
# of a result?
#
# </details>

# %% tags=["exercise"]
mappable = ...

answers.check_mappable(mappable)

# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
# width and num_steps decide the shape, and all results must have one shape.
solution_1 = {"rule", "state"}

answers.check_mappable(solution_1)

# %% [markdown]
# ### Exercise 2: how much is alive
#
# Write `live_fractions(rules)`. It returns the fraction of live cells in the
# last of 32 rows, for each rule, as an array of shape `(num_rules,)`. The ring
# has 32 cells, and row 0 has one live cell. Write it for one rule, then map
# it.
#
# <details><summary>Hint</summary>
#
# For one rule, call `stage6_vmap.simulate(rule, width=32, num_steps=32)`, take
# the last row, and then its mean. Put this in a function of `rule`.
#
# </details>


# %% tags=["exercise"]
def live_fractions(rules):
    """Return the fraction of live cells in the last row, for each rule."""
    return ...


answers.check_live_fractions(live_fractions)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
def solution_2(rules):
    """Map a function that returns the fraction for one rule."""

    def live_fraction(rule):
        return stage6_vmap.simulate(rule, width=32, num_steps=32)[-1].mean()

    return jax.vmap(live_fraction)(rules)


answers.check_live_fractions(solution_2)

# %% [markdown]
# ### Exercise 3: all pairs
#
# Write `count_differences(states)`. It takes an array of shape `(n, width)`,
# and returns one of shape `(n, n)`: the number of cells in which row i differs
# from row j. Map twice.
#
# <details><summary>Hint</summary>
#
# For one pair it is `jnp.sum(row != other)`. (In JAX as in NumPy, the sum of
# booleans is an integer.) Then map over `other`, and map the result over
# `row`, as in "One more axis".
#
# </details>


# %% tags=["exercise"]
def count_differences(states):
    """Return the number of cells in which any two rows differ."""
    return ...


answers.check_differences(count_differences)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
def solution_3(states):
    """Map the difference of a pair over the second row, then the first."""

    def difference(row, other):
        return jnp.sum(row != other)

    with_all = jax.vmap(difference, in_axes=(None, 0))
    return jax.vmap(with_all, in_axes=(0, None))(states, states)


answers.check_differences(solution_3)

# %% [markdown]
# ### Exercise 4: which cell matters?
#
# Write `influence(cells, rule_table)`. Both arguments are float32. For each
# cell, return by how much the number of live cells in the **next** state grows
# if this cell goes from 0 to 1. You need one call of `jax.grad`:
# `step_by_weights` is a straight line in each cell, so its slope is this
# difference.
#
# <details><summary>Hint</summary>
#
# `jax.grad` needs a function that returns one number. Which number counts the
# live cells of the next state? Write it as a function of `cells` alone.
#
# </details>


# %% tags=["exercise"]
def influence(cells, rule_table):
    """Return how the next number of live cells depends on each cell."""
    return ...


answers.check_influence(influence)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
def solution_4(cells, rule_table):
    """Return the gradient of the sum with respect to the cells."""

    def num_live(cells):
        return step_by_weights(cells, rule_table).sum()

    return jax.grad(num_live)(cells)


answers.check_influence(solution_4)

# %% [markdown]
# ### Exercise 5: the shortest lesson
#
# Find eight cells, a list of 0 and 1, such that one step from them shows the
# whole rule. All eight neighborhoods must be on the ring, so each of them
# occurs once.
#
# <details><summary>Hint</summary>
#
# Three dead cells side by side are one neighborhood, three live cells another.
# The neighborhood 0 1 0 needs a live cell that stands alone.
#
# </details>

# %% tags=["exercise"]
initial_state = ...

answers.check_lesson(initial_state)

# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
# A de Bruijn sequence: each word of three bits once, around the ring.
solution_5 = [0, 0, 0, 1, 0, 1, 1, 1]

answers.check_lesson(solution_5)

# %% [markdown]
# ## Summary
#
# 1. `jax.vmap` adds an axis to a function that was written without it. One
#    call then does the work of many, and returns all their results at once.
# 2. `in_axes` applies to positional arguments only. Keywords are always mapped
#    over their first axis.
# 3. Random numbers come from keys. Split a key, and use each key once.
# 4. `jax.value_and_grad` needs floats. A lookup has a gradient with respect to
#    its table, and none with respect to its indices.
# 5. One gradient costs as much as a few runs, for any number of entries.
# 6. `where` always computes both branches, and `cond` does so under vmap. A
#    NaN in the branch that is not picked still reaches the gradient.
# 7. An entry that the data never use cannot be learned from them: its gradient
#    is 0.
#
# More: [jax.vmap], [jax.value_and_grad], [jax.random], [finding NaNs]. Next:
# [4 · Scale](4_scale.ipynb).
#
# [jax.vmap]: https://docs.jax.dev/en/latest/_autosummary/jax.vmap.html
# [jax.value_and_grad]: https://docs.jax.dev/en/latest/_autosummary/jax.value_and_grad.html
# [jax.random]: https://docs.jax.dev/en/latest/jax.random.html
# [finding NaNs]: https://docs.jax.dev/en/latest/debugging/flags.html
