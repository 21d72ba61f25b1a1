"""What a correct solution of an exercise does.

`check` starts this module in a process of its own. tasks.toml names, for each
exercise, the functions that check it. Each of them gets the attendee's module,
returns in a few words what it found, and raises NotYet for what is missing.
The attendee's functions are called as the harness calls them, and the results
are compared with stage 0. For the rest, the checks ask JAX what the program
does: how it is written is free.
"""

import contextlib
import math
import traceback
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from workshop import tracing
from workshop.compare import (
    CASES,
    explain_difference,
    load_reference,
    run_from,
    some_cases,
)
from workshop.errors import ErrorRow, explain_error
from workshop.exercises import expect
from workshop.exercises.expect import NotYet
from workshop.exercises.tasks import (
    Task,
    find_tasks,
    read_texts,
    unfold,
)
from workshop.sandbox import import_file, report
from workshop.stages import failure, find_stages, stage_before

NUM_STEPS = 9  # of calls that are only traced
SHAPE = (16, 20)  # width, num_steps
ALL_RULES = np.arange(256, dtype=np.uint8)
REASONS, MISTAKES = read_texts()["reasons"], read_texts()["mistakes"]


class Failed(Exception):
    """A call in which the attendee's own error, the cause, was raised."""


def require(condition: Any, key: str, **values: Any) -> None:
    """Raise NotYet, with the reason of that key, unless it holds."""
    if not condition:
        raise NotYet(unfold(REASONS[key]).format(**values), key)


# --- the way of a check


def work(tell: Callable[..., None], number: str, path: Path) -> None:
    """Report what is looked at, and how it ended."""
    task = find_tasks()[int(number)]
    try:
        tell(fact=examine(task, path, lambda step: tell(step=step)))
    except BaseException as error:
        tell(why=explain(error, task, path))


def examine(task: Task, path: Path, begin: Callable[[str], None]) -> str:
    """Return what the last check found; begin gets the name of each step."""
    begin("imports")
    module = import_file(path)
    require(not jax.config.jax_disable_jit, "jit_disabled")
    begin("runs")
    simulate = get_function(module, "simulate")
    with in_call("simulate", *CASES[0]):
        simulate(*CASES[0])
    for name, shown in task.checks.items():
        begin(shown)
        found = globals()[name](module)  # one of the functions below
    return found


def explain(error: BaseException, task: Task, path: Path) -> str:
    """Return in words why a solution does not pass."""
    if isinstance(error, NotYet):
        return str(error)
    is_known = partial(is_lesson, task)
    if isinstance(error, Failed):
        return f"{error}\n{explain_error(error.__cause__, path, is_known)}"
    return explain_error(error, path, is_known)


def is_lesson(task: Task, row: ErrorRow) -> bool:
    """Return whether the stage to change fails with this error on purpose."""
    before = find_stages()[stage_before(task.number)]
    fails_with = failure(before.read_text(encoding="utf-8"))
    return fails_with is not None and fails_with[1] in row.keyword


def get_function(module: ModuleType, name: str) -> Callable:
    """Return the function of that name in the attendee's module."""
    function = getattr(module, name, None)
    require(callable(function), "no_function", name=name)
    return function


@contextlib.contextmanager
def in_call(name: str, *arguments: Any) -> Iterator[str]:
    """Name the call in front of what goes wrong in it."""
    call = f"{name}({', '.join(map(str, arguments))})"
    try:
        yield call
    except NotYet as reason:
        raise NotYet(f"{call}\n{reason}", reason.key) from None
    except Exception as error:
        raise Failed(call) from error


# --- all exercises: the same result as stage 0


def states_equal(module: ModuleType) -> str:
    """Compare simulate with stage 0, for many rules and shapes."""
    return compare_at(some_cases(), module)


def whole_words_equal(module: ModuleType) -> str:
    """Compare simulate with stage 0 where 32 divides the width."""
    return compare_at([c for c in CASES if c[1] % 32 == 0], module)


def compare_at(cases: Iterable[tuple], module: ModuleType) -> str:
    """Raise NotYet for the first case in which simulate is wrong."""
    simulate = get_function(module, "simulate")
    for case in cases:
        with in_call("simulate", *case) as call:
            states = simulate(*case)
            expect.result(states, call)
            require_array(states, "uint8")
            compare_states(states, *case)
    return "the states equal those of stage 0"


