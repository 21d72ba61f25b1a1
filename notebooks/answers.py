"""Checks of the answers to the exercises in the notebooks.

Each prints what is wrong with an answer, one thing at a time, or what is right
about it. None of them stops the notebook.
"""

import functools
import textwrap
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

import stage0_numpy as reference
from workshop.compare import run_from
from workshop.exercises import expect
from workshop.tracing import count_compilations, primitives, takes_a_gradient


def answer_check(examine: Callable[[Any], str]) -> Callable[[Any], None]:
    """Make a check of a function that examines an answer.

    It raises NotYet with what is wrong, or returns what the answer shows.
    """

    @functools.wraps(examine)
    def check(answer: Any) -> None:
        try:
            expect.that(answer is not ..., expect.DOTS)
            print(f"Right: {examine(answer)}")
        except expect.NotYet as reason:
            print(f"Not yet: {reason}")
        except Exception as error:
            message = textwrap.shorten(str(error), 300)
            said = f"it raises {type(error).__name__}: {message}"
            dots = "ellipsis" in str(error)  # that is what jit met
            print(f"Not yet: {expect.DOTS if dots else said}")

    return check


def require_gradient(function: Callable, *args: Any) -> None:
    """Raises NotYet if nothing in this call is a gradient of JAX's."""
    expect.that(
        takes_a_gradient(expect.program(function, *args)),
        "that is right, but no gradient: use jax.grad.",
    )


def require_no_loop(function: Any, values: np.ndarray, kind: str) -> None:
    """Raises NotYet if for more values the program has more operations."""
    calls = {f"{n} {kind}": (jax.numpy.asarray(values[:n]),) for n in (2, 8)}
    expect.no_growth(function, calls)


def simulate_table(rule_table: np.ndarray, width: int) -> np.ndarray:
    """As many rows as cells, by the reference, from one live cell."""
    return run_from(reference.make_initial_state(width), rule_table, width)


@answer_check
def check_move_right(rule: Any) -> str:
    """The rule that moves every cell one place to the right."""
    expect.that(
        isinstance(rule, int | np.integer) and 0 <= rule <= 255,
        f"a rule is a whole number from 0 to 255, got {rule!r}.",
    )
    rule_table = reference.make_rule_table(int(rule))
    want = simulate_table(reference.make_rule_table(240), 21)
    expect.states(simulate_table(rule_table, 21), want, f"rule {rule}")
    # One live cell does not show all eight neighborhoods.
    state = np.array([0, 0, 0, 1, 0, 1, 1, 1, 0, 0], dtype=np.uint8)
    moved = reference.step(state, rule_table)
    expect.states(moved, np.roll(state, 1), f"one step of rule {rule}")
    return "every cell takes the value of its left neighbor."


@answer_check
def check_rule_number(make_rule: Any) -> str:
    """A function from a rule table to its rule."""
    for rule in range(256):
        got = make_rule(reference.make_rule_table(rule))
        expect.numbers(got, rule, f"the table of rule {rule}")
    return "it holds for all 256 tables."


@answer_check
def check_two_cells(make_state: Any) -> str:
    """A function from a width to a state with both ends of the ring live."""
    for width in (8, 5, 2):
        want = np.zeros(width, dtype=np.uint8)
        want[[0, -1]] = 1
        state, call = make_state(width), f"make_two_cells({width})"
        expect.result(state, call)
        expect.jax_array(state, f"{call} returns")
        expect.states(state, want, call)
    return "a new array at each change, and none was changed."


@answer_check
def check_mirror(mirror: Any) -> str:
    """A function from a rule table to that of the mirrored picture."""
    for rule in (110, 30, *range(256)):
        rule_table = reference.make_rule_table(rule)
        got, call = mirror(rule_table), f"the mirrored rule {rule}"
        expect.result(got, call)
        want = simulate_table(rule_table, 15)[:, ::-1]
        expect.states(simulate_table(np.asarray(got), 15), want, call)
    return "left and right are axes 0 and 2 of the table."


@answer_check
def check_read(read: Any) -> str:
    """A function that reads a place, or 0 beyond the end."""
    for size in (5, 3):
        array = jax.numpy.arange(7, 7 + size)
        for i in range(size + 4):
            want = 7 + i if i < size else 0
            expect.numbers(read(array, i), want, f"place {i} of {size}")
    return "what is beyond the end is now your decision."


