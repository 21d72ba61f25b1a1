"""Check the answers to the exercises of the notebooks.

Each check prints that an answer is right, or the first problem with it. No
check stops the notebook.
"""

import contextlib
import inspect
import io
import re
import traceback
from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import gray_scott
import stage0_numpy as reference
from workshop.errors import describe
from workshop.exercises import expect
from workshop.tracing import equations, takes_a_gradient

RULES = np.arange(256, dtype=np.uint8)
TABLES = {f"rule {r}": (reference.make_rule_table(r),) for r in range(256)}


def answer_check(examine: Callable[[Any], str]) -> Callable[[Any], None]:
    """Turn a function that examines an answer into a check that prints.

    The function returns a comment if the answer is right, and otherwise raises
    NotYet.
    """

    @wraps(examine)
    def check(answer: Any) -> None:
        try:
            expect.that(answer is not ..., expect.DOTS)
            print(f"Right: {examine(answer)}")
        except expect.NotYet as reason:
            print(f"Not yet: {reason}")
        except Exception as error:
            print(f"Not yet: {explain(error, answer)}")

    return check


def explain(error: Exception, answer: Any) -> str:
    """Return the line of the answer that raised an error, and a remedy."""
    if "ellipsis" in str(error):  # part of jit's error for `...`
        return expect.DOTS
    code = getattr(inspect.unwrap(answer), "__code__", None)
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f.line for f in frames if code and f.filename == code.co_filename]
    where = f" in this line:\n    {lines[-1]}" if lines else ""
    return f"it fails{where}\n{describe(error)}"


def check_value(
    is_right: Callable[[Any], bool], question: str, comment: str
) -> Callable[[Any], None]:
    """Make a check of a value; a wrong one is answered with a question."""

    def examine(value: Any) -> str:
        expect.that(is_right(value), f"got {value!r}. {question}", "value")
        return comment

    return answer_check(examine)


def check_function(
    want: Callable,
    calls: expect.Calls,
    comment: str,
    compare: Callable = expect.numbers,
    similar: expect.Calls | None = None,
    larger: expect.Calls | None = None,
    also: Callable = lambda function: None,
) -> Callable[[Any], None]:
    """Make a check of a function that must return the same as `want`.

    calls: the arguments of each call, keyed by its name.
    compare: a function that raises NotYet if two results differ.
    similar: calls that must share one compiled program.
    larger: two calls; the second must not need more operations.
    also: a function that raises NotYet if a part of the task is not solved.
    """

    def examine(function: Any) -> str:
        for call, args in calls.items():
            compare(function(*args), want(*jax.device_get(args)), call)
        if larger:
            expect.no_growth(function, larger)
        if similar:
            expect.one_program(function, similar)
        also(function)
        return comment

    return answer_check(examine)


def require_gradient(function: Callable, *args: Any) -> None:
    """Raise NotYet if this call does not compute a gradient with JAX."""
    expect.that(
        takes_a_gradient(expect.program(function, *args)),
        "the result is right, but no gradient was used: use jax.grad.",
        "gradient",
    )


# Notebook 1


@answer_check
def check_move_right(rule: Any) -> str:
    """Examine the rule that moves every cell to the right."""
    allowed = f"a rule is a whole number from 0 to 255, got {rule!r}."
    expect.that(rule in RULES.tolist(), allowed, "rule")
    # All eight neighborhoods occur in this state.
    state = np.array([0, 0, 0, 1, 0, 1, 1, 1], dtype=np.uint8)
    got = reference.step(state, *TABLES[f"rule {rule}"])
    expect.states(got, np.roll(state, 1), f"rule {rule}")
    return "every cell takes the value of its left neighbor."


check_rule_number = check_function(
    lambda rule_table: np.packbits(rule_table, bitorder="little")[0],
    TABLES,
    "it works for all 256 tables.",
)

check_two_cells = check_function(
    lambda width: np.isin(np.arange(width), [0, width - 1]).astype(np.uint8),
    {f"make_two_cells({width})": (width,) for width in (8, 5, 2)},
    "each change makes a new array.",
    compare=expect.states,
    also=lambda make: expect.jax_array(make(5), "make_two_cells(5) returns"),
)

check_mirror = check_function(
    lambda rule_table: rule_table.transpose(2, 1, 0),
    TABLES,
    "all 256 rules are mirrored.",
)

check_read = check_function(
    lambda array, i: array[i] if i < len(array) else 0,
    {f"element {i} of 3": (jnp.arange(7, 10), i) for i in range(5)},
    "you decide what is beyond the end.",
)

