# %% [markdown]
# # 5 · Transfer: a program that nobody has ported for you
#
# **What you will do.** You will take a program of another kind, as a scientist
# wrote it for NumPy, and port it to JAX yourself, one idea at a time. There
# are seven exercises and a bonus. There is no stage to look at.
#
# **What you will learn.** You will learn what "the same" means where numbers
# are rounded, how JAX draws random numbers, how to print from a compiled
# program, what to do with a class, and which loop becomes a `scan`, a
# `while_loop` or a `vmap`. The same order of steps works for your own
# programs, too. You will find it at the end of the notebook, on one page.
#
# **What you need.** You should have worked through the first three notebooks,
# or know what jit, scan, vmap and a gradient are.
#
# **Minutes.** 110: 70 for exercises 1 to 5, and 40 for the rest. Each exercise
# builds on the one before, but you may skip one: the notebook goes on with its
# own solution.

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

import inspect
import os
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import gray_scott
import transfer
from figures import (
    best_time,
    show_curves,
    show_error,
    show_states,
    show_table,
)
from workshop.rendering import make_grid

# %% [markdown]
# ## The program
#
# The cells of a sheet hold two substances, u and v. The edges of the sheet are
# joined, left to right and top to bottom: this is a **torus**. Both substances
# spread to the neighboring cells, and u spreads faster. Where they meet, they
# react: one u and two v become three v. Some u is fed in everywhere, and some
# of both is taken out. This is the model of Gray and Scott. It has two
# parameters: `feed` and `kill`.
#
# Open [notebooks/gray_scott.py](../notebooks/gray_scott.py) beside this
# notebook. These are its main functions:

# %%
print(inspect.getsource(gray_scott.step))
print(inspect.getsource(gray_scott.simulate))

# %% [markdown]
# **Predict.** At the start there is u everywhere, and v in a few squares. What
# will happen to v: will it die out, fill the sheet evenly, or something else?

# %%
np.random.seed(0)
initial_u, initial_v = gray_scott.make_initial_state(64)
u, v = initial_u.copy(), initial_v.copy()
pictures = {"at the start": v.copy()}
for more, num_steps in [(100, 100), (400, 500), (2500, 3000)]:
    gray_scott.simulate(u, v, 0.046, 0.062, 0, more)
    pictures[f"after {num_steps} steps"] = v.copy()

alts = "a few squares", "spots with rings", "spots divide", "a maze"
show_states(pictures, *alts, darkest=0.4)

# %% [markdown]
# It grows into a maze, and the maze continues across the edges. No line of the
# program mentions stripes.
#
# **Predict.** Read `gray_scott.py` again, as JAX would. What will not work in
# JAX, or do something else, or be slow? You should find six things. The next
# cell counts some of them.

# %%
source = inspect.getsource(gray_scott)
for text in ("np.random", " += ", "print(", "break", "for "):
    print(f"{text!r} occurs {source.count(text)} times")

# %% [markdown]
# These are the six. It needs 64 bits. It draws random numbers from a hidden
# state. It changes arrays in place. It prints while it runs. Its loop stops
# when a value says so. And a second loop, in `main`, takes feeds and kills one
# by one. Each of them becomes an exercise.
#
# Put your answer in place of the three dots, run the cell, and read what the
# check says. It reports one problem at a time. Below each exercise, a hint and
# a solution are folded away.
#
# ## When are two arrays the same?
#
# Before you port anything: how will you know that the port is right? The cells
# of the first notebooks were 0 or 1, and had to be equal. These are fractions,
# and JAX keeps about 7 of their digits where NumPy keeps 16.
#
# **Predict.** Below are three runs, each compared with the original program:
# in 64 bits, with a change in the last digit of the start; in 32 bits; and
# with a mistake, a feed that is a thousandth too large. How far off is each of
# them after 1 step, and after 2000 steps?

