"""What the check of an exercise asks for, and in which words it says so.

A function that a task names is compared with stage 0 at one case. A point,
what the stage is about, gets the attendee's module and returns in a few words
what it found. Each raises NotYet for what is missing. A point asks JAX what
the file does, at two shapes; how it is written is free. Where a call cannot
be traced, as it looks at its own values, running it has to tell.
"""

import ast
import contextlib
import math
import re
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from workshop.compare import (
    explain_difference,
    load_reference,
    name_mistake,
    run_from,
)
from workshop.exercises import expect
from workshop.stages import find_stages, load_stage
from workshop.tracing import (
    compiled_part,
    largest_value,
    loop_depth,
    loop_results,
    loops,
    primitives,
    takes_a_gradient,
    trace_call,
)

SHAPES = ((16, 20), (33, 7))  # width, num_steps
ALL_RULES = np.arange(256, dtype=np.uint8)
NUMPY = r"import (.*, )?numpy\b|from numpy\b"
GRADIENTS = r"(grad|vjp|jvp|jacrev|jacfwd|linearize|hessian)\("
ASK_NEIGHBORS = (
    "Its program sends nothing from a device to its neighbors, or everything:"
    " each must have a share of the ring and get from them what it lacks."
)


def compare_states(
    states: Any, stage: int, rule: int, width: int, num_steps: int
) -> None:
    """Raises NotYet if they are not stage 0's; names the mistake if it can."""
    require_array(states, "uint8", stage)
    got = np.asarray(states)
    expected = load_reference().simulate(rule, width, num_steps)
    difference = explain_difference(got, expected)
    if difference:
        mistake = name_mistake(got, rule, width, num_steps, stage)
        guess = f"\nIt looks like this: {mistake}." if mistake else ""
        raise expect.NotYet(count_shares(states) + difference + guess)


def count_shares(states: Any) -> str:
    """On how many devices they are, in words, if there are several."""
    spread = getattr(states, "sharding", None)
    count = len(spread.device_set) if spread else 1
    return f"{count} devices, so {count} shares: " if count > 1 else ""


def require_array(result: Any, dtype: str, stage: int) -> None:
    """Raises NotYet for what is no array, the two results of scan, say."""
    why = f"It returns a {type(result).__name__}, want an array of {dtype}."
    if isinstance(result, tuple) and stage >= 5:
        why += " scan returns two: the last carry, then what was recorded."
    expect.that(hasattr(result, "dtype"), why)


def compare_rules(
    states: Any, stage: int, rules: np.ndarray, width: int, num_steps: int
) -> None:
    """Raises NotYet unless these are the states of these rules, in order."""
    expect.jax_array(states, "It returns")
    simulate = load_reference().simulate
    expected = np.stack([simulate(r, width, num_steps) for r in rules])
    expect.shape(states, expected.shape, "states")
    for i, rule in enumerate(rules):
        expect.states(states[i], expected[i], f"rule {rule}")


def compare_packed(
    words: Any, stage: int, rule: int, width: int, num_steps: int
) -> None:
    """Raises NotYet unless each cell has a bit that goes through its states.

    In which bit a cell stands is free.
    """
    require_array(words, "uint32", stage)
    words = np.asarray(words)
    expect.that(
        words.dtype == np.uint32 and words.shape[:1] == (num_steps,),
        f"It returns {words.dtype} of shape {words.shape}, want {num_steps}"
        " rows of uint32.",
    )
    expected = load_reference().simulate(rule, width, num_steps)
    expect.that(
        words.nbytes * 4 <= expected.nbytes + 64 * num_steps,
        f"Its result is as large as {words.nbytes} bytes for {expected.size}"
        " cells: keep them packed, a bit for each.",
    )
    octets = np.ascontiguousarray(words.reshape(num_steps, -1)).view(np.uint8)
    bits = set(map(bytes, np.unpackbits(octets, axis=1).T))
    for cell, states in enumerate(expected.T):
        expect.that(
            states.tobytes() in bits,
            f"No bit of its words is that of cell {cell}:"
            f" {''.join(map(str, states[:20]))} from row to row.",
        )


