"""Decide from the Evidence what to say about a port.

The texts are in advice.toml. To add advice, write its text in that file, and
add a row to one of the functions below that yield Rows. If the advice needs a
fact that is not collected yet, also add a field to Evidence.
"""

import linecache
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workshop.port.facts import DRAWS, LARGE, Evidence
from workshop.sandbox import CALL

WORDS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
MANY = 8  # operations; a call with more of them does more than one step
FEW = 4  # this many calls of a function count as a loop
HUNDREDS = 300  # this many operations on few values mean a loop over elements
TINY = 1e-4  # seconds; a call that NumPy finishes sooner is too small for JAX
QUICK = 2e-3  # seconds; JAX sends a small call in less time
SMALL = 1000  # values; a step that computes fewer is a small step
NOTEBOOKS = {1: "1_port", 3: "2_compile", 4: "2_compile", 5: "2_compile"}
NOTEBOOKS |= {6: "3_transform"}
EVENTS = "added", "repeated", "cast", "zero", "overflow", "bounds"
# A row: whether the advice applies, its name in advice.toml, the seconds that
# it may save in a later call, and the values to fill into its text.
Rows = Iterator[tuple[Any, str, float, dict[str, Any]]]
Causes = Iterator[tuple[Any, str, dict[str, Any]]]


def words(name: str, part: str, values: dict[str, Any] | None = None) -> str:
    """Return a text of advice.toml, with the values filled in."""
    shown = dict(values or {})
    for key in shown.keys() & {"line", "read"}:
        shown[key] = at(shown[key])
    text = " ".join(WORDS[name][part].split()).format_map(shown)
    return re.sub(r"\n (?=\S)", "\n", text)


def at(line: str) -> str:
    """Return the file, number and text of a user's line, to end a sentence."""
    path, _, number = line.rpartition(":")
    if path in ("", CALL):
        return " --call.\n" if path else " a file in another folder.\n"
    text = linecache.getline(path, int(number)).strip()
    return f" {Path(path).name}, line {number}:\n    {text}\n"


def advise(e: Evidence) -> list[dict[str, Any]]:
    """Return the findings about a port, each with what to do next.

    The finding with the largest gain comes first.
    """
    kinds = tracing, sending, running, surrounding
    found = [row for rows in kinds for row in rows(e) if row[0]]
    if not (e.is_jax or e.eager or e.calls or e.reads):
        found = [(True, "no_jax", 0, {})]
    findings = []
    for _, name, seconds, values in sorted(found, key=lambda row: -row[2]):
        values = {"function": function_of(e)} | values
        finding = {"name": name, "seconds": seconds}
        finding["stands"] = words(name, "stands", values)
        finding["todo"] = words(name, "todo", values)
        stage = WORDS[name].get("stage")
        finding |= {"stage": stage, "notebook": NOTEBOOKS.get(stage)}
        findings.append(finding)
    return findings


def function_of(e: Evidence) -> str:
    """Return a text: the function to jit, and its static arguments."""
    name, names = e.function.get("name"), e.function.get("static")
    if not name:
        return "the function that does most of the work"
    static = ", ".join(f'"{name}"' for name in names)
    if len(names) > 1:
        static = f"({static})"
    return f"`{name}`" + (f" (with static_argnames={static})" if names else "")


def tracing(e: Evidence) -> Rows:
    """Yield advice if a later call traces or compiles again.

    Also yield advice if one call traces a function more than twice.
    """
    spent, again = e.compiling, e.again
    yield spent and e.eager_loop, "loop_outside", spent, {"line": e.eager_loop}
    if again and not e.eager_loop:
        yield True, "traced_again", spent, explain_miss(again[-1], again)
    yield spent and not again and not e.eager_loop, "compiled_again", spent, {}
    for miss in {m["made"]: m for m in e.misses}.values():
        values = explain_miss(miss, e.misses)
        gain = e.later if miss["kind"] == "fresh" else e.first / 10
        yield values["times"] > 2 and not again, "traced_often", gain, values