# %%
steps_seen = [1, 3, 10, 30, 100, 300, 1000, 2000]
last_digit = np.nextafter(initial_u, 2), np.nextafter(initial_v, 2)
narrow = map(np.float32, (initial_u, initial_v, 0.022, 0.0573))
runs = {
    "64 bits, last digit": (*last_digit, 0.022, 0.0573),
    "32 bits": tuple(narrow),
    "a thousandth more feed": (initial_u, initial_v, 0.022022, 0.0573),
}


def follow(u, v, feed, kill):
    """Return v after each number of steps in steps_seen."""
    u, v, seen = u.copy(), v.copy(), []
    for num_steps in range(1, steps_seen[-1] + 1):
        gray_scott.step(u, v, feed, kill)
        if num_steps in steps_seen:
            seen.append(v.copy())
    return np.array(seen)


# %%
want = follow(initial_u, initial_v, 0.022, 0.0573)
curves = {}
for name, run in runs.items():
    differences = np.abs(follow(*run) - want).max(axis=(1, 2))
    curves[name] = steps_seen, differences

scales = {"xscale": "log", "yscale": "log"}
show_curves(curves, "steps", "largest difference in v", **scales)

# %% [markdown]
# All three differences grow. Where spots divide, any difference grows,
# wherever it comes from. But the order stays the same. So compare after a few
# steps, while all differences are small. Choose a tolerance well above the
# effect of rounding, and well below the effect of a mistake. The old program
# itself shows how far rounding goes: run it in 32 bits. If the two are hard to
# tell apart, compare in 64 bits (`jax.enable_x64`, from the first notebook),
# where rounding is far smaller.
#
# ### Exercise 1: the same values
#
# Write `is_same(got, want)` for two arrays of v after a hundred steps. It is
# True if they differ only by rounding, and False for everything else. The
# check tries several kinds of "everything else".
#
# <details><summary>Hint</summary>
#
# Is NaN greater than a tolerance? And does anything compare the shapes, when
# NumPy can stretch the smaller array? `np.allclose` handles the first question
# well, but not the second.
#
# </details>


# %% tags=["exercise"]
def is_same(got, want):
    """Return whether the arrays differ only by rounding."""
    return ...


transfer.check_is_same(is_same)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
def solution_1(got, want):
    """Allow 2e-5: 32 bits are off by a millionth, mistakes by much more."""
    return got.shape == want.shape and np.allclose(
        got, want, rtol=0, atol=2e-5
    )


transfer.check_is_same(solution_1)


# %% [markdown]
# ## Random numbers without a hidden state
#
# `np.random.rand` remembers what it has drawn, so each call changes something
# that you do not see. This is a side effect, and JAX compiles functions
# without side effects. In JAX the state is a value, the **key**, and you pass
# it in.
#
# **Predict.** How many different numbers do these four lines print?

# %%
key = jax.random.key(0)
one, two = jax.random.split(key)
for some_key in (key, key, one, two):
    print(jax.random.uniform(some_key))

# %% [markdown]
# There are three. The same key always gives the same numbers, on any device,
# so a run can be repeated. New numbers need a new key, and `split` makes as
# many as you ask for. Use a key once, for a draw or for a split. Nothing
# enforces this: a key that is used twice gives numbers that look random and
# are not independent.
#
# **A key in a loop.** Each step needs a key of its own. You can carry a key
# and split it at each step. Or you can leave the key as it is and *fold in*
# the number of the step, which also lets you compute any step on its own:


# %%
def split_in_a_loop(key, _):
    """Carry a key: one half for the next step, the other for this draw."""
    key, key_now = jax.random.split(key)
    return key, jax.random.uniform(key_now)


def fold_in_a_loop(step):
    """Make the key of a step from its number."""
    return jax.random.uniform(jax.random.fold_in(jax.random.key(2), step))


_, by_split = jax.lax.scan(split_in_a_loop, jax.random.key(1), length=4)
by_fold = jax.lax.map(fold_in_a_loop, jnp.arange(4))
print("split:  ", by_split)
print("fold_in:", by_fold)
print("step 2, on its own:", fold_in_a_loop(2))