@answer_check
def check_num_programs(number: Any) -> str:
    """How many programs seven calls compile."""
    simulate = jax.jit(
        lambda rule, width, num_steps: jax.numpy.zeros((num_steps, width)),
        static_argnames=("width", "num_steps"),
    )
    calls = [(30, 8, 8), (110, 8, 8), (30, 9, 8)]
    calls += [(110, 9, 8), (True, 9, 8), (90, 8, 8)]
    with count_compilations() as compiled:
        for call in calls:
            simulate(*call)
        simulate(30, 8, num_steps=8)
    expect.that(
        number == len(compiled),
        f"got {number!r}. Which calls differ in what is static, in the type"
        " of the rule, or in their form?",
    )
    return "the rules share programs, all that shapes them does not."


@answer_check
def check_stripes(make_stripes: Any) -> str:
    """A jitted function from a width to a state of stripes."""
    expect.jitted(make_stripes)
    for width in (4, 7):
        want = np.arange(width, dtype=np.uint8) % 2
        expect.states(make_stripes(width), want, f"make_stripes({width})")
    return "a new width makes a new program."


@answer_check
def check_count_live(count_live: Any) -> str:
    """A jitted function that counts live cells and keeps no rows."""
    for rule, width, num_steps in [(110, 30, 20), (254, 600, 400)]:
        call = f"count_live({rule}, {width}, {num_steps})"
        want = reference.simulate(rule, width, num_steps).sum(axis=1)
        expect.numbers(count_live(rule, width, num_steps), want, call, "row")
    expect.jitted(count_live)
    compiled = count_live.lower(rule, width, num_steps).compile()
    num_bytes = compiled.memory_analysis().temp_size_in_bytes
    expect.that(
        num_bytes < width * num_steps,
        f"the program holds {num_bytes} bytes while it runs, enough for all"
        f" {num_steps} rows of {width} cells. Record the sums alone.",
    )
    return "what is not recorded is not kept."


@answer_check
def check_advance_twice(advance_twice: Any) -> str:
    """Two steps, compiled once for all calls."""
    rule_table = jax.numpy.asarray(reference.make_rule_table(30))
    states = reference.simulate(30, 19, 7)
    calls = {
        f"two steps from row {i}": (jax.numpy.asarray(states[i]), rule_table)
        for i in range(5)
    }
    for i, (call, args) in enumerate(calls.items()):
        expect.states(advance_twice(*args), states[i + 2], call)
    expect.one_program(advance_twice, calls)
    return "later calls compile nothing."


@answer_check
def check_mappable(names: Any) -> str:
    """The arguments of two simulators that vmap maps over."""
    data, shape = {"rule", "state"}, {"width", "num_steps"}
    expect.that(
        isinstance(names, set | list | tuple) and set(names) <= data | shape,
        f"the answer is a set of names, some of {sorted(data | shape)}.",
    )
    expect.that(
        not shape & set(names),
        "what shapes the states cannot be mapped: two values give two shapes,"
        " and these do not fit into one array.",
    )
    more = "there is one more that is data, not shape."
    expect.that(set(names) == data, more)
    return "what is data can be mapped, what is shape cannot."


@answer_check
def check_live_fractions(live_fractions: Any) -> str:
    """The fraction of live cells in row 31, for rules in an array."""
    rules = np.arange(256, dtype=np.uint8)
    for some in (rules, np.array([110, 30, 30, 7], dtype=np.uint8)):
        rows = [reference.simulate(int(rule), 32, 32)[-1] for rule in some]
        want, call = np.mean(rows, axis=1), f"{len(some)} rules"
        expect.numbers(live_fractions(some), want, call, "number")
    require_no_loop(live_fractions, rules, "rules")
    return "8 rules take as many operations as 2."


@answer_check
def check_differences(count_differences: Any) -> str:
    """In how many cells any two rows differ."""
    states = reference.simulate(30, 300, 9)
    want = (states[:, None] != states[None]).sum(axis=-1)
    got = count_differences(jax.numpy.asarray(states))
    expect.numbers(got, want, "count_differences(states)", "rows")
    require_no_loop(count_differences, states, "rows")
    return "two maps, and no loop."


