"""Decide from the Evidence what to say about a port.

The texts are in advice.toml. To add advice, write its text in that file, and
add a row to one of the functions below that yield Rows. If the advice needs a
fact that is not collected yet, also add a field to Evidence.

This module imports no JAX, so that the process that prints the report starts
at once.
"""

import dataclasses
import linecache
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workshop.sandbox import CALL

WORDS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
MANY = 8  # operations; a call with more of them does more than one step
FEW = 4  # this many calls of a function count as a loop
HUNDREDS = 300  # this many operations on few values mean a loop over elements
TINY = 1e-4  # seconds; a call that NumPy finishes sooner is too small for JAX
QUICK = 2e-3  # seconds; JAX sends a small call in less time
SMALL = 1000  # values; a step that computes fewer is a small step
LARGE = 100_000  # bytes; so many constants belong in the arguments
# A row: whether the advice applies, its name in advice.toml, the seconds that
# it may save in a later call, and the values to fill into its text.
Rows = Iterator[tuple[Any, str, float, dict[str, Any]]]


@dataclasses.dataclass
class Evidence:
    """All facts about a right port. A line is FILE:NUMBER, "" if unknown."""

    old: float  # the seconds of a call of the old program
    first: float  # the seconds of the first call of the port
    later: float  # the seconds of a later call
    misses: list[dict]  # what the first call traces, and why
    again: list[dict]  # what the second call traces, and why
    compiling: float  # the seconds that the second call spends compiling
    function: dict[str, Any]  # what --call calls: see LineTimer
    eager: dict[str, int]  # operations that are sent one by one, by line
    small: int  # operations that return only a few values
    eager_loop: str  # the line of a scan or while_loop outside jit
    calls: dict[str, int]  # calls of each jitted function
    chained: dict[str, int]  # calls of each that use its previous result
    reads: dict[str, int]  # values that Python waits for, by line
    percent: int  # of a call's time, outside compiled functions
    outside: str  # the line that takes most of this time
    unrolled: dict[str, Any]  # see evidence.find_unrolled
    grows: list[int]  # the number of operations in --call and in --larger
    constants: dict[str, int]  # bytes of constants in each jitted function
    loops: dict[str, int]  # the largest value in each loop, by line
    copied: dict[str, str]  # a buffer that each loop copies, by line
    scatters: dict[str, int]  # how many values each line writes by index


def make_evidence(facts: dict[str, Any]) -> Evidence:
    """Make Evidence from the reported facts; a missing fact is 0 or empty."""
    fields = dataclasses.fields(Evidence)
    return Evidence(*(facts.get(field.name, field.type()) for field in fields))


def words(name: str, part: str, values: dict[str, Any] | None = None) -> str:
    """Return a text of advice.toml, with the values filled in."""
    shown = dict(values or {})
    for key in shown.keys() & {"line", "read"}:
        shown[key] = at(shown[key])
    text = " ".join(find_texts(name)[part].split()).format_map(shown)
    return re.sub(r"\n (?=\S)", "\n", text)


def find_texts(name: str) -> dict[str, Any]:
    """Return a table of advice.toml. In calls.read, read replaces texts."""
    base, _, variant = name.partition(".")
    return WORDS[base] | WORDS[base].get(variant, {})


def at(line: str) -> str:
    """Return the file, number and text of a user's line, to end a sentence."""
    path, _, number = line.rpartition(":")
    if path in ("", CALL):
        return " --call.\n" if path else " a file in another folder.\n"
    text = linecache.getline(path, int(number)).strip()
    return f" {Path(path).name}, line {number}:\n    {text}\n"


def find_most(counts: dict[str, int]) -> tuple[str, int]:
    """Return the line with the largest count, and the count."""
    return max(counts.items(), key=lambda item: item[1], default=("", 0))


def explain(causes: dict[str, dict]) -> str:
    """Return what a difference comes from: the surest of the causes."""
    names = [name for name in WORDS["causes"] if name in causes]
    return words("causes", names[0], causes[names[0]]) if names else ""


def advise(e: Evidence) -> list[dict[str, Any]]:
    """Return the findings about a port, each with what to do next.

    The finding with the largest gain comes first.
    """
    kinds = tracing, sending, running, surrounding
    found = [row for rows in kinds for row in rows(e) if row[0]]
    if not (e.misses or e.eager or e.calls or e.reads):
        found = [(True, "no_jax", 0, {})]
    findings = []
    for _, name, _, values in sorted(found, key=lambda row: -row[2]):
        values = {"function": function_of(e)} | values
        finding = {"name": name, "stage": find_texts(name).get("stage")}
        finding["stands"] = words(name, "stands", values)
        finding["todo"] = words(name, "todo", values)
        findings.append(finding)
    return findings


