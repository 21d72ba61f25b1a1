# %% [markdown]
# # 2 · Compile: from eager operations to one program
#
# You let JAX compile the simulator with `jax.jit`, see it fail, fix it, find
# out when JAX compiles again, and replace the Python loop by `jax.lax.scan`.
# These are stages 3, 4 and 5 of the workshop. You will learn what tracing is,
# why the first call is slow, when JAX compiles again, and how to time JAX
# correctly.
#
# You should have worked through the first notebook, or know what `.at[].set`
# is for. Allow 70 minutes, half of them for the exercises at the end.

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

import collections
import gzip
import itertools
import json
import os
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import checkify

import answers
import stage0_numpy
import stage3_jit
import stage4_static_args
import stage5_scan
from figures import best_time, show_curves, show_diff, show_error, show_table
from workshop.harness import time_call
from workshop.inspection import inspect

STATIC = ("width", "num_steps")
ALT = "the curve of stage 4 rises with the rows, that of stage 5 stays flat"

# %% [markdown]
# ## What a trace is
#
# `jax.jit(function)` returns a function that compiles `function` when it is
# first called. To find out what to compile, JAX **traces** it: JAX runs the
# Python code once, with **tracers** as its arguments, and records the
# operations on them.
#
# **Predict.** The function below prints, and is called twice. How many lines
# that begin with "tracing" will you see, and what will they show?


# %%
@jax.jit
def double(x):
    """Return twice x."""
    print("tracing with", x)
    return 2 * x


print(double(3))
print(double(4))

# %% [markdown]
# You see one such line. The print is Python code, so it ran once, while JAX
# was tracing. It is not part of the compiled program, and the second call runs
# only that program. A tracer has a shape and a dtype, but no value: there was
# no 3 to print. JAX can list the program that it recorded. This listing is
# called a **jaxpr**:

# %%
print(double.trace(3).jaxpr)

# %% [markdown]
# A tracer raises an error wherever Python needs a value. One surprising case
# is a format string, here one that writes a rule in binary:

# %%
with show_error():
    jax.jit(lambda rule: f"{rule:08b}")(110)

# %% [markdown]
# So move prints out of a compiled function, or use `jax.debug.print`. JAX
# records this print, and the compiled program prints the value each time it
# runs:


# %%
@jax.jit
def triple(x):
    """Return three times x, and print x."""
    jax.debug.print("running with {}", x)
    return 3 * x


triple(3)
triple(4)
jax.effects_barrier()  # waits until everything is printed

# %% [markdown]
# ## A shape that is not known
#
# Stage 3 puts one decorator on `simulate`.

# %%
show_diff(3)

# %% [markdown]
# **Predict.** It fails, because the code needs the value of an argument during
# tracing. Whose value is needed first: that of `rule`, `width` or `num_steps`?

# %%
with show_error():
    stage3_jit.simulate(110, 80, 80)

# %% [markdown]
# `jnp.zeros(width)` came first. The *shape* of an array must be known during
# tracing, because the compiler plans the memory for it. The loop over
# `num_steps` would have failed next, because Python must know how often to
# repeat it. `rule` causes no trouble: the same program works for any value of
# it.
#
# ## Static arguments
#
# So some arguments are data, and others decide what the program looks like.
# Stage 4 lists the second kind in the decorator:

# %%
show_diff(4)

# %% [markdown]
# **Static** arguments are not traced. The function gets them as plain Python
# values, and each new value makes a new program. JAX looks up programs by
# these values, like the keys of a dict. So a static argument must be hashable,
# and equal values must need the same program. Numbers, strings and tuples are
# hashable. A list is not, and neither is an array.

# %%
with show_error():
    stage4_static_args.simulate(110, width=[80], num_steps=80)

# %% [markdown]
# ## How long does each call take?
#
# We measure how long it takes to define the jitted function, to call it, to
# call it again, and to call it without waiting for the result. We do this for
# a small ring and for a large one.
#
# **Predict.** Order the four times, from the longest to the shortest. For
# which two of them does the size of the ring make the greatest difference?


