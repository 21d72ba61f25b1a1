"""From what was seen of a port to what can be done about it."""

import linecache
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

MANY = 8  # so much sent in one call is more than one step
FEW = 4  # calls of one function are a loop; fewer operations do not matter
TINY = 1e-4  # seconds that NumPy takes for what is too small for JAX
LARGE = 1_000_000  # bytes
UNCALLED = {"first": 0, "later": 0, "compiling": 0, "traced_first": []}
Found = Iterator[tuple[str, float, dict[str, Any]]]

# What can be said: the stage that shows it, a name, where a port stands and
# what to do about it. What is behind a colon tells apart rows of one name. At
# the end: what a difference comes from, or a long time.
TABLE = """
1 no jax
    Nothing of JAX is in it: no operation is sent to a device.
    => Write jnp for np, by `import jax.numpy as jnp`, and see what fails.
4 traced again
    `{name}` is traced and compiled again{often} at every like call: {why}
    => {mend}
4 compiled again
    {names} is compiled again at every like call. A loop outside of jit is, if
    its body is a new function each time.
    => Put jax.jit on {function}, and make no function to compile at each call.
4 traced often
    `{name}` is traced and compiled{often} in the first call: {why}
    => {mend}
6 too small
    The old program takes {old}. That is too little work: sending one operation
    to a device and waiting for it takes JAX as long, whatever it computes.
    => Try the call with arrays of the size that you need, or with many
    problems at once: jax.vmap.
3 one by one
    {operations} sent one by one{place}
    => Put jax.jit on {function}; a size or a number of steps goes into
    static_argnames.
3 one by one: a value is asked for
    {operations} sent one by one{place}
    => Put jax.jit on the body of the loop. Python asks for a value in{at}Leave
    the conversion out, or use jnp.where or jax.lax.while_loop there.
5 loop of calls
    `{name}` is compiled, but called {number:,} times in one call: a loop in
    Python.
    => Each call takes what the one before returned: jax.lax.scan.
5 loop of calls: a value is asked for
    `{name}` is compiled, but called {number:,} times in one call: a loop in
    Python.
    => jax.lax.scan. Python asks for a value each time, in{at}If it is to be
    kept, the scan returns it; if it decides when to stop: jax.lax.while_loop.
6 loop of calls: on their own
    `{name}` is compiled, but called {number:,} times in one call: a loop in
    Python.
    => One call for all: jax.vmap. If each needs the one before: jax.lax.scan.
5 unrolled
    A loop is unrolled in `{name}`: the same operations {times:,} times,
    {equations:,} in all, from{at}
    => jax.lax.scan or jax.lax.fori_loop: the program holds one step. If none
    needs the one before: jax.vmap.
5 unrolled: it grows
    A loop is unrolled in the program: it has {before:,} operations, {after:,}
    for the larger call.
    => jax.lax.scan or jax.lax.fori_loop: the program holds one step.
6 slow loop
    It is compiled and still slower: it has a loop whose steps, one after the
    other, each do little.
    => What does not need the step before, compute for all at once: jax.vmap,
    or an operation on the whole array.
5 values read
    {often} a value is brought to the host, and waited for, in{at}
    => Keep it in JAX until the end: jnp for np, jnp.where for if,
    jax.lax.while_loop for while.
1 values read: hardly
    {often} a value is brought to the host in{at}
    => That is well if it is the last step. If not, write jnp for np in what
    follows: it runs outside of JAX.
3 callbacks
    The compiled program calls Python back: {names}.
    => Take it out where time counts; jax.debug.print is one, too.
0 narrowed
    64 bits are asked for and 32 given, in{at}
    => Ask for 32, or set JAX_ENABLE_X64=1 for all of the program.
0 constants
    {size} of constants are built into `{name}`.
    => Pass large arrays as arguments.
0 donate
    `{name}` writes {size} anew at each call, though what it got is not needed
    any more.
    => Donate it: jax.jit(donate_argnums=0), say.
0 dropped
    A new array is made and not used, in{}JAX changes none in place: x =
    x.at[i].set(v), x = jnp.sort(x).
0 reused
    A key is used again, and draws the same numbers again, in{}Take a new one
    for each draw: key, subkey = jax.random.split(key).
0 other numbers
    JAX and NumPy draw different numbers, and JAX the same ones for the same
    key. Draw them once by NumPy with a fixed seed, in --setup, and pass them
    (or the initial state) into both programs; or, if only the average counts,
    allow for it: --rtol 0.05.
0 draws
    Two like calls of the {} program differ: it draws random numbers, or keeps
    something from one call to the next.
0 frozen
    The port gives the same at each call: what NumPy or Python draw while jit
    traces is drawn once, and then a constant.
0 kept
    The first call is right and the second, like it, is not: something is kept
    from one call to the next, a global or a value that jit has seen when it
    traced.
0 precision
    Precision, not a mistake: with 64 bits the port is right, {} there, want
    {}. Set JAX_ENABLE_X64=1.
0 endless
    No line of the file is at work then, but compiled code: does each
    jax.lax.while_loop come to its end?
"""
ROWS = {
    name: (int(stage), *" ".join(text.split()).partition(" => ")[::2])
    for stage, name, text in re.findall(
        r"^(\d) (.+)\n((?: {4}.+\n)+)", TABLE, flags=re.MULTILINE
    )
}
NOTEBOOKS = {1: "1_port", 3: "2_compile", 4: "2_compile", 5: "2_compile"}
NOTEBOOKS |= {6: "3_transform"}

