# %% [markdown]
# # 5 · Transfer: a program that nobody has ported for you
#
# **What you will do.** Take a program of another kind, as a scientist wrote it
# for NumPy, and bring it to JAX yourself, one idea at a time: seven exercises,
# and one more. There is no stage to look at.
#
# **What you will learn.** What "the same" means where numbers are rounded; how
# JAX draws random numbers; where a print goes; which loop becomes a scan,
# which a `while_loop`, which a `vmap`; and an order of work that serves your
# own program too. It stands at the end, on one page.
#
# **What you need.** The first three notebooks, or to know what jit, scan, vmap
# and a gradient are.
#
# **Minutes.** 60 for exercises 1 to 5, and 30 more for the rest. Each builds
# on the one before, but you may skip: the notebook goes on with a solution.

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
import inspect
import os
import subprocess

import jax
import jax.numpy as jnp
import numpy as np

import gray_scott
import transfer
from figures import (
    expect_failure,
    median_time,
    show_curves,
    show_patterns,
    show_states,
    show_table,
)

# %% [markdown]
# ## The program
#
# Two substances, u and v, lie in the cells of a sheet whose edges are joined:
# left to right and top to bottom, a **torus**. Both spread to the cells beside
# them, u faster. Where they meet they react: one u and two v become three v.
# Some u is fed in everywhere, and some of both is taken out. That is the model
# of Gray and Scott, and it needs two numbers: `feed` and `kill`.
#
# Open `notebooks/gray_scott.py` beside this notebook. Its heart is this:

# %%
print(inspect.getsource(gray_scott.step))
print(inspect.getsource(gray_scott.simulate))

# %% [markdown]
# **Predict.** We begin with u everywhere, but for a few squares of v. What
# will become of them: will v die out, fill the sheet evenly, or else?

# %%
np.random.seed(0)
initial_u, initial_v = gray_scott.make_initial_state(64)
u, v = initial_u.copy(), initial_v.copy()
pictures = {"at the start": v.copy()}
for more, num_steps in [(100, 100), (400, 500), (2500, 3000)]:
    gray_scott.simulate(u, v, 0.046, 0.062, 0, more)
    pictures[f"after {num_steps} steps"] = v.copy()

show_states(pictures, "fields of v", 0.4, xlabel="column", ylabel="row")
assert 0.1 < v.mean() < 0.3
assert v.std() > 0.1

# %% [markdown]
# Neither: it grows into a maze, and the maze fits into itself across the
# edges. No line of the program speaks of stripes.
#
# **Predict.** Read `gray_scott.py` again, as JAX would. What in it will not
# work in JAX as it stands, or not do the same, or be slow? You should find six
# things. (The next cell counts some of them.)

# %%
source = inspect.getsource(gray_scott)
for what in ("np.random", " += ", "print(", "break", "for "):
    print(f"{source.count(what):3} times {what}")
    assert what in source

# %% [markdown]
# The six: it counts on 64 bits; it draws random numbers from a hidden state;
# it changes arrays in place; it prints as it goes; its loop stops when a value
# says so; and a second loop, in `main`, takes feeds and kills one by one. Each
# of them is an exercise.
#
# Put your answer in place of the three dots, run the cell, and read what the
# check says: one thing at a time. A hint and a solution are folded below each.
#
# ## When are two arrays the same?
#
# Before anything is ported: how will you know that the port is right? Cells of
# the first notebooks were 0 or 1, and had to be equal. These are fractions,
# and JAX keeps about 7 digits of them where NumPy keeps 16.
#
# **Predict.** Three runs, each beside the program as it is: in 64 bits, with
# the last digit of the start changed; in 32 bits; and with a mistake, a feed
# that is a thousandth too large. How far off is each, after 1 step and after
# 2000? Do the three keep their distance?

# %%
steps_seen = [1, 3, 10, 30, 100, 300, 1000, 2000]
last_digit = np.nextafter(initial_u, 2), np.nextafter(initial_v, 2)
runs = {
    "64 bits, last digit": (*last_digit, 0.022, 0.0573),
    "32 bits": tuple(
        map(np.float32, (initial_u, initial_v, 0.022, 0.0573)),
    ),
    "a thousandth more feed": (initial_u, initial_v, 0.022022, 0.0573),
}


