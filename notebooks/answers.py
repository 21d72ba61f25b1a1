"""Check the answers to the exercises of the notebooks.

Each check prints that an answer is right, or the first problem with it. No
check stops the notebook.
"""

import functools
import inspect
import traceback
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import stage0_numpy as reference
from workshop.errors import describe
from workshop.exercises import expect
from workshop.tracing import primitives, takes_a_gradient

RULES = np.arange(256, dtype=np.uint8)
TABLES = {f"rule {r}": (reference.make_rule_table(r),) for r in range(256)}
NEIGHBORHOODS = np.array(list(np.ndindex(2, 2, 2)), dtype=np.uint32)
ALL_BITS = np.uint32(2**32 - 1)


def answer_check(examine: Callable[[Any], str]) -> Callable[[Any], None]:
    """Turn a function that examines an answer into a check that prints.

    The function returns a comment if the answer is right, and otherwise raises
    NotYet.
    """

    @functools.wraps(examine)
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


def check_function(
    want: Callable,
    calls: expect.Calls,
    comment: str,
    compare: Callable = expect.numbers,
    also: Callable = lambda function: None,
) -> Callable[[Any], None]:
    """Make a check of a function that must return the same as `want`.

    `compare` raises NotYet if two results differ. `also` raises NotYet if
    the results are right, but the function ignores a part of the exercise.
    """

    def examine(function: Any) -> str:
        for call, args in calls.items():
            got = function(*args)
            require_one_array(got, call)
            compare(got, want(*jax.device_get(args)), call)
        also(function)
        return comment

    return answer_check(examine)


def require_one_array(got: Any, call: str) -> None:
    """Raise NotYet for None, and for a tuple of arrays."""
    expect.result(got, call)
    expect.that(
        not isinstance(got, tuple | list),
        f"{call}: got a {type(got).__name__}, want one array. (A scan returns"
        " a pair: the last carry and the records.)",
        "array",
    )


def require_no_loop(function: Any, values: np.ndarray, kind: str) -> None:
    """Raise NotYet if the program has more operations for more values."""
    calls = {f"{n} {kind}": (jnp.asarray(values[:n]),) for n in (2, 8)}
    expect.no_growth(function, calls)


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
    expect.that(rule in RULES.tolist(), allowed)
    # All eight neighborhoods occur in this state.
    state = np.array([0, 0, 0, 1, 0, 1, 1, 1, 0, 0], dtype=np.uint8)
    got = reference.step(state, reference.make_rule_table(int(rule)))
    states = (np.stack([state, after]) for after in (got, np.roll(state, 1)))
    expect.states(*states, f"rule {rule}")
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
    compare=functools.partial(expect.numbers, index="left, center, right"),
)

check_read = check_function(
    lambda array, i: array[i] if i < len(array) else 0,
    {
        f"element {i} of {size}": (jnp.arange(7, 7 + size), i)
        for size in (5, 3)
        for i in range(size + 4)
    },
    "you decide what is beyond the end.",
)

# Notebook 2


@answer_check
def check_num_programs(number: Any) -> str:
    """Examine the number of programs that seven calls compile."""
    expect.that(
        number == 4,
        f"got {number!r}. Which calls differ in a static value, in the type of"
        " the rule, or in how the arguments are passed?",
    )
    return "rules of one type share a program."


check_stripes = check_function(
    lambda width: np.arange(width, dtype=np.uint8) % 2,
    {f"make_stripes({width})": (width,) for width in (4, 7)},
    "there is one program for each width.",
    compare=expect.states,
    also=expect.jitted,
)


def require_no_rows(count_live: Any) -> None:
    """Raise NotYet if the compiled program holds all rows at once."""
    expect.jitted(count_live)
    compiled = count_live.lower(254, 600, 400).compile()
    num_bytes = compiled.memory_analysis().temp_size_in_bytes
    expect.that(
        num_bytes < 600 * 400,
        f"while it runs, the program needs {num_bytes:,} bytes. That is enough"
        " for all 400 rows of 600 cells. Record only the sums.",
        "rows",
    )


check_count_live = check_function(
    lambda *arguments: reference.simulate(*arguments).sum(axis=1),
    {f"count_live{size}": size for size in [(110, 30, 20), (254, 600, 400)]},
    "the program never holds all rows.",
    compare=functools.partial(expect.numbers, index="row"),
    also=require_no_rows,
)

STEPS = {
    f"two steps from row {i}": (state, jnp.asarray(*TABLES["rule 30"]))
    for i, state in enumerate(jnp.asarray(reference.simulate(30, 19, 5)))
}


def require_one_program(advance_twice: Any) -> None:
    """Raise NotYet unless all operations are compiled, and only once."""
    program = expect.program(advance_twice, *STEPS["two steps from row 0"])
    expect.that(
        all(e.primitive.name in ("jit", "pjit") for e in program.eqns),
        "the result is right, but not compiled: use jax.jit.",
        "not_compiled",
    )
    expect.one_program(advance_twice, STEPS)


check_advance_twice = check_function(
    lambda state, table: reference.step(reference.step(state, table), table),
    STEPS,
    "later calls compile nothing.",
    compare=expect.states,
    also=require_one_program,
)

