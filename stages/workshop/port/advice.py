"""What can be said about a port, from the Evidence.

The words are in advice.toml. A new piece of advice takes two places: its words
there, and here a function in ADVICE or CAUSES that yields its name. If it needs
something new, that is a field of Evidence.
"""

import linecache
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workshop.port.evidence import Evidence

WORDS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
MANY = 8  # so much sent in one call is more than one step
FEW = 4  # calls of one function are a loop; fewer operations do not matter
TINY = 1e-4  # seconds that NumPy takes for what is too small for JAX
LARGE = 1_000_000  # bytes
SMALL = 1000  # values that a step computes
NOTEBOOKS = {1: "1_port", 3: "2_compile", 4: "2_compile", 5: "2_compile"}
NOTEBOOKS |= {6: "3_transform"}
DRAWS = "a generator"
Advice = Iterator[tuple[str, float, dict[str, Any]]]
Causes = Iterator[tuple[str, dict[str, Any]]]


def words(name: str, part: str, /, **values: Any) -> str:
    """Return a text of advice.toml, with the values filled in."""
    text = " ".join(WORDS[name][part].split()).format(**values)
    return re.sub(r"\n (?=\S)", "\n", text)


def advise(e: Evidence) -> list[dict[str, Any]]:
    """Return where a port stands and what to do, what gains most first.

    "seconds" are those of a later call that it may gain, about.
    """
    found = [advice for some in ADVICE for advice in some(e)]
    if not (e.is_jax or e.eager or e.calls or e.reads):
        found = [("no_jax", 0, {})]
    findings = []
    for name, seconds, values in sorted(found, key=lambda row: -row[1]):
        values = {"function": function_of(e)} | values
        findings.append({"name": name, "seconds": seconds})
        for part in "stands", "todo":
            findings[-1][part] = words(name, part, **values)
        stage = WORDS[name].get("stage")
        findings[-1] |= {"stage": stage, "notebook": NOTEBOOKS.get(stage)}
    return findings


def explain(e: Evidence) -> str:
    """Return what a difference comes from, and what to do about it."""
    for causes in CAUSES:
        for name, values in causes(e):
            return words(name, "says", **values)
    return ""


def at(line: str) -> str:
    """Return a line of the user's, for the end of a sentence."""
    path, _, number = line.rpartition(":")
    if not path or path == "--call":
        return " --call.\n" if path else " a file of another folder.\n"
    text = linecache.getline(path, int(number)).strip()
    return f" {Path(path).name}, line {number}:\n    {text}\n"


def function_of(e: Evidence) -> str:
    """Return the function to put jit on, with the arguments to be static."""
    name, static = e.function.get("name"), e.function.get("static")
    if not name:
        return "the function that does most of it"
    names = ", ".join(f'"{name}"' for name in static)
    return f"`{name}`" + (f", with static_argnames=({names},)" if names else "")


def running(e: Evidence) -> float:
    """Return the seconds of a later call without those of compiling."""
    return max(0, e.later - e.compiling)


def compiling(e: Evidence) -> Advice:
    """Yield what is traced again at a repeated call, or often in the first."""
    if e.compiling and e.eager_loop:
        yield "loop_outside", e.compiling, {"line": at(e.eager_loop)}
    elif e.compiling and not e.again:
        yield "compiled_again", e.compiling, {}
    elif e.again:
        yield "traced_again", e.compiling, explain_miss(e.again[0], e.again)
    else:
        for made, times in Counter(m["made"] for m in e.misses).items():
            if times > 2:
                *_, miss = (m for m in e.misses if m["made"] == made)
                seconds = e.later if miss["kind"] == "fresh" else e.first / 10
                yield "traced_often", seconds, explain_miss(miss, e.misses)