# Notebook 2

check_num_programs = check_value(
    lambda number: number == 4,
    "Which calls differ in a static value, in the type of the rule, or in how"
    " the arguments are passed?",
    "rules of one type share a program.",
)

check_stripes = check_function(
    lambda width: np.arange(width, dtype=np.uint8) % 2,
    {f"make_stripes({width})": (width,) for width in (4, 7)},
    "there is one program for each width.",
    compare=expect.states,
    similar={"make_stripes(4)": (4,)},
)


def require_no_rows(count_live: Any) -> None:
    """Raise NotYet if the program computes all rows at once."""
    program = expect.program(count_live, 254, 600, 400)
    values = [value for each in equations(program) for value in each.outvars]
    expect.that(
        max(value.aval.size for value in values) < 600 * 400,
        "the program holds all 400 rows of 600 cells. Record only the sums.",
        "rows",
    )


check_count_live = check_function(
    lambda *arguments: reference.simulate(*arguments).sum(axis=1),
    {f"count_live{size}": size for size in [(110, 30, 20), (254, 600, 400)]},
    "the program never holds all rows.",
    also=require_no_rows,
)

STEPS = {
    f"two steps from row {i}": (state, jnp.asarray(*TABLES["rule 30"]))
    for i, state in enumerate(jnp.asarray(reference.simulate(30, 19, 5)))
}

check_advance_twice = check_function(
    lambda state, table: reference.step(reference.step(state, table), table),
    STEPS,
    "later calls compile nothing.",
    compare=expect.states,
    similar=STEPS,
)

# Notebook 3

check_mappable = check_value(
    lambda names: set(names) == {"rule", "state"},
    "For each of the four, ask: do two values give results of the same shape,"
    " so that both fit into one array?",
    "data can be mapped; what decides a shape cannot.",
)

check_live_fractions = check_function(
    lambda rules: [
        reference.simulate(int(rule), 32, 32)[-1].mean() for rule in rules
    ],
    {"4 rules": (RULES[[110, 30, 30, 7]],)},
    "the program for 8 rules has no more operations than that for 2.",
    larger={f"{n} rules": (RULES[:n],) for n in (2, 8)},
)

ROWS = jnp.asarray(reference.simulate(30, 300, 9)).at[-1].set(1)

check_differences = check_function(
    lambda rows: (rows[:, None] != rows[None]).sum(axis=-1),
    {"9 rows of 300 cells": (ROWS,)},
    "the program for 8 rows has no more operations than that for 2.",
    larger={f"{n} rows": (ROWS[:n],) for n in (2, 8)},
)


def find_influence(cells: np.ndarray, table: np.ndarray) -> list[int]:
    """Return, for each cell, how many more cells are live next if it is 1."""

    def count_next(i: int, value: int) -> int:
        changed = cells.astype(np.uint8)
        changed[i] = value
        return int(reference.step(changed, table.astype(np.uint8)).sum())

    return [count_next(i, 1) - count_next(i, 0) for i in range(len(cells))]


CELLS = jnp.array([0, 1, 1, 0, 1, 0, 0, 0, 1], float)
FLOATS = {
    name: (CELLS, jnp.asarray(*TABLES[name], float))
    for name in ("rule 254", "rule 110")
}

check_influence = check_function(
    find_influence,
    FLOATS,
    "one gradient shows the influence of all cells.",
    also=lambda influence: require_gradient(influence, *FLOATS["rule 110"]),
)

check_lesson = check_value(
    lambda cells: (
        sorted(
            4 * np.roll(cells, 1) + 2 * np.roll(cells, 0) + np.roll(cells, -1)
        )
        == list(range(8))
    ),
    "Write down the neighborhood of each cell. Which of the eight is missing?",
    "one step of eight cells shows the whole rule.",
)

# Notebook 4

CALLS = [(0, 8), (7, 8), (8, 8), (255, 8), (50, 3)]  # cell, num_words
check_find_cell = check_function(
    divmod,
    {f"find_cell{call}": call for call in CALLS},
    "a lane is a stretch of the ring.",
    compare=partial(expect.same, "lane, word"),
)

NEIGHBORHOODS = np.indices((2, 2, 2), dtype=np.uint32).reshape(3, 8)
check_rule_110 = check_function(
    lambda left, center, right: (center | right) ^ (left & center & right),
    {"words of equal bits": tuple(NEIGHBORHOODS * np.uint32(2**32 - 1))},
    "each operation works on 32 cells at once.",
)

