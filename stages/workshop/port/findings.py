"""From what was seen of a port to what can be done about it."""

import ast
import dataclasses
import linecache
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MANY = 8  # calls of one function in a call: a loop in Python
FEW = 4  # operations outside of jit that do not matter
TINY = 1e-4  # seconds that NumPy takes for what is too small for JAX
LARGE = 1_000_000  # bytes


@dataclasses.dataclass(frozen=True)
class Finding:
    """Where a port stands, and the next thing to do."""

    name: str
    stands: str
    todo: str
    stage: int | None = None
    """The stage that shows it."""
    notebook: str = ""
    """The notebook that teaches it."""
    seconds: float = 0
    """Of a later call, about as many as it may gain."""


def find(facts: dict[str, Any]) -> list[Finding]:
    """All that was found, what gains most first."""
    stands = {"eager": 0, "lines": {}} | facts["stands"]
    seen = stands["calls"] or stands["eager"] or stands["reads"]
    if not (facts.get("is_jax", True) or seen):
        return [nothing()]
    timed = {"first": 0.0, "later": 0.0, "old": math.inf} | facts
    timed["function"] = called(facts["call"])
    compiling = sum(stands.get("compiled", {}).values())
    timed["running"] = max(0.0, timed["later"] - compiling)
    found = [
        *traced_again(stands, timed),
        *too_small(stands, timed),
        *one_by_one(stands, timed),
        *loops_of_calls(stands, timed),
        *unrolled_loops(stands, timed),
        *slow_loops(stands, timed),
        *reads(stands, timed),
        *the_rest(stands),
    ]
    return sorted(found, key=lambda finding: -finding.seconds)


def called(call: str) -> str:
    """The function whose result a call is."""
    for node in ast.walk(ast.parse(call, mode="eval")):
        if isinstance(node, ast.Call):
            return f"`{ast.unparse(node.func)}`"
    return "the function that does most of it"


def nothing() -> Finding:
    """It is NumPy still."""
    return Finding(
        "no jax",
        "Nothing of JAX is in it: no operation is sent to a device.",
        "Write jnp for np, by `import jax.numpy as jnp`, and see what fails.",
        1,
        "1_port",
    )


def traced_again(stands: dict, timed: dict) -> Iterator[Finding]:
    """What is traced or compiled at the second like call, or too often."""
    compiled = stands.get("compiled", {})
    again = stands["traced"] if compiled else []
    lesson = 4, "2_compile", sum(compiled.values())
    for trace in again[:1]:
        often = f" {times(trace['times'])}" * (trace["times"] > 1)
        stands_so = f"`{trace['name']}` is traced and compiled again{often}"
        stands_so += f" at every like call: {why(trace)}"
        yield Finding("traced again", stands_so, mend(trace), *lesson)
    if compiled and not again:
        names = ", ".join(compiled)[:60]
        yield Finding(
            "compiled again",
            f"{names} is compiled again at every like call. A loop outside of"
            " jit is, if its body is a new function each time.",
            f"Put jax.jit on {timed['function']}, and make no function to"
            " compile at each call.",
            *lesson,
        )
    for trace in stands.get("traced_first", []):
        if trace["times"] > 2 and not again:
            yield Finding(
                "traced often",
                f"`{trace['name']}` is traced and compiled"
                f" {times(trace['times'])} in the first call: {why(trace)}",
                *(mend(trace), 4, "2_compile", timed["first"] / 10),
            )


def why(trace: dict) -> str:
    """Why a function was traced once more."""
    if trace["fresh"] or not trace["why"]:
        return f"jax.jit gets a new function each time, in{at(trace['line'])}"
    return f"{'; '.join(trace['why'])}. It is made in{at(trace['line'])}"


def mend(trace: dict) -> str:
    """What to do so that it is traced once."""
    reasons = " ".join(trace["why"])
    if trace["fresh"] or not reasons:
        return "Call jax.jit once, on a function at the top of the file."
    if "form of the call" in reasons:
        return "Call it in one way: each argument always by name, or never."
    if "weak" in reasons:
        return "Give it arrays of one dtype: jnp.float32(1), say, for 1.0."
    if "[" in reasons:
        return "Give it arrays of one shape and dtype: pad, or group them."
    return (
        "Each new static value is compiled. Leave static only what shapes"
        " and loops need, and pass the rest as arrays."
    )