# What is said of why a function was traced once more; what to do about it.
ANEW = "jax.jit gets a new function each time"
MEND = {
    ANEW: "Call jax.jit once, on a function at the top of the file.",
    "form of the call": (
        "Call it in one way: each argument always by name, or never."
    ),
    "weak": "Give it arrays of one dtype: jnp.float32(1), say, for 1.0.",
    "[": "Give it arrays of one shape and dtype: pad, or group them.",
    "": (
        "Each new static value is compiled. Leave static only what shapes and"
        " loops need, and pass the rest as arrays."
    ),
}


def find(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Where a port stands and what to do, what gains most first.

    "seconds" are those of a later call that it may gain, about.
    """
    seen = SimpleNamespace(**UNCALLED | facts | facts["stands"])
    seen.sent = seen.eager + sum(seen.calls.values())
    seen.running = max(0, seen.later - seen.compiling)
    said = [*compiling(seen), *sending(seen), *running(seen), *the_rest(seen)]
    if not (facts.get("is_jax", True) or seen.sent or seen.reads):
        said = [("no jax", 0, {})]
    found = []
    for row, seconds, values in sorted(said, key=lambda row: -row[1]):
        stage, stands, todo = ROWS[row]
        finding = {"name": row.partition(":")[0], "seconds": seconds}
        finding["stands"] = stands.format(**values)
        finding["todo"] = todo.format(**values, function=called(seen.call))
        finding |= {"stage": stage, "notebook": NOTEBOOKS.get(stage)}
        found.append(finding)
    return found


def cause(name: str, *values: str) -> str:
    """A sentence of what a difference comes from, or a long time."""
    return ROWS[name][1].format(*values) + " "


def called(call: str) -> str:
    """The function that a call begins with."""
    name = re.search(r"[\w.]+(?=\()", call)
    return f"`{name[0]}`" if name else "the function that does most of it"


def compiling(seen: SimpleNamespace) -> Found:
    """What is traced or compiled at the second like call, or too often."""
    again = seen.traced if seen.compiling else []
    for trace in again[:1]:
        yield "traced again", seen.compiling, explain(trace)
    if seen.compiling and not again:
        some = [*dict.fromkeys(seen.compiled)][:3]
        names = ", ".join(f"jit({name})" for name in some)
        yield "compiled again", seen.compiling, {"names": names}
    for trace in seen.traced_first:
        if trace["times"] > 2 and not again:
            seconds = seen.later if trace["fresh"] else seen.first / 10
            yield "traced often", seconds, explain(trace)


def explain(trace: dict) -> dict[str, str]:
    """How often and why a function was traced, and what to do about it."""
    why, place = "; ".join(trace["why"]), at(trace["line"])
    if trace["fresh"] or not why:
        why, place = ANEW, f", in{place}"
    else:
        place = f". It is made in{place}"
    return {
        "name": trace["name"],
        "often": f" {times(trace['times'])}" * (trace["times"] > 1),
        "why": why + place,
        "mend": next(text for key, text in MEND.items() if key in why),
    }


def sending(seen: SimpleNamespace) -> Found:
    """Too little work, or too many operations or calls for it."""
    calls, eager = sum(seen.calls.values()), seen.eager
    if seen.sent <= MANY and seen.old < min(TINY, seen.later):
        yield "too small", seen.running, {"old": show_seconds(seen.old)}
    if eager >= (FEW if calls else 1):
        plural = f"{eager:,} operations are" if eager > 1 else "1 operation is"
        values = {"operations": plural, "place": "."}
        for line, number in [*seen.lines.items()][:1]:
            some = "all" if number == eager else f"{number:,}"
            some = f", {some} of them" * (eager > 1)
            values["place"] = f"{some} from{at(line)}"
        row, asked = asking("one by one", seen, 1)
        yield row, seen.running * eager / seen.sent, values | asked
    for name, number in seen.calls.items():
        if number < FEW:
            continue
        share = number / seen.sent
        if eager <= MANY * number:  # they are in the loop, too
            share = 1
        row, asked = asking("loop of calls", seen, number // 2)
        if not (asked or seen.chained.get(name)):
            row += ": on their own"
        yield (
            row,
            seen.running * share,
            {"name": name, "number": number} | asked,
        )


def asking(row: str, seen: SimpleNamespace, often: int) -> tuple[str, dict]:
    """The row, and the line in which Python asks for values more often."""
    for line, number in seen.reads.items():
        if number > max(1, often):
            return f"{row}: a value is asked for", {"at": at(line)}
    return row, {}


def running(seen: SimpleNamespace) -> Found:
    """Loops that jit unrolls, or whose steps do too little."""
    found, grows, few = seen.unrolled, seen.grows, seen.sent <= MANY
    seconds = (seen.first - seen.later) / 10
    if found["times"]:
        yield "unrolled", seconds, found | {"at": at(found["line"])}
    elif grows[1] > 1.5 * grows[0] and seen.eager < MANY:
        sizes = {"before": grows[0], "after": grows[1]}
        yield "unrolled: it grows", seconds, sizes
    slow = seen.running > seen.old and not seen.compiling
    if seen.small_loops and few and slow:
        yield "slow loop", seen.running / 2, {}


def the_rest(seen: SimpleNamespace) -> Found:
    """What waits for the host, costs memory, or surprises."""
    some = seen.running / 20
    for line, number in [*seen.reads.items()][:1]:
        often = number > 2
        values = {"often": times(number).capitalize(), "at": at(line)}
        yield "values read" + ": hardly" * (not often), some * often, values
    if seen.callbacks:
        yield "callbacks", some, {"names": ", ".join(seen.callbacks)}
    for line in seen.narrowed[:1]:
        yield "narrowed", 0, {"at": at(line)}
    for name, size in seen.constants.items():
        if size >= LARGE / 10:
            yield "constants", 0, {"name": name, "size": show_bytes(size)}
    for name, memory in seen.memory.items():
        size = 0 if memory["donated"] else memory["alike"]
        if size >= LARGE and seen.chained.get(name, 0) > 1:
            yield "donate", 0, {"name": name, "size": show_bytes(size)}


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
    """Three digits, in a unit that fits."""
    return in_unit(seconds, {"s": 1, "ms": 1e-3, "us": 1e-6})


def show_bytes(number: int) -> str:
    """Three digits, in a unit that fits."""
    return in_unit(number, {"GB": 1e9, "MB": 1e6, "kB": 1e3, "bytes": 1})


def in_unit(number: float, units: dict[str, float]) -> str:
    """Three digits, in the first unit of which it is at least one."""
    fit = (unit for unit, size in units.items() if number >= size)
    unit = next(fit, [*units][-1])
    return f"{number / units[unit]:.3g} {unit}"