def require_array(result: Any, dtype: str) -> None:
    """Raise NotYet for what is no array, such as the two results of scan."""
    require(not isinstance(result, tuple), "tuple", dtype=dtype)
    kind = type(result).__name__
    require(hasattr(result, "dtype"), "no_array", type=kind, dtype=dtype)


def compare_states(states: Any, rule: int, width: int, num_steps: int) -> None:
    """Raise NotYet unless they are stage 0's; name a mistake that fits."""
    got = np.asarray(states)
    expected = load_reference().simulate(rule, width, num_steps)
    difference = explain_difference(got, expected)
    if difference is None:
        return
    if isinstance(states, jax.Array) and len(states.devices()) > 1:
        count = len(states.devices())
        difference = f"On {count} devices, so in {count} shares: {difference}"
    name = name_mistake(got, rule, width, num_steps)
    if name:
        difference += f"\nProbably {unfold(MISTAKES[name]['what'])}."
    raise NotYet(difference, name or "states")


def name_mistake(
    states: np.ndarray, rule: int, width: int, num_steps: int
) -> str | None:
    """Return the one mistake that gives these states; None if none does.

    Also None if this rule and size do not tell it from other mistakes, or if
    the states are right.
    """
    right = load_reference().simulate(rule, width, num_steps)
    if min(width, num_steps) < 8 or np.array_equal(states, right):
        return None
    named = []
    for name, edit in MISTAKES.items():
        wrong = load_reference(edit["old"], edit["new"])
        if np.array_equal(states, wrong.simulate(rule, width, num_steps)):
            named.append(name)
    return named[0] if len(named) == 1 else None


# --- exercise 2: a JAX array, made by JAX


def computed_by_jax(module: ModuleType) -> str:
    """Require that JAX computes every row, and NumPy nothing in between."""
    width, num_steps = SHAPE
    expect.jax_array(module.simulate(30, width, num_steps), "simulate returns")
    try:
        few, many = (
            jax.make_jaxpr(partial(module.simulate, 30, width, n))().jaxpr
            for n in (num_steps, 2 * num_steps)
        )
    except jax.errors.TracerArrayConversionError as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [f.line for f in frames if f.filename == module.__file__]
        require(False, "numpy_inside", line=own[-1])
    except Exception:  # it looks at values, to print them for example
        return "the states are a JAX array"
    grows = tracing.count_equations(many) > tracing.count_equations(few)
    require(grows or any(tracing.loops(many)), "numpy_alone")
    return "JAX computes every row"


# --- exercises 4 and 5: one program, which does not grow


def one_program_for_two_rules(module: ModuleType) -> str:
    """Require that all rules share a program, compiled once for a shape."""
    for shape in ((18, 3), (9, 11)):  # not used before
        require_compiled(module, "simulate", 30, *shape)
        require(not compiles(module.simulate, 110, *shape), "static_rule")
    return "the second rule used the compiled program of the first"


def require_compiled(
    module: ModuleType, name: str, *args: int, cells: int = 1
) -> None:
    """Raise NotYet unless one program returns all rows, and is compiled once.

    The shape must be new to the function. cells: how many a number holds.
    """
    _, width, num_steps = args
    function = getattr(module, name)
    program = tracing.largest_compiled(function, *args)
    returned = tracing.largest_result(program.jaxpr) if program else 0
    whole = returned * cells >= width * num_steps
    require(whole, "not_compiled", name=name)
    require(not compiles(function, *args), "compiled_again", name=name)


def compiles(function: Callable, *args: Any) -> bool:
    """Return whether this call compiles anything."""
    with tracing.count_compilations() as seconds:
        jax.block_until_ready(function(*args))
    return bool(seconds)


def no_growth_with_num_steps(module: ModuleType) -> str:
    """Require that twice as many rows do not make the program larger."""
    require_compiled(module, "simulate", 30, 19, 6)
    for width, rows in ((16, 8), (33, 512), (5, 10_000)):
        programs = [
            tracing.trace_call(module.simulate, 30, width, n)
            for n in (rows, 2 * rows)
        ]
        few, many = map(tracing.count_equations, programs)
        unroll, unroll_more = map(tracing.largest_unroll, programs)
        key = "unroll_grows" if unroll_more > unroll else "grows"
        require(many <= 1.4 * few, key, rows=rows, few=few, many=many)
    return f"{rows} rows take {few} operations, {2 * rows} rows take {many}"