def too_small(stands: dict, timed: dict) -> Iterator[Finding]:
    """So little work that sending it takes longer."""
    sent = stands["eager"] + sum(stands["calls"].values())
    if sent <= MANY and timed["old"] < min(TINY, timed["later"]):
        yield Finding(
            "too small",
            f"The old program takes {show_seconds(timed['old'])}. That is too"
            " little work: sending one operation to a device and waiting for"
            " it takes JAX as long, whatever it computes.",
            "Try the call with arrays of the size that you need, or with many"
            " problems at once: jax.vmap.",
            *(6, "3_transform", timed["running"]),
        )


def one_by_one(stands: dict, timed: dict) -> Iterator[Finding]:
    """Operations that are not in any compiled function."""
    eager, calls = stands["eager"], sum(stands["calls"].values())
    if eager < (FEW if calls else 1):
        return
    seconds = timed["running"] * eager / (eager + calls)
    todo = f"Put jax.jit on {timed['function']}; a size or a number of steps"
    todo += " goes into static_argnames."
    if asking := often_read(stands, 1):
        todo = (
            f"Put jax.jit on the body of the loop. Python asks for a value in"
            f"{at(asking[0])}Leave the conversion out, or use jnp.where or"
            " jax.lax.while_loop there."
        )
    place = "."
    for line, number in list(stands["lines"].items())[:1]:
        some = "all" if number == eager else f"{number:,}"
        place = f", {some} of them" * (eager > 1) + f" from{at(line)}"
    yield Finding(
        "one by one",
        f"{eager:,} {'operations are' if eager > 1 else 'operation is'} sent"
        f" one by one{place}",
        *(todo, 3, "2_compile", seconds),
    )