check_exchanges = check_function(
    lambda num_steps, halo: len(range(0, num_steps - 1, halo)),
    {
        f"count_exchanges{sizes}": sizes
        for sizes in [(257, 256), (258, 256), (1000, 8), (1, 8), (2, 8)]
    },
    "a larger halo means fewer messages.",
)

check_move_right_sharded = check_function(
    lambda ring: np.roll(ring, 1),
    {"move_right(ring)": (jnp.arange(40),)},
    "the last cell of each share has moved to the next device.",
)

# Notebook 5

SPOTS = 0.03, 0.061  # feed and kill
STRIPES = 0.046, 0.062
FILLS = 0.054, 0.05
FEEDS = np.linspace(0.02, 0.06, 8, dtype=np.float32)
KILLS = np.array([0.057, 0.06, 0.063], dtype=np.float32)

SQUARES = np.zeros((16, 24))
SQUARES[:6, :9], SQUARES[10:13, 20:] = 0.5, 0.4  # at three edges of the sheet
START = 1 - SQUARES, SQUARES


def simulate(u: Any, v: Any, *parameters: Any) -> tuple:
    """Run the reference on copies; return u, v and the number of steps."""
    return gray_scott.simulate(u.copy(), v.copy(), *parameters)


def take_steps(u: Any, v: Any, feed: Any, kill: Any, n: int = 1) -> tuple:
    """Return u and v of the reference after n steps."""
    return simulate(u, v, feed, kill, 0, n)[:2]


@answer_check
def check_is_same(is_same: Any) -> str:
    """Check a function that compares two arrays up to rounding."""
    want = take_steps(*START, *STRIPES, 100)[1]
    narrow = [np.float32(x) for x in (*START, *STRIPES)]
    more_feed = 1.001 * STRIPES[0], STRIPES[1]
    one_cell = np.zeros_like(want)
    one_cell[3, 5] = 1
    wrong_feed = take_steps(*START, *more_feed, 100)[1]
    cases = {
        "an equal array": (want, True),
        "a run in 32 bits": (take_steps(*narrow, 100)[1], True),
        "a feed off by a thousandth": (wrong_feed, False),
        "a cell off by 0.01": (want + 0.01 * one_cell, False),
        "a cell of NaN": (np.where(one_cell, np.nan, want), False),
        "a stack of two copies": (np.stack([want, want]), False),
    }
    for name, (got, right) in cases.items():
        answer = is_same(got, want)
        expect.result(answer, f"is_same for {name}")
        reason = f"is_same should return {right} for {name}."
        expect.that(bool(answer) == right, reason, name)
    return "it accepts rounding and refuses every mistake."


@answer_check
def check_initial_state(make_initial_state: Any) -> str:
    """Check a function that draws u and v from a key."""
    keys = jax.random.split(jax.random.key(0), 20)
    drawn = np.array([draw_fields(make_initial_state, key) for key in keys])
    again = draw_fields(make_initial_state, keys[0])
    expect.that(
        np.array_equal(drawn[0], again),
        "two calls with the same key differ: draw only from the key.",
        "other state",
    )
    expect.that(
        (drawn[0] != drawn[1]).any(axis=(1, 2)).all(),
        "two keys give the same u or the same v: draw from the key.",
        "ignores key",
    )
    require_distribution(*drawn.swapaxes(0, 1))
    with jax.debug_key_reuse(True):
        make_initial_state(jax.random.key(0), 64)
    return "the same key gives the same numbers, and no key is used twice."


def draw_fields(make_initial_state: Any, key: Any) -> tuple:
    """Return u and v; raise NotYet if the type or shape of one is wrong."""
    fields = make_initial_state(key, 64)
    expect.tuple_of(fields, "u, v", "the call")
    for name, a in zip("uv", fields, strict=True):
        expect.jax_array(a, f"{name} is")
        expect.shape(a, (64, 64), name)
    return fields


def require_distribution(u: np.ndarray, v: np.ndarray) -> None:
    """Raise NotYet unless the squares and the noise of u and v are right."""
    squares = np.round(2 * v)
    alike = squares == np.kron(squares[:, ::8, ::8], np.ones((8, 8)))
    share = squares.mean()
    expect.that(
        alike.all() and abs(share - 0.2) < 0.05,
        f"{share:.0%} of v is 0.5, want 20 %, in squares of 8 x 8 cells.",
        "squares",
    )
    noise = np.array([u - 1 + squares / 2, v - squares / 2])
    low, high, means = noise.min(), noise.max(), noise.mean(axis=(1, 2, 3))
    in_range = low > -1e-6 and high < 0.02 + 1e-6
    expect.that(
        in_range and np.allclose(means, 0.01, atol=1e-3),
        f"the noise is from {low:.3f} to {high:.3f}, want 0 to 0.02. Its mean"
        f" is {means[0]:.3f} in u and {means[1]:.3f} in v, want 0.01.",
        "noise",
    )