def follow(u, v, feed, kill):
    """The v after each number of steps in steps_seen."""
    u, v, seen = u.copy(), v.copy(), []
    for num_steps in range(1, steps_seen[-1] + 1):
        gray_scott.step(u, v, feed, kill)
        if num_steps in steps_seen:
            seen.append(v.copy())
    return np.array(seen)


want = follow(initial_u, initial_v, 0.022, 0.0573)
off = {
    name: np.abs(follow(*run) - want).max(axis=(1, 2))
    for name, run in runs.items()
}
show_curves(
    {name: (steps_seen, distances) for name, distances in off.items()},
    "steps",
    "largest difference in v",
    scale="log",
)
digit, narrow, mistake = off.values()
assert (digit < narrow / 1000).all()
assert (narrow < mistake / 10).all()
assert narrow[-1] > 10 * narrow[0]

# %% [markdown]
# All three grow: where spots divide, any difference grows, whatever it comes
# from. But they keep their order. So compare after few steps, while all are
# small; with a tolerance well above what rounding does, and well below what a
# mistake does. How much rounding does, the old program itself can tell: run
# it in 32 bits. And where the two are hard to tell apart, compare in 64 bits,
# where rounding is smaller by far (`jax.enable_x64`, from the first notebook).
#
# ### Exercise 1: the same values
#
# Write `is_same(got, want)` for two arrays of v after a hundred steps: True if
# they differ by rounding alone, False for anything else. "Anything else" is
# more than you may think: the check has a few surprises.
#
# <details><summary>Hint</summary>
#
# Is NaN greater than a tolerance? Are shapes compared, when NumPy can stretch
# the smaller one? `np.allclose` answers the first well, and the second not.
#
# </details>


# %% tags=["exercise"]
def is_same(got, want):
    """Whether the arrays differ by rounding alone."""
    return ...


transfer.check_is_same(is_same)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
def solution_1(got, want):
    """32 bits are off by a millionth, the mistakes by much more."""
    return got.shape == want.shape and np.allclose(
        got, want, rtol=0, atol=2e-5
    )


# %% [markdown]
# ## Random numbers without a hidden state
#
# `np.random.rand` remembers what it has drawn: each call changes something
# that you do not see. That is a side effect, and JAX compiles functions
# without. In JAX the state is a value, the **key**, and you pass it in.
#
# **Predict.** How many different numbers will these four lines print?

# %%
key = jax.random.key(0)
one, two = jax.random.split(key)
numbers = [float(jax.random.uniform(some)) for some in (key, key, one, two)]
print(*numbers, sep="\n")
assert len(set(numbers)) == 3

# %% [markdown]
# The same key gives the same numbers, always: a run can be repeated, on any
# device. What is new has to come from a new key, and `split` makes as many of
# them as you ask for. A key that has been used or split is used up: nothing
# enforces that, and using it twice is the mistake that nobody sees.
#
# ### Exercise 2: a random start
#
# Write `make_initial_state(key, width)`, JAX's form of the one in
# `gray_scott.py`: u and v, of shape `(width, width)`. The numbers will not be
# NumPy's, so the check looks at how they are spread.
#
# <details><summary>Hint</summary>
#
# Three things are drawn: three keys. `jax.random.bernoulli` draws True with a
# given probability, and `jnp.kron` is there.
#
# </details>


# %% tags=["exercise"]
def make_initial_state(key, width):
    """All u, but for some squares of v, and noise."""
    return ...


transfer.check_initial_state(make_initial_state)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
def solution_2(key, width):
    """A key for each of the three."""
    for_squares, for_u, for_v = jax.random.split(key, 3)
    shape = width // 8, width // 8
    squares = jax.random.bernoulli(for_squares, 0.2, shape)
    v = jnp.kron(jnp.where(squares, 0.5, 0.0), jnp.ones((8, 8)))
    u = 1 - v + 0.02 * jax.random.uniform(for_u, v.shape)
    return u, v + 0.02 * jax.random.uniform(for_v, v.shape)


