"""Check whether a solution of an exercise does what the task asks for.

The sandbox calls `work` in a separate process. It imports the attendee's file,
and runs the checks that tasks.toml lists for the exercise. A check is a
function that gets the attendee's module. It raises NotYet if something is
missing. Some checks return a sentence about what they counted.

The checks call the attendee's functions as the harness does, and compare the
results with stage 0. For all other requirements, they ask JAX what the program
does, so an attendee may write the program in any way.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from workshop import tracing
from workshop.compare import CASES, explain_difference, load_reference
from workshop.errors import explain_error, read_source
from workshop.exercises import expect
from workshop.exercises.expect import NotYet
from workshop.exercises.tasks import find_tasks, read_texts
from workshop.sandbox import import_file
from workshop.stages import failure, find_stages, stage_before

NUM_STEPS = 9  # of the calls whose loops are examined
SHAPE = (16, 20)  # width, num_steps
LEARNED = (30, 64, 63)  # rule, width, num_steps; all neighborhoods occur
Case = tuple[Any, int, int]  # rule or rules, width, num_steps
STEPS, REASONS = read_texts()["steps"], read_texts()["reasons"]
MISTAKES = read_texts()["mistakes"]


class Failed(Exception):
    """A call failed; `__cause__` is the error that it raised."""


def work(tell: Callable[..., None], number: str, path: Path) -> None:
    """Run the checks of an exercise; report each step, and the outcome.

    If all checks pass, report the sentence that the last one returns. If one
    fails, report why, and a key that names the kind of reason.
    """
    try:
        tell(step="imports")
        module = import_file(path)
        for name in find_tasks()[int(number)].checks:
            tell(step=STEPS[name])
            check = globals()[name]  # a function below, named in tasks.toml
            found = check(module)
        tell(fact=found or "")
    except NotYet as reason:
        tell(why=str(reason), key=reason.key)
    except BaseException as error:
        cause, call = error, ""
        if isinstance(error, Failed):
            cause, call = error.__cause__, f"{error}\n"
        why = explain_error(cause, path, find_lesson(int(number)))
        tell(why=call + why, key=type(cause).__name__)


def find_lesson(number: int) -> str:
    """Return a word of the error that an exercise has to fix, or ""."""
    before = find_stages()[stage_before(number)]
    fails_with = failure(before.read_text(encoding="utf-8"))
    return fails_with[1] if fails_with else ""


def require(condition: Any, key: str, **values: Any) -> None:
    """Raise NotYet with the text REASONS[key] unless the condition holds."""
    if not condition:
        raise NotYet(unfold(REASONS[key]).format(**values), key)


def unfold(text: str) -> str:
    """Return a text without its line breaks."""
    return " ".join(text.split())


def get_function(module: ModuleType, name: str) -> Callable:
    """Return the function with this name in the attendee's module."""
    function = getattr(module, name, None)
    require(callable(function), "no_function", name=name)
    return function


@contextlib.contextmanager
def in_call(name: str, *arguments: Any) -> Iterator[None]:
    """Name the call if the block raises an error: in NotYet, or as Failed."""
    call = f"{name}({', '.join(map(str, arguments))})"
    try:
        yield
    except NotYet as reason:
        raise NotYet(f"{call}\n{reason}", reason.key) from None
    except Exception as error:
        raise Failed(call) from error


# Below are the checks, and the functions that they use. No code here calls a
# check by its name: tasks.toml names the checks of each exercise.


# All exercises: the same result as stage 0.
def states_equal(module: ModuleType) -> None:
    """Compare simulate with stage 0, for several rules and shapes."""
    compare_calls(module, "simulate", compare_states, CASES)


def compare_calls(
    module: ModuleType, name: str, compare: Callable, cases: list[Case]
) -> None:
    """Call a function as the harness does, and compare what it returns."""
    function = get_function(module, name)
    for case in cases:
        with in_call(name, *case):
            result = function(*case)
            expect.one_array(result, "The result")
            compare(result, case)


def compare_states(states: Any, case: Case) -> None:
    """Raise NotYet unless the states are equal to those of stage 0.

    If a known mistake gives the same wrong states, name the mistake.
    """
    got, expected = np.asarray(states), load_reference().simulate(*case)
    difference = explain_difference(got, expected)
    if difference is None:
        return
    name = name_mistake(got, case)
    if name:
        difference += f"\nProbably {unfold(MISTAKES[name]['what'])}."
    raise NotYet(difference, name or "states")