@answer_check
def check_influence(influence: Any) -> str:
    """By how much the next state's sum grows as each cell goes to 1."""
    cells = np.array([0, 1, 1, 0, 1, 0, 0, 0, 1], dtype=np.uint8)
    for rule in (254, 90, 110, 30):
        rule_table = reference.make_rule_table(rule)
        sums = np.zeros((2, len(cells)))
        for value, cell in np.ndindex(sums.shape):
            changed = cells.copy()
            changed[cell] = value
            sums[value, cell] = reference.step(changed, rule_table).sum()
        floats = [jax.numpy.asarray(x, float) for x in (cells, rule_table)]
        got = jax.jit(influence)(*floats)
        expect.numbers(got, sums[1] - sums[0], f"rule {rule}", "cell")
    require_gradient(influence, *floats)
    return "one gradient tells of all cells at once."


@answer_check
def check_lesson(initial_state: Any) -> str:
    """Eight cells with all eight neighborhoods."""
    state = np.asarray(initial_state)
    expect.that(
        state.shape == (8,) and set(state.tolist()) <= {0, 1},
        "the answer is a list of eight numbers, each 0 or 1.",
    )
    ring = np.stack([np.roll(state, 1), state, np.roll(state, -1)], axis=1)
    seen = {tuple(map(int, row)) for row in ring}
    missing = [index for index in np.ndindex(2, 2, 2) if index not in seen]
    expect.that(
        not missing,
        "these neighborhoods never occur on the ring: "
        + ", ".join(" ".join(map(str, index)) for index in missing),
    )
    return "one step of eight cells tells the whole rule."


@answer_check
def check_find_cell(find_cell: Any) -> str:
    """The lane and the word of a cell."""
    for num_words in (8, 3):
        for cell in range(32 * num_words):
            call = f"cell {cell} of {num_words} words"
            place, want = find_cell(cell, num_words), divmod(cell, num_words)
            expect.result(place, call)
            right = tuple(map(int, place)) == want
            expect.that(right, f"{call}: got {place}, want {want}.")
    return "a lane is a stretch of the ring."


@answer_check
def check_rule_110(step: Any) -> str:
    """Rule 110 on words."""
    neighborhoods = np.array(list(np.ndindex(2, 2, 2)), dtype=np.uint32)
    # Bit 0 of each word is one neighborhood, the other bits another.
    others = np.roll(neighborhoods, 3, axis=0) * np.uint32(2**32 - 2)
    got = step(*map(jax.numpy.asarray, (neighborhoods | others).T))
    expect.result(got, "rule_110(left, center, right)")
    got = np.asarray(got)
    expect.that(
        got.dtype == np.uint32, f"dtype: got {got.dtype}, want uint32."
    )
    want = np.array([110 >> i & 1 for i in range(8)])
    for i in range(8):
        cells = " ".join(map(str, neighborhoods[i]))
        expect.numbers(got[i] & 1, want[i], f"neighborhood {cells}")
    expect.that(
        np.array_equal(got >> 1, (2**31 - 1) * np.roll(want, 3)),
        "bit 0 is right, but not each of the other 31.",
    )
    return "32 cells at once, and no table."


@answer_check
def check_exchanges(count_exchanges: Any) -> str:
    """How often devices exchange their edges."""
    for num_steps, halo in [(257, 256), (258, 256), (1000, 8), (1, 8), (2, 8)]:
        got, call = count_exchanges(num_steps, halo), f"({num_steps}, {halo})"
        expect.numbers(got, len(range(0, num_steps - 1, halo)), call)
    return "so deeper halos mean fewer messages."


@answer_check
def check_move_right_sharded(move_right: Any) -> str:
    """Every cell of a ring over all devices moves one place right."""
    ring = jax.numpy.arange(40)
    moved = move_right(ring)
    expect.numbers(moved, np.roll(ring, 1), "move_right(ring)", "place")
    expect.shares(moved, 8)
    expect.that(
        "ppermute" in primitives(expect.program(move_right, ring)),
        "that is right, but who sends what is left to the compiler: use"
        " jax.lax.ppermute.",
    )
    return "one message from each device, and the ring closes."