check_step = check_function(
    take_steps,
    {
        f"step(u, v, {f}, {k})": (*map(jnp.asarray, START), f, k)
        for f, k in (STRIPES, SPOTS)
    },
    "it returns new arrays, and does not change its arguments.",
    compare=partial(expect.same, "u, v"),
    also=lambda step: jax.jit(step)(*START, *STRIPES),
)


@answer_check
def check_step_and_print(step_and_print: Any) -> str:
    """Check a jitted step that prints the mean of v at every call."""
    calls = {
        "a first call": (*START, *SPOTS),
        "a call with another feed and kill": (*START, *STRIPES),
    }
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        expect.one_program(step_and_print, calls)
        got = step_and_print(*START, *STRIPES)
        jax.effects_barrier()
    want = take_steps(*START, *STRIPES)
    expect.same("u, v", got, want, "a later call")
    text, mean = printed.getvalue(), want[1].mean()
    numbers = [float(x) for x in re.findall(r"\d*\.\d+(?:e-\d+)?", text)]
    expect.that(
        np.isclose(numbers, mean, rtol=1e-2).any(),
        f"it prints {text[:40]!r}, but the mean of the new v is {mean:.4f}."
        " (`print` runs only during tracing.)",
        "print",
    )
    return "the compiled program prints the mean at every call."


def record_steps(u: Any, v: Any, feed: float, kill: float, n: int) -> tuple:
    """Return u, v, and how much v changes in each of n steps."""
    changes = []
    for _ in range(n):
        before = v
        u, v = take_steps(u, v, feed, kill)
        changes.append(np.abs(v - before).max())
    return u, v, changes


check_advance = check_function(
    record_steps,
    {f"{n} steps": (*START, *STRIPES, n) for n in (1, 3)},
    "the program for 12 steps has no more operations than that for 4.",
    compare=partial(expect.same, "u, v, changes"),
    larger={f"{n} steps": (*START, *SPOTS, n) for n in (4, 12)},
    similar={
        "a first call": (*START, *SPOTS, 5),
        "a call with another feed and kill": (*START, *STRIPES, 5),
    },
)

check_run_until_still = check_function(
    simulate,
    {
        "until v changes by less than 1e-4": (*START, *FILLS, 1e-4, 400),
        "at most 9 steps": (*START, *STRIPES, 1e-5, 9),
    },
    "the loop stops on the device, and no argument is static.",
    compare=partial(expect.same, "u, v, num_steps"),
    similar={
        "a first call": (*START, *FILLS, 5e-4, 7),
        "a call with another tolerance": (*START, *FILLS, 6e-4, 7),
        "a call with another feed and kill": (*START, *SPOTS, 6e-4, 7),
        "a call with another max_steps": (*START, *SPOTS, 6e-4, 8),
    },
)


def grow_one_by_one(
    u: Any, v: Any, feeds: Any, kills: Any, n: int
) -> np.ndarray:
    """Return v after n steps, for each kill and each feed."""
    return np.array(
        [[take_steps(u, v, f, k, n)[1] for f in feeds] for k in kills]
    )


check_grow_all = check_function(
    grow_one_by_one,
    {"3 kills, 2 feeds": (*START, FEEDS[:2], KILLS, 30)},
    "it is one program, and 8 feeds make it no larger than 2.",
    larger={f"{n} feeds": (*START, FEEDS[:n], KILLS, 30) for n in (2, 8)},
)


@answer_check
def check_find_feed(find_feed: Any) -> str:
    """Check a function that finds the feed by a gradient."""
    for feed in (0.03, 0.05, 0.042):
        seen = jnp.asarray(take_steps(*START, feed, 0.062, 100)[1])
        got = find_feed(*START, seen)
        expect.shape(got, (), "the feed")
        expect.that(
            abs(float(got) - feed) < 0.01 * feed,
            f"for feed {feed} it returns {float(got):.4f}. If the error grows,"
            " use a smaller rate. If it falls, use more updates.",
            "feed",
        )
    require_gradient(find_feed, *START, seen)
    return "gradient descent finds the feed."
