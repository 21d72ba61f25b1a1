# %% [markdown]
# # 2 · Compile: from eager operations to one program
#
# **What you will do.** Let JAX compile the simulator with `jax.jit`, see it
# fail, mend it, find out when it compiles again, and replace the Python loop
# by `jax.lax.scan`. These are stages 3, 4 and 5 of the workshop.
#
# **What you will learn.** What tracing is, and what follows from it: which
# values a compiled function may not ask for, what a first call costs, what
# makes it cost that again, and how to time JAX rightly.
#
# **What you need.** The first notebook, or to know what `.at[].set` is for.
#
# **Minutes.** 60, half of them for the exercises at the end.

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

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import checkify

import answers
import stage0_numpy
import stage3_jit
import stage4_static_args
import stage5_scan
from figures import (
    expect_failure,
    median_time,
    show_curves,
    show_diff,
    show_scan,
    show_table,
)
from workshop.harness import time_call
from workshop.inspection import inspect
from workshop.stages import failure

SHAPE_NAMES = ("width", "num_steps")

# %% [markdown]
# ## What a trace is
#
# `jax.jit(function)` is a function that compiles `function` when it is called
# for the first time. To learn what there is to compile, JAX **traces** it: it
# runs the Python code once, with **tracers** for its arguments, and records
# which operations they meet.
#
# **Predict.** The function below prints, and is called twice. How many lines
# that begin with "tracing" will there be, and what will they show?

# %%
seen = []


@jax.jit
def double(x):
    """Twice x."""
    print("tracing with", x)
    seen.append(x)
    return 2 * x


print(double(3))
print(double(4))
assert len(seen) == 1
assert isinstance(seen[0], jax.core.Tracer)

# %% [markdown]
# One line. The print is Python, so it ran when Python ran: once, while JAX was
# tracing. It is not part of the compiled program, and the second call runs
# only that. A tracer has a shape and a dtype, but no value: there was no 3 to
# print. The recorded program has a listing of its own, the **jaxpr**:

# %%
print(double.trace(3).jaxpr)

# %% [markdown]
# Where Python needs a value, a tracer cannot give one. The most surprising
# case is a format: `f"{rule:08b}"` is how one would print a rule in binary.

# %%
with expect_failure(TypeError, "format"):
    jax.jit(lambda rule: f"{rule:08b}")(110)

# %% [markdown]
# So prints move out of a compiled function, or become `jax.debug.print`, which
# is recorded, and prints the value when the program runs:


# %%
@jax.jit
def triple(x):
    """Three times x, said aloud."""
    jax.debug.print("running with {}", x)
    return 3 * x


triple(3)
triple(4)
jax.effects_barrier()  # wait for what is printed, too

# %% [markdown]
# ## The failing shape
#
# Stage 3 puts one decorator on `simulate`.

# %%
show_diff(3)

# %% [markdown]
# **Predict.** It fails. Which of the three arguments, `rule`, `width` or
# `num_steps`, is the first whose value is asked for?

# %%
with expect_failure(*failure(stage3_jit.__doc__)):
    stage3_jit.simulate(110, 80, 80)

# %% [markdown]
# `jnp.zeros(width)`: the *shape* of an array must be known while tracing,
# since the compiler lays out memory for it. The loop over `num_steps` would
# have been next, since Python has to count. `rule` is no trouble: it is a
# value like any other, and the program works on whatever comes.
#
# ## Static arguments
#
# So some arguments are data, and some shape the program. Stage 4 says which:

# %%
show_diff(4)

# %% [markdown]
# **Static** arguments are not traced. They reach the function as plain Python
# values, and each new value makes a new program. JAX looks programs up by
# these values, as in a dict: so a static argument must be hashable, and equal
# to another just when the same program is right for both. Numbers, strings and
# tuples are; a list is not, and an array is not.

# %%
with expect_failure(ValueError, "Non-hashable"):
    stage4_static_args.simulate(110, width=[80], num_steps=80)

# %% [markdown]
# ## Four moments
#
# Let us look at the clock four times: when the function is defined, when it is
# called, when it is called again, and when it is called again but we do not
# wait for the result. Once for a small ring, once for a large one.
#
# **Predict.** Order the four by time, from long to short. Between which two of
# them will the size of the ring make the greatest difference?