# --- exercise 6: all rules in one call


def rules_equal(module: ModuleType) -> str:
    """Compare simulate_rules with stage 0, for two to four rules."""
    simulate_rules = get_function(module, "simulate_rules")
    for rule, width, num_steps in some_cases():
        rules = [rule, 7, 200, 51][: 2 + width % 3]
        with in_call("simulate_rules", rules, width, num_steps) as call:
            given = np.array(rules, dtype=np.uint8)
            states = simulate_rules(given, width, num_steps)
            expect.result(states, call)
            compare_rules(states, rules, width, num_steps)
    return "the states equal those of stage 0"


def compare_rules(
    states: Any, rules: Iterable[int], width: int, num_steps: int
) -> None:
    """Raise NotYet unless these are the states of these rules, in order."""
    expect.jax_array(states, "It returns")
    simulate = load_reference().simulate
    expected = np.stack([simulate(r, width, num_steps) for r in rules])
    expect.shape(states, expected.shape, "states")
    for i, rule in enumerate(rules):
        expect.states(states[i], expected[i], f"rule {rule}")


def one_call_for_all_rules(module: ModuleType) -> str:
    """Require all 256 rules, and a program that does not grow with them."""
    programs = [
        tracing.trace_call(module.simulate_rules, ALL_RULES[:n], *SHAPE)
        for n in (2, 8)
    ]
    require(all(programs), "not_compiled", name="simulate_rules")
    few, many = map(tracing.count_equations, programs)
    returned = tracing.largest_result(programs[1])
    whole = returned >= 8 * math.prod(SHAPE)
    require(whole and many <= 1.5 * few, "python_loop")
    states = module.simulate_rules(ALL_RULES, *SHAPE)
    compare_rules(states, ALL_RULES, *SHAPE)
    return "one program for any number of rules"


# --- exercise 7: a rule that a gradient finds


def learned_by_a_gradient(module: ModuleType) -> str:
    """Require that learn_rule finds two rules, by a gradient of JAX."""
    get_function(module, "learn_rule")
    for rule, width, num_steps in ((30, 64, 16), (110, 37, 41)):
        require_learned(module, rule, width, num_steps)
    states = jnp.asarray(simulate_random_ring(30, 64, 16))
    program = tracing.trace(module.learn_rule, states)
    # A function that looks at its losses cannot be traced: then it passes.
    differentiated = program is None or tracing.takes_a_gradient(program)
    require(differentiated, "no_gradient")
    learned, _ = learn(module, np.zeros((4, 16), dtype=np.uint8))
    others = learned.flat[1:]
    undecided = learned.flat[0] <= 0.5 and np.all(others == 0.5)
    require(undecided, "not_undecided", entries=others.round(2))
    return "it learned rules 30 and 110 from their states"


def require_learned(
    module: ModuleType, rule: int, width: int, num_steps: int
) -> None:
    """Raise NotYet unless the loss falls and each entry is near the rule's."""
    states = simulate_random_ring(rule, width, num_steps)
    learned, (first, *_, last) = learn(module, states)
    found = {"rule": rule, "first": first, "last": last}
    require(last <= first, "loss_grows", **found)  # NaN is not
    require(last <= first / 10, "loss_falls_slowly", **found)
    table = load_reference().make_rule_table(rule)
    for entry, want in np.ndenumerate(table):
        found = {"rule": rule, "entry": list(entry), "got": learned[entry]}
        near = abs(learned[entry] - want) < 0.25
        require(near, "wrong_entry", want=want, **found)