# %% [markdown]
# ### Exercise 2: a random start
#
# Write `make_initial_state(key, width)`, the function of `gray_scott.py` in
# JAX. It returns u and v, both of shape `(width, width)`. The numbers will not
# be NumPy's, so the check looks at how they are distributed.
#
# <details><summary>Hint</summary>
#
# There are three draws, so you need three keys. `jax.random.bernoulli` draws
# True with a given probability, and there is a `jnp.kron`.
#
# </details>


# %% tags=["exercise"]
def make_initial_state(key, width):
    """Return u and v: some squares of v in u, with noise."""
    return ...


transfer.check_initial_state(make_initial_state)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
def solution_2(key, width):
    """Use a key for each of the three draws."""
    for_squares, for_u, for_v = jax.random.split(key, 3)
    shape = width // 8, width // 8
    squares = jax.random.bernoulli(for_squares, 0.2, shape)
    v = jnp.kron(jnp.where(squares, 0.5, 0.0), jnp.ones((8, 8)))
    u = 1 - v + 0.02 * jax.random.uniform(for_u, v.shape)
    return u, v + 0.02 * jax.random.uniform(for_v, v.shape)


transfer.check_initial_state(solution_2)


# %% [markdown]
# Two programs that draw different numbers cannot be compared. So draw once and
# give the same numbers to both: from here on, u and v are arguments, and JAX
# gets NumPy's start.
#
# ## Nothing is changed
#
# `laplacian` and `step` change arrays in place. JAX arrays never change.
#
# **Predict.** `laplacian` contains `total[1:] += a[:-1]`, and `step` contains
# `u += ...`. With JAX arrays one of the two fails, and the other is worse.
# Which is which?

# %%
with show_error():
    gray_scott.laplacian(jnp.ones((8, 8)))


def add_one(u):
    """Change the argument as step does, and return nothing."""
    u += 1


for zeros in (np.zeros(3), jnp.zeros(3)):
    add_one(zeros)
    print(type(zeros).__name__, zeros)

# %% [markdown]
# `u[...] += x` fails with a clear error. But `u += x` means `u = u + x` for a
# JAX array: it makes a new array and calls it u **inside the function**. The
# array outside stays as it was, and there is no error. So a function has to
# return what it computes.
#
# ### Exercise 3: a step that returns
#
# Write `step(u, v, feed, kill)`. It returns the next u and the next v, and
# changes nothing. It must also work for sheets that are not square. The nine
# lines of `laplacian` become one or two.
#
# <details><summary>Hint</summary>
#
# Each pair of slices, with its line for the edge, is one `jnp.roll`, for
# example `jnp.roll(a, 1, axis=0)`. Be careful which u the next v is computed
# from: in NumPy, `reaction` is computed before either of them changes.
#
# </details>


# %% tags=["exercise"]
def step(u, v, feed, kill):
    """Return the next u and v."""
    return ...


transfer.check_step(step)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
def laplacian(a):
    """Add the four neighbors of each cell, less four times the cell."""
    moved = [jnp.roll(a, by, axis) for axis in (0, 1) for by in (1, -1)]
    return sum(moved) - 4 * a


def solution_3(u, v, feed, kill):
    """Make new arrays from the old ones."""
    reaction = u * v**2
    next_u = u + 0.16 * laplacian(u) - reaction + feed * (1 - u)
    next_v = v + 0.08 * laplacian(v) + reaction - (feed + kill) * v
    return next_u, next_v


transfer.check_step(solution_3)


# %% [markdown]
# **Predict.** Take a hundred steps with it, and a hundred with NumPy. How far
# apart are the results in 32 bits, and how far in 64 bits?

# %%
jitted_step = jax.jit(solution_3)
u, v = initial_u.copy(), initial_v.copy()
gray_scott.simulate(u, v, 0.046, 0.062, 0, 100)
for wide in (False, True):
    with jax.enable_x64(wide):
        state = jnp.asarray(initial_u), jnp.asarray(initial_v)
        for _ in range(100):
            state = jitted_step(*state, 0.046, 0.062)
    distance = np.abs(np.asarray(state[1]) - v).max()
    print(f"{state[1].dtype}: off by up to {distance:.0e}")