# Notebook 3


@answer_check
def check_mappable(names: Any) -> str:
    """Examine the names of the arguments that vmap can map over."""
    expect.that(
        set(names) == {"rule", "state"},
        f"got {names!r}. For each of the four, ask: do two values give results"
        " of the same shape, so that both fit into one array?",
        "names",
    )
    return "data can be mapped; what decides a shape cannot."


check_live_fractions = check_function(
    lambda rules: [
        reference.simulate(int(rule), 32, 32)[-1].mean() for rule in rules
    ],
    {f"{len(r)} rules": (r,) for r in (RULES, RULES[[110, 30, 30, 7]])},
    "the program for 8 rules has no more operations than that for 2.",
    compare=functools.partial(expect.numbers, index="number"),
    also=functools.partial(require_no_loop, values=RULES, kind="rules"),
)


def compare_counts(got: Any, want: np.ndarray, call: str) -> None:
    """Raise NotYet if the dtype is uint8, or with the first wrong count."""
    expect.that(
        getattr(got, "dtype", None) != np.uint8,
        "the dtype is uint8, which ends at 255, but more cells can differ. Let"
        " `sum` choose the dtype.",
        "dtype",
    )
    expect.numbers(got, want, call, "rows")


ROWS = jnp.asarray(reference.simulate(30, 300, 9)).at[-1].set(1)

check_differences = check_function(
    lambda rows: (rows[:, None] != rows[None]).sum(axis=-1),
    {"9 rows of 300 cells": (ROWS,)},
    "the program for 8 rows has no more operations than that for 2.",
    compare=compare_counts,
    also=functools.partial(require_no_loop, values=ROWS, kind="rows"),
)


def find_influence(cells: np.ndarray, table: np.ndarray) -> list[int]:
    """Return the influence of each cell on the next state.

    The influence is how many more cells are live if the cell is 1, not 0.
    """

    def count_live(cell: int, value: int) -> int:
        state = cells.astype(np.uint8)
        state[cell] = value
        return reference.step(state, table.astype(np.uint8)).sum(dtype=int)

    return [count_live(i, 1) - count_live(i, 0) for i in range(len(cells))]


FLOATS = {
    f"rule {rule}": (
        jnp.array([0, 1, 1, 0, 1, 0, 0, 0, 1], float),
        jnp.asarray(reference.make_rule_table(rule), float),
    )
    for rule in (254, 90, 110, 30)
}

check_influence = check_function(
    find_influence,
    FLOATS,
    "one gradient shows the influence of all cells.",
    compare=functools.partial(expect.numbers, index="cell"),
    also=lambda influence: require_gradient(influence, *FLOATS["rule 110"]),
)


@answer_check
def check_lesson(initial_state: Any) -> str:
    """Examine eight cells that should contain all eight neighborhoods."""
    state = np.asarray(initial_state)
    expect.that(
        state.shape == (8,) and set(state.tolist()) <= {0, 1},
        "the answer is a list of eight numbers, each 0 or 1.",
    )
    left, right = np.roll(state, 1), np.roll(state, -1)
    num_seen = len(set(4 * left + 2 * state + right))
    reason = f"only {num_seen} of the eight neighborhoods are on the ring."
    expect.that(num_seen == 8, reason)
    return "one step of eight cells shows the whole rule."


# Notebook 4


@answer_check
def check_find_cell(find_cell: Any) -> str:
    """Examine a function that returns the lane and the word of a cell."""
    for cell, num_words in [(0, 8), (7, 8), (8, 8), (255, 8), (50, 3)]:
        call, want = f"find_cell({cell}, {num_words})", divmod(cell, num_words)
        got = find_cell(cell, num_words)
        expect.tuple_of(got, "lane, word", call)
        are_whole = all(isinstance(i, int | np.integer) for i in got)
        expect.that(are_whole, f"{call}: got {got}, want whole numbers.")
        expect.that(tuple(got) == want, f"{call}: got {got}, want {want}.")
    return "a lane is a stretch of the ring."


check_rule_110 = check_function(
    lambda left, center, right: (center | right) ^ (left & center & right),
    {"words of equal bits": (*NEIGHBORHOODS.T * ALL_BITS,)},
    "each operation works on 32 cells at once.",
    compare=functools.partial(expect.numbers, index="neighborhood"),
)

check_exchanges = check_function(
    lambda num_steps, halo: len(range(0, num_steps - 1, halo)),
    {f"{s}": s for s in [(257, 256), (258, 256), (1000, 8), (1, 8), (2, 8)]},
    "a larger halo means fewer messages.",
)


@answer_check
def check_move_right_sharded(move_right: Any) -> str:
    """Examine a function that moves the cells of a sharded ring right."""
    ring = jnp.arange(40)
    moved = move_right(ring)
    expect.numbers(moved, np.roll(ring, 1), "move_right(ring)", "cell")
    expect.shares(moved, 8)
    expect.that(
        "ppermute" in primitives(expect.program(move_right, ring)),
        "the result is right, but the compiler chose the messages: use"
        " jax.lax.ppermute.",
    )
    return "each device sends one message, and the last sends to the first."
