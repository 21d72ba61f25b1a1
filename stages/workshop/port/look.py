"""Look at how the port uses JAX: what is sent, traced, unrolled, read."""

import contextlib
import math
import re
import traceback
from collections import Counter
from collections.abc import Iterator
from typing import Any

import jax
from jax.extend.core import jaxprs_in_params
from jax.extend.source_info_util import summarize

from workshop.port.observe import Watch, is_own, narrowings
from workshop.tracing import (
    count_compilations,
    count_equations,
    equations,
    largest_value,
    loops,
)

PATIENCE = 20  # seconds that a call may take to be looked at again
SMALL = 1000  # values that a step computes
AGAIN = 8  # so often a run of operations is a loop
LONG = 32  # where the program holds a loop, few turns more may stay


def look(
    program: Any,
    first: float = math.inf,
    later: float = math.inf,
    again: bool = False,
) -> dict[str, Any]:
    """Run the file again, watched: what was seen in the second like call.

    Without the seconds that calls take none is made, it is only traced. It is
    told whether a like call compiles something again.
    """
    watch, facts = Watch(program.path.parent), {}
    with watch.installed(), narrowings() as narrowed:
        watch.watch_numpy(program.load())
        if later < math.inf:
            facts = call_watched(program, watch, later < PATIENCE, again)
        elif trace(program) is None:
            return {}
        facts |= {"calls": dict(watch.calls), "chained": dict(watch.chained)}
        facts |= {"reads": dict(watch.reads.most_common())}
        facts |= {"traced": summed_up(watch.traces)}
        with watch.answered():
            jaxpr = trace(program)
        facts |= dispatches(watch, jaxpr)
        facts |= inside(program, watch, jaxpr)
    facts["memory"] = memory(watch.programs if first < PATIENCE else {})
    return facts | {"narrowed": sorted(set(narrowed))}


def call_watched(
    program: Any, watch: Watch, patient: bool, again: bool
) -> dict[str, Any]:
    """What the first call traces, what the next compiles, in what seconds.

    A slow one is called once, as if it were the next one if that compiles.
    """
    programs: list = []
    with count_compilations(programs) as seconds:
        program.call()
    known = summed_up(watch.traces)
    if patient:
        watch.forget_counts()
        programs.clear()
        with count_compilations(programs) as seconds:
            program.call()
    elif again:
        known = []
    else:
        watch.traces, seconds = [], []
    names = [p.jaxpr.debug_info.func_name for p in programs]
    return {
        "traced_first": known,
        "compiling": sum(seconds),
        "compiled": names,
    }


def trace(program: Any, what: str = "call") -> Any:
    """All that JAX is asked in a call, None if Python has to know values."""
    with contextlib.suppress(Exception):
        return jax.make_jaxpr(lambda: program.call(what)[0])()


def look_for_mistakes(program: Any) -> dict[str, Any]:
    """What may make the port differ: random numbers, and lines of mistakes."""
    watch = Watch(program.path.parent)
    with watch.installed():
        watch.watch_numpy(program.load())
        program.call()
        with watch.answered():
            jaxpr = trace(program)
    found = [*bodies(jaxpr)] if jaxpr else []
    names = {e.primitive.name for body in found for e in body.eqns}
    draws = any(re.search("random|threefry", name) for name in names)
    unused = (dropped(body, watch.folder) for body in found)
    return {
        "draws": draws,
        "dropped": next(filter(None, unused), None),
        "reused": reused_key(program) if draws else None,
    }


def dropped(body: Any, folder: str) -> str | None:
    """The line in which .at or a sort makes a new array that nobody uses."""
    used = {*map(id, body.outvars)}
    used |= {id(v) for e in body.eqns for v in e.invars}
    for equation in body.eqns:
        makes = equation.primitive.name.startswith(("scatter", "sort"))
        if makes and not used & {*map(id, equation.outvars)}:
            return line_of(equation, folder)
    return None


def reused_key(program: Any) -> str | None:
    """The line in which a key is used that has been used before."""
    program.load()
    try:
        with jax.debug_key_reuse(True):
            try:
                program.call()
            except jax.errors.KeyReuseError:  # inside of jit without a line
                with jax.disable_jit():
                    program.call()
    except jax.errors.KeyReuseError as error:
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            if frame.filename == str(program.path):
                return f"{frame.filename}:{frame.lineno}"
    return None