def explain_miss(miss: dict[str, str], misses: list) -> dict[str, str]:
    """Return how often and why a function was traced, and the remedy."""
    kind, line = f"again_{miss['kind']}", at(miss["line"])
    times = sum(other["made"] == miss["made"] for other in misses)
    return {
        "name": miss["name"],
        "often": show_times(times),
        "why": words(kind, "why", line=line, change=miss["why"]),
        "remedy": words(kind, "remedy"),
    }


def sending(e: Evidence) -> Advice:
    """Yield too little work, or too many operations or calls for it."""
    eager = sum(e.eager.values())
    sent = eager + sum(e.calls.values())
    if sent <= MANY and e.old < min(TINY, e.later):
        yield "too_small", running(e), {"old": show_seconds(e.old)}
    if eager >= (FEW if e.calls else 1):
        plural = f"{eager:,} operations are" if eager > 1 else "1 operation is"
        line = next(iter(e.eager))
        values = {"operations": plural, "line": at(line), "read": often_read(e, 2)}
        name = "one_by_one" + ("_read" if values["read"] else "")
        if e.function.get("method"):
            name = "one_by_one_method"
        yield name, running(e) * eager / sent, values
    for name, number in e.calls.items():
        if number < FEW:
            continue
        share = 1 if eager <= MANY * number else number / sent
        values = {"name": name, "number": number}
        values["read"] = often_read(e, number // 2)
        kind = "calls_chained" if e.chained.get(name) else "calls"
        kind = "calls_read" if values["read"] else kind
        yield kind, running(e) * share, values


def often_read(e: Evidence, least: int) -> str:
    """Return the line in which Python reads a value that often, if any."""
    for line, number in e.reads.items():
        if number >= max(2, least):
            return at(line)
    return ""


def inside(e: Evidence) -> Advice:
    """Yield what makes compiled code slow."""
    slower = running(e) > 0.9 * e.old and not e.compiling
    if e.unrolled:
        values = e.unrolled | {"line": at(e.unrolled["line"])}
        yield "unrolled", (e.first - e.later) / 10, values
    elif e.grows and e.grows[1] > 1.5 * e.grows[0]:
        values = {"before": e.grows[0], "after": e.grows[1]}
        yield "unrolled_grows", (e.first - e.later) / 10, values
    for name, shape in e.copied.items():
        yield "copied", running(e) / 3, {"name": name, "shape": shape}
    few = sum(e.eager.values()) + sum(e.calls.values()) <= MANY
    for line, number in [*e.scatters.items()][:1] if slower and few else ():
        if number >= SMALL:
            values = {"line": at(line), "number": number}
            yield "scatter", running(e) / 2, values
    small = [loop for loop in e.loops if loop["size"] < SMALL]
    for loop in small[:1] if slower and few else ():
        yield "slow_loop", running(e) / 2, {"line": at(loop["line"])}


def waiting(e: Evidence) -> Advice:
    """Yield what Python does meanwhile, and what costs memory or surprises."""
    outside = sum(e.outside.values())
    for line in [*e.outside][:1]:
        if e.calls and outside > e.inside and line not in e.eager:
            values = {"line": at(line), "outside": show_seconds(outside)}
            values["total"] = show_seconds(outside + e.inside)
            share = outside / (outside + e.inside)
            yield "outside", running(e) * share, values
    for line, number in [*e.reads.items()][:1]:
        values = {"often": show_times(number).capitalize(), "line": at(line)}
        name = "reads" if number > 2 else "reads_once"
        yield name, running(e) / 20 if number > 2 else 0, values
    if e.callbacks:
        names = ", ".join(e.callbacks)
        yield "callbacks", running(e) / 20, {"names": names}
    for line in e.narrowed[:1]:
        yield "narrowed", 0, {"line": at(line)}
    for name, size in e.constants.items():
        if size >= LARGE / 10:
            yield "constants", 0, {"name": name, "size": show_bytes(size)}
    for name, size in e.alike.items():
        if size >= LARGE and e.chained.get(name, 0) > 1:
            yield "donate", 0, {"name": name, "size": show_bytes(size)}


def mistakes(e: Evidence) -> Causes:
    """Yield what is wrong for certain."""
    kind, detail = e.relation or ("", "")
    if e.dropped:
        yield "dropped", {"line": at(e.dropped)}
    if kind == "unchanged":
        yield "unchanged", {"detail": detail}
    if e.without_jit and not e.changed:
        yield "fixed", {}
    if e.without_jit:
        name, before = e.changed["name"], e.changed["before"]
        kind = "fixed_self" if name.startswith("self.") else "fixed_name"
        kind = "fixed_draws" if before.startswith(DRAWS) else kind
        values = e.changed | {"line": at(e.changed["line"])}
        values |= {k: shorten(values[k]) for k in ("before", "after")}
        yield kind, values
    if e.at_second:
        yield "second", {}


def randomness(e: Evidence) -> Causes:
    """Yield what draws, or is not initialized."""
    remedy = words("draws", "says")
    if e.reused:
        yield "reused", {"line": at(e.reused)}
    if not e.old_repeats and e.uninitialized and not e.draws:
        yield "uninitialized", {"line": at(e.uninitialized)}
    if not e.old_repeats:
        frozen = words("frozen", "says") if e.repeats and not e.draws else ""
        yield "old_draws", {"frozen": frozen, "remedy": remedy}
    if not e.repeats:
        yield "new_draws", {"remedy": remedy}
    if e.draws:
        yield "draws", {}


def numbers(e: Evidence) -> Causes:
    """Yield what the values show."""
    if e.wide and "overflow" in e.events:
        line, detail = e.events["overflow"]
        yield "overflow_wide", {"line": at(line), "detail": detail}
    if e.wide:
        allow = f" If 32 bits are enough: --rtol {e.allow}." if e.allow else ""
        yield "precision", dict(zip(("got", "want"), e.wide), allow=allow)
    if "nan" in e.events and "NaN" in e.differs["text"]:
        yield "nan", {"line": at(e.events["nan"][0])}
    kind, detail = e.relation or ("", "")
    if kind == "order" and not detail:
        yield "ties" if e.sorts else "shuffled", {}
    if kind in ("sign", "negated", "order", "steps"):
        yield kind, {"detail": detail}


def operations(e: Evidence) -> Causes:
    """Yield an operation whose values show a mistake."""
    for kind in ("scatter-add_repeated", "scatter_repeated", "cast", "zero", "overflow", "bounds"):
        if kind in e.events:
            line, detail = e.events[kind]
            yield kind, {"line": at(line), "detail": detail}
    if e.tried:
        names = ", ".join(TRIED[name] for name in e.tried if name in TRIED)
        yield "unknown", {"tried": names}


def shorten(text: str) -> str:
    """Return a value in one line of few characters."""
    text = " ".join(text.split())
    return text if len(text) <= 30 else f"{text[:27]}..."


def show_times(number: int) -> str:
    """Return how often, in words."""
    return {1: "once", 2: "twice"}.get(number, f"{number:,} times")


def show_seconds(seconds: float) -> str:
    """Return three digits, in a unit that fits."""
    return in_unit(seconds, {"s": 1, "ms": 1e-3, "us": 1e-6})


def show_bytes(number: int) -> str:
    """Return three digits, in a unit that fits."""
    return in_unit(number, {"GB": 1e9, "MB": 1e6, "kB": 1e3, "bytes": 1})


def in_unit(number: float, units: dict[str, float]) -> str:
    """Return three digits, in the first unit of which it is at least one."""
    fit = (unit for unit, size in units.items() if number >= size)
    unit = next(fit, [*units][-1])
    return f"{number / units[unit]:.3g} {unit}"


ADVICE = compiling, sending, inside, waiting
CAUSES = mistakes, randomness, numbers, operations
TRIED = {
    "without_jit": "what jit keeps from tracing, unused arrays, wrong indices,"
    " division by zero, overflow",
    "with_64_bits": "precision",
}