def learn(
    module: ModuleType, states: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the table and the losses of learn_rule."""
    result = module.learn_rule(jnp.asarray(states))
    expect.tuple_of(result, "rule_table, losses", "learn_rule")
    table, losses = map(np.asarray, result)
    expect.shape(table, (2, 2, 2), "The rule table")
    require(losses.ndim == 1 < len(losses), "losses", shape=losses.shape)
    return table, losses


def simulate_random_ring(rule: int, width: int, num_steps: int) -> np.ndarray:
    """Return states of stage 0 in which every neighborhood occurs."""
    random = np.random.default_rng(seed=0)
    state = random.integers(2, size=width, dtype=np.uint8)
    table = load_reference().make_rule_table(rule)
    return run_from(state, table, num_steps)


# --- exercise 8: a bit for each cell


def packed_equal(module: ModuleType) -> str:
    """Compare the words of simulate_packed with stage 0's states."""
    simulate_packed = get_function(module, "simulate_packed")
    for case in some_cases():
        with in_call("simulate_packed", *case) as call:
            words = simulate_packed(*case)
            expect.result(words, call)
            compare_packed(words, *case)
    return "the words hold the states of stage 0"


def compare_packed(words: Any, rule: int, width: int, num_steps: int) -> None:
    """Raise NotYet unless for each cell a bit goes through its states.

    Which bit that is does not matter.
    """
    require_array(words, "uint32")
    words = np.asarray(words)
    right = words.dtype == np.uint32 and words.shape[:1] == (num_steps,)
    found = {"dtype": words.dtype, "shape": words.shape}
    require(right, "words", num_steps=num_steps, **found)
    octets = np.ascontiguousarray(words.reshape(num_steps, -1)).view(np.uint8)
    bits = set(map(bytes, np.unpackbits(octets, axis=1).T))
    expected = load_reference().simulate(rule, width, num_steps)
    for cell, states in enumerate(expected.T):
        shown = "".join(map(str, states[:20]))
        require(states.tobytes() in bits, "bits", cell=cell, states=shown)


def a_bit_for_each_cell(module: ModuleType) -> str:
    """Require a loop that carries words, and never unpacks them to step."""
    for width in (4160, 1024):  # 32 divides both
        shape, found = (30, width, NUM_STEPS), {"width": width}
        require_compiled(module, "simulate_packed", *shape, cells=32)
        program = tracing.trace_call(module.simulate, *shape)
        carried = max(map(count_carried, tracing.loops(program)), default=0)
        require(carried, "no_loop")
        packed = carried * 8 <= width + 512
        require(packed, "unpacked_carry", carried=carried, **found)
        program = tracing.trace_call(module.simulate_packed, *shape)
        sizes = map(tracing.largest_value, tracing.loops(program))
        largest = max(sizes, default=0)
        require(largest < width, "unpacked_step", largest=largest, **found)
    return f"the loop carries {carried} numbers for {width} cells"


def count_carried(loop: Any) -> int:
    """Return how many numbers a loop carries, without rows that it fills."""
    carry, _ = tracing.loop_results(loop)
    return sum(v.size for v in carry if v.shape[:1] != (NUM_STEPS,))


# --- exercises 9 and 10: a share on each device, and few messages


def share_on_each_device(module: ModuleType) -> str:
    """Require that each device keeps its share, and asks its neighbors."""
    available = jax.device_count()
    for asked in (available, available // 2, None):
        width, num_steps = (48 * asked, 90) if asked else (6, 11)
        num_devices = asked or math.gcd(width, available)
        shown = f"num_devices={asked}"
        with in_call("simulate", 30, width, num_steps, shown):
            call = partial(module.simulate, 30, width, num_steps)
            states = call(num_devices=asked)
            sent = tracing.primitives(expect.program(call, num_devices=asked))
            gathers = any(name.startswith("all_gather") for name in sent)
            require(not gathers, "gathers")
            require("ppermute" in sent, "sends_nothing")
            expect.shares(states, num_devices)
            compare_states(states, 30, width, num_steps)
    return f"each of {available} devices keeps its share of the states"


def fewer_messages(module: ModuleType) -> str:
    """Require at most a quarter of the messages that stage 9 sends."""
    for num_devices, num_steps in ((4, 64), (2, 96)):
        width = 32 * 64 * num_devices  # 64 words for each device
        call = partial(module.simulate, 30, width, num_steps)
        program = tracing.trace_call(call, num_devices=num_devices)
        sent, before = tracing.count_runs(program, "ppermute"), 2 * num_steps
        require(sent < math.inf, "unknown_count")
        found = {"sent": sent, "num_steps": num_steps, "before": before}
        require(sent <= before / 4, "many_messages", **found)
    return (
        f"{sent} messages in {num_steps} steps, where stage 9 sends {before}"
    )


if __name__ == "__main__":
    report(work, tracing.describe_compilation)
