"""Look at how the port uses JAX: what is sent, traced, unrolled, read."""

import contextlib
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import jax
from jax.extend.core import jaxprs_in_params
from jax.extend.source_info_util import summarize

from workshop.jaxprs import (
    COMPILED,
    count_equations,
    equations,
    largest_value,
    loops,
)
from workshop.port.observe import Watch, count_dispatches, narrowings

PATIENCE = 20  # seconds that a call may take to be looked at again
SMALL = 1000  # values that a step computes
AGAIN = 8  # so often a run of operations is a loop


def look(program: Any, first: float, later: float) -> dict[str, Any]:
    """Run the file again, watched: what was seen in the second like call."""
    watch = Watch(program.path.parent)
    facts: dict[str, Any] = {}
    with watch.installed(), narrowings() as narrow:
        watch.watch_numpy(program.load())
        program.call()
        facts["traced_first"] = summed_up(watch.traces)
        watch.forget_counts()
        with compilations() as compiled:
            program.call()
        facts |= counts(watch) | {"compiled": compiled}
        jaxpr = trace(program, "call")
        facts |= dispatches(program, watch, jaxpr, later)
        facts |= growth(program, jaxpr)
    facts["narrowed"] = sorted(set(narrow))
    if first < PATIENCE:
        facts["memory"] = memory_of(watch.programs)
    return facts | inside(watch, jaxpr)


def look_at_trace(program: Any) -> dict[str, Any]:
    """What can be seen of a port that takes too long to compile."""
    watch = Watch(program.path.parent)
    with watch.installed():
        program.load()
        jaxpr = jax.make_jaxpr(lambda: program.call()[0])()
        facts = counts(watch) | growth(program, jaxpr)
        facts |= dispatches(program, watch, jaxpr, PATIENCE)
    return facts | inside(watch, jaxpr)


def growth(program: Any, jaxpr: Any) -> dict[str, list[int]]:
    """Equations of the call and of the larger one, if one is given."""
    if not program.request["larger"] or jaxpr is None:
        return {}
    larger = trace(program, "larger")
    found = [count_equations(j) for j in (jaxpr, larger) if j is not None]
    return {"grows": found} if len(found) == 2 else {}


def counts(watch: Watch) -> dict[str, Any]:
    """What was counted in the second like call."""
    return {
        "calls": dict(watch.calls),
        "chained": dict(watch.chained),
        "traced": summed_up(watch.traces),
        "reads": {k: n for k, n in watch.reads.most_common() if k},
    }


def summed_up(traces: list[dict]) -> list[dict]:
    """The functions that were traced, how often, and why the last time."""
    times = Counter(trace["line"] for trace in traces)
    last = {trace["line"]: trace for trace in traces}
    return [trace | {"times": times[line]} for line, trace in last.items()]


@contextlib.contextmanager
def compilations() -> Iterator[dict[str, float]]:
    """Inside the block, the seconds of what is compiled, by its name."""
    seconds: dict[str, float] = {}

    def listen(event: str, duration: float, **more: Any) -> None:
        if event == COMPILED:
            name = str(more.get("fun_name", "something"))
            seconds[name] = seconds.get(name, 0) + duration

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seconds
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def trace(program: Any, what: str) -> Any:
    """All that JAX is asked in a call, None if Python has to know values."""
    try:
        return jax.make_jaxpr(lambda: program.call(what)[0])()
    except Exception:
        return None


def dispatches(
    program: Any, watch: Watch, jaxpr: Any, later: float
) -> dict[str, Any]:
    """How many operations are sent one by one, and from which lines."""
    if jaxpr is not None:
        eager = [
            equation
            for equation in jaxpr.eqns
            if equation.params.get("name") not in watch.programs
        ]
        found = (line_of(equation, watch.folder) for equation in eager)
        lines = Counter(filter(None, found))
        return {"eager": len(eager), "lines": dict(lines.most_common(3))}
    sent = None
    if later < PATIENCE:
        sent = count_dispatches(lambda: program.call()[0])
    if sent is None:
        return {}
    return {
        "eager": sum(n for k, n in sent.items() if k not in watch.programs)
    }


def line_of(equation: Any, folder: str) -> str | None:
    """The user's line that an equation comes from, as FILE:NUMBER."""
    found = re.match(r"(.+?:\d+)(:\d+)? \(", summarize(equation.source_info))
    return found[1] if found and found[1].startswith(folder) else None


def place_of(equation: Any, folder: str) -> Any:
    """All the user's lines through which an equation was asked for."""
    frames = getattr(equation.source_info.traceback, "frames", ())
    return summarize(equation.source_info), tuple(
        getattr(frame, "line_num", 0)
        for frame in frames
        if frame.file_name.startswith(folder)
    )


def unrolled(name: str, jaxpr: Any, folder: str) -> dict[str, Any]:
    """The run of operations that a program repeats most, and how often."""
    best = {"times": 0}
    bodies = [jaxpr]
    for equation in equations(jaxpr):
        bodies += jaxprs_in_params(equation.params)
    for body in bodies:
        places = Counter(
            (place_of(e, folder), e.primitive.name) for e in body.eqns
        )
        often = Counter()
        for times in places.values():
            often[times] += times if times >= AGAIN else 0
        times, covered = max(often.items(), key=lambda item: item[1])
        if covered * 2 >= len(body.eqns) and times > best["times"]:
            line = next(
                line_of(e, folder)
                for e in body.eqns
                if places[place_of(e, folder), e.primitive.name] == times
            )
            best = {"times": times, "name": name, "line": line}
            best["equations"] = count_equations(jaxpr)
    return best


def inside(watch: Watch, jaxpr: Any) -> dict[str, Any]:
    """What the compiled programs hold, repeat, and call back for."""
    traced = {n: t.jaxpr for n, t in watch.programs.items() if t is not None}
    callbacks = Counter(
        equation.primitive.name
        for program in [*traced.values(), *([jaxpr] if jaxpr else [])]
        for equation in equations(program)
        if re.search("callback|debug", equation.primitive.name)
    )
    return {
        "constants": {
            name: sum(getattr(value, "nbytes", 0) for value in program.consts)
            for name, program in traced.items()
        },
        "callbacks": dict(callbacks),
        "small_loops": sum(
            largest_value(loop) < SMALL
            for program in traced.values()
            for loop in loops(program)
        ),
        "unrolled": max(
            (unrolled(n, p, watch.folder) for n, p in traced.items()),
            key=lambda found: found["times"],
            default={"times": 0},
        ),
    }


def memory_of(programs: dict[str, Any]) -> dict[str, dict[str, int]]:
    """What each compiled program takes, where JAX can say so."""
    found = {}
    for name, traced in programs.items():
        with contextlib.suppress(Exception):
            found[name] = memory(traced, traced.lower().compile())
    return found


def memory(traced: Any, compiled: Any) -> dict[str, int]:
    """Bytes that a compiled program takes, and that it could take over."""
    analysis = compiled.memory_analysis()
    outputs = Counter(
        (a.shape, str(a.dtype)) for a in jax.tree.leaves(traced.out_info)
    )
    alike = [
        i for i in traced.jaxpr.in_avals if outputs[i.shape, str(i.dtype)]
    ]
    return {
        "arguments": analysis.argument_size_in_bytes,
        "result": analysis.output_size_in_bytes,
        "temporary": analysis.temp_size_in_bytes,
        "donated": analysis.alias_size_in_bytes,
        "alike": sum(i.size * i.dtype.itemsize for i in alike),
    }