# %%
uncompiled = stage4_static_args.simulate.__wrapped__


def four_moments(width, num_steps):
    """The seconds of each, of stage 4 compiled afresh."""
    arguments = 110, width, num_steps
    simulate, define = time_call(
        jax.jit, uncompiled, static_argnames=SHAPE_NAMES
    )
    _, first_call = time_call(simulate, *arguments)
    waited = median_time(simulate, *arguments)
    not_waited = median_time(simulate, *arguments, wait=False)
    return define, first_call, waited, not_waited


small, large = four_moments(80, 80), four_moments(20_000, 200)
names = ["define", "first call", "later call", "later call, not waited for"]
show_table(
    ["moment", "80 x 80, milliseconds", "20,000 x 200, milliseconds"],
    [
        (name, *(f"{1000 * seconds:.2f}" for seconds in pair))
        for name, *pair in zip(names, small, large, strict=True)
    ],
)
for define, first_call, *_ in (small, large):
    assert define < first_call / 10
assert small[2] - small[3] < 0.01
assert large[2] > 2 * large[3]

# %% [markdown]
# To define costs next to nothing: nothing is compiled yet. The first call
# traces, compiles and runs; a later one only runs. And JAX does not wait for
# the device: the call returns at once, with an array that will be filled. To
# time it like this is to measure how long it takes to ask. Of the small ring
# nobody sees that: it is done nearly as soon as it is asked for. So a wrong
# benchmark looks right as long as it is tried on small arrays. `time_call`
# waits, by `jax.block_until_ready`, and every time in this workshop is
# measured by it.
#
# The first call can be taken apart:

# %%
arguments = {"rule": 110, "width": 81, "num_steps": 80}  # a new shape
simulate = jax.jit(uncompiled, static_argnames=SHAPE_NAMES)
parts = {}
traced, parts["trace: Python runs"] = time_call(simulate.trace, **arguments)
lowered, parts["lower: for the compiler"] = time_call(traced.lower)
compiled, parts["compile: by XLA"] = time_call(lowered.compile)
_, parts["run"] = time_call(compiled, rule=110)

show_table(
    ["part of a first call", "milliseconds"],
    [(name, f"{1000 * value:.2f}") for name, value in parts.items()],
)

# %% [markdown]
# ## What makes it compile again?
#
# A compiled program is kept, and used again if the call is like one before.
# What counts as alike? Below is a function that keeps a list of its traces,
# and calls of it, in order.
#
# **Predict.** For each call write `True` in place of `None` if you think that
# it is traced, and compiled, again. Then run both cells.

# %%
predictions = {
    "simulate(110, 31, 4), the first time": True,
    "simulate(110, 31, 4), the second": None,
    "simulate(30, 31, 4): another rule": None,
    "simulate(30, 32, 4): another width": None,
    "simulate(30, width=32, num_steps=4): keywords": None,
    "simulate(np.uint8(30), 32, 4): another dtype": None,
    "simulate(1, 32, 4)": None,
    "simulate(True, 32, 4): True is 1 in Python": None,
    "a fresh lambda, jitted": None,
    "the same line, a fresh lambda again": None,
}

# %%
traces = []


def record_trace(rule, width, num_steps):
    """Stage 5's simulate, but for a list of the times it is traced."""
    traces.append((rule, width, num_steps))
    return stage5_scan.simulate.__wrapped__(rule, width, num_steps)


simulate = jax.jit(record_trace, static_argnames=SHAPE_NAMES)
calls = [
    lambda: simulate(110, 31, 4),
    lambda: simulate(110, 31, 4),
    lambda: simulate(30, 31, 4),
    lambda: simulate(30, 32, 4),
    lambda: simulate(30, width=32, num_steps=4),
    lambda: simulate(np.uint8(30), 32, 4),
    lambda: simulate(1, 32, 4),
    lambda: simulate(True, 32, 4),
    lambda: jax.jit(lambda rule: record_trace(rule, 32, 4))(30),
    lambda: jax.jit(lambda rule: record_trace(rule, 32, 4))(30),
]
rows = []
for (call, prediction), make_call in zip(
    predictions.items(), calls, strict=True
):
    before = len(traces)
    make_call()
    again = len(traces) > before
    verdict = {None: "", again: "as predicted"}.get(prediction, "surprise")
    rows.append([f"`{call}`", "traced" if again else "used again", verdict])