# %% [markdown]
# In 64 bits the port is right to the last digits. So the difference in 32 bits
# is rounding, not a mistake.
#
# ## A program that is a class
#
# Many programs keep their parameters and arrays in an object. Two things can
# go wrong with this. `jax.jit` on a method takes `self` as an argument, and
# JAX does not know what to do with an object. A static `self` works at first.
#
# **Predict.** What does the second line print?


# %%
class Decay:
    """A model with a parameter that may change."""

    def __init__(self, rate):
        """Keep the rate."""
        self.rate = rate

    @partial(jax.jit, static_argnums=0)
    def step(self, x):
        """Return what is left of x."""
        return x * (1 - self.rate)


model = Decay(rate=0.1)
print("rate 0.1:", model.step(1.0))
model.rate = 0.5
print("rate 0.5:", model.step(1.0))

# %% [markdown]
# The rate was fixed when jit traced the method, and no error says so. Put what
# may change into a state that is a value: a `NamedTuple`, or a dataclass
# registered by `jax.tree_util.register_dataclass`. A plain function of that
# state can be jitted, scanned and mapped. JAX calls such a tree of arrays a
# **pytree**.


# %%
class DecayState(NamedTuple):
    """All that the model needs."""

    x: jax.Array
    rate: float


@jax.jit
def decay(state):
    """Return the next state."""
    return state._replace(x=state.x * (1 - state.rate))


print("rate 0.1:", decay(DecayState(1.0, rate=0.1)).x)
print("rate 0.5:", decay(DecayState(1.0, rate=0.5)).x)

# %% [markdown]
# ## A print in a compiled program
#
# The scientist looks at a number now and then. But jit runs your Python code
# only once, on tracers, and later runs what it recorded.
#
# **Predict.** The function below is called three times. What does it print,
# and how often?


# %%
@jax.jit
def mean_with_print(v):
    """Return the mean, and print it in two ways."""
    mean = v.mean()
    print("print:          ", mean)
    jax.debug.print("jax.debug.print: {mean}", mean=mean)
    return mean


for factor in (1, 2, 3):
    mean_with_print(factor * jnp.ones(4)).block_until_ready()
jax.effects_barrier()  # wait for prints, which may come late

# %% [markdown]
# `print` belongs to Python: it runs once, while jit traces, and sees a tracer.
# `jax.debug.print` is part of the program, and runs whenever the program runs.
# It takes a format and the values for it, because there is no value yet that
# an f-string could contain. It costs time, since each such print calls Python.
#
# ### Exercise 4: jit, and the print
#
# Here is a step with a print. Change it so that every call prints the mean of
# the next v. Leave it jitted, with feed and kill as data.
#
# <details><summary>Hint</summary>
#
# The print has to be part of the program. Put `{mean}` into the format, and
# pass the value by that name.
#
# </details>


# %% tags=["exercise"]
@jax.jit
def step_and_print(u, v, feed, kill):
    """Return the next u and v, and print the mean of that v."""
    u, v = solution_3(u, v, feed, kill)
    print("mean of v:", v.mean())
    return u, v


transfer.check_step_and_print(step_and_print)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
@jax.jit
def solution_4(u, v, feed, kill):
    """Make the print part of the program."""
    u, v = solution_3(u, v, feed, kill)
    jax.debug.print("mean of v: {mean}", mean=v.mean())
    return u, v


transfer.check_step_and_print(solution_4)


# %% [markdown]
# **Predict.** Consider one step of a sheet of 64 by 64 cells: in NumPy, in JAX
# operation by operation, and in JAX compiled (without a print). Which is
# fastest, which is slowest, and by how much?

# %%
start = jnp.asarray(initial_u), jnp.asarray(initial_v)
copies = initial_u.copy(), initial_v.copy()
seconds = {
    "NumPy": best_time(gray_scott.step, *copies, 0.046, 0.062),
    "JAX, one by one": best_time(solution_3, *start, 0.046, 0.062),
    "JAX, jit": best_time(jitted_step, *start, 0.046, 0.062),
}
show_table(
    ["one step", "microseconds"],
    [[name, 1e6 * value] for name, value in seconds.items()],
)

