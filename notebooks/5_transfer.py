# %% [markdown]
# # 5 · Transfer: a program that nobody has ported for you
#
# You take a program of another kind, as a scientist wrote it for NumPy, and
# port it to JAX yourself, one idea at a time. There are seven exercises and a
# bonus. No stage shows you the result. You will learn when two rounded results
# count as the same, how JAX draws random numbers, how to print from a compiled
# program, what to do with a class, and which loop becomes a `scan`, a
# `while_loop` or a `vmap`. The same steps, in the same order, work for your
# own programs. The end of this notebook has them on one page.
#
# You should have worked through the first three notebooks, or know what jit,
# scan, vmap and a gradient are. Allow 110 minutes: 70 for exercises 1 to 5,
# and 40 for the rest. Each exercise builds on the one before. But you may skip
# an exercise, because the notebook continues with its own solution.

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

import answers
import gray_scott
from figures import best_time, show_curves, show_error, show_states, show_table
from workshop.rendering import make_grid

# %% [markdown]
# ## The program
#
# The cells of a sheet hold two substances, u and v. The edges of the sheet are
# joined, left to right and top to bottom: this is a **torus**. Both substances
# spread to the neighboring cells, and u spreads faster. Where they meet, they
# react: one u and two v become three v. Everywhere, some u is added, and some
# of both is removed. This is the model of Gray and Scott. It has two
# parameters: `feed` and `kill`.
#
# The whole program is [notebooks/gray_scott.py](../notebooks/gray_scott.py).
# These are its main functions:

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
pictures = {"start": v.copy()}
for more, num_steps in [(100, 100), (400, 500), (2500, 3000)]:
    gray_scott.simulate(u, v, 0.046, 0.062, 0, more)
    pictures[f"{num_steps} steps"] = v.copy()

alts = "a few squares", "spots with rings", "spots divide", "a maze"
show_states(pictures, *alts)

# %% [markdown]
# The squares of v grow into a maze, which continues across the edges. Yet no
# line of the program mentions a maze.
#
# **Predict.** Read all of `gray_scott.py`. What will fail in JAX, give another
# result, or be slow? There are six such things. The next cell counts some of
# them.

# %%
source = inspect.getsource(gray_scott)
for text in ("np.random", " += ", "print(", "break", "for "):
    print(f"{text!r} occurs {source.count(text)} times")

# %% [markdown]
# These are the six. The program computes in 64 bits. It draws random numbers
# from a hidden state. It changes arrays in place. It prints while it runs. Its
# loop stops when a computed value is small enough. And a second loop, in
# `main`, takes pairs of feed and kill one by one. Each of these becomes an
# exercise.
#
# Put your answer in place of the three dots, run the cell, and read what the
# check prints. It reports one problem at a time. Each exercise has a hint and
# a solution, both folded.
#
# ## When are two arrays the same?
#
# How will you know that your port is right? The cells of the first notebooks
# were 0 or 1, and had to be equal. The values of u and v are fractions, and
# JAX keeps about 7 of their digits where NumPy keeps 16.
#
# **Predict.** Below are three runs, each compared with the original program.
# The first run starts from values that differ in the last digit. The second
# computes in 32 bits. The third has a mistake: its feed is too large by a
# thousandth. How far off is each run after 1 step, and after 2000 steps?

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
# All three differences grow, because this model makes any small difference
# larger. But their order stays the same. So compare after a few steps, while
# all differences are small. Choose a tolerance well above the effect of
# rounding, and well below the effect of a mistake. To see the effect of
# rounding, run the old program in 32 bits. If you cannot tell the two effects
# apart, compare in 64 bits (`jax.enable_x64`, from the first notebook), where
# the effect of rounding is far smaller.
#
# ### Exercise 1: the same values
#
# Write `is_same(got, want)` for two arrays of v after a hundred steps. It
# returns True if they differ only by rounding, and False otherwise. The check
# tries several arrays that differ in other ways.
#
# <details><summary>Hint</summary>
#
# There are two traps. A NaN is not greater than any tolerance. And NumPy
# broadcasts arrays of different shapes, so you must compare the shapes
# yourself. `np.allclose` avoids the first trap, but not the second.
#
# </details>


# %% tags=["exercise"]
def is_same(got, want):
    """Return whether the arrays differ only by rounding."""
    return ...