# %%
def jit_as_new(stage):
    """Jit a stage's simulate as a new function, which JAX has not seen."""
    function = stage.simulate.__wrapped__
    return jax.jit(
        lambda rule, width, num_steps: function(rule, width, num_steps),
        static_argnames=STATIC,
    )


# %%
def measure(width, num_steps):
    """Return the four times of stage 4, in milliseconds."""
    simulate, define = time_call(jit_as_new, stage4_static_args)
    _, first = time_call(simulate, 110, width, num_steps)
    later = best_time(simulate, 110, width, num_steps)
    not_waited = best_time(simulate, 110, width, num_steps, wait=False)
    return [1000 * seconds for seconds in (define, first, later, not_waited)]


names = ["define", "first call", "later call", "later call, without waiting"]
times = measure(80, 80), measure(20_000, 200)
show_table(
    ["milliseconds", "80 x 80", "20,000 x 200"],
    zip(names, *times, strict=True),
)

# %% [markdown]
# (If a time here or later contradicts the text below it, something else is
# keeping this machine busy: run the cell again.)
#
# Defining the function costs almost nothing, because nothing is compiled yet.
# The first call traces, compiles and runs. A later call only runs. And JAX
# does not wait for the device: the call returns at once, with an array that is
# filled later. If you do not wait, you measure only how long it takes to start
# the program. With the small ring you would not notice, because its result is
# ready almost at once. So a wrong benchmark looks right as long as you try it
# on small arrays. `time_call` waits, with `jax.block_until_ready`. All times
# in this workshop are measured with `time_call`.
#
# The first call has several parts:

# %%
call = {"rule": 110, "width": 80, "num_steps": 80}
simulate = jit_as_new(stage4_static_args)
parts = {}
traced, parts["trace: Python runs"] = time_call(simulate.trace, **call)
lowered, parts["lower: JAX writes it for XLA"] = time_call(traced.lower)
compiled, parts["compile: XLA makes a program"] = time_call(lowered.compile)
_, parts["run"] = time_call(compiled, rule=110)

show_table(
    ["part of a first call", "milliseconds"],
    [(name, 1000 * seconds) for name, seconds in parts.items()],
)

# %% [markdown]
# ## When does JAX compile again?
#
# JAX keeps a compiled program, and uses it again for a call that is like an
# earlier one. But which calls are alike? Below are ten calls, in order.
#
# **Predict.** For each call, replace `None` by `True` if you think that JAX
# traces and compiles again, and by `False` if not. Then run both cells.

# %%
predictions = [
    ("simulate(110, 31, 4)", True),  # the first call
    ("simulate(110, 31, 4)", None),  # the same call
    ("simulate(30, 31, 4)", None),  # another rule
    ("simulate(30, 32, 4)", None),  # another width
    ("simulate(30, width=32, num_steps=4)", None),  # by keyword
    ("simulate(np.uint8(30), 32, 4)", None),  # another dtype
    ("simulate(1, 32, 4)", None),
    ("simulate(True, 32, 4)", None),  # True == 1 in Python
    ("jax.jit(lambda rule: record(rule, 32, 4))(30)", None),  # a new function
    ("jax.jit(lambda rule: record(rule, 32, 4))(30)", None),  # the same line
]

# %%
traces = []


def record(rule, width, num_steps):
    """Run stage 5's simulate, and record that Python ran it."""
    traces.append((rule, width, num_steps))
    return stage5_scan.simulate.__wrapped__(rule, width, num_steps)


simulate = jax.jit(record, static_argnames=STATIC)
rows = []
for call, prediction in predictions:
    num_before = len(traces)
    eval(call)
    traced = len(traces) > num_before
    verdict = {None: "", traced: "right"}.get(prediction, "a surprise")
    rows.append([f"`{call}`", "yes" if traced else "no", verdict])