counted = [row[1] == "traced" for row in rows]
assert counted == [True, False, False] + [True] * 3 + [False] + [True] * 3
show_table(["call", "the program is", "your prediction"], rows)

# %% [markdown]
# Another rule is not traced again: it is data. The number 1 was not either,
# since an `int` is traced by its type, not by its value. But a new shape, a
# new dtype, another way to write the call, and a new function are each a new
# entry. The last is the costliest mistake in practice: **jit once, where the
# function is defined**, and not at every call.
#
# JAX tells you what it does, if you ask it. With `jax.log_compiles` it logs
# what it compiles, with `jax.explain_cache_misses` it logs why:

# %%
with jax.log_compiles(True):
    simulate(110, 33, 4)

# %%
with jax.explain_cache_misses(True):
    simulate(110, width=33, num_steps=4)

# %% [markdown]
# The log speaks of pytrees, JAX's word for nested containers: to jit, the
# arguments of a call are a tuple and a dict. In the second call the tuple has
# become shorter, and the dict longer.
#
# ## The unrolled loop
#
# In stage 4 Python runs the loop while JAX is tracing. So the program holds
# every step, one after the other.
#
# **Predict.** How does the number of operations grow with the number of rows?
# How does the time to compile grow? What does it mean for 8000 rows?

# %%
num_steps_tried = [20, 40, 60, 80]


def count_operations(simulate, num_steps):
    """The operations of the traced program."""
    return len(simulate.trace(110, 81, num_steps).jaxpr.eqns)


def seconds_to_compile(simulate, num_steps):
    """What the first call takes before it runs."""
    _, seconds = time_call(
        lambda: simulate.lower(110, 79, num_steps).compile()
    )
    return seconds


operations = [
    count_operations(stage4_static_args.simulate, num_steps)
    for num_steps in num_steps_tried
]
a_step = (operations[1] - operations[0]) / 20
assert operations[3] - operations[0] == 60 * a_step
for num_steps, number in zip(num_steps_tried, operations, strict=True):
    print(f"{num_steps:4d} rows: {number:5d} operations")
print(f"8000 rows: {operations[0] + 7980 * a_step:5.0f} operations")

# %% [markdown]
# Each row adds the same operations again. `jax.lax.scan` makes the loop a part
# of the program instead. Its body takes the **carry**, here the state, and
# returns the next carry and something to record, here the state as it was. So
# row 0 is recorded like any other, and need not be put in front of the rest
# when the loop is done: `concatenate` would copy all rows once more.

# %%
show_diff(5)

# %%
show_scan(stage5_scan.simulate(110, width=9, num_steps=4))

# %% [markdown]
# **Predict.** How many operations will the scan have for 20 rows, and how many
# for 8000? Draw the second curve before you see it.

# %%
curves = {}
for name, stage in {
    "stage 4, unrolled": stage4_static_args,
    "stage 5, scan": stage5_scan,
}.items():
    seconds = [seconds_to_compile(stage.simulate, n) for n in num_steps_tried]
    curves[name] = num_steps_tried, seconds

show_curves(curves, "rows", "seconds to trace and compile")
assert count_operations(stage5_scan.simulate, 20) == count_operations(
    stage5_scan.simulate, 8000
)
slope, start = np.polyfit(*curves["stage 4, unrolled"], deg=1)
print(
    f"8000 rows, unrolled: about {start + 8000 * slope:.0f} seconds at least"
)

# %% [markdown]
# "At least", since the straight line is kind to the compiler: its time grows
# faster than the program. The scan stays where it is, for any number of rows.
#
# ## A copy that is none
#
# The first notebook said that `.at[].set` copies a whole array to change one
# place, and in a compiled program need not.
#
# **Predict.** An array of ten million cells: which takes longer, one `.set` on
# its own, or a thousand of them in a compiled loop?

# %%
cells = jnp.zeros(10_000_000, dtype=jnp.uint8)


@jax.jit
def set_a_thousand(cells):
    """The first thousand cells live, one after the other."""
    return jax.lax.fori_loop(0, 1000, lambda i, x: x.at[i].set(1), cells)


one = median_time(lambda: cells.at[0].set(1))
thousand = median_time(set_a_thousand, cells)
print(f"one: {1000 * one:.1f} ms, a thousand: {1000 * thousand:.1f} ms")
assert set_a_thousand(cells).sum(dtype=jnp.int32) == 1000
assert thousand < 100 * one