answers.check_is_same(is_same)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
def solution_1(got, want):
    """Allow 2e-5: rounding is off by a millionth, mistakes by much more."""
    return got.shape == want.shape and np.allclose(
        got, want, rtol=0, atol=2e-5
    )


answers.check_is_same(solution_1)


# %% [markdown]
# ## Random numbers without a hidden state
#
# `np.random.rand` has a hidden state, which each call changes. This is a side
# effect, and JAX compiles functions without side effects. In JAX the state is
# a value, the **key**, and you pass it as an argument.
#
# **Predict.** How many different numbers do these four lines print?

# %%
key = jax.random.key(0)
one, two = jax.random.split(key)
for some_key in (key, key, one, two):
    print(jax.random.uniform(some_key))

# %% [markdown]
# They print three different numbers. The same key always gives the same
# numbers, on any device, so you can repeat a run. New numbers need a new key,
# and `split` makes as many keys as you ask for. Use each key only once, for a
# draw or for a split. If you use a key twice, the numbers look random, but
# they are not independent. By default, JAX does not notice this. Under
# `jax.debug_key_reuse(True)` it raises an error.
#
# **A key in a loop.** Each step needs a key of its own. You can carry a key
# and split it in each step. Or you can *fold in* the number of the step: then
# you can also draw the numbers of any single step, without those before it.


# %%
def split_in_a_loop(key, _):
    """Split the key: one new key is carried on, one is used now."""
    key, key_now = jax.random.split(key)
    return key, jax.random.uniform(key_now)


def fold_in_a_loop(step):
    """Draw with a key that is made from the number of the step."""
    return jax.random.uniform(jax.random.fold_in(jax.random.key(2), step))


_, by_split = jax.lax.scan(split_in_a_loop, jax.random.key(1), length=4)
by_fold = jax.lax.map(fold_in_a_loop, jnp.arange(4))
print("split:  ", by_split)
print("fold_in:", by_fold)
print("only step 2:", fold_in_a_loop(2))

# %% [markdown]
# ### Exercise 2: a random start
#
# Write `make_initial_state(key, width)`, the function of `gray_scott.py` in
# JAX. It returns u and v, both of shape `(width, width)`. JAX draws other
# numbers than NumPy, so the check looks at their distribution.
#
# <details><summary>Hint</summary>
#
# There are three draws, so you need three keys. `jax.random.bernoulli` draws
# True with a given probability, and there is a `jnp.kron`.
#
# </details>


# %% tags=["exercise"]
def make_initial_state(key, width):
    """Return u and v: u with some squares of v, and noise in both."""
    return ...


answers.check_initial_state(make_initial_state)


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


answers.check_initial_state(solution_2)


# %% [markdown]
# You cannot compare two programs that draw different numbers. So draw once,
# and give the same numbers to both. From here on, u and v are arguments, and
# both programs start from the numbers that NumPy drew.
#
# ## Return new arrays
#
# `laplacian` and `step` change arrays in place. JAX arrays never change.
#
# **Predict.** `laplacian` contains `total[1:] += a[:-1]`, and `step` contains
# `u += ...`. With JAX arrays, one of the two raises an error. The other is
# worse: it is wrong, and raises no error. Which is which?

# %%
with show_error():
    gray_scott.laplacian(jnp.ones((8, 8)))


def add_one(u):
    """Add to the argument as step does, and return nothing."""
    u += 1


for zeros in (np.zeros(3), jnp.zeros(3)):
    add_one(zeros)
    print(type(zeros).__name__, zeros)

# %% [markdown]
# `total[1:] += x` fails with a clear error. But for a JAX array, `u += x`
# means `u = u + x`: it makes a new array, and names it u **inside the
# function**. The caller's array does not change, and there is no error. So a
# function must return the arrays that it computes.
#
# ### Exercise 3: a step that returns
#
# Write `step(u, v, feed, kill)`. It returns the next u and the next v, and
# does not change its arguments. It must also work for sheets that are not
# square. The nine lines of `laplacian` become one or two.
#
# <details><summary>Hint</summary>
#
# Each pair of slices, with its line for the edge, is one `jnp.roll`, for
# example `jnp.roll(a, 1, axis=0)`. Compute the next v from the old u: in
# NumPy, `reaction` is computed before u and v change.
#
# </details>


# %% tags=["exercise"]
def step(u, v, feed, kill):
    """Return the next u and v."""
    return ...