def name_mistake(states: np.ndarray, case: Case) -> str | None:
    """Return the name of a known mistake that gives these wrong states.

    Return None if no known mistake gives them. Also return None if the case is
    so small that an unknown mistake may give the same states by chance.
    """
    _, width, num_steps = case
    if min(width, num_steps) < 8:
        return None
    for name, edit in MISTAKES.items():
        wrong = load_reference(edit["old"], edit["new"])
        if np.array_equal(states, wrong.simulate(*case)):
            return name
    return None


# Exercise 2: a JAX array, made by JAX.
def computed_by_jax(module: ModuleType) -> None:
    """Require that JAX computes every row, without NumPy in between."""
    _, num_steps = shape = SHAPE
    if make_initial_state := getattr(module, "make_initial_state", None):
        state = make_initial_state(shape[0])
        expect.jax_array(state, "make_initial_state returns")
    expect.jax_array(module.simulate(30, *shape), "simulate returns")
    try:
        program = jax.make_jaxpr(partial(module.simulate, 30, *shape))().jaxpr
    except jax.errors.TracerArrayConversionError as error:
        line, *_ = [*read_source(error).splitlines(), "in another file"]
        require(False, "numpy", line=f" This line uses NumPy:\n    {line}")
    except Exception:  # simulate reads values, for example to print them
        return
    steps = tracing.count_equations(program) >= num_steps
    require(steps or any(tracing.loops(program)), "numpy", line="")


# Exercises 4 and 5: one program, which does not grow.
def one_program_for_two_rules(module: ModuleType) -> None:
    """Require that all rules share one program, compiled once per shape."""
    shape = (18, 3)  # no earlier call has used this shape
    require_compiled(module, "simulate", 30, *shape)
    require(not expect.compiles(module.simulate, 110, *shape), "static_rule")


def require_compiled(module: ModuleType, name: str, *args: int) -> None:
    """Raise NotYet unless one program returns all rows, and is compiled once.

    The shape must be one with which the function has not been called before.
    """
    function = getattr(module, name)
    program = tracing.largest_compiled(function, *args)
    returned = tracing.largest_result(program.jaxpr) if program else 0
    whole = returned >= function(*args).size
    require(whole, "not_compiled", name=name)
    require(not expect.compiles(function, *args), "compiled_again", name=name)


def no_growth_with_num_steps(module: ModuleType) -> str:
    """Require that twice as many rows do not make the program larger."""
    require_compiled(module, "simulate", 30, 19, 6)
    calls = {f"{rows} rows": (30, 16, rows) for rows in (50, 100)}
    return expect.no_growth(module.simulate, calls, allow=1.4)


# Exercise 6: all rules in one call.
def rules_equal(module: ModuleType) -> None:
    """Compare simulate_rules with stage 0, for three rules at once."""
    cases = [
        (np.array([rule, 7, 200], np.uint8), width, num_steps)
        for rule, width, num_steps in CASES
    ]
    compare_calls(module, "simulate_rules", compare_rules, cases)


def compare_rules(states: Any, case: Case) -> None:
    """Raise NotYet unless states[i] are the states of rules[i], for each i."""
    expect.jax_array(states, "It returns")
    rules, *shape = case
    expected = np.stack([load_reference().simulate(r, *shape) for r in rules])
    expect.shape(states, expected.shape, "states")
    for i, rule in enumerate(rules):
        expect.states(states[i], expected[i], f"rule {rule}")


def one_call_for_all_rules(module: ModuleType) -> str:
    """Require one program, which does not grow with the number of rules."""
    numbers = [np.arange(n, dtype=np.uint8) for n in (2, 8)]
    calls = {f"{len(n)} rules": (n, *SHAPE) for n in numbers}
    return expect.no_growth(module.simulate_rules, calls)


# Exercise 7: a rule that a gradient finds.
def learned_by_a_gradient(module: ModuleType) -> None:
    """Require that learn_rule finds a rule, with a gradient from JAX."""
    get_function(module, "learn_rule")
    states = jnp.asarray(load_reference().simulate(*LEARNED))
    learned, (first, *_, last) = learn(module, states)
    require(last <= first, "loss_grows", first=first, last=last)  # or NaN
    falls = last <= first / 10
    require(falls, "loss_falls_slowly", first=first, last=last)
    table = load_reference().make_rule_table(LEARNED[0])
    for entry, want in np.ndenumerate(table):
        got = learned[entry]
        right, found = abs(got - want) < 0.25, {"got": got, "want": want}
        require(right, "wrong_entry", entry=list(entry), **found)
    undecided, _ = learn(module, jnp.zeros((4, 16), jnp.uint8))
    others = undecided.flat[1:]
    found = {"entries": others.round(2)}
    require(np.all(others == 0.5), "not_undecided", **found)
    program = tracing.trace(module.learn_rule, states)
    # A function that reads its losses cannot be traced. It passes this check.
    differentiated = program is None or tracing.takes_a_gradient(program)
    require(differentiated, "no_gradient")