def function_of(e: Evidence) -> str:
    """Return a text: the function to jit, and its static arguments."""
    name, static = e.function.get("name"), e.function.get("static")
    if not name:
        return "the function that does most of the work"
    return f"`{name}`" + (
        f" (with static_argnames={static})" if static else ""
    )


def tracing(e: Evidence) -> Rows:
    """Yield advice if a later call traces or compiles again.

    Also yield advice if the first call traces a function more than twice.
    """
    line = e.eager_loop or find_most(e.eager)[0]
    elsewhere = e.compiling and (e.eager_loop or not e.again)
    yield elsewhere, "compiled_again", e.compiling, {"line": line}
    if e.eager_loop and e.again:
        return
    made = [miss["made"] for miss in e.again or e.misses]
    for miss in e.again[-1:] or {m["made"]: m for m in e.misses}.values():
        times, kind = made.count(miss["made"]), f"traced.{miss['kind']}"
        values = miss | {"often": f" {times:,} times" if times > 1 else ""}
        values["when"] = "each repeated call" if e.again else "the first call"
        values["why"] = words(kind, "why", miss)
        values["remedy"] = words(kind, "remedy")
        gain = e.later if miss["kind"] == "fresh" else e.first / 10
        gain = e.compiling if e.again else gain
        yield e.again or times > 2, "traced", gain, values


def sending(e: Evidence) -> Rows:
    """Yield advice if a call is too small, or sends its work in many parts.

    A part is an operation outside jit, or a call of a jitted function.
    """
    eager, running = sum(e.eager.values()), e.later - e.compiling
    sent = eager + sum(e.calls.values())
    tiny = sent <= MANY and e.old < min(TINY, e.later) and running < QUICK
    yield tiny, "too_small", running, {"old": show_seconds(e.old)}
    read, reads = find_most(e.reads)
    name = "one_by_one.read" if reads > 1 else "one_by_one"
    name = "one_by_one.small" if e.small > max(HUNDREDS, eager / 2) else name
    name = "one_by_one.method" if e.function.get("method") else name
    values = {"number": eager, "line": find_most(e.eager)[0], "read": read}
    values["name"] = e.function.get("name", "")
    several = eager >= (FEW if e.calls else 1) and eager > bool(e.eager_loop)
    yield several, name, running * eager / max(sent, 1), values
    for called, number in e.calls.items():
        share = 1 if eager <= MANY * number else number / sent
        name = "calls.chained" if e.chained.get(called) else "calls"
        name = "calls.read" if reads >= max(2, number // 2) else name
        values = {"name": called, "number": number, "read": read}
        yield number >= FEW, name, running * share, values


def running(e: Evidence) -> Rows:
    """Yield advice on what is slow in compiled code."""
    gain, running = (e.first - e.later) / 10, e.later - e.compiling
    yield e.unrolled, "unrolled", gain, e.unrolled
    few, many = e.grows or (1, 1)
    grows = many > 1.5 * few and not e.unrolled
    yield grows, "unrolled.grows", gain, {"few": few, "many": many}
    for line, shape in e.copied.items():
        yield True, "copied", running / 3, {"line": line, "shape": shape}
    slow = is_slow(e)
    for line, size in e.loops.items():
        yield slow and size < SMALL, "slow_loop", running / 2, {"line": line}
    line, number = find_most(e.scatters)
    values = {"line": line, "number": number}
    yield slow and number >= SMALL, "scatter", running / 2, values


def is_slow(e: Evidence) -> bool:
    """Return whether compiled code is hardly faster than the old program."""
    sent = sum(e.eager.values()) + sum(e.calls.values())
    return not e.compiling and e.later > 0.9 * e.old and sent <= MANY


def surrounding(e: Evidence) -> Rows:
    """Yield advice on what is slow outside compiled code.

    The last row is about large constants.
    """
    running = e.later - e.compiling
    away = e.calls and e.percent > 50 and sum(e.eager.values()) <= MANY
    values = {"line": e.outside, "percent": e.percent}
    yield away, "outside", running * e.percent / 100, values
    line, number = find_most(e.reads)
    values = {"line": line, "number": number}
    yield number > 2, "reads", running / 20, values
    for name, size in e.constants.items():
        values = {"name": name, "size": size / 1e6}
        yield size >= LARGE, "constants", 0, values


def show_seconds(seconds: float) -> str:
    """Return the seconds as three digits, in s, ms or us."""
    for unit, size in ("s", 1), ("ms", 1e-3):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} us"