# %% [markdown]
# Two programs that draw different numbers cannot be compared. So what is drawn
# is drawn once, and goes into both: the rest of this notebook takes u and v as
# arguments, and the comparisons hand NumPy's start to JAX.
#
# ## Nothing is changed
#
# `laplacian` and `step` change arrays in place. In JAX, arrays never change.
#
# **Predict.** `laplacian` says `total[1:] += a[:-1]`, and `step` says
# `u += ...`. Given JAX arrays, one of the two fails, and the other is worse.
# Which?

# %%
with expect_failure(TypeError, "immutable"):
    gray_scott.laplacian(jnp.ones((8, 8)))


def add_one(u):
    """As step does: changes what it is given, and returns nothing."""
    u += 1


for zeros in (np.zeros(3), jnp.zeros(3)):
    add_one(zeros)
    print(type(zeros).__name__, zeros)
assert not zeros.any()

# %% [markdown]
# `u[...] += x` fails, and says so. `u += x` is `u = u + x` for a JAX array: it
# makes a new one, and gives it the name u **inside the function**. The one
# outside stays as it was, and no error tells. So a function has to return what
# it computes.
#
# ### Exercise 3: a step that returns
#
# Write `step(u, v, feed, kill)`, which returns the next u and the next v, and
# changes nothing. It has to work for sheets that are not square, too. Eight
# lines of `laplacian` become one or two.
#
# <details><summary>Hint</summary>
#
# A pair of slices, one for the edge, is `jnp.roll(a, 1, axis=0)`, or another
# of its kind. And mind from which u the next v is computed: in NumPy's form
# `reaction` is there before either changes.
#
# </details>


# %% tags=["exercise"]
def step(u, v, feed, kill):
    """The next u and v."""
    return ...


transfer.check_step(step)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
def laplacian(a):
    """The four neighbors of each cell, less four times the cell."""
    moved = [jnp.roll(a, by, axis) for axis in (0, 1) for by in (1, -1)]
    return sum(moved) - 4 * a


def solution_3(u, v, feed, kill):
    """New arrays, from the old ones alone."""
    reaction = u * v**2
    next_u = u + 0.16 * laplacian(u) - reaction + feed * (1 - u)
    next_v = v + 0.08 * laplacian(v) + reaction - (feed + kill) * v
    return next_u, next_v


# %% [markdown]
# **Predict.** A hundred steps of it, beside a hundred of NumPy's. How far off
# are they in 32 bits, and how far in 64?

# %%
jitted_step = jax.jit(solution_3)
u, v = initial_u.copy(), initial_v.copy()
gray_scott.simulate(u, v, 0.046, 0.062, 0, 100)
distances = []
for wide in (False, True):
    with jax.enable_x64(wide):
        state = jnp.asarray(initial_u), jnp.asarray(initial_v)
        for _ in range(100):
            state = jitted_step(*state, 0.046, 0.062)
    distances.append(np.abs(np.asarray(state[1]) - v).max())
    print(f"{state[1].dtype}: off by up to {distances[-1]:.0e}")
assert distances[0] < 1e-5
assert distances[1] < 1e-12

# %% [markdown]
# In 64 bits the port is right to the last digits. So what 32 bits add is
# rounding, and no mistake.
#
# ## A print in a compiled program
#
# The scientist looks at a number now and then. jit runs your Python once, on
# tracers, and later runs what was recorded.
#
# **Predict.** The function below is called three times. What does it print,
# and how often?


# %%
@jax.jit
def mean_with_print(v):
    """The mean, and two ways to say it."""
    mean = v.mean()
    print("print:          ", mean)
    jax.debug.print("jax.debug.print: {mean}", mean=mean)
    return mean


for factor in (1, 2, 3):
    mean_with_print(factor * jnp.ones(4)).block_until_ready()
jax.effects_barrier()  # what the program prints may come late: wait for it

# %% [markdown]
# `print` is Python: it runs once, while jit traces, and sees a tracer.
# `jax.debug.print` is a part of the program, and runs when that runs. It takes
# a format and the values for it, since there is no value yet to put into an
# f-string. It costs time: each one calls Python back.
#
# ### Exercise 4: jit, and the print
#
# Here is a step with a print. Mend it, so that every call prints the mean of
# the next v; and leave it jitted, with feed and kill as data.