# %% [markdown]
# Of the thousand arrays nobody sees any but the last, so the compiler needs
# memory for one alone, and writes into it. (`fori_loop` is a scan that records
# nothing.) The price of writing without side effects is paid at the door: the
# array that comes in is still there, so it is copied once.
#
# ## Side by side
#
# Here are the operations of both programs for three rows. In the first, the
# step (`_pad` to `gather`) stands there three times. In the second, it stands
# inside `scan`, once.


# %%
def list_operations(simulate):
    """The names of the operations of three rows."""
    return [
        equation.params.get("name") or equation.primitive.name
        for equation in simulate.trace(110, 81, 3).jaxpr.eqns
    ]


unrolled = list_operations(stage4_static_args.simulate)
scanned = list_operations(stage5_scan.simulate)
for names in itertools.zip_longest(unrolled, scanned, fillvalue=""):
    print("{:22} {}".format(*names))
assert unrolled.count("gather") == 3
assert scanned.count("gather") == 0
assert scanned.count("scan") == 1

# %% [markdown]
# And here is what became of each, on one screen: the equations that JAX
# recorded, and the instructions that XLA made of them. The command
# `python stages/workshop inspect 4 5` prints the same.
#
# **Predict.** Why is the unrolled program large, and in which line? Which
# buffer does the scan write in place?

# %%
inspect("4", "5")

# %% [markdown]
# The lookup of stage 4 stands there once for every row, nearly all from the
# line with `rule_table[left, center, right]`, and twice as often for twice the
# rows. XLA makes a `while` of the scan, which owns one buffer of 80 x 80 cells
# and writes a row of it at each turn: no turn copies what is there already.
#
# ## 8000 by 8000
#
# **Predict.** Sixty-four million cells. Which is faster, NumPy or the compiled
# scan, with and without the first call's compilation?

# %%
size = {"width": 8000, "num_steps": 8000}
want, numpy_seconds = time_call(stage0_numpy.simulate, 110, **size)
got, first_seconds = time_call(stage5_scan.simulate, 110, **size)
got, later_seconds = time_call(stage5_scan.simulate, 110, **size)
np.testing.assert_array_equal(got, want)
del got, want

print(f"NumPy       {numpy_seconds:6.2f} s")
print(f"first call  {first_seconds:6.2f} s")
print(f"later call  {later_seconds:6.2f} s")
print(f"{numpy_seconds / later_seconds:.1f} times as fast, with equal states")

# %% [markdown]
# ## A check that was lost
#
# NumPy and eager JAX both refuse a rule that does not fit into 8 bits. Under
# jit nobody can look at the value any more.
#
# **Predict.** What is `jnp.uint8(300)` under jit?

# %%
with expect_failure(OverflowError, "out of bounds"):
    jnp.uint8(300)

print(jax.jit(jnp.uint8)(300))
assert jax.jit(jnp.uint8)(300) == 300 - 256

# %% [markdown]
# Without a word it computes another rule. `checkify` brings checks back: it
# turns a function into one that returns an error beside its result, as data.
# Outside, where values are known again, `throw` raises it.


# %%
def simulate_checked(rule, width, num_steps):
    """Stage 5's simulate, for rules from 0 to 255 only."""
    fits = (rule >= 0) & (rule <= 255)
    checkify.check(fits, "rule must be between 0 and 255, got {}", rule)
    return stage5_scan.simulate(rule, width, num_steps)


checked = jax.jit(checkify.checkify(simulate_checked), static_argnums=(1, 2))

error, states = checked(110, 80, 80)
error.throw()  # nothing to throw
np.testing.assert_array_equal(states, stage0_numpy.simulate(110, 80, 80))

error, states = checked(300, 80, 80)
with expect_failure(checkify.JaxRuntimeError, "between 0 and 255"):
    error.throw()

# %% [markdown]
# It also finds indices out of range, the silent trap of the first notebook:

# %%
get = checkify.checkify(lambda x, i: x[i], errors=checkify.index_checks)
error, _ = jax.jit(get)(jnp.arange(5), 10)
with expect_failure(checkify.JaxRuntimeError, "out-of-bounds"):
    error.throw()

