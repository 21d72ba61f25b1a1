"""Find out from JAX and Python what a port does while it runs.

No part of JAX or NumPy is replaced. There are four sources: the Trace through
which JAX runs every operation; JAX's log of cache misses; the programs that
jit has recorded; and Python's trace function, which gives the time of each
line.
"""

import contextlib
import functools
import logging
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from types import FrameType
from typing import Any

import jax
from jax.core import Tracer
from jax.extend.core import jaxpr_as_fun, jaxprs_in_params, set_current_trace

from workshop.port.advice import QUICK, find_most
from workshop.sandbox import CALL
from workshop.tracing import (
    LOOPS,
    PATIENCE,
    Recorder,
    equations,
    find_buffers,
    is_own,
    largest_value,
    num_elements,
    own_lines,
)

# Operations that are repeated this often count as an unrolled loop. A sum over
# a cell and its eight neighbors repeats an operation 9 times, but is no loop.
AGAIN = 10
LONG = 32  # the same limit, for a program that contains a loop
LARGE = 25_000  # values in a buffer; to copy so many takes time


@contextlib.contextmanager
def cache_misses(folder: str) -> Iterator[list[dict[str, str]]]:
    """List what JAX traces in the block: its name, the line and the reason."""
    found: list[dict[str, str]] = []
    handler, logger = logging.Handler(), logging.getLogger("jax")
    handler.emit = lambda record: found.extend(
        read_miss(record.getMessage(), folder)
    )
    logger.addHandler(handler)
    with jax.explain_cache_misses(True):
        yield found
    logger.removeHandler(handler)


def read_miss(text: str, folder: str) -> Iterator[dict[str, str]]:
    """Yield a miss of JAX's tracing cache that user code has caused."""
    line = re.search(r"TRACING CACHE MISS at (.+?)(:\d+)", text)
    name = re.search(r"(\S+) (?:id=\d+ )?defined at (.+)", text)
    if not (line and name and is_own(line[1], folder)):
        return
    miss = {"line": line[1] + line[2], "name": name[1], "made": name[2]}
    kind = "types" if "different input types" in text else "static"
    kind = "fresh" if "never seen function" in text else kind
    change = re.search(r"\* at (.+?), now (.+) and before (.+)", text)
    what = "{0} was {2}, now {1}".format(*change.groups()) if change else ""
    yield miss | {"kind": kind, "change": what}


class LineTimer:
    """A Python trace function that adds up the seconds of each line."""

    def __init__(self, folder: str) -> None:
        """Begin to measure."""
        self.folder, self.line = folder, f"{CALL}:1"
        self.seconds: Counter[str] = Counter()
        self.function: dict[str, Any] = {}
        self.last = time.perf_counter()
        self.end = self.last + PATIENCE

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        """Add the time since the last event to the line that has just run.

        Wait for the arrays of the function first, so that each line is charged
        for its own work.
        """
        if not is_own(frame.f_code.co_filename, self.folder):
            return None
        arrays = [v for v in frame.f_locals.values() if hasattr(v, "dtype")]
        jax.block_until_ready([a for a in arrays if not isinstance(a, Tracer)])
        now = time.perf_counter()
        self.seconds[self.line] += now - self.last
        if now > self.end:
            raise TimeoutError
        caller = frame.f_back
        while caller and not is_own(caller.f_code.co_filename, self.folder):
            caller = caller.f_back
        if event == "call" and caller and caller.f_code.co_filename == CALL:
            self.note_function(frame)
        here = caller if event == "return" and caller else frame
        self.line = f"{here.f_code.co_filename}:{here.f_lineno}"
        self.last = time.perf_counter()
        return self

    def note_function(self, frame: FrameType) -> None:
        """Keep the name of a function that --call calls.

        Also keep which arguments may have to be static, and whether the
        function is a method.
        """
        self.function = {
            "name": frame.f_code.co_qualname,
            "method": "self" in frame.f_code.co_varnames[:1],
            "static": [
                name
                for name, value in frame.f_locals.items()
                if isinstance(value, int | str) or callable(value)
            ],
        }