def explain_miss(miss: dict[str, str], misses: list) -> dict[str, Any]:
    """Return how often and why a function was traced, and the remedy."""
    times = sum(other["made"] == miss["made"] for other in misses)
    kind, often = f"again_{miss['kind']}", f" {times:,} times"
    values = miss | {"times": times, "often": often if times > 1 else ""}
    values["why"] = words(kind, "why", miss | {"change": miss["why"]})
    return values | {"remedy": words(kind, "remedy")}


def sending(e: Evidence) -> Rows:
    """Yield advice if a call is too small, or sends its work in many parts.

    A part is an operation outside jit, or a call of a jitted function.
    """
    eager, running = sum(e.eager.values()), e.later - e.compiling
    sent = eager + sum(e.calls.values())
    tiny = sent <= MANY and e.old < min(TINY, e.later) and running < QUICK
    yield tiny, "too_small", running, {"old": show_seconds(e.old)}
    read, reads = next(iter(e.reads.items()), ("", 0))
    line, _ = next(iter(e.eager.items()), ("", 0))
    name = "one_by_one_read" if reads > 1 else "one_by_one"
    name = "one_by_one_small" if e.small > max(HUNDREDS, eager / 2) else name
    name = "one_by_one_method" if e.function.get("method") else name
    values = {"number": eager, "line": line, "read": read}
    values["name"] = e.function.get("name", "")
    several = eager >= (FEW if e.calls else 1) and eager > bool(e.eager_loop)
    yield several, name, running * eager / max(sent, 1), values
    for called, number in e.calls.items():
        share = 1 if eager <= MANY * number else number / sent
        name = "calls_chained" if e.chained.get(called) else "calls"
        name = "calls_read" if reads >= max(2, number // 2) else name
        values = {"name": called, "number": number, "read": read}
        yield number >= FEW, name, running * share, values


def running(e: Evidence) -> Rows:
    """Yield advice on what is slow in compiled code."""
    gain, running = (e.first - e.later) / 10, e.later - e.compiling
    yield e.unrolled, "unrolled", gain, e.unrolled
    few, many = e.grows or (1, 1)
    grows = many > 1.5 * few and not e.unrolled
    yield grows, "unrolled_grows", gain, {"few": few, "many": many}
    for loop in e.loops:
        yield loop["copied"], "copied", running / 3, loop
        tiny = loop["size"] < SMALL
        yield tiny and is_slow(e), "slow_loop", running / 2, loop
    for line, number in [*e.scatters.items()][:1]:
        values = {"line": line, "number": number}
        many = number >= SMALL
        yield many and is_slow(e), "scatter", running / 2, values


def is_slow(e: Evidence) -> bool:
    """Return whether compiled code is hardly faster than the old program."""
    sent = sum(e.eager.values()) + sum(e.calls.values())
    return not e.compiling and e.later > 0.9 * e.old and sent <= MANY


def surrounding(e: Evidence) -> Rows:
    """Yield advice on what is slow outside compiled code.

    Other rows are about callbacks, requests for 64 bits and large constants.
    """
    running, (percent, line) = e.later - e.compiling, outside(e)
    away = e.calls and percent > 50 and sum(e.eager.values()) <= MANY
    values = {"line": line, "percent": percent}
    yield away, "outside", running * percent / 100, values
    for line, number in [*e.reads.items()][:1]:
        values = {"line": line, "number": number}
        yield number > 2, "reads", running / 20, values
        yield number <= 2 and percent > 10, "reads_once", 0, values
    names = ", ".join(e.callbacks)
    yield names, "callbacks", running / 20, {"names": names}
    yield e.narrowed, "narrowed", 0, {"line": "".join(e.narrowed[:1])}
    for name, size in e.constants.items():
        values = {"name": name, "size": size / 1e6}
        yield size >= LARGE, "constants", 0, values


def outside(e: Evidence) -> tuple[int, str]:
    """Return the percentage of time outside compiled functions, and a line.

    The line is the one that takes the most time outside compiled functions.
    The call in --call also counts as a line. If its time is short, it is left
    out, because every port has to hand over arguments and wait for the result.
    """
    lines = {
        line: seconds
        for line, seconds in e.outside.items()
        if seconds > QUICK or not line.startswith(CALL)
    }
    spent = sum(lines.values())
    percent = round(100 * spent / (spent + e.inside)) if spent else 0
    return percent, next(iter(lines), "")


def explain(e: Evidence) -> str:
    """Return what a difference comes from, and what to do about it."""
    for applies, name, values in causes(e):
        if applies:
            return words(name, "says", values)
    return ""


def causes(e: Evidence) -> Causes:
    """Yield whether a cause applies, its name, and the values for its text.

    The surest causes come first.
    """
    yield e.dropped, "dropped", {"line": e.dropped}
    yield from kept_values(e)
    random = any("random" in name for name in e.operations)
    memory = e.uninitialized and not random
    yield memory, "uninitialized", {"line": e.uninitialized}
    yield e.at_second, "second", {}
    yield e.rebound, "rebound", e.rebound
    yield e.reused, "reused", {"line": e.reused}
    old = not e.old_repeats
    yield old and e.repeats and not random, "frozen", {}
    yield old, "old_draws", {}
    yield not e.repeats, "new_draws", {}
    yield random, "draws", {}
    yield from numbers(e)
    tried = ", ".join(words("tried", name) for name in e.tried)
    hint = f" {words('unknown', 'hint')}" if is_unsure(e) else ""
    yield tried, "unknown", {"tried": tried, "hint": hint}


def is_unsure(e: Evidence) -> bool:
    """Return whether the run without jit did not finish."""
    return "without_jit" not in e.tried


def kept_values(e: Evidence) -> Causes:
    """Yield a value that jit has kept since it traced the function.

    If the run without jit did not finish, this value is only the probable
    cause.
    """
    proof = "proven" if e.without_jit else "probable"
    applies = e.without_jit or (e.changed and is_unsure(e))
    values = e.changed | {"proof": words("proofs", proof)}
    yield applies, name_change(e), values


def numbers(e: Evidence) -> Causes:
    """Yield the causes that can be seen in the computed numbers."""
    events = {
        name: {"line": line, "detail": what}
        for name, (line, what) in e.events.items()
    }
    for name in ("overflow", "cast") if e.wide else ():
        yield name in events, f"{name}_wide", events.get(name, {})
    kind, detail = e.relation or ("", "")
    yield kind == "wrapped", "wrapped", {"detail": detail}
    allow = f" If 32 bits are enough: {e.allow}." if e.allow else ""
    values = dict(zip(("got", "want"), e.wide, strict=False), allow=allow)
    yield e.wide, "precision", values
    allow = f" To allow for it: {e.allow}." if e.allow else ""
    values = dict(zip(("before", "after"), e.shrinks, strict=False))
    yield e.shrinks, "rounding", values | {"allow": allow}
    if "NaN" in e.differs["text"]:
        yield "nan" in events, "nan", events.get("nan", {})
    kind = "ties" if kind == "shuffled" and "sort" in e.operations else kind
    yield kind, kind, {"detail": detail}
    for name in EVENTS:
        yield name in events, name, events.get(name, {})


def name_change(e: Evidence) -> str:
    """Return the name of the text for a value that jit has kept."""
    if not e.changed:
        return "fixed"
    if e.changed["before"].startswith(DRAWS):
        return "fixed_draws"
    return (
        "fixed_self" if e.changed["name"].startswith("self.") else "fixed_name"
    )


def show_seconds(seconds: float) -> str:
    """Return the seconds as three digits, in s, ms or us."""
    for unit, size in ("s", 1), ("ms", 1e-3):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} us"