show_table(["call", "traced", "your prediction"], rows)

# %% [markdown]
# Another rule does not make JAX trace again, because it is data. Neither does
# the number 1, because jit looks at the type of an `int` and not at its value.
# But a new static value, a new dtype, another form of the call, and a new
# function each need a new program. In practice, new functions cost most: **jit
# once, where you define the function**, and not at every call.
#
# To see this in your own program, use `jax.log_compiles`, which logs what JAX
# compiles, or `jax.explain_cache_misses`, which logs why.


# %%
@jax.jit(static_argnames="length")
def repeat(value, length):
    """Return the value that many times."""
    return jnp.full(length, value)


with jax.log_compiles(True):
    repeat(110, 4)

# %%
with jax.explain_cache_misses(True):
    repeat(110, length=4)

# %% [markdown]
# The log compares **pytrees**, which are nested tuples, lists and dicts. jit
# puts positional arguments into a tuple, and keyword arguments into a dict. In
# the second call, the tuple has one element instead of two, and the dict has
# one item instead of none. JAX has not seen such a call yet, so it compiles
# again.
#
# ## The unrolled loop
#
# In stage 4, Python runs the loop while JAX is tracing. So the program
# contains every step, one after the other.
#
# **Predict.** How does the number of operations grow with the number of rows?
# How does the time to compile grow? What does that mean for 8000 rows?


# %%
def count_operations(simulate, num_steps):
    """Return the number of operations of the traced program."""
    return len(simulate.trace(110, 81, num_steps).jaxpr.eqns)


num_rows = [20, 40, 60, 80]
counts = [count_operations(stage4_static_args.simulate, n) for n in num_rows]
slope, start = np.polyfit(num_rows, counts, deg=1)
rows = [*zip(num_rows, counts, strict=True), (8000, start + slope * 8000)]
show_table(["rows", "operations of stage 4"], rows)

# %% [markdown]
# Each row adds the same operations again. (The last number is extrapolated:
# tracing 8000 rows would take too long.) `jax.lax.scan` makes the loop a part
# of the program instead. It takes a function that does one iteration, the
# **body**. The body takes the **carry**, which is the state here. It returns
# the next carry and a value to record, which is the old state here.

# %%
show_diff(5)

# %% [markdown]
# For rule 110, nine cells and three rows, this is what happens:
#
#     initial_state           carry               carry            last carry
#       □□□□■□□□□ ─advance► □□□■■□□□□ ─advance► □□■■■□□□□ ─advance► □■■□■□□□□
#                     │                   │                   │
#                  record              record              record
#                     ▼                   ▼                   ▼
#     states:     □□□□■□□□□           □□□■■□□□□           □□■■■□□□□
#
# **Predict.** How many operations does stage 5 have for 20 rows, and how many
# for 8000? How long do tracing and compiling take? Draw a curve for each stage
# before you look.


# %%
def seconds_to_compile(stage, num_steps):
    """Return the time of a first call, without the time to run."""
    lower = jit_as_new(stage).lower
    _, seconds = time_call(lambda: lower(110, 80, num_steps).compile())
    return seconds


stages = {"stage 4": stage4_static_args, "stage 5": stage5_scan}
curves = {
    name: (num_rows, [seconds_to_compile(stage, n) for n in num_rows])
    for name, stage in stages.items()
}
print("20 rows: ", count_operations(stage5_scan.simulate, 20), "operations")
print("8000 rows:", count_operations(stage5_scan.simulate, 8000), "operations")
show_curves(curves, "rows", "seconds to trace and compile", ALT)

# %% [markdown]
# The unrolled program takes longer to compile with every row, and for very
# long programs the time grows even faster than the program. The scan takes the
# same time for any number of rows.
#
# ## Setting one element of many
#
# The first notebook said that `.at[].set` copies a whole array to change one
# element, and that a compiled program need not copy.
#
# **Predict.** An array has ten million cells. What takes longer: one `.set` on
# its own, or a thousand of them in a compiled loop?