def observe(program: Any) -> dict[str, Any]:
    """Return what a later call of a program does, and where its time goes."""
    sent = Recorder(program.folder)
    with contextlib.suppress(Exception), set_current_trace(sent):
        program.call()
    for _ in range(2):  # the first call is slow while Python warms up
        timer = LineTimer(program.folder)
        with contextlib.suppress(Exception):
            program.call(observer=timer)
    counted = "calls", "chained", "eager", "eager_loop", "reads", "small"
    facts = {name: getattr(sent, name) for name in counted}
    facts["function"] = timer.function
    facts |= divide_time(timer.seconds, sent.seconds)
    return facts | look_inside(sent.programs, program.folder)


def divide_time(
    spent: Counter[str], compiled: Counter[str]
) -> dict[str, int | str]:
    """Return the percentage of time that is spent outside compiled functions.

    Also return the line that takes most of it. The call in --call counts as a
    line, but not if its time is short, because every port has to hand over
    arguments and wait for the result.
    """
    inside = spent & compiled  # the smaller of the two
    outside = spent - inside
    if outside[f"{CALL}:1"] <= QUICK:
        del outside[f"{CALL}:1"]
    total = outside.total() + inside.total()
    percent = round(100 * outside.total() / total) if total else 0
    return {"percent": percent, "outside": find_most(outside)[0]}


def look_inside(programs: dict[str, Any], folder: str) -> dict[str, Any]:
    """Return what compiled programs contain, such as loops and constants."""
    facts = {"constants": {}, "unrolled": {}, "loops": {}, "copied": {}}
    facts["scatters"] = Counter()
    for name, program in programs.items():
        sizes = [getattr(value, "nbytes", 0) for value in program.consts]
        facts["constants"][name] = sum(sizes)
        if found := find_unrolled(program.jaxpr, folder):
            facts["unrolled"] = found | {"name": name}
        for equation in equations(program.jaxpr):
            kind = equation.primitive.name
            lines = own_lines(equation.source_info.traceback, folder)
            line = lines[0] if lines else ""
            if kind.startswith("scatter"):
                facts["scatters"][line] += equation.invars[2].aval.size
            if kind in LOOPS:
                facts["loops"].setdefault(line, largest_value(equation))
                sizes = {variable.aval.size for variable in equation.outvars}
                for shape in copied_buffers(program):
                    if num_elements(shape) in sizes:
                        facts["copied"][line] = shape
    return facts


@functools.cache
def copied_buffers(program: Any) -> list[str]:
    """Return the large buffers that XLA copies in loops, such as f32[9,9]."""
    with contextlib.suppress(Exception):  # some devices give no text
        jitted = jax.jit(jaxpr_as_fun(program))
        text = jitted.lower(*program.in_avals).compile().as_text()
        _, copied = find_buffers(text)
        return [shape for shape in copied if num_elements(shape) >= LARGE]
    return []


def find_unrolled(jaxpr: Any, folder: str) -> dict[str, Any]:
    """Return how often the operations of an unrolled loop repeat.

    An operation repeats if the same lines of user code produce it again. The
    repeated operations must make up at least half of a program.
    """
    inner = [*equations(jaxpr)]
    least = LONG if any(e.primitive.name in LOOPS for e in inner) else AGAIN
    bodies = [b for e in inner for b in jaxprs_in_params(e.params)]
    for body in [jaxpr, *bodies]:
        places = defaultdict(Counter)
        for equation in body.eqns:
            lines = own_lines(equation.source_info.traceback, folder)
            places[tuple(lines)][equation.primitive.name] += 1
        places.pop((), None)
        often = {p: c for p, c in places.items() if min(c.values()) >= least}
        total = sum(count.total() for count in often.values())
        if often and 2 * total >= len(body.eqns):
            times = min(min(count.values()) for count in often.values())
            line = next(iter(often))[0]
            return {"times": times, "line": line, "equations": len(inner)}
    return {}