def learn(module: ModuleType, states: jax.Array) -> tuple:
    """Call learn_rule; return the rule table and the losses, as arrays."""
    result = module.learn_rule(states)
    expect.tuple_of(result, "rule_table, losses", "learn_rule")
    table, losses = map(np.asarray, result)
    expect.shape(table, (2, 2, 2), "The rule table")
    one_each = losses.ndim == 1 and len(losses) > 1
    require(one_each, "losses", shape=losses.shape)
    return table, losses


# Exercise 8: a bit for each cell.
def packed_equal(module: ModuleType) -> None:
    """Compare the words of simulate_packed with the states of stage 0."""
    compare_calls(module, "simulate_packed", compare_packed, CASES)


def compare_packed(words: Any, case: Case) -> None:
    """Raise NotYet unless each cell has a bit that equals it in every row.

    Any bit may belong to any cell.
    """
    words = np.asarray(words)
    _, _, num_steps = case
    right = words.dtype == np.uint32 and words.shape[:1] == (num_steps,)
    found = {"dtype": words.dtype, "shape": words.shape}
    require(right, "words", num_steps=num_steps, **found)
    octets = np.ascontiguousarray(words.reshape(num_steps, -1)).view(np.uint8)
    bits = set(map(bytes, np.unpackbits(octets, axis=1).T))
    for cell, states in enumerate(load_reference().simulate(*case).T):
        shown = "".join(map(str, states[:20]))
        require(states.tobytes() in bits, "bits", cell=cell, states=shown)


def a_bit_for_each_cell(module: ModuleType) -> str:
    """Require that loops carry words, and that no step unpacks them."""
    width = 4160  # 32 divides it
    case = (30, width, NUM_STEPS)
    require_compiled(module, "simulate_packed", *case)
    program = tracing.trace_call(module.simulate, *case)
    carried = max(map(count_carried, tracing.loops(program)), default=0)
    packed = carried * 8 <= width
    require(packed, "unpacked_carry", width=width, carried=carried)
    program = tracing.trace_call(module.simulate_packed, *case)
    sizes = map(tracing.largest_value, tracing.loops(program))
    largest = max(sizes, default=0)
    require(largest < width, "unpacked_step", width=width, largest=largest)
    return f"the loop carries {carried} numbers for {width} cells"


def count_carried(loop: Any) -> int:
    """Return how many numbers a loop carries, not counting filled-in rows."""
    carry = tracing.carried(loop)
    return sum(v.size for v in carry if v.shape[:1] != (NUM_STEPS,))


# Exercises 9 and 10: a share on each device, and few messages.
def share_on_each_device(module: ModuleType) -> None:
    """Require that each device keeps its share and sends to its neighbors."""
    available = jax.device_count()
    for width, asked in ((192, available), (96, available // 2), (6, None)):
        case = (30, width, 90)
        call = partial(module.simulate, *case, num_devices=asked)
        with in_call("simulate", *case, f"num_devices={asked}"):
            states = call()
            sent = tracing.primitives(expect.program(call))
            gathers = any(name.startswith("all_gather") for name in sent)
            require(not gathers, "gathers")
            require("ppermute" in sent, "sends_nothing")
            expect.shares(states, asked or math.gcd(width, available))
            compare_states(states, case)


def fewer_messages(module: ModuleType) -> str:
    """Require at most a quarter of the messages that stage 9 sends."""
    num_steps, num_devices = 64, 4
    width = 32 * 64 * num_devices  # 64 words for each device
    call = partial(module.simulate, 30, width, num_steps)
    program = tracing.trace_call(call, num_devices=num_devices)
    sent, most = tracing.count_runs(program, "ppermute"), num_steps // 2
    found = {"sent": sent, "num_steps": num_steps, "most": most}
    require(sent <= most, "many_messages", **found)
    return f"each device sends {sent} messages in {num_steps} steps"