def loops_of_calls(stands: dict, timed: dict) -> Iterator[Finding]:
    """A Python loop around a compiled function."""
    calls, all_calls = stands["calls"], sum(stands["calls"].values())
    for name, number in calls.items():
        if number < MANY:
            continue
        share = number / (stands["eager"] + all_calls)
        if stands["eager"] <= 2 * number:  # they are in the loop, too
            share = 1
        seconds, where = timed["running"] * share, (5, "2_compile")
        todo = "Each call takes what the one before returned: jax.lax.scan."
        asking = often_read(stands, number // 2)
        if asking:
            todo = (
                "jax.lax.scan. Python asks for a value each time, in"
                f"{at(asking[0])}If it is to be kept, the scan returns it; if"
                " it decides when to stop: jax.lax.while_loop."
            )
        elif not stands["chained"].get(name):
            todo = "One call for all: jax.vmap. If each needs the one before:"
            todo, where = todo + " jax.lax.scan.", (6, "3_transform")
        yield Finding(
            "loop of calls",
            f"`{name}` is compiled, but called {number:,} times in one call:"
            " a loop in Python.",
            *(todo, *where, seconds),
        )


def slow_loops(stands: dict, timed: dict) -> Iterator[Finding]:
    """A compiled loop of small steps, slower than NumPy without it."""
    sent = stands["eager"] + sum(stands["calls"].values())
    slow = timed["running"] > timed["old"] and not stands.get("compiled")
    if stands["small_loops"] and sent <= MANY and slow:
        yield Finding(
            "slow loop",
            "It is compiled and still slower: it has a loop whose steps, one"
            " after the other, each do little.",
            "What does not need the step before, compute for all at once:"
            " jax.vmap, or an operation on the whole array.",
            *(6, "3_transform", timed["running"] / 2),
        )


def unrolled_loops(stands: dict, timed: dict) -> Iterator[Finding]:
    """A loop that was run by Python while jit traced."""
    unrolled, grows = stands["unrolled"], stands.get("grows", (1, 1))
    seconds = (timed["first"] - timed["later"]) / 10
    todo = "jax.lax.scan or jax.lax.fori_loop: the program holds one step."
    if unrolled["times"]:
        yield Finding(
            "unrolled",
            f"A loop is unrolled in `{unrolled['name']}`: the same operations"
            f" {unrolled['times']:,} times, {unrolled['equations']:,} in all,"
            f" from{at(unrolled['line'])}",
            *(todo, 5, "2_compile", seconds),
        )
    elif grows[1] > 1.5 * grows[0] and stands["eager"] < MANY:
        yield Finding(
            "unrolled",
            "A loop is unrolled in the program: it has"
            f" {grows[0]:,} operations, {grows[1]:,} for the larger call.",
            *(todo, 5, "2_compile", seconds),
        )


def often_read(stands: dict, number: int) -> list[str]:
    """The lines in which Python asks for values more often than that."""
    return [k for k, n in stands["reads"].items() if n > max(1, number)]


def reads(stands: dict, timed: dict) -> Iterator[Finding]:
    """Values that are brought to the host, in a loop."""
    for line, number in list(stands["reads"].items())[:1]:
        often = number > 2
        yield Finding(
            "values read",
            f"{times(number).capitalize()} a value is brought to the host"
            f"{', and waited for,' * often} in{at(line)}",
            "Keep it in JAX until the end: jnp for np, jnp.where for if,"
            " jax.lax.while_loop for while."
            if often
            else "That is well if it is the last step. If not, write jnp for"
            " np in what follows: it runs outside of JAX.",
            *(5 if often else 1, "2_compile" if often else "1_port"),
            timed["running"] / 20 * often,
        )
    if stands["callbacks"]:
        yield Finding(
            "callbacks",
            "The compiled program calls Python back:"
            f" {', '.join(stands['callbacks'])}.",
            "Take it out where time counts; jax.debug.print is one, too.",
            *(3, "2_compile", timed["running"] / 20),
        )


def the_rest(stands: dict) -> Iterator[Finding]:
    """What costs memory, or surprises."""
    for line in stands.get("narrowed", [])[:1]:
        yield Finding(
            "narrowed",
            f"64 bits are asked for and 32 given, in{at(line)}",
            "Ask for 32, or set JAX_ENABLE_X64=1 for all of the program.",
        )
    for name, size in stands["constants"].items():
        if size >= LARGE:
            yield Finding(
                "constants",
                f"{show_bytes(size)} of constants are built into `{name}`.",
                "Pass large arrays as arguments.",
            )
    for name, memory in stands.get("memory", {}).items():
        in_a_loop = stands["chained"].get(name, 0) > 1
        if memory["alike"] >= LARGE and not memory["donated"] and in_a_loop:
            yield Finding(
                "donate",
                f"`{name}` writes {show_bytes(memory['alike'])} anew at each"
                " call, though what it got is not needed any more.",
                "Donate it: jax.jit(donate_argnums=0), say.",
            )


def at(line: str | None) -> str:
    """A line of the user's, to stand at the end of a sentence."""
    if not line:
        return " a file of another folder.\n"
    path, _, number = line.rpartition(":")
    text = linecache.getline(path, int(number)).strip()
    return f" {Path(path).name}, line {number}:\n    {text}\n"


def times(number: int) -> str:
    """How often, in words."""
    return {1: "once", 2: "twice"}.get(number, f"{number:,} times")


def show_seconds(seconds: float) -> str:
    """Three digits, and a unit that fits."""
    return in_unit(seconds, {"s": 1, "ms": 1e-3, "us": 1e-6})


def show_bytes(number: int) -> str:
    """Three digits, and a unit that fits."""
    return in_unit(number, {"GB": 1e9, "MB": 1e6, "kB": 1e3, "bytes": 1})


def in_unit(number: float, units: dict[str, float]) -> str:
    """In the first unit of which it is at least one, else in the last."""
    fit = (unit for unit, size in units.items() if number >= size)
    unit = next(fit, [*units][-1])
    return f"{number / units[unit]:.3g} {unit}"