# %% [markdown]
# You know this from the first notebooks: many small operations are slow when
# each is sent on its own, and fast in one program. But a compiled step is so
# little work that calling it takes a good part of the time. So the loop comes
# next.
#
# ## The loop that counts
#
# ### Exercise 5: scan
#
# Write `advance(u, v, feed, kill, num_steps)`, jitted, which takes that many
# steps in one scan. It returns u, v and `changes`, of shape `(num_steps,)`. An
# entry says how much v changed in that step, in the cell that changed most. A
# record takes the place of the print.
#
# <details><summary>Hint</summary>
#
# The carry is the pair `(u, v)`. The body returns the next carry, and what to
# record. `num_steps` is a length, so it is static; feed and kill are not.
#
# </details>


# %% tags=["exercise"]
@jax.jit(static_argnames="num_steps")
def advance(u, v, feed, kill, num_steps):
    """Return u and v after num_steps steps, and the change in each step."""
    return ...


transfer.check_advance(advance)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
@jax.jit(static_argnames="num_steps")
def solution_5(u, v, feed, kill, num_steps):
    """Carry the pair and record the change."""

    def body(carry, _):
        u, v = carry
        next_u, next_v = solution_3(u, v, feed, kill)
        return (next_u, next_v), jnp.abs(next_v - v).max()

    (u, v), changes = jax.lax.scan(body, (u, v), length=num_steps)
    return u, v, changes


transfer.check_advance(solution_5)


# %% [markdown]
# **Predict.** Below are a hundred steps by NumPy, by a Python loop over the
# jitted step, and by the scan, on sheets from 16 by 16 to 256 by 256. Where
# does the scan gain more over the Python loop: on small or on large sheets?


# %%
def loop_in_numpy(u, v):
    """Take a hundred steps in place."""
    for _ in range(100):
        gray_scott.step(u, v, 0.046, 0.062)


def loop_in_python(u, v):
    """Call one compiled step a hundred times."""
    for _ in range(100):
        u, v = jitted_step(u, v, 0.046, 0.062)
    return u, v


def loop_in_scan(u, v):
    """Make one call."""
    return solution_5(u, v, 0.046, 0.062, 100)


# %%
widths = [16, 64, 256]
loops = {
    "NumPy": (np, loop_in_numpy),
    "Python loop, jitted step": (jnp, loop_in_python),
    "scan": (jnp, loop_in_scan),
}
curves = {}
for name, (module, loop) in loops.items():
    fields = [(module.ones((n, n)), module.zeros((n, n))) for n in widths]
    curves[name] = widths, [best_time(loop, *uv) for uv in fields]

show_curves(curves, "width", "seconds for 100 steps", **scales)

# %% [markdown]
# The scan gains most on small sheets: there most of the time goes into
# returning to Python after each step, and the scan never does. On large sheets
# the work itself takes the time. (If the curves look different, something else
# is keeping this machine busy: run the cell again.)
#
# ## The loop that stops
#
# The program does not count: it stops when v hardly changes any more. A scan
# cannot stop early. `jax.lax.while_loop(goes_on, body, carry)` can. Both
# functions take the carry: `goes_on` says whether to go on, and `body` makes
# the next carry. It records nothing, because nobody knows how many steps there
# will be.
#
# ### Exercise 6: `while_loop`
#
# Write `run_until_still(u, v, feed, kill, tolerance, max_steps)`, jitted. It
# returns u, v and the number of steps, as `gray_scott.simulate` does.
#
# <details><summary>Hint</summary>
#
# Whatever `goes_on` needs must be in the carry: the change, and the number of
# steps. Which value of the change lets the first step happen? And `and` needs
# a concrete value, while `&` works on tracers.
#
# </details>


# %% tags=["exercise"]
@jax.jit
def run_until_still(u, v, feed, kill, tolerance, max_steps):
    """Step until v changes by less than tolerance; return u, v, the steps."""
    return ...


