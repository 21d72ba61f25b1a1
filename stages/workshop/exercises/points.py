"""Each stage's own point: is it in the attendee's file?

A check gets the attendee's module, returns in a few words what it found, or
raises NotYet. It asks JAX what the file does; how it is written is free, but
what the stage compiles must itself be what jax.jit returns.
"""

import ast
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from workshop.stages import find_stages, load_stage
from workshop.compare import explain_difference
from workshop.jaxprs import (
    count_equations,
    equations,
    largest_value,
    loops,
    takes_a_gradient,
)
from workshop.compare import load_reference

SHAPE = {"width": 16, "num_steps": 16}


class NotYet(Exception):
    """What is missing, in words for the attendee."""


def no_numpy_left(module: ModuleType) -> str:
    """NumPy is not imported, and the states are a JAX array."""
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        if any(name.split(".")[0] == "numpy" for name in names):
            raise NotYet(
                f"Line {node.lineno} imports NumPy: {ast.unparse(node)}\n"
                "The states are right, but all of it can be jax.numpy."
            )
    states = module.simulate(30, **SHAPE)
    if not isinstance(states, jax.Array):
        raise NotYet(f"simulate returns a {type(states)}, not a jax.Array.")
    return "the states are a jax.Array"


def one_trace_for_two_rules(module: ModuleType) -> str:
    """A second rule of the same width and num_steps is not traced again."""
    require_jit(module.simulate, "simulate")
    shape = {"width": 17, "num_steps": 3}  # not yet seen
    events = count_traces()
    jax.block_until_ready(module.simulate(30, **shape))
    first = len(events)
    jax.block_until_ready(module.simulate(110, **shape))
    if len(events) > first:
        raise NotYet(
            "simulate(30, ...) was traced, and simulate(110, ...) of the same"
            " shape was traced again. The rule is data, not a shape: leave it"
            " out of the static arguments."
        )
    return "the second rule used the compiled program of the first"


def no_growth_with_num_steps(module: ModuleType) -> str:
    """The program of more rows has no more equations."""
    require_jit(module.simulate, "simulate")
    few, many = (
        count_equations(
            module.simulate.trace(30, width=16, num_steps=num_steps).jaxpr
        )
        for num_steps in (8, 16)
    )
    if many > few:
        raise NotYet(
            f"The program has {few} equations for 8 rows, {many} for 16: the"
            " loop still runs in Python while jit traces. Each row adds a copy"
            " of `step`."
        )
    return f"{few} equations for 8 rows, {many} for 16"


def one_call_for_all_rules(module: ModuleType) -> str:
    """All 256 rules, right, in a program that does not grow with them."""
    rules = np.arange(256, dtype=np.uint8)

    def simulate_rules(some: np.ndarray) -> Any:
        return module.simulate_rules(some, SHAPE["width"], SHAPE["num_steps"])

    try:
        few, many = (
            count_equations(jax.make_jaxpr(simulate_rules)(rules[:num_rules]))
            for num_rules in (2, 8)
        )
    except jax.errors.ConcretizationTypeError as error:
        raise NotYet(
            "simulate_rules takes the rules out one by one, in Python. Map"
            " over all of them in one call."
        ) from error
    if many > few:
        raise NotYet(
            f"The program has {few} equations for 2 rules, {many} for 8: a"
            " Python loop copies `simulate` for each. Map over all rules in"
            " one call."
        )
    for some in (rules, np.array([110, 30, 30, 7], dtype=np.uint8)):
        require_states_of(some, simulate_rules(some))
    return f"{few} equations for 2 rules, {many} for 8"


def require_states_of(rules: np.ndarray, states: Any) -> None:
    """NotYet unless these are the states of these rules, in order."""
    if not isinstance(states, jax.Array):
        kind = type(states).__name__
        raise NotYet(f"simulate_rules returns a {kind}, want a JAX array.")
    shape = (len(rules), SHAPE["num_steps"], SHAPE["width"])
    if states.shape != shape:
        raise NotYet(
            f"simulate_rules of {len(rules)} rules: shape is {states.shape},"
            f" want {shape}"
        )
    reference = load_reference()
    for rule, got in zip(rules, states, strict=True):
        difference = explain_difference(got, reference.simulate(rule, **SHAPE))
        if difference:
            raise NotYet(f"simulate_rules, rule {rule}:\n{difference}")


def gradient_by_jax(module: ModuleType) -> str:
    """JAX differentiates, and learn_rule finds the table of each rule."""
    if not uses_gradient(module):
        raise NotYet(
            "There is no gradient of JAX's in learn_rule. Use"
            " jax.value_and_grad, not finite differences."
        )
    for rule in (30, 110):
        require_learned(module, rule)
    dead = np.zeros((4, 16), dtype=np.uint8)
    learned, _ = learn(module, dead)
    if learned.flat[0] > 0.5 or np.any(learned.flat[1:] != 0.5):
        raise NotYet(
            "Where all cells are dead, only neighborhood 0 0 0 occurs. The"
            f" other entries must stay 0.5, got {learned.flat[1:].round(2)}."
        )
    return "rules 30 and 110 learned, by a gradient of JAX's"