# %% tags=["exercise"]
@jax.jit
def step_and_print(u, v, feed, kill):
    """The next u and v; prints the mean of that v."""
    u, v = solution_3(u, v, feed, kill)
    print("mean of v:", v.mean())
    return u, v


transfer.check_step_and_print(step_and_print)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
@jax.jit
def solution_4(u, v, feed, kill):
    """The print is a part of the program."""
    u, v = solution_3(u, v, feed, kill)
    jax.debug.print("mean of v: {mean}", mean=v.mean())
    return u, v


# %% [markdown]
# **Predict.** One step of a sheet of 64 by 64 cells: in NumPy, in JAX
# operation by operation, and in JAX compiled (without a print). Which is
# fastest, which slowest, and by about how much?

# %%
start = jnp.asarray(initial_u), jnp.asarray(initial_v)
copies = initial_u.copy(), initial_v.copy()
seconds = {
    "NumPy": median_time(gray_scott.step, *copies, 0.046, 0.062),
    "JAX, one by one": median_time(solution_3, *start, 0.046, 0.062),
    "JAX, jit": median_time(jitted_step, *start, 0.046, 0.062),
}
show_table(
    ["one step", "microseconds"],
    [[name, f"{1e6 * value:.0f}"] for name, value in seconds.items()],
)
assert seconds["JAX, one by one"] > 2 * seconds["JAX, jit"]

# %% [markdown]
# You have met this: many small operations, each sent on its own, are slow; in
# one program they are not. But a compiled step is still so little work that
# sending it, and coming back to Python for the next one, is a good part of its
# time. On to the loop.
#
# ## The loop that counts
#
# ### Exercise 5: scan
#
# Write `advance(u, v, feed, kill, num_steps)`, jitted: so many steps in one
# scan. It returns u, v and `changes`, of shape `(num_steps,)`: by how much v
# changed in each step, in the cell where it changed most. What was printed is
# now recorded: no print is needed.
#
# <details><summary>Hint</summary>
#
# The carry is the pair `(u, v)`. The body returns the next carry, and what to
# record. `num_steps` is a length, and so it is static; feed and kill are not.
#
# </details>


# %% tags=["exercise"]
@jax.jit(static_argnames="num_steps")
def advance(u, v, feed, kill, num_steps):
    """The u and v after num_steps steps, and the change of v in each."""
    return ...


transfer.check_advance(advance)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
@jax.jit(static_argnames="num_steps")
def solution_5(u, v, feed, kill, num_steps):
    """The pair is carried, the change is recorded."""

    def body(carry, _):
        u, v = carry
        next_u, next_v = solution_3(u, v, feed, kill)
        return (next_u, next_v), jnp.abs(next_v - v).max()

    (u, v), changes = jax.lax.scan(body, (u, v), length=num_steps)
    return u, v, changes


# %% [markdown]
# **Predict.** A hundred steps, by NumPy, by a Python loop over the jitted
# step, and by the scan, on sheets from 16 by 16 to 256 by 256. Where does the
# scan gain most over the Python loop: on small sheets or on large ones?


# %%
def loop_in_numpy(u, v):
    """A hundred steps, in place."""
    for _ in range(100):
        gray_scott.step(u, v, 0.046, 0.062)


def loop_in_python(u, v):
    """A hundred calls of one compiled step."""
    for _ in range(100):
        u, v = jitted_step(u, v, 0.046, 0.062)
    return u, v


def loop_in_scan(u, v):
    """One call."""
    return solution_5(u, v, 0.046, 0.062, 100)


widths = [16, 32, 64, 128, 256]
curves = {}
for name, module, loop in [
    ("NumPy", np, loop_in_numpy),
    ("Python loop, jitted step", jnp, loop_in_python),
    ("scan", jnp, loop_in_scan),
]:
    seconds = [
        median_time(loop, module.ones((n, n)), module.zeros((n, n)))
        for n in widths
    ]
    curves[name] = widths, seconds