COMPARE = {
    "simulate": compare_states,
    "simulate_rules": compare_rules,
    "simulate_packed": compare_packed,
}


def compare_at(
    module: ModuleType,
    name: str,
    stage: int,
    case: tuple[int, int, int],
    keywords: bool = False,
) -> None:
    """Call a function as the harness does, or by keyword, and compare."""
    rule, width, num_steps = case
    first = shown = rule
    if name == "simulate_rules":
        first = np.array([rule, 7, 200, 51], np.uint8)[: 2 + width % 3]
        shown = first.tolist()
    function = getattr(module, name)
    if keywords:
        result = function(first, width=width, num_steps=num_steps)
        call = f"{name}({shown}, width={width}, num_steps={num_steps})"
    else:
        result = function(first, width, num_steps)
        call = f"{name}({shown}, {width}, {num_steps})"
    expect.result(result, call)
    try:
        COMPARE[name](result, stage, first, width, num_steps)
    except expect.NotYet as reason:
        raise expect.NotYet(f"{call}\n{reason}") from None


def no_numpy_left(module: ModuleType) -> str:
    """NumPy is not imported, and the states are a JAX array."""
    source = Path(module.__file__).read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            expect.that(
                not re.match(NUMPY, ast.unparse(node)),
                f"Line {node.lineno} imports NumPy: {ast.unparse(node)}\n"
                "The states are right, but all of it can be jax.numpy.",
            )
    expect.jax_array(module.simulate(30, *SHAPES[0]), "simulate returns")
    return "the states are a jax.Array"


def one_program_for_two_rules(module: ModuleType) -> str:
    """It is compiled, once for a shape, whatever the rule."""
    simulate = module.simulate
    for shape in ((18, 3), (9, 11)):  # not yet seen
        first = {"simulate(30, ...)": (30, *shape)}
        expect.one_program(
            simulate,
            first | {"The same call as before": (30, *shape)},
            " every time: it makes a new jit at each call. Make it once, where"
            " the function is defined",
        )
        require_compiled(module, "simulate", 30, *shape)
        expect.one_program(
            simulate,
            first | {"simulate(110, ...) of the same shape": (110, *shape)},
            " after simulate(30, ...). The rule is data, not a shape: leave it"
            " out of the static arguments",
        )
    return "the second rule used the compiled program of the first"


def require_compiled(module: ModuleType, name: str, *args: Any) -> Any:
    """Its program. NotYet unless most of it is in one jitted function."""
    program = trace_call(getattr(module, name), *args)
    expect.that(
        program is not None and compiled_part(program) >= 0.5,
        f"{name} as a whole is not compiled: put jax.jit on it.",
    )
    return program


def no_growth_with_num_steps(module: ModuleType) -> str:
    """The program of twice as many rows is not larger."""
    for width, few in ((16, 8), (33, 512), (5, 10_000)):
        programs = {
            f"{n} rows": require_compiled(module, "simulate", 30, width, n)
            for n in (few, 2 * few)
        }
        unrolled, unroll = map(largest_unroll, programs.values())
        cause = "the loop still runs in Python while jit traces"
        if unroll > unrolled:
            cause = f"unroll={unroll} writes the loop out when it is compiled"
        cause += ". More rows add more copies of `step`"
        found = expect.no_larger(programs, cause, slack=1.4)
    return found + lesser_loop(programs[f"{2 * few} rows"])


def largest_unroll(program: Any) -> int:
    """The most turns of a loop that stand in the program one by one."""
    found = (loop.params.get("unroll", 1) for loop in loops(program))
    return max(found, default=1)