# %% [markdown]
# ## Exercises
#
# Put your answer in place of the three dots, run the cell, and read what the
# check says. A solution is folded below each: open it when you have tried. To
# see it pass, give `solution_1` to the check in place of your answer.
#
# ### Exercise 1: how many programs?
#
# `f` is fresh from `jax.jit(..., static_argnames=("width", "num_steps"))`.
# How many programs are compiled by these seven calls?
#
#     f(30, 8, 8)     f(110, 8, 8)     f(30, 9, 8)     f(30, 8, num_steps=8)
#     f(110, 9, 8)    f(True, 9, 8)    f(90, 8, 8)

# %% tags=["exercise"]
num_programs = ...

answers.check_num_programs(num_programs)

# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
# (int, 8, 8); (int, 9, 8); the keyword; (bool, 9, 8).
solution_1 = 4

# %% [markdown]
# ### Exercise 2: a shape from an argument
#
# `make_stripes(width)` is to return `0 1 0 1 ...`, `width` cells of `uint8`.
# It is jitted, and fails. Mend it, and leave it jitted.


# %% tags=["exercise"]
@jax.jit
def make_stripes(width):
    """The state 0 1 0 1 ..., as long as the ring is wide."""
    return jnp.arange(width, dtype=jnp.uint8) % 2


answers.check_stripes(make_stripes)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
@jax.jit(static_argnames="width")
def solution_2(width):
    """The width shapes the program: it is static."""
    return jnp.arange(width, dtype=jnp.uint8) % 2


# %% [markdown]
# ### Exercise 3: record less
#
# Write `count_live(rule, width, num_steps)`: how many cells live in each row,
# an array of shape `(num_steps,)`, by a scan that records these sums and never
# holds all rows at once. Use `make_rule_table`, `make_initial_state` and
# `step` of `stage5_scan`. (Sum with `dtype=jnp.int32`: 8 bits are soon full.)


# %% tags=["exercise"]
@jax.jit(static_argnames=("width", "num_steps"))
def count_live(rule, width, num_steps):
    """The number of live cells of each row."""
    return ...


answers.check_count_live(count_live)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
@jax.jit(static_argnames=("width", "num_steps"))
def solution_3(rule, width, num_steps):
    """As simulate, but for what is recorded."""
    rule_table = stage5_scan.make_rule_table(rule)
    initial_state = stage5_scan.make_initial_state(width)

    def advance(state, _):
        next_state = stage5_scan.step(state, rule_table)
        return next_state, state.sum(dtype=jnp.int32)

    _, counts = jax.lax.scan(advance, initial_state, length=num_steps)
    return counts


# %% [markdown]
# ### Exercise 4: jit once
#
# `advance_twice(state, rule_table)` is right, but it compiles at every call:
# the lambda is a new function each time. Mend that.


# %% tags=["exercise"]
def advance_twice(state, rule_table):
    """The state after two steps."""
    twice = jax.jit(
        lambda state: stage5_scan.step(
            stage5_scan.step(state, rule_table), rule_table
        )
    )
    return twice(state)


answers.check_advance_twice(advance_twice)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
@jax.jit
def solution_4(state, rule_table):
    """One function, jitted where it is defined; the table is an argument."""
    state = stage5_scan.step(state, rule_table)
    return stage5_scan.step(state, rule_table)


# %% [markdown]
# ## Summary
#
# 1. jit runs your Python once, on tracers; what it records is compiled, and
#    that alone runs later.
# 2. Shapes and Python loops need values while tracing: make those arguments
#    static.
# 3. The first call traces and compiles; a new shape, dtype, static value, call
#    form or function does so again.
# 4. A Python loop is unrolled into the program; a scan is one operation,
#    whatever its length.
# 5. JAX returns before it has computed: wait before you stop the clock. Small
#    arrays will not show you that you forgot.
#
# More: [jit], [jax.jit], [jax.lax.scan], [errors]. Next: [3 ·
# Transform](3_transform.ipynb).
#
# [jit]: https://docs.jax.dev/en/latest/201/jit.html
# [jax.jit]: https://docs.jax.dev/en/latest/_autosummary/jax.jit.html
# [jax.lax.scan]: https://docs.jax.dev/en/latest/_autosummary/jax.lax.scan.html
# [errors]: https://docs.jax.dev/en/latest/errors.html