show_curves(curves, "width", "seconds for 100 steps", scale="log")
_, in_python = curves["Python loop, jitted step"]
_, in_scan = curves["scan"]
print(f"16 by 16: the scan is {in_python[0] / in_scan[0]:.0f} times as fast")
print(f"256 by 256: {in_python[-1] / in_scan[-1]:.1f} times")
assert in_python[0] > in_scan[0]

# %% [markdown]
# On small sheets: there the way to Python and back is most of the time, and
# the scan never goes it. On large ones, the work counts.
#
# ## The loop that stops
#
# The program does not count: it stops when v hardly changes any more. A scan
# cannot stop early. `jax.lax.while_loop(goes_on, body, carry)` can: both
# functions take the carry; one says whether to go on, the other makes the next
# one. It records nothing, since nobody knows how much room that would take.
#
# ### Exercise 6: `while_loop`
#
# Write `run_until_still(u, v, feed, kill, tolerance, max_steps)`, jitted: it
# returns u, v and the number of steps, as `gray_scott.simulate` does.
#
# <details><summary>Hint</summary>
#
# All that `goes_on` asks for has to be in the carry: the change, and the
# number of steps. What change makes the first step happen? And `and` asks for
# a value, `&` does not.
#
# </details>


# %% tags=["exercise"]
@jax.jit
def run_until_still(u, v, feed, kill, tolerance, max_steps):
    """The u and v when v changes by less than tolerance, and the steps."""
    return ...


transfer.check_run_until_still(run_until_still)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
@jax.jit
def solution_6(u, v, feed, kill, tolerance, max_steps):
    """Nothing is static: the loop's length is not part of the program."""

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


# %% [markdown]
# Now four problems at once, by `vmap`. Alone, each of them takes its own
# number of steps until it is still.
#
# **Predict.** They take some 100, 200, 300 and more than 1000 steps. For how
# many steps does the mapped loop run? What do those do that are done? Will all
# four together be faster than one after the other?

# %%
feeds = jnp.array([0.03, 0.014, 0.054, 0.054])
kills = jnp.array([0.07, 0.06, 0.05, 0.06])
limits = 1e-5, 3000
map_four = jax.jit(
    jax.vmap(solution_6, in_axes=(None, None, 0, 0, None, None))
)
_, mapped_v, mapped_steps = map_four(*start, feeds, kills, *limits)

rows = []
for i in range(4):
    _, alone_v, alone = solution_6(*start, feeds[i], kills[i], *limits)
    np.testing.assert_allclose(mapped_v[i], alone_v, atol=2e-5)
    rows.append([feeds[i], kills[i], alone, mapped_steps[i]])
    assert abs(alone - mapped_steps[i]) <= 2
show_table(["feed", "kill", "steps alone", "steps mapped"], rows)

longest, needed = mapped_steps.max(), mapped_steps.sum()
print(f"4 x {longest} steps are computed, {needed} of them are used")


def one_by_one():
    """The four problems, each until it is still."""
    pairs = zip(feeds, kills, strict=True)
    return [solution_6(*start, *pair, *limits) for pair in pairs]


together = median_time(map_four, *start, feeds, kills, *limits)
print(
    f"one by one takes {median_time(one_by_one) / together:.1f} times as long"
)

# %% [markdown]
# All four run until the last one is still. Those that are done are computed
# further, and thrown away: at each step a `select` keeps the old value for
# them. The results are right, and the work is that of the slowest, four times.
# So map over problems that take about as long as each other, or sort them into
# groups that do. You can see the `select` in what the compiler gets:

# %%
alone = solution_6.lower(*start, 0.03, 0.07, *limits).as_text()
mapped = map_four.lower(*start, feeds, kills, *limits).as_text()
print(f"alone:  {alone.count('stablehlo.select')} times select")
print(f"mapped: {mapped.count('stablehlo.select')} times select")
assert alone.count("stablehlo.select") == 0
assert mapped.count("stablehlo.select") >= 3