# %%
cells = jnp.zeros(10_000_000, dtype=jnp.uint8)


@jax.jit
def set_a_thousand(cells):
    """Return the cells after a thousand sets, one after the other."""
    return jax.lax.fori_loop(0, 1000, lambda i, x: x.at[i].set(1), cells)


one = best_time(lambda: cells.at[0].set(1))
thousand = best_time(set_a_thousand, cells)
show_table(
    ["sets", "milliseconds"], [[1, 1000 * one], [1000, 1000 * thousand]]
)

# %% [markdown]
# Nothing outside the loop can see the thousand arrays in between. So the
# compiler keeps one array, and writes into it. (`fori_loop` has a carry, but
# it records nothing.) The program makes one copy, at the start, because the
# caller may still use the array that it passed.
#
# ## Side by side
#
# Here are the operations of stages 4 and 5 for three rows. In stage 4, on the
# left, you see the step three times, from `_pad` to `gather`. In stage 5, the
# step is inside `scan`, once.


# %%
def list_operations(simulate):
    """Return the names of the operations for three rows."""
    return [
        equation.params.get("name") or equation.primitive.name
        for equation in simulate.trace(110, 81, 3).jaxpr.eqns
    ]


unrolled = list_operations(stage4_static_args.simulate)
scanned = list_operations(stage5_scan.simulate)
for names in itertools.zip_longest(unrolled, scanned, fillvalue=""):
    print("{:22} {}".format(*names))

# %% [markdown]
# The next cell shows both programs at two levels: the equations that JAX
# recorded, and the instructions that XLA compiled them to. In a terminal,
# `python stages/workshop inspect 4 5` prints the same.
#
# **Predict.** The unrolled program is large. Which line of stage 4 produces
# most of its equations? Which buffer does the scan write in place?

# %%
inspect("4", "5")

# %% [markdown]
# Most equations of stage 4 come from the line with `rule_table[left, center,
# right]`, because each row has a lookup of its own. Twice as many rows make
# twice as many equations. XLA turns the scan into a `while` loop with one
# buffer of 80 x 80 cells. Each iteration writes one row of the buffer, and
# copies no other row.
#
# ## Where does the time go?
#
# A **profile** shows where the time goes. The next cell runs one call of stage
# 5 under JAX's profiler, and reads the file that the profiler writes. (In a
# terminal: `python stages/workshop inspect 5 --profile traces`.)

# %%
folder = Path(tempfile.mkdtemp())
inspect("5", call="simulate(110, 20_000, 200)", profile=folder)
(file,) = folder.rglob("perfetto_trace.json.gz")
spent = collections.Counter()
for event in json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]:
    if "hlo_op" in event.get("args", {}):
        spent[event["name"]] += event["dur"] / 1000
show_table(["operation", "milliseconds"], spent.most_common(4))

# %% [markdown]
# The loop, which is called `while` or `call`, takes most of the time. Some
# versions of JAX also list the operations inside it, such as the lookup,
# `gather`. To see when each operation ran, open the file on the page named
# above. For your own program, `jax.profiler.trace(folder,
# create_perfetto_trace=True)` writes such a file.
#
# ## A slow start, every time
#
# When Python ends, its compiled programs are lost, unless
# `JAX_COMPILATION_CACHE_DIR` names a folder for them. By default, JAX keeps
# only programs that take a second or more to compile.
#
# **Predict.** Below, two processes run stage 4 and share such a folder. Which
# part of its first call does the second process avoid?