def summed_up(traces: list[dict]) -> list[dict]:
    """The functions that were traced, how often, and why the last time."""
    times = Counter(trace["line"] for trace in traces)
    last = {trace["line"]: trace for trace in traces}
    return [trace | {"times": times[line]} for line, trace in last.items()]


def dispatches(watch: Watch, jaxpr: Any) -> dict[str, Any]:
    """How many operations are sent one by one, and from which lines."""
    eager = [
        equation
        for equation in (jaxpr.eqns if jaxpr else ())
        if equation.params.get("name") not in watch.programs
    ]
    lines = Counter(line_of(equation, watch.folder) for equation in eager)
    lines.pop(None, None)
    return {"eager": len(eager), "lines": dict(lines.most_common(3))}


def inside(program: Any, watch: Watch, jaxpr: Any) -> dict[str, Any]:
    """What the compiled programs hold, repeat, and call back for."""
    traced = {n: t.jaxpr for n, t in watch.programs.items() if t is not None}
    callbacks = {
        equation.primitive.name
        for body in [*traced.values(), *filter(None, [jaxpr])]
        for equation in equations(body)
    }
    loop_sizes = [
        largest_value(loop) for body in traced.values() for loop in loops(body)
    ]
    larger = program.request["larger"] and trace(program, "larger")
    both = (jaxpr, larger) if jaxpr and larger else ()
    return {
        "callbacks": [c for c in callbacks if re.search("callback|debug", c)],
        "constants": {
            name: sum(getattr(value, "nbytes", 0) for value in body.consts)
            for name, body in traced.items()
        },
        "grows": [count_equations(j) for j in both] or [1, 1],
        "small_loops": sum(size < SMALL for size in loop_sizes),
        "unrolled": unrolled(traced, watch.folder),
    }


def line_of(equation: Any, folder: str) -> str | None:
    """The user's line that an equation comes from, as FILE:NUMBER."""
    found = re.match(r"(.+?:\d+)(:\d+)? \(", summarize(equation.source_info))
    return found[1] if found and is_own(found[1], folder) else None


def place_of(equation: Any, folder: str) -> Any:
    """The operation, and all the user's lines through which it was asked."""
    frames = getattr(equation.source_info.traceback, "frames", ())
    lines = [f.line_num for f in frames if is_own(f.file_name, folder)]
    place = summarize(equation.source_info), *lines
    return place, equation.primitive.name


def unrolled(programs: dict[str, Any], folder: str) -> dict[str, Any]:
    """The run of operations that is repeated most, and how often."""
    best = {"times": 0}
    for name, jaxpr in programs.items():
        least = LONG if any(loops(jaxpr)) else AGAIN
        for body in bodies(jaxpr):
            times, line = repeated(body, folder)
            if times >= least and times > best["times"]:
                best = {"times": times, "name": name, "line": line}
                best["equations"] = count_equations(jaxpr)
    return best


def bodies(jaxpr: Any) -> Iterator[Any]:
    """It, and all the programs inside it."""
    yield getattr(jaxpr, "jaxpr", jaxpr)
    for equation in equations(jaxpr):
        yield from jaxprs_in_params(equation.params)


def repeated(body: Any, folder: str) -> tuple[int, str | None]:
    """How often the same operations are half of it or more, and a line."""
    places = [place_of(equation, folder) for equation in body.eqns]
    times = Counter(places)
    for often in sorted(set(times.values()), reverse=True):
        alike = [i for i, p in enumerate(places) if times[p] % often == 0]
        if often >= AGAIN and 2 * len(alike) >= len(places):
            lines = (line_of(body.eqns[i], folder) for i in alike)
            return often, next(filter(None, lines), None)
    return 0, None


def memory(programs: dict[str, Any]) -> dict[str, dict[str, int]]:
    """What each of them takes, where JAX can say so."""
    found = {}
    for name, traced in programs.items():
        with contextlib.suppress(Exception):
            found[name] = memory_of(traced)
    return found


def memory_of(traced: Any) -> dict[str, int]:
    """Bytes that a compiled program takes, and that it could take over."""
    analysis = traced.lower().compile().memory_analysis()
    outputs = {(a.shape, a.dtype) for a in jax.tree.leaves(traced.out_info)}
    alike = [a for a in traced.jaxpr.in_avals if (a.shape, a.dtype) in outputs]
    return {
        "arguments": analysis.argument_size_in_bytes,
        "result": analysis.output_size_in_bytes,
        "temporary": analysis.temp_size_in_bytes,
        "donated": analysis.alias_size_in_bytes,
        "alike": sum(a.size * a.dtype.itemsize for a in alike),
    }