answers.check_step(step)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
def laplacian(a):
    """Return the sum of the four neighbors, minus four times the cell."""
    moved = [jnp.roll(a, by, axis) for axis in (0, 1) for by in (1, -1)]
    return sum(moved) - 4 * a


def solution_3(u, v, feed, kill):
    """Return the next u and v, both computed from the old ones."""
    reaction = u * v**2
    next_u = u + 0.16 * laplacian(u) - reaction + feed * (1 - u)
    next_v = v + 0.08 * laplacian(v) + reaction - (feed + kill) * v
    return next_u, next_v


answers.check_step(solution_3)


# %% [markdown]
# **Predict.** Take a hundred steps with this port, and a hundred with NumPy.
# How large is the difference between the results in 32 bits, and in 64 bits?

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
# Many programs keep their parameters and arrays in an object. If you put
# `jax.jit` on a method, `self` is an argument, and JAX refuses it: your object
# is not an array. If you make `self` static, the first call works.
#
# **Predict.** What will the second line of the output show?


# %%
class Decay:
    """A model with a parameter that may change."""

    rate = 0.1

    @partial(jax.jit, static_argnums=0)
    def step(self, x):
        """Return what is left of x."""
        return x * (1 - self.rate)


model = Decay()
print("rate 0.1:", model.step(1.0))
model.rate = 0.5
print("rate 0.5:", model.step(1.0))

# %% [markdown]
# The second line is wrong: jit read the rate when it traced the method, and
# there is no error. Put everything that may change into a state, and pass it
# as an argument. The state is a `NamedTuple`, or a dataclass that you register
# with `jax.tree_util.register_dataclass`. You can jit, scan and map a plain
# function of it. JAX calls such a container of arrays a **pytree**.


# %%
class DecayState(NamedTuple):
    """Everything that the model needs."""

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
# While the program runs, the scientist wants to see a number now and then. But
# jit runs your Python code only once, on tracers. Later calls run only the
# recorded program.
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
# It takes a format and, separately, the values for it: an f-string would
# contain a tracer. Each such print takes time, because it calls Python.
#
# ### Exercise 4: jit, and the print
#
# Here is a step with a print. Change it so that every call prints the mean of
# the next v. Keep it jitted, and do not make feed and kill static.
#
# <details><summary>Hint</summary>
#
# Use `jax.debug.print`. Put `{mean}` into the format, and pass the value as
# the argument `mean`.
#
# </details>


# %% tags=["exercise"]
@jax.jit
def step_and_print(u, v, feed, kill):
    """Return the next u and v, and print the mean of that v."""
    u, v = solution_3(u, v, feed, kill)
    print("mean of v:", v.mean())
    return u, v


answers.check_step_and_print(step_and_print)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
@jax.jit
def solution_4(u, v, feed, kill):
    """Let the compiled program print the mean."""
    u, v = solution_3(u, v, feed, kill)
    jax.debug.print("mean of v: {mean}", mean=v.mean())
    return u, v


answers.check_step_and_print(solution_4)


# %% [markdown]
# **Predict.** Take one step of a sheet of 64 by 64 cells in NumPy, in JAX
# without jit, and in JAX with jit (and without a print). Which is the fastest,
# and which the slowest? How many times longer does the slowest take?

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
# As in the first two notebooks, many small operations are slow if each is sent
# separately, and fast in one program. But a compiled step has so little work
# that the call itself takes a large part of the time. So the next exercise
# compiles the loop, too.
#
# ## The loop that counts
#
# ### Exercise 5: scan
#
# Write and jit `advance(u, v, feed, kill, num_steps)`, which takes `num_steps`
# steps in one scan. It returns u, v and `changes`, of shape `(num_steps,)`.
# Each entry is the largest change of v in that step, over all cells. This
# record replaces the print.
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


answers.check_advance(advance)


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