# %%
stage = workshop / "stages" / "stage4_static_args.py"
command = [sys.executable, stage, "--num-steps=320", "--no-print-image"]
with tempfile.TemporaryDirectory() as folder:
    env = os.environ | {"JAX_COMPILATION_CACHE_DIR": folder}
    env["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    for _ in range(2):
        output = subprocess.check_output(command, env=env, encoding="utf-8")
        print(*output.splitlines()[-2:], sep="\n")

# %% [markdown]
# The second process traces again, but it loads the program instead of
# compiling it.
#
# ## 8000 by 8000
#
# **Predict.** There are 64 million cells. Which is faster, NumPy or the
# compiled scan? Is the scan still faster if you include the time to compile
# it?

# %%
size = {"width": 8000, "num_steps": 8000}
want, numpy_time = time_call(stage0_numpy.simulate, 110, **size)
got, first_time = time_call(stage5_scan.simulate, 110, **size)
del got  # frees 64 MB
got, later_time = time_call(stage5_scan.simulate, 110, **size)
print("equal:", np.array_equal(got, want))
del got, want

show_table(
    ["8000 x 8000", "seconds", "NumPy's time / this time"],
    [
        ["NumPy", numpy_time, 1.0],
        ["stage 5, first call", first_time, numpy_time / first_time],
        ["stage 5, later call", later_time, numpy_time / later_time],
    ],
)

# %% [markdown]
# ## A check that got lost
#
# NumPy and eager JAX both refuse a rule that does not fit into 8 bits. Under
# jit, there is no value to check.
#
# **Predict.** What is `jnp.uint8(300)`, and what is it under jit?

# %%
with show_error():
    print(jnp.uint8(300))
with show_error():
    print(jax.jit(jnp.uint8)(300))

# %% [markdown]
# Under jit the result is another rule, 300 - 256, and there is no error.
# `checkify` brings checks back. The checked function returns an error along
# with its result. Outside of jit, where values are known, `throw` raises this
# error if a check failed.


# %%
def simulate_checked(rule, width, num_steps):
    """Run stage 5's simulate, for rules from 0 to 255 only."""
    fits = (rule >= 0) & (rule <= 255)
    checkify.check(fits, "rule must be between 0 and 255, got {}", rule)
    return stage5_scan.simulate(rule, width, num_steps)


checked = jax.jit(checkify.checkify(simulate_checked), static_argnums=(1, 2))
for rule in (110, 300):
    error, states = checked(rule, 80, 80)
    with show_error():
        error.throw()
        print("rule", rule, "has", states.sum(), "live cells")

# %% [markdown]
# It also finds indices that are out of range, like those in the first
# notebook:

# %%
get = checkify.checkify(lambda x, i: x[i], errors=checkify.index_checks)
error, _ = jax.jit(get)(jnp.arange(5), 10)
with show_error():
    error.throw()

# %% [markdown]
# ## Exercises
#
# Put your answer in place of the three dots, run the cell, and read what the
# check prints. Each exercise has a hint and a solution, both folded. Open them
# once you have tried.
#
# ### Exercise 1: how many programs?
#
# `f` has just been made by `jax.jit(..., static_argnames=("width",
# "num_steps"))`. How many programs do these seven calls compile?
#
#     f(30, 8, 8)     f(110, 8, 8)     f(30, 9, 8)     f(30, 8, num_steps=8)
#     f(110, 9, 8)    f(True, 9, 8)    f(90, 8, 8)
#
# <details><summary>Hint</summary>
#
# For each call, write a line with everything that jit looks at: the type of
# the rule, the width, the number of steps, and which arguments are keywords.
# Count the different lines.
#
# </details>

# %% tags=["exercise"]
num_programs = ...

answers.check_num_programs(num_programs)

# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
# (int, 8, 8); (int, 9, 8); the keyword; (bool, 9, 8).
solution_1 = 4

answers.check_num_programs(solution_1)

# %% [markdown]
# ### Exercise 2: a shape from an argument
#
# `make_stripes(width)` returns `0 1 0 1 ...`, `width` cells of `uint8`. Jit
# it, and make it work for every width.
#
# <details><summary>Hint</summary>
#
# The width decides a shape. Stage 4 has two such arguments.
#
# </details>


# %% tags=["exercise"]
def make_stripes(width):
    """Return the state 0 1 0 1 ..., of `width` cells."""
    return jnp.arange(width, dtype=jnp.uint8) % 2


answers.check_stripes(make_stripes)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
@jax.jit(static_argnames="width")
def solution_2(width):
    """Return the stripes: the width decides a shape, so it is static."""
    return jnp.arange(width, dtype=jnp.uint8) % 2


answers.check_stripes(solution_2)

# %% [markdown]
# ### Exercise 3: record less
#
# Write `count_live(rule, width, num_steps)`. It returns how many cells are
# alive in each row, as an array of shape `(num_steps,)`. Use a scan that
# records these counts, so that the program never holds all rows at once. Call
# `make_rule_table`, `make_initial_state` and `step` of `stage5_scan`.
#
# <details><summary>Hint</summary>
#
# Begin with `simulate` of stage 5. Only one thing changes: what the body
# records. (In JAX as in NumPy, the sum of `uint8` has a wider dtype.)
#
# </details>


# %% tags=["exercise"]
@jax.jit(static_argnames=("width", "num_steps"))
def count_live(rule, width, num_steps):
    """Return the number of live cells of each row."""
    return ...


answers.check_count_live(count_live)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
@jax.jit(static_argnames=("width", "num_steps"))
def solution_3(rule, width, num_steps):
    """Return what the scan records: the sum of each state."""
    rule_table = stage5_scan.make_rule_table(rule)
    initial_state = stage5_scan.make_initial_state(width)

    def advance(state, _):
        return stage5_scan.step(state, rule_table), state.sum()

    _, counts = jax.lax.scan(advance, initial_state, length=num_steps)
    return counts


answers.check_count_live(solution_3)

# %% [markdown]
# ### Exercise 4: jit once
#
# `advance_twice(state, rule_table)` is right, but it compiles at every call:
# its lambda is a new function each time. Make it compile once.
#
# <details><summary>Hint</summary>
#
# Where can the decorator go, if both the state and the table are arguments?
#
# </details>


# %% tags=["exercise"]
def advance_twice(state, rule_table):
    """Return the state after two steps."""
    step = stage5_scan.step
    twice = jax.jit(lambda state: step(step(state, rule_table), rule_table))
    return twice(state)


answers.check_advance_twice(advance_twice)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution
@jax.jit
def solution_4(state, rule_table):
    """Return the state after two steps, by one function, jitted once."""
    state = stage5_scan.step(state, rule_table)
    return stage5_scan.step(state, rule_table)


answers.check_advance_twice(solution_4)

# %% [markdown]
# ## Summary
#
# 1. jit runs your Python code once, on tracers. It compiles the operations
#    that it records, and later calls run only the compiled program.
# 2. Shapes and Python loops need values during tracing. Make the arguments
#    that decide them static.
# 3. The first call traces and compiles. A new shape, dtype, static value, form
#    of the call, or function makes JAX do this again.
# 4. A Python loop is unrolled into the program. A scan is one operation,
#    whatever its length.
# 5. A call returns before its result is ready: wait for the result before you
#    stop the clock. With small arrays you would not notice that you forgot.
#
# More: [jit], [jax.jit], [jax.lax.scan], [profiling], [keeping programs],
# [errors]. Next: [3 · Transform](3_transform.ipynb).
#
# [jit]: https://docs.jax.dev/en/latest/201/jit.html
# [jax.jit]: https://docs.jax.dev/en/latest/_autosummary/jax.jit.html
# [jax.lax.scan]: https://docs.jax.dev/en/latest/_autosummary/jax.lax.scan.html
# [profiling]: https://docs.jax.dev/en/latest/201/profiling.html
# [keeping programs]: https://docs.jax.dev/en/latest/persistent_compilation_cache.html
# [errors]: https://docs.jax.dev/en/latest/101/errors.html