def require_learned(module: ModuleType, rule: int) -> None:
    """NotYet unless the loss falls, and each entry comes near the rule's."""
    learned, losses = learn(module, simulate_random_ring(rule))
    if not losses[-1] < losses[0] / 10:  # nor is NaN
        raise NotYet(
            f"learn_rule, from states of rule {rule}: the loss goes from"
            f" {losses[0]:.2g} to {losses[-1]:.2g}, want it near 0."
        )
    table = load_reference().make_rule_table(rule)
    for entry in range(8):
        got, want = learned.flat[entry], table.flat[entry]
        if abs(got - want) > 0.25:
            raise NotYet(
                f"learn_rule, from states of rule {rule}: entry {entry}"
                f" of the table is {got:.2f}, want it near {want}"
            )


def uses_gradient(module: ModuleType) -> bool:
    """Whether learn_rule differentiates by JAX."""
    try:
        program = jax.make_jaxpr(module.learn_rule)(simulate_random_ring(30))
    except (
        jax.errors.ConcretizationTypeError,
        jax.errors.TracerArrayConversionError,
    ):  # it looks at the losses as it goes, which is no mistake
        source = Path(module.__file__).read_text(encoding="utf-8")
        return bool(re.search(r"grad\(|vjp\(|jacrev\(|jacfwd\(", source))
    return takes_a_gradient(program)


def a_bit_for_each_cell(module: ModuleType) -> str:
    """What the loop carries is packed, and never unpacked to take a step."""
    before = carry_bytes(load_stage(find_stages()[5]).simulate)
    now = carry_bytes(module.simulate)
    if now * 5 > before:
        raise NotYet(
            f"For 1024 cells the loop carries {now} bytes, {before} in stage"
            " 5. A bit for each cell makes it 8 times less."
        )
    shape = {"width": 1024, "num_steps": 8}
    states = np.asarray(module.simulate(30, **shape))
    packed = np.asarray(module.simulate_packed(30, **shape))
    if packed.dtype != np.uint32 or packed.nbytes * 4 > states.nbytes:
        raise NotYet(
            f"simulate_packed returns {packed.nbytes} bytes of {packed.dtype}"
            f" for {states.nbytes} cells: keep them packed, as uint32."
        )
    require_live_cells(packed, states, "simulate_packed")
    require_packed_loop(module.simulate_packed, **shape)
    return f"{now} bytes for 1024 cells, {before} in stage 5"


def require_packed_loop(
    simulate_packed: Callable, width: int, num_steps: int
) -> None:
    """NotYet if its loop has a value as large as the cells, unpacked."""
    require_jit(simulate_packed, "simulate_packed")
    program = simulate_packed.trace(30, width=width, num_steps=num_steps).jaxpr
    largest = max(map(largest_value, loops(program)), default=0)
    if largest >= width:
        raise NotYet(
            f"The loop of simulate_packed has values of {largest} elements"
            f" for {width} cells: it unpacks them to take a step. Look all"
            " cells of a word up at once, by bitwise operations."
        )


def result_on_all_devices(module: ModuleType) -> str:
    """The last row has a share on each device, sent by neighbors, and right.

    Over so many steps the pattern runs around the ring more than once.
    """
    num_devices = len(jax.devices())
    width = 32 * 4 * num_devices
    many = 4 * width
    simulate_last = partial(module.simulate_last, width=width)
    jaxpr = jax.make_jaxpr(partial(simulate_last, num_steps=many))(30)
    sent = {equation.primitive.name for equation in equations(jaxpr)}
    if "ppermute" not in sent or "all_gather" in sent:
        raise NotYet(
            "simulate_last: each device must send cells to its neighbors by"
            " jax.lax.ppermute, and gather nothing."
        )
    states = load_reference().simulate(30, width, many)
    for num_steps in (1, width, many):
        row = simulate_last(30, num_steps=num_steps)
        if row.dtype != np.uint32:
            raise NotYet(f"simulate_last returns {row.dtype}, want uint32.")
        require_shares(row, num_devices)
        call = f"simulate_last(30, width={width}, num_steps={num_steps})"
        require_live_shares(np.asarray(row), states[num_steps - 1], call)
    return f"a share of the last row on each of {num_devices} devices"