def lesser_loop(program: Any) -> str:
    """A word on what works and is not what the stage is about."""
    results = (x for loop in loops(program) for x in loop_results(loop))
    if not any(stacked for _, stacked in results):
        return (
            ". It passes; your loop carries all rows along and writes into"
            " them, while scan stacks what its body returns, and carries one"
            " state"
        )
    unroll = largest_unroll(program)
    if unroll > 1:
        return (
            f". It passes; unroll={unroll} writes that many copies of `step`"
            " into the program, which takes longer to compile: measure whether"
            " it runs faster"
        )
    return ""


def one_call_for_all_rules(module: ModuleType) -> str:
    """All 256 rules, right, in a program that does not grow with them."""
    states = module.simulate_rules(ALL_RULES, *SHAPES[0])
    compare_rules(states, 6, ALL_RULES, *SHAPES[0])
    for shape in SHAPES:
        few, many = (require_whole(module, n, shape) for n in (2, 8))
        expect.no_larger(
            {"2 rules": few, "8 rules": many},
            "a Python loop copies `simulate` for each. Map over all rules in"
            " one call",
            slack=1.5,
        )
    one = trace_call(module.simulate, 30, *SHAPES[0])
    if one and loop_depth(many) > loop_depth(one):
        return (
            "It passes; your loop computes one rule after the other, while"
            " vmap takes each step for all rules at once, which leaves more to"
            " do in parallel"
        )
    return "one program for any number of rules"


def require_whole(module: ModuleType, num_rules: int, shape: tuple) -> Any:
    """Its program. NotYet unless that computes the states of all rules."""
    rules = ALL_RULES[:num_rules]
    program = trace_call(module.simulate_rules, rules, *shape)
    results = program.outvars if program else []
    largest = max((result.aval.size for result in results), default=0)
    expect.that(
        largest >= num_rules * math.prod(shape),
        "simulate_rules takes the rules one by one, in a Python loop. Map over"
        " all rules in one call.",
    )
    return program


def gradient_by_jax(module: ModuleType) -> str:
    """JAX differentiates, and learn_rule finds the table of each rule."""
    for rule, width, num_steps in ((30, 64, 16), (110, 37, 41)):
        require_learned(module, rule, width, num_steps)
    expect.that(
        uses_gradient(module),
        "There is no gradient of JAX's in learn_rule: let JAX differentiate"
        " the loss.",
    )
    learned, _ = learn(module, np.zeros((4, 16), dtype=np.uint8))
    expect.that(
        learned.flat[0] <= 0.5 and np.all(learned.flat[1:] == 0.5),
        "Where all cells are dead, only neighborhood 0 0 0 occurs. The other"
        f" entries must stay 0.5, got {learned.flat[1:].round(2)}.",
    )
    return "rules 30 and 110 learned, by a gradient of JAX's"


def require_learned(
    module: ModuleType, rule: int, width: int, num_steps: int
) -> None:
    """NotYet unless the loss falls, and each entry comes near the rule's."""
    states = simulate_random_ring(rule, width, num_steps)
    learned, (first, *_, last) = learn(module, states)
    call = f"learn_rule, from states of rule {rule}"
    found = f"{call}: the loss goes from {first:.2g} to {last:.2g}, want it"
    expect.that(
        last <= first,  # NaN is not
        f"{found} near 0. It grows: downhill is against the gradient, and a"
        " learning rate that is too large jumps over the valley. If the loss"
        " is a sum over all cells, so is the gradient: divide by their"
        " number.",
    )
    expect.that(
        last <= first / 10,
        f"{found} near 0. It falls: more updates, or a larger learning rate.",
    )
    table = load_reference().make_rule_table(rule)
    for entry, want in np.ndenumerate(table):
        expect.that(
            abs(learned[entry] - want) < 0.25,
            f"{call}: entry {list(entry)} of the table is"
            f" {learned[entry]:.2f}, want it near {want}",
        )