transfer.check_run_until_still(run_until_still)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
@jax.jit
def solution_6(u, v, feed, kill, tolerance, max_steps):
    """Need nothing static: the length of the loop is not in the program."""

    def goes_on(carry):
        _, _, change, num_steps = carry
        return (change >= tolerance) & (num_steps < max_steps)

    def body(carry):
        u, v, _, num_steps = carry
        next_u, next_v = solution_3(u, v, feed, kill)
        return next_u, next_v, jnp.abs(next_v - v).max(), num_steps + 1

    start = u, v, jnp.inf, 0
    u, v, _, num_steps = jax.lax.while_loop(goes_on, body, start)
    return u, v, num_steps


transfer.check_run_until_still(solution_6)


# %% [markdown]
# **What if you want a record as well?** Carry a buffer that is large enough
# for the longest run, and write into it by `.at`. Outside jit, cut off what
# was not used:


# %%
@jax.jit(static_argnames="max_steps")
def halve_until_small(x, limit, max_steps):
    """Halve x until it is below limit; return the values and their number."""

    def goes_on(carry):
        x, i, _ = carry
        return (x >= limit) & (i < max_steps)

    def body(carry):
        x, i, values = carry
        return x / 2, i + 1, values.at[i].set(x)

    start = x, 0, jnp.zeros(max_steps)
    _, num_values, values = jax.lax.while_loop(goes_on, body, start)
    return values, num_values


values, num_values = halve_until_small(20.0, limit=1, max_steps=100)
print(values[:num_values])

# %% [markdown]
# Next, four problems at once, by `vmap`. Alone, each of them takes its own
# number of steps until it is still.
#
# **Predict.** Alone, they take about 100, 200, 300 and more than 1000 steps.
# How many steps does the mapped loop take? What happens to the problems that
# are finished? Are all four together faster than one after the other?

# %%
feeds = jnp.array([0.03, 0.014, 0.054, 0.054])
kills = jnp.array([0.07, 0.06, 0.05, 0.06])
limits = 1e-5, 3000
map_four = jax.jit(
    jax.vmap(solution_6, in_axes=(None, None, 0, 0, None, None))
)
_, _, mapped_steps = map_four(*start, feeds, kills, *limits)
rows = []
for feed, kill, mapped in zip(feeds, kills, mapped_steps, strict=True):
    _, _, alone = solution_6(*start, feed, kill, *limits)
    rows.append([feed, kill, alone, mapped])
show_table(["feed", "kill", "steps alone", "steps mapped"], rows)


# %%
def one_by_one():
    """Run the four problems, each until it is still."""
    pairs = zip(feeds, kills, strict=True)
    return [solution_6(*start, *pair, *limits) for pair in pairs]


together = best_time(map_four, *start, feeds, kills, *limits)
alone = best_time(one_by_one)
print(f"one by one: {1000 * alone:.0f} ms, mapped: {1000 * together:.0f} ms")
computed = 4 * mapped_steps.max()
print(f"the mapped loop computes {computed} steps, {mapped_steps.sum()} count")

# %% [markdown]
# The mapped loop runs until the last problem is finished. The others are
# computed along with it, and at each step a `select` keeps their old values.
# The results are right, but the work is four times that of the slowest
# problem: here mapping does not pay. Map over problems that take about equally
# long, or sort them into such groups.
#
# ## All feeds, all kills
#
# `main` in `gray_scott.py` takes nine pairs of feed and kill, one after the
# other. To see what the model can do, we want a picture for each of 36 pairs,
# for the same number of steps. That is a `vmap` over a scan.
#
# ### Exercise 7: a grid of patterns
#
# Write `grow_all(u, v, feeds, kills, num_steps)`. It returns v after that many
# steps from the same start, for each kill and each feed, in one call. The
# shape is `(num_kills, num_feeds, height, width)`. Write it for one pair, with
# your `advance`, and map twice.
#
# <details><summary>Hint</summary>
#
# The outer map makes the first axis. `in_axes` refers to positional arguments.
# Whatever is static can stay in an inner function.
#
# </details>