def require_shares(row: jax.Array, num_devices: int) -> None:
    """NotYet if the row is not spread evenly over all devices."""
    largest = max(shard.data.nbytes for shard in row.addressable_shards)
    used = len(row.sharding.device_set)
    if used < num_devices or largest * num_devices > row.nbytes:
        raise NotYet(
            f"simulate_last: the row of {row.nbytes} bytes lies on {used} of"
            f" {num_devices} devices, up to {largest} bytes on one. Each must"
            " keep its share and no more."
        )


def require_live_shares(
    words: np.ndarray, state: np.ndarray, call: str
) -> None:
    """NotYet if a device has not as many bits set as its cells are live."""
    num_devices = len(jax.devices())
    cells = state.astype(int)
    bits = np.bitwise_count(words.reshape(num_devices, -1)).sum(axis=1)
    stretches = cells.reshape(num_devices, -1).sum(axis=1)
    # Or the words of stage 8 are shared out, each with cells far apart.
    words_of_all = cells.reshape(32, num_devices, -1).sum(axis=(0, 2))
    if bits.tolist() not in (stretches.tolist(), words_of_all.tolist()):
        raise NotYet(
            f"{call}: bits set on each device: got {bits.tolist()}, want"
            f" {stretches.tolist()}."
        )


def require_jit(function: Callable, name: str) -> None:
    """NotYet if it is not what jax.jit returns."""
    if not hasattr(function, "trace"):
        raise NotYet(f"{name} itself is not compiled: put jax.jit on it.")


def require_live_cells(
    words: np.ndarray, states: np.ndarray, name: str
) -> None:
    """NotYet if the rows do not have as many bits set as cells live."""
    num_rows = len(states)
    if len(words) != num_rows:
        raise NotYet(f"{name} returns {len(words)} rows, want {num_rows}.")
    bits = np.bitwise_count(words).reshape(num_rows, -1).sum(axis=1)
    live = states.sum(axis=1)
    for row, (got, want) in enumerate(zip(bits, live, strict=True)):
        if got != want:
            raise NotYet(
                f"{name}, row {row}: {got} bits are set, {want} cells live."
            )


def simulate_random_ring(rule: int) -> np.ndarray:
    """States of stage 0 in which every neighborhood occurs."""
    reference = load_reference()
    rule_table = reference.make_rule_table(rule)
    random = np.random.default_rng(seed=0)
    states = [random.integers(2, size=64, dtype=np.uint8)]
    for _ in range(15):
        states.append(reference.step(states[-1], rule_table))
    return np.stack(states)


def learn(
    module: ModuleType, states: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The table and the losses that learn_rule returns."""
    result = module.learn_rule(jnp.asarray(states))
    if not isinstance(result, tuple) or len(result) != 2:
        raise NotYet("learn_rule must return two: the rule table, the losses.")
    table, losses = map(np.asarray, result)
    if table.shape != (2, 2, 2):
        raise NotYet(
            f"The rule table has shape {table.shape}, want (2, 2, 2)."
        )
    if losses.ndim != 1 or len(losses) < 2:
        raise NotYet(
            f"The losses have shape {losses.shape}, want one for each update."
        )
    return table, losses


def carry_bytes(simulate: Callable) -> int:
    """The bytes that the loop carries from turn to turn, for 1024 cells.

    Of a carry that has room for the rows, only what does not grow with them.
    """
    require_jit(simulate, "simulate")
    few, many = (
        largest_carry(
            simulate.trace(30, width=1024, num_steps=num_steps).jaxpr
        )
        for num_steps in (8, 16)
    )
    return 2 * few - many


def largest_carry(jaxpr: Any) -> int:
    """The most bytes that one of its loops carries.

    What scan stacks has one axis more outside than inside; the carry has not.
    """
    sizes = []
    for loop in loops(jaxpr):
        name = {"scan": "jaxpr", "while": "body_jaxpr"}[loop.primitive.name]
        inside = loop.params[name].out_avals
        outside = [variable.aval for variable in loop.outvars]
        sizes.append(
            sum(
                after.size * after.dtype.itemsize
                for after, before in zip(outside, inside, strict=True)
                if after.shape == before.shape
            )
        )
    if not sizes:
        raise NotYet("There is no loop in simulate any more.")
    return max(sizes)


def count_traces() -> list[str]:
    """A list that from now on grows by one entry at each trace."""
    events = []

    def listen(event: str, duration: float, **_: Any) -> None:
        if "trace" in event:
            events.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    return events


POINTS = {
    "no NumPy left": no_numpy_left,
    "one trace for two rules": one_trace_for_two_rules,
    "the program does not grow with num_steps": no_growth_with_num_steps,
    "simulate_rules: one call, no Python loop": one_call_for_all_rules,
    "a rule learned by a gradient of JAX's": gradient_by_jax,
    "a bit for each cell in the carry": a_bit_for_each_cell,
    "each device keeps its share": result_on_all_devices,
}