def learn(
    module: ModuleType, states: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The table and the losses that learn_rule returns."""
    result = module.learn_rule(jnp.asarray(states))
    expect.tuple_of(result, "rule_table, losses", "learn_rule")
    table, losses = map(np.asarray, result)
    expect.shape(table, (2, 2, 2), "The rule table")
    expect.that(
        losses.ndim == 1 and len(losses) > 1,
        f"The losses have shape {losses.shape}, want one for each update.",
    )
    return table, losses


def simulate_random_ring(rule: int, width: int, num_steps: int) -> np.ndarray:
    """States of stage 0 in which every neighborhood occurs."""
    random = np.random.default_rng(seed=0)
    state = random.integers(2, size=width, dtype=np.uint8)
    table = load_reference().make_rule_table(rule)
    return run_from(state, table, num_steps)


def uses_gradient(module: ModuleType) -> bool:
    """Whether learn_rule differentiates by JAX."""
    states = jnp.asarray(simulate_random_ring(30, 64, 16))
    with contextlib.suppress(Exception):
        return takes_a_gradient(jax.make_jaxpr(module.learn_rule)(states))
    # It looks at the losses as it goes, which is no mistake.
    source = Path(module.__file__).read_text(encoding="utf-8")
    return bool(re.search(GRADIENTS, source))


def a_bit_for_each_cell(module: ModuleType) -> str:
    """What the loop carries is packed, and never unpacked to take a step."""
    unpacked = load_stage(find_stages()[5])
    for width in (4160, 1024):
        before = carry_bytes(unpacked, width)
        now = carry_bytes(module, width)
        expect.that(
            now * 5 <= before,
            f"For {width} cells the loop carries {now} bytes, {before} in"
            " stage 5. A bit for each cell makes it 8 times less.",
        )
        program = require_compiled(module, "simulate_packed", 30, width, 8)
        largest = max(map(largest_value, loops(program)), default=0)
        expect.that(
            largest < width,
            f"The loop of simulate_packed has values of {largest} elements for"
            f" {width} cells: it unpacks them to take a step. Look all cells"
            " of a word up at once, by bitwise operations.",
        )
    return f"{now} bytes for {width} cells, {before} in stage 5"


def carry_bytes(module: ModuleType, width: int) -> int:
    """The bytes that the loop of simulate carries from turn to turn.

    Of a carry that has room for the rows, only what does not grow with them.
    """
    largest = []
    for num_steps in (8, 16):
        program = require_compiled(module, "simulate", 30, width, num_steps)
        carries = [
            sum(
                value.size * value.dtype.itemsize
                for value, stacked in loop_results(loop)
                if not stacked
            )
            for loop in loops(program)
        ]
        expect.that(carries, "There is no loop in simulate any more.")
        largest.append(max(carries))
    few, many = largest
    return 2 * few - many


def share_on_each_device(module: ModuleType) -> str:
    """Each device keeps a share of the states, and asks its neighbors."""
    available = jax.device_count()
    for asked in (available, max(available // 2, 1), None):
        width, num_steps = (48 * asked, 90) if asked else (6, 11)
        num_devices = asked or math.gcd(width, available)
        call = partial(module.simulate, 30, width, num_steps)
        shown = f"simulate(30, {width}, {num_steps}, num_devices={asked})"
        states = call(num_devices=asked)
        try:
            if num_devices > 1:
                program = expect.program(call, num_devices=asked)
                sent = primitives(program)
                gathers = any(name.startswith("all_gather") for name in sent)
                asks = "ppermute" in sent and not gathers
                expect.that(asks, ASK_NEIGHBORS)
            expect.shares(states, num_devices)
            compare_states(states, 9, 30, width, num_steps)
        except expect.NotYet as reason:
            raise expect.NotYet(f"{shown}\n{reason}") from None
    return f"a share of the states on each of {available} devices"


POINTS = {
    "no NumPy left": no_numpy_left,
    "one program for two rules": one_program_for_two_rules,
    "the program does not grow with num_steps": no_growth_with_num_steps,
    "simulate_rules: one call, no Python loop": one_call_for_all_rules,
    "a rule learned by a gradient of JAX's": gradient_by_jax,
    "a bit for each cell in the carry": a_bit_for_each_cell,
    "each device keeps its share": share_on_each_device,
}