answers.check_advance(solution_5)


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
# The scan gains most on small sheets. There, the Python loop spends most of
# its time between the steps, and the scan does not return to Python at all. On
# large sheets, the steps themselves take most of the time. (If a time here or
# later contradicts the text below it, something else is keeping this machine
# busy: run the cell again.)
#
# ## The loop that stops
#
# The program does not take a fixed number of steps: it stops when v hardly
# changes any more. A scan cannot stop early, but `jax.lax.while_loop(goes_on,
# body, carry)` can. Both functions take the carry: `goes_on` returns whether
# to continue, and `body` returns the next carry. A `while_loop` records
# nothing, because the number of steps is not known beforehand.
#
# ### Exercise 6: `while_loop`
#
# Write and jit `run_until_still(u, v, feed, kill, tolerance, max_steps)`. It
# returns u, v and the number of steps, as `gray_scott.simulate` does.
#
# <details><summary>Hint</summary>
#
# Everything that `goes_on` needs must be in the carry: the change, and the
# number of steps. Which initial change makes the loop take its first step?
# Write `&` instead of `and`, which needs concrete values.
#
# </details>


# %% tags=["exercise"]
@jax.jit
def run_until_still(u, v, feed, kill, tolerance, max_steps):
    """Return u, v and the number of steps until v hardly changes."""
    return ...


answers.check_run_until_still(run_until_still)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
@jax.jit
def solution_6(u, v, feed, kill, tolerance, max_steps):
    """Carry u, v, the last change, and the number of steps."""

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


answers.check_run_until_still(solution_6)


# %% [markdown]
# **Do you need a record, too?** Carry a buffer that is large enough for the
# longest run, and write into it with `.at`. Outside of jit, cut off the unused
# end:


# %%
@jax.jit(static_argnames="max_steps")
def halve_until_small(x, limit, max_steps):
    """Halve x until it is small; return the values and their number."""

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
# Next, we run four problems at once, with `vmap`. Each of them needs a
# different number of steps until v hardly changes.
#
# **Predict.** Run separately, they take about 150, 200, 400 and 1500 steps.
# How many steps does the mapped loop take? What happens to the problems that
# are finished? Is the mapped loop faster than four separate runs?

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
    """Run the four problems, one after the other."""
    pairs = zip(feeds, kills, strict=True)
    return [solution_6(*start, *pair, *limits) for pair in pairs]


together = best_time(map_four, *start, feeds, kills, *limits)
alone = best_time(one_by_one)
print(f"one by one: {1000 * alone:.0f} ms, mapped: {1000 * together:.0f} ms")
computed = 4 * mapped_steps.max()
print(f"the mapped loop computes {computed} steps")
print(f"only {mapped_steps.sum()} of them are needed")

# %% [markdown]
# The mapped loop runs until the last problem is finished. It also computes the
# next steps of the finished problems, but keeps their old values. The results
# are right, but the work is four times that of the slowest problem, so here
# mapping does not pay off. Map over problems that need about the same number
# of steps, or sort them into groups that do.
#
# ## All feeds, all kills
#
# `main` in `gray_scott.py` runs nine pairs of feed and kill, one after the
# other. To see which patterns the model can make, we want a picture for each
# of 36 pairs, after the same number of steps. For this we map a scan.
#
# ### Exercise 7: a grid of patterns
#
# Write `grow_all(u, v, feeds, kills, num_steps)`. In one call, it returns v
# after `num_steps` steps from the same start, for each kill and each feed. The
# shape is `(num_kills, num_feeds, height, width)`. Write it for one pair, with
# `advance`, and map twice.
#
# <details><summary>Hint</summary>
#
# The outer map makes the first axis. `in_axes` applies to positional arguments
# only. So write an inner function of `feed` and `kill`, which uses the other
# arguments without taking them.
#
# </details>


# %% tags=["exercise"]
def grow_all(u, v, feeds, kills, num_steps):
    """Return v for each kill and each feed."""
    return ...


answers.check_grow_all(grow_all)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
@jax.jit(static_argnames="num_steps")
def solution_7(u, v, feeds, kills, num_steps):
    """Map over the feeds, and map the result over the kills."""

    def grow(feed, kill):
        return solution_5(u, v, feed, kill, num_steps)[1]

    for_each_feed = jax.vmap(grow, in_axes=(0, None))
    return jax.vmap(for_each_feed, in_axes=(None, 0))(feeds, kills)


answers.check_grow_all(solution_7)


# %% [markdown]
# **Predict.** Below, feed grows to the right and kill grows downwards. In
# which corner is there no v at all, and in which corner does v fill the sheet?

# %%
feeds = np.linspace(0.022, 0.057, 6)
kills = np.linspace(0.0575, 0.065, 6)
patterns = solution_7(*start, feeds, kills, 3000)
picture = make_grid(patterns.reshape(36, 64, 64), num_columns=6)
alt = (
    "no v at the lower left, v everywhere at the upper right, and between"
    " them spots, worms and mazes"
)
show_states({"feed from 0.022 to 0.057 across, kill down": picture}, alt)