# %% tags=["exercise"]
def grow_all(u, v, feeds, kills, num_steps):
    """Return v for each kill and each feed."""
    return ...


transfer.check_grow_all(grow_all)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
@jax.jit(static_argnames="num_steps")
def solution_7(u, v, feeds, kills, num_steps):
    """Map one pair over the feeds, and that over the kills."""

    def grow(feed, kill):
        return solution_5(u, v, feed, kill, num_steps)[1]

    for_each_feed = jax.vmap(grow, in_axes=(0, None))
    return jax.vmap(for_each_feed, in_axes=(None, 0))(feeds, kills)


transfer.check_grow_all(solution_7)


# %% [markdown]
# **Predict.** Below, feed grows to the right and kill grows downwards. In
# which corner is there no v at all, and in which does it fill the sheet?

# %%
feeds = np.linspace(0.022, 0.057, 6)
kills = np.linspace(0.0575, 0.065, 6)
patterns = solution_7(*start, feeds, kills, 3000)
picture = make_grid(patterns.reshape(36, 64, 64), num_columns=6)
alt = "spots at the lower left, worms and mazes between, holes at the right"
show_states({"feed from 0.022 to 0.057 across, kill down": picture}, alt)

# %% [markdown]
# At the lower left, v is taken out faster than it can grow. At the upper
# right, v fills the sheet. Between them are spots that divide, worms, mazes
# and holes, much like those on skins and shells. Another key makes another
# picture.
#
# ## Backwards
#
# In the third notebook you learned a rule from its states. Can you also find
# the feed from one picture, 100 steps after a known start? For this you need
# the gradient of an error with respect to the feed, through 100 steps.
#
# **Predict.** Through which of the two loops can JAX differentiate, the one
# that counts or the one that stops?


# %%
def last_mean(feed):
    """Return the mean of v where the while_loop stops."""
    return solution_6(*start, feed, 0.062, 1e-5, 100)[1].mean()


def mean_after_100(feed):
    """Return the mean of v after 100 steps of the scan."""
    return solution_5(*start, feed, 0.062, 100)[1].mean()


with show_error():
    jax.grad(last_mean)(0.046)

slope = jax.grad(mean_after_100)(0.046)
difference = mean_after_100(0.0465) - mean_after_100(0.0455)
print(f"gradient {slope:.3f}, finite difference {difference / 0.001:.3f}")

# %% [markdown]
# To differentiate, JAX needs values from every step, so it has to keep them.
# For a scan it knows how many steps there are, but not for a loop that stops
# by itself. Long scans run out of memory for this reason.
# `jax.checkpoint(step)` keeps only the inputs of each step, and computes the
# rest again on the way back.


# %%
def gradient_memory(step, num_steps):
    """Return the bytes that the gradient through num_steps steps needs."""

    @jax.jit
    def mean_at_the_end(feed):
        def body(carry, _):
            return step(*carry, feed, 0.062), None

        (_, v), _ = jax.lax.scan(body, start, length=num_steps)
        return v.mean()

    compiled = jax.jit(jax.grad(mean_at_the_end)).lower(0.046).compile()
    return compiled.memory_analysis().temp_size_in_bytes


# %%
steps_tried = [50, 100, 200, 400]
curves = {}
for name, step_tried in {
    "as it is": solution_3,
    "with jax.checkpoint": jax.checkpoint(solution_3),
}.items():
    megabytes = [gradient_memory(step_tried, n) / 1e6 for n in steps_tried]
    curves[name] = steps_tried, megabytes

show_curves(curves, "steps", "megabytes for the gradient")

# %% [markdown]
# ### Exercise 8: the feed, found again
#
# This is a bonus. Write `find_feed(u, v, seen)`: `seen` is the v that came out
# of u and v after 100 steps, with kill 0.062 and a feed between 0.03 and 0.05.
# Return that feed. Start from 0.04 and follow a gradient that JAX computes.
#
# <details><summary>Hint</summary>
#
# The error is the mean of the squared differences. A rate of 0.005 and some
# sixty updates are enough. The updates are a loop, so they can be a scan.
#
# </details>