# %% [markdown]
# ## All feeds, all kills
#
# `main` in `gray_scott.py` takes nine pairs of feed and kill, one after the
# other. To see what the model can do, we want a picture for each of 36, for
# the same number of steps: that is a `vmap` over a scan.
#
# ### Exercise 7: a grid of patterns
#
# Write `grow_all(u, v, feeds, kills, num_steps)`: the v after so many steps
# from the same start, for each kill and each feed, of shape
# `(num_kills, num_feeds, height, width)`, in one call. Write it for one pair,
# with your `advance`, and map twice.
#
# <details><summary>Hint</summary>
#
# The map that is outside makes the first axis. `in_axes` speaks of positional
# arguments; what is static can stay in an inner function.
#
# </details>


# %% tags=["exercise"]
def grow_all(u, v, feeds, kills, num_steps):
    """The v for each kill and each feed."""
    return ...


transfer.check_grow_all(grow_all)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
@jax.jit(static_argnames="num_steps")
def solution_7(u, v, feeds, kills, num_steps):
    """One pair; over the feeds; over the kills."""

    def grow(feed, kill):
        return solution_5(u, v, feed, kill, num_steps)[1]

    for_each_feed = jax.vmap(grow, in_axes=(0, None))
    return jax.vmap(for_each_feed, in_axes=(None, 0))(feeds, kills)


# %% [markdown]
# **Predict.** Below, feed grows to the right and kill grows downwards. In
# which corner will there be no v at all, and in which will it fill the sheet?

# %%
feeds = np.linspace(0.022, 0.057, 6)
kills = np.linspace(0.0575, 0.065, 6)
patterns = solution_7(*start, feeds, kills, 3000)
show_patterns(np.asarray(patterns), feeds, kills)
assert patterns[-1, 0].max() < 0.01
assert patterns[0, -1].min() > 0.2
assert sum(v.std() > 0.05 for v in patterns.reshape(36, 64, 64)) > 20

# %% [markdown]
# At the lower left v is taken out faster than it can grow from what is fed. At
# the upper right it takes all there is. Between them lies a band of spots that
# divide, worms, mazes, and holes, much like those on skins and shells. Print
# it, and hang it on a wall; another key makes another.
#
# ## Backwards
#
# In the third notebook a rule was learned back from its pictures. Can a feed
# be found again from one picture, 100 steps after a known start? That takes
# the gradient of an error with respect to the feed, through 100 steps.
#
# **Predict.** Through which of the two loops can JAX go backwards, the one
# that counts or the one that stops?


# %%
def last_mean(feed):
    """The mean of v where the loop stops."""
    return solution_6(*start, feed, 0.062, 1e-5, 100)[1].mean()


def mean_after_100(feed):
    """The mean of v after 100 steps of the scan."""
    return solution_5(*start, feed, 0.062, 100)[1].mean()


with expect_failure(ValueError, "Reverse-mode"):
    jax.grad(last_mean)(0.046)

slope = jax.grad(mean_after_100)(0.046)
by_nudging = (mean_after_100(0.0465) - mean_after_100(0.0455)) / 0.001
print(f"gradient {slope:.3f}, by nudging {by_nudging:.3f}")
np.testing.assert_allclose(slope, by_nudging, rtol=0.02)

# %% [markdown]
# To go backwards, JAX needs values from every step, and so has to keep them:
# of a scan it knows how many, of a loop that stops by itself it does not. That
# memory is what long scans run out of. `jax.checkpoint(step)` keeps no more
# than what goes into each step, and computes the rest again on the way back.


# %%
def gradient_memory(step, num_steps):
    """The bytes that the gradient through so many steps needs to run."""

    @jax.jit
    def mean_at_the_end(feed):
        def body(carry, _):
            return step(*carry, feed, 0.062), None

        (_, v), _ = jax.lax.scan(body, start, length=num_steps)
        return v.mean()

    compiled = jax.jit(jax.grad(mean_at_the_end)).lower(0.046).compile()
    return compiled.memory_analysis().temp_size_in_bytes


steps_tried = [50, 100, 200, 400]
curves = {
    name: (steps_tried, [gradient_memory(step, n) / 1e6 for n in steps_tried])
    for name, step in {
        "as it is": solution_3,
        "with jax.checkpoint": jax.checkpoint(solution_3),
    }.items()
}
show_curves(curves, "steps", "megabytes for the gradient")
plain, saving = (np.array(megabytes) for _, megabytes in curves.values())
assert (saving < 0.7 * plain).all()