# %% [markdown]
# At the lower left, v is removed faster than it can grow. At the upper right,
# v fills the sheet. Between them are spots that divide, worms, mazes and
# holes, like the patterns on skins and shells.
#
# ## Backwards
#
# In the third notebook, gradient descent found a rule from its states. Can it
# also find the feed from one picture, 100 steps after a known start? This
# needs the gradient of an error with respect to the feed, through 100 steps.
#
# **Predict.** Through which of the two loops can JAX differentiate: the scan,
# or the `while_loop`?


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
# To differentiate, JAX needs values from every step, so it must store them. It
# knows the number of steps of a scan, but not of a `while_loop`. In a long
# scan, these values may need more memory than there is. `jax.checkpoint(step)`
# stores only the inputs of each step, and computes the other values again when
# the gradient needs them.


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
# This exercise is a bonus. Write `find_feed(u, v, seen)`: `seen` is v 100
# steps after the given u and v, with kill 0.062 and an unknown feed between
# 0.03 and 0.05. Return this feed. Start from 0.04, and follow a gradient that
# JAX computes.
#
# <details><summary>Hint</summary>
#
# The error is the mean of the squared differences. A rate of 0.005 and sixty
# updates are enough. The loop over the updates can be a scan.
#
# </details>


# %% tags=["exercise"]
def find_feed(u, v, seen):
    """Return the feed that leads from u and v to seen in 100 steps."""
    return ...


answers.check_find_feed(find_feed)


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


answers.check_find_feed(solution_8)


# %% [markdown]
# ## Both programs side by side
#
# [notebooks/gray_scott_jax.py](../notebooks/gray_scott_jax.py) is the whole
# port. The command `port` compares any program with its port: it makes the
# same call in both. It reports whether the results are the same, how the port
# uses JAX, how much faster it is, and which change to make next.
#
# **Predict.** The call below takes 499 steps of 64 by 64 cells. After how many
# calls has the port saved as much time as its compilation took?

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
# 1. **Functions.** A function takes everything that it needs as arguments,
#    random keys included. It returns everything that it computes, and changes
#    nothing.
# 2. **A reference.** Keep the old program as it is. Choose one small call and
#    a tolerance, and compare after every change.
# 3. **`jnp` for `np`**, and a new array for each change in place.
# 4. **Time it**: the first call and later calls, and wait for the result.
# 5. **`jax.jit`** goes on the outermost function that takes arrays. Make
#    static only what decides a shape or a loop's length.
# 6. **Loops.** A loop with a known number of steps becomes a `scan`; one that
#    stops on a condition, a `while_loop`; one over independent cases, a
#    `vmap`.
# 7. **Stay in JAX** until the end: no print, no `if` on a value, no NumPy.
# 8. **Ask `port` for the next change.** Stop when nearly all of the time is
#    the computation itself.
#
# Change one thing at a time. If you change six things at once and the result
# is wrong, you do not know which of the six is the mistake.
#
# ## Summary
#
# 1. Mistakes change the result much more than rounding. To see the effect of
#    rounding, run the old program in 32 bits. Compare after a few steps.
# 2. Random numbers come from a key, which you pass as an argument and use
#    once.
# 3. `u += x` leaves the caller's JAX array unchanged, without an error. Return
#    the new array.
# 4. Keep the state of a program in a pytree, not in `self`.
# 5. A scan has a fixed number of steps, records values, and has a gradient. A
#    `while_loop` stops on a condition, and under vmap it runs until the last
#    problem stops.
# 6. Write a function for one problem, and map it: then one call does a whole
#    parameter study.
#
# More: [jax.random], [jax.lax.while_loop], [jax.checkpoint], [pytrees]. Back
# to
# [1 · Port](1_port.ipynb).
#
# [jax.random]: https://docs.jax.dev/en/latest/jax.random.html
# [jax.lax.while_loop]: https://docs.jax.dev/en/latest/_autosummary/jax.lax.while_loop.html
# [jax.checkpoint]: https://docs.jax.dev/en/latest/_autosummary/jax.checkpoint.html
# [pytrees]: https://docs.jax.dev/en/latest/pytrees.html