# %% tags=["exercise"]
def find_feed(u, v, seen):
    """Return the feed with which v becomes what was seen, in 100 steps."""
    return ...


transfer.check_find_feed(find_feed)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
@jax.jit
def solution_8(u, v, seen):
    """Run gradient descent in a scan."""

    def error(feed):
        _, last_v, _ = solution_5(u, v, feed, 0.062, 100)
        return jnp.mean((last_v - seen) ** 2)

    def update(feed, _):
        return feed - 0.005 * jax.grad(error)(feed), None

    feed, _ = jax.lax.scan(update, jnp.float32(0.04), length=60)
    return feed


transfer.check_find_feed(solution_8)


# %% [markdown]
# ## Both programs side by side
#
# [notebooks/gray_scott_jax.py](../notebooks/gray_scott_jax.py) is the whole
# port. The command `port` compares any program with its port. It makes the
# same call in both, says whether the results are the same, how the port uses
# JAX, what it gains, and what to do next.
#
# **Predict.** This call takes 499 steps of 64 by 64 cells. After how many
# calls has the port paid for its compilation?

# %%
DRAW = "import gray_scott as g; np.random.seed(0); u, v = "
command = ["gray_scott.py", "gray_scott_jax.py"]
command += ["--setup", DRAW + "g.make_initial_state(64)"]
command += ["--call", "simulate(u, v, 0.046, 0.062, max_steps=499)"]
done = subprocess.run(
    [sys.executable, workshop / "stages/workshop", "port", *command],
    cwd=workshop / "notebooks",
    env=os.environ | {"PYTHONUTF8": "1", "COLUMNS": "79", "NO_COLOR": "1"},
    capture_output=True,
    encoding="utf-8",
)
print(done.stdout or done.stderr)

# %% [markdown]
# Try it on your own program:
#
#     python stages/workshop port OLD.py NEW.py --call "main_function(...)"
#
# ## The method, on one page
#
# 1. **Functions.** A function takes all that it needs as arguments, random
#    keys too, and returns all that it computes. It changes nothing.
# 2. **A reference.** Keep the old program as it is. Choose one small call and
#    a tolerance, and compare after every change.
# 3. **`jnp` for `np`**, and a new array for each change in place.
# 4. **Time it**: the first call and later calls, and wait for the result.
# 5. **`jax.jit`** goes on the outermost function that takes arrays. Make
#    static only what decides a shape or a loop's length.
# 6. **Loops.** A loop with a known number of steps becomes a `scan`; one that
#    stops on a condition, a `while_loop`; one over independent cases, a
#    `vmap`.
# 7. **Stay in JAX.** Use no print, no `if` on a value and no NumPy until the
#    end.
# 8. **Ask `port` what is next.** Stop when what remains is the computation
#    itself.
#
# Change one thing at a time. A port that changes six things at once and is
# wrong does not tell you which of them it was.
#
# ## Summary
#
# 1. Rounding and mistakes differ in size. The old program, run in 32 bits,
#    shows how far rounding goes. Compare after a few steps.
# 2. Random numbers come from a key that you pass in and use once.
# 3. `u += x` leaves the caller's JAX array unchanged, without an error. Return
#    what is new.
# 4. Put a program's state into a pytree, not into `self`.
# 5. A scan counts, records, and can be differentiated. A `while_loop` stops
#    when a value says so, and under vmap it runs until the last problem stops.
# 6. Write for one problem, and map: a whole parameter study is one call.
#
# More: [jax.random], [jax.lax.while_loop], [jax.checkpoint], [pytrees]. Back
# to
# [1 · Port](1_port.ipynb).
#
# [jax.random]: https://docs.jax.dev/en/latest/jax.random.html
# [jax.lax.while_loop]: https://docs.jax.dev/en/latest/_autosummary/jax.lax.while_loop.html
# [jax.checkpoint]: https://docs.jax.dev/en/latest/_autosummary/jax.checkpoint.html
# [pytrees]: https://docs.jax.dev/en/latest/pytrees.html