# %% [markdown]
# ### Exercise 8: the feed, found again
#
# A bonus. Write `find_feed(u, v, seen)`: `seen` is the v that came out of u
# and v after 100 steps, with kill 0.062 and a feed between 0.03 and 0.05.
# Return that feed, by following a gradient of JAX's from 0.04.
#
# <details><summary>Hint</summary>
#
# The error is the mean of the squared differences. A rate of 0.005 and some
# fifty updates will do: a loop, so why not a scan.
#
# </details>


# %% tags=["exercise"]
def find_feed(u, v, seen):
    """The feed with which v becomes what was seen, after 100 steps."""
    return ...


transfer.check_find_feed(find_feed)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
@jax.jit
def solution_8(u, v, seen):
    """Downhill, in a scan."""

    def error(feed):
        _, last_v, _ = solution_5(u, v, feed, 0.062, 100)
        return jnp.mean((last_v - seen) ** 2)

    def update(feed, _):
        return feed - 0.005 * jax.grad(error)(feed), None

    feed, _ = jax.lax.scan(update, jnp.float32(0.04), length=60)
    return feed


# %% [markdown]
# ## Both programs side by side
#
# `notebooks/gray_scott_jax.py` is the port as a whole: open it beside
# `gray_scott.py`. The command `port` compares any program with its port. It
# runs one call in both, from the same start, says what is not the same yet,
# how the port uses JAX, what it gains, and what to do next.
#
# **Predict.** Same result? And from which call on will the port have paid
# off, with all that it took to compile?

# %%
DRAW = "import gray_scott as g; np.random.seed(0); u, v = "
command = ["gray_scott.py", "gray_scott_jax.py"]
command += ["--setup", DRAW + "g.make_initial_state(64)"]
command += ["--call", "simulate(u, v, 0.046, 0.062, max_steps=499)"]
done = subprocess.run(
    [sys.executable, found[0] / "stages/workshop", "port", *command],
    cwd=found[0] / "notebooks",
    env=os.environ | {"PYTHONUTF8": "1", "COLUMNS": "79", "NO_COLOR": "1"},
    capture_output=True,
    encoding="utf-8",
)
print(done.stdout or done.stderr)
assert done.returncode == 0

# %% [markdown]
# Try it on your own program:
#
#     python stages/workshop port OLD.py NEW.py --call "main_function(...)"
#
# ## The method, on one page
#
# 1. **Functions.** What a function needs goes in, random numbers too; what it
#    computes comes out. Nothing is changed on the way.
# 2. **A reference.** The old program stays as it is. Choose one small call and
#    a tolerance, and compare after every change.
# 3. **`jnp` for `np`**, and a new array for each change in place.
# 4. **Time it**, the first call and later ones, and wait for the result.
# 5. **`jax.jit`** on the outermost function that takes arrays. Static is only
#    what shapes.
# 6. **Loops.** One that counts is a scan, one that stops a `while_loop`, one
#    over cases a `vmap`.
# 7. **Stay in JAX.** No print, no `if` on a value, no NumPy until the end.
# 8. **Ask what is next**: `port`. Stop when the time is that of the work.
#
# One idea at a time: a port that changes six things at once and is wrong
# does not say which of them it was.
#
# ## Summary
#
# 1. Rounding and mistakes differ in size: the old program, run in 32 bits,
#    tells how far rounding goes. Compare after few steps.
# 2. Random numbers come from a key that is passed in, and used once.
# 3. `u += x` leaves the caller's array as it was, without a word: return what
#    is new.
# 4. A scan counts, records, and can be differentiated. A `while_loop` stops
#    when a value says so, and under vmap runs until the last is done.
# 5. Write for one problem, and map: a study of parameters is one call.
#
# More: [jax.random], [jax.lax.while_loop], [jax.checkpoint]. Back to [1 ·
# Port](1_port.ipynb).
#
# [jax.random]: https://docs.jax.dev/en/latest/jax.random.html
# [jax.lax.while_loop]: https://docs.jax.dev/en/latest/_autosummary/jax.lax.while_loop.html
# [jax.checkpoint]: https://docs.jax.dev/en/latest/_autosummary/jax.checkpoint.html
