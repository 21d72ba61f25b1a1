"""What a call of a port does, asked of JAX and Python while the call runs.

Nothing of JAX or NumPy is replaced. The sources are a Trace, through which JAX
runs every operation, JAX's log of cache misses, the programs that jit has
recorded, and Python's own trace function for the time of each line.
"""

import contextlib
import dataclasses
import functools
import logging
import os
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import jax
from jax.core import Trace, Tracer, eval_context
from jax.extend.core import jaxpr_as_fun, jaxprs_in_params, set_current_trace
from jax.extend.source_info_util import current

from workshop.tracing import LOOPS, equations, largest_value

CALL = "--call"  # the file name of what that option holds
PATIENCE = 20  # seconds that a call may take while it is watched
AGAIN = 8  # operations that are repeated so often are an unrolled loop,
LONG = 32  # or so often in a program that has a loop of its own
READS = ("__array__", "__bool__", "__complex__", "__float__", "__format__")
READS += ("__index__", "__int__", "__repr__", "__str__", "item", "tolist")
MISSES = {  # reasons to trace again, by JAX's words for them
    "fresh": "never seen function",
    "form": "tuple of length|symmetric difference",
    "types": "different input types",
    "static": "",
}


@dataclasses.dataclass
class Evidence:
    """All that is known of a port. A line is FILE:NUMBER, "" if unknown."""

    old: float  # the seconds of a call of the old program
    first: float  # the seconds of the first call of the port
    later: float  # the seconds of a later call
    is_jax: bool  # whether the result has arrays of JAX's
    misses: list[dict]  # what the first call traces, and why
    again: list[dict]  # what the second call traces, and why
    compiling: float  # the seconds that the second call spends on it
    narrowed: list[str]  # lines that ask for 64 bits and get 32
    function: dict[str, Any]  # what --call calls: see LineTimer
    eager: dict[str, int]  # operations that are sent one by one, by line
    eager_loop: str  # the line of a scan or while_loop outside jit
    calls: dict[str, int]  # calls of each jitted function
    chained: dict[str, int]  # calls of each with its own result
    reads: dict[str, int]  # values that are brought to Python, by line
    inside: float  # the seconds of a call inside compiled functions
    outside: dict[str, float]  # the other seconds, by line
    unrolled: dict[str, Any]  # the operations that are repeated most
    grows: list[int]  # the operations of --call, and of --larger
    callbacks: list[str]  # the names of operations that call Python
    constants: dict[str, int]  # bytes in each jitted function
    loops: list[dict]  # the line and size of each, a buffer that it copies
    scatters: dict[str, int]  # values that are written by index, by line
    # If the result differs:
    differs: dict[str, Any]  # see results.Difference
    repeats: bool  # whether two calls of the port return the same
    at_second: bool  # whether only the second call is wrong
    allow: float  # the least --rtol that would do, 0 if none
    relation: list[str]  # see results.relate
    without_jit: bool  # whether the port is right without jit
    changed: dict[str, str]  # what jit has fixed: see causes.Watch
    wide: list[str]  # the two values, if 64 bits make the port right
    dropped: str  # the line that makes an array which is not used
    operations: list[str]  # the names of all
    reused: str  # the line that uses a random key once more
    events: dict[str, list[str]]  # see causes.find_events
    tried: list[str]  # the experiments that came to an end
    old_repeats: bool  # whether the old program repeats
    uninitialized: str  # the line of its np.empty


def make_evidence(facts: dict[str, Any]) -> Evidence:
    """Return what was reported as Evidence; 0 or empty where nothing was."""
    fields = dataclasses.fields(Evidence)
    return Evidence(*(facts.get(field.name, field.type()) for field in fields))


def is_own(file: str, folder: str) -> bool:
    """Return whether the user wrote a file; packages may be in the folder."""
    inside = file.startswith(f"{folder}{os.sep}")
    return (inside and "site-packages" not in file) or file == CALL


def own_lines(traceback: Any, folder: str) -> list[str]:
    """Return the user's lines that led to an operation, innermost first."""
    return [
        f"{frame.file_name}:{frame.line_num}"
        for frame in getattr(traceback, "frames", ())
        if is_own(frame.file_name, folder)
    ]


def own_frame(frame: FrameType | None, folder: str) -> FrameType | None:
    """Return the innermost of the user's functions that led to a frame."""
    while frame and not is_own(frame.f_code.co_filename, folder):
        frame = frame.f_back
    return frame


class Value(Tracer):
    """An array that notes which of the user's lines asks for its numbers."""

    def __init__(self, trace: Any, array: Any) -> None:
        """Wrap the array."""
        super().__init__(trace, jax.typeof(array))
        self.array, self.used = array, False

    def to_concrete_value(self) -> Any:
        """Return the array to JAX, which needs it for a shape for example."""
        return self.array

    def read(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Note a method, and let the array do it."""
        self.used = True
        self._trace.note_read(sys._getframe(1))
        return getattr(self.array, name)(*args, **kwargs)


for name in READS:
    setattr(Value, name, functools.partialmethod(Value.read, name))


class Recorder(Trace):
    """Runs the operations of a call one by one, as JAX does outside jit.

    It counts what Python sends to the device: operations, and calls of jitted
    functions. `look` is given each operation with its values.
    """

    def __init__(self, folder: str, look: Callable | None = None) -> None:
        """Begin to record what files in that folder do."""
        super().__init__()
        self.folder, self.look, self.line = folder, look, ""
        self.end = time.monotonic() + PATIENCE
        self.eager, self.calls, self.chained = Counter(), Counter(), Counter()
        self.reads, self.seconds = Counter(), Counter()
        self.programs: dict[str, Any] = {}
        self.results: dict[str, set[int]] = {}
        self.eager_loop = ""

    def note_read(self, frame: FrameType | None) -> None:
        """Count a read by the user's line itself, or through NumPy."""
        while frame and f"{os.sep}numpy{os.sep}" in frame.f_code.co_filename:
            frame = frame.f_back
        if frame and is_own(frame.f_code.co_filename, self.folder):
            self.reads[f"{frame.f_code.co_filename}:{frame.f_lineno}"] += 1

    def lower(self, value: Any) -> Any:
        """Return the array inside a Value, anything else as it is."""
        if isinstance(value, Value):
            value.used = True
            return value.array
        return value

    def process_primitive(
        self, primitive: Any, values: Any, params: dict[str, Any], /
    ) -> Any:
        """Run one operation, and note it. JAX calls this for each."""
        if time.monotonic() > self.end:
            raise TimeoutError
        self.line = next(iter(own_lines(current().traceback, self.folder)), "")
        arrays = [self.lower(value) for value in values]
        start = time.perf_counter()
        with eval_context():
            found = primitive.bind(*arrays, **params)
            jax.block_until_ready(found)
        several = primitive.multiple_results
        results = found if several else [found]
        self.count(primitive.name, params, arrays, results, start)
        lifted = [Value(self, result) for result in results]
        if self.look:
            with eval_context():
                self.look(primitive, params, arrays, lifted, self.line)
        return lifted if several else lifted[0]

    def count(
        self,
        kind: str,
        params: dict,
        arrays: list,
        results: list,
        start: float,
    ) -> None:
        """Count an operation, or a call of a jitted function."""
        program = getattr(params.get("jaxpr"), "jaxpr", None)
        source = (program and program.debug_info.func_src_info) or ""
        own = is_own(source.partition(" at ")[2], self.folder)
        if not (own and "name" in params):
            self.eager[self.line] += 1
            self.eager_loop = self.line if kind in LOOPS else self.eager_loop
            return
        name = params["name"]
        self.seconds[self.line] += time.perf_counter() - start
        self.calls[name] += 1
        before = {id(array) for array in self.results.get(name, ())}
        self.chained[name] += any(id(array) in before for array in arrays)
        self.results[name], self.programs[name] = results, params["jaxpr"]

    def stage_value(self, value: Any) -> Value:
        """Return a number or one of NumPy's arrays as a Value."""
        with eval_context():
            return Value(self, jax.numpy.asarray(self.lower(value)))

    def process_custom_jvp_call(
        self, _: Any, function: Any, *rest: Any, **__: Any
    ) -> Any:
        """Run a function that has a derivative of its own."""
        with set_current_trace(self):
            return function.call_wrapped(*rest[-1])

    process_custom_vjp_call = process_custom_jvp_call


class LineTimer:
    """A trace function of Python that adds up the seconds of each line."""

    def __init__(self, folder: str) -> None:
        """Begin to measure."""
        self.folder, self.line = folder, f"{CALL}:1"
        self.seconds: Counter[str] = Counter()
        self.function: dict[str, Any] = {}
        self.last = time.perf_counter()
        self.end = self.last + PATIENCE

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        """Charge the time since the last event to the line before it.

        The arrays of a function are waited for: a line pays for what it asks.
        """
        if not is_own(frame.f_code.co_filename, self.folder):
            return None
        arrays = [v for v in frame.f_locals.values() if hasattr(v, "dtype")]
        jax.block_until_ready([a for a in arrays if not isinstance(a, Tracer)])
        now = time.perf_counter()
        self.seconds[self.line] += now - self.last
        if now > self.end:
            raise TimeoutError
        caller = own_frame(frame.f_back, self.folder)
        if event == "call" and caller and caller.f_code.co_filename == CALL:
            self.note_function(frame)
        here = caller if event == "return" and caller else frame
        self.line = f"{here.f_code.co_filename}:{here.f_lineno}"
        self.last = time.perf_counter()
        return self

    def note_function(self, frame: FrameType) -> None:
        """Keep what is known of a function that --call calls."""
        static = [
            name
            for name, value in frame.f_locals.items()
            if isinstance(value, int | str) or callable(value)
        ]
        self.function = {"name": frame.f_code.co_qualname, "static": static}
        self.function["method"] = "self" in frame.f_code.co_varnames[:1]


@contextlib.contextmanager
def cache_misses(folder: str) -> Iterator[list[dict[str, str]]]:
    """List what JAX traces inside the block: the line, the name, and why."""
    found: list[dict[str, str]] = []

    def keep(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        line = re.search(r"TRACING CACHE MISS at (.+?)(:\d+)", text)
        name = re.search(r"(\S+) (?:id=\d+ )?defined at (.+)", text)
        if line and name and is_own(line[1], folder):
            miss = {"line": line[1] + line[2], "name": name[1]}
            kinds = (
                k for k, words in MISSES.items() if re.search(words, text)
            )
            change = re.search(r"\* at (.+?), now (.+) and before (.+)", text)
            values = change.groups() if change else ("", "", "")
            why = "{0} was {2}, now {1}".format(*values)
            found.append(
                miss | {"made": name[2], "kind": next(kinds), "why": why}
            )
        return False

    handler, logger = logging.Handler(), logging.getLogger("jax")
    handler.addFilter(keep)
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        with jax.explain_cache_misses(True):
            yield found
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate


def observe(program: Any) -> dict[str, Any]:
    """Return what a later call of a program does, and where its time goes."""
    sent = Recorder(program.folder)
    with contextlib.suppress(Exception), set_current_trace(sent):
        program.call()
    for _ in range(2):  # the first is slow wherever Python has to warm up
        names, timer = program.set_up(), LineTimer(program.folder)
        sys.settrace(timer)
        with contextlib.suppress(Exception):
            program.call(names=names)
        sys.settrace(None)
    inside = sent.seconds & timer.seconds  # the smaller of the two
    outside = timer.seconds - inside
    facts = {"function": timer.function, "eager_loop": sent.eager_loop}
    facts |= {"calls": sent.calls, "chained": sent.chained}
    for name, count in ("eager", sent.eager), ("reads", sent.reads):
        facts[name] = dict(count.most_common())
    facts |= {"inside": inside.total(), "outside": dict(outside.most_common())}
    return facts | look_inside(sent.programs, program.folder)


def look_inside(programs: dict[str, Any], folder: str) -> dict[str, Any]:
    """Return what compiled programs hold."""
    facts: dict[str, Any] = {"constants": {}, "unrolled": {}, "loops": []}
    callbacks, scatters = set(), Counter()
    for name, program in programs.items():
        sizes = [getattr(value, "nbytes", 0) for value in program.consts]
        facts["constants"][name] = sum(sizes)
        if found := find_unrolled(program.jaxpr, folder):
            facts["unrolled"] = found | {"name": name}
        for equation in equations(program.jaxpr):
            kind = equation.primitive.name
            lines = own_lines(equation.source_info.traceback, folder)
            line = lines[0] if lines else ""
            if "callback" in kind:
                callbacks.add(kind)
            if kind.startswith("scatter"):
                scatters[line] += equation.invars[2].aval.size
            if kind in LOOPS:
                loop = {"line": line, "size": largest_value(equation)}
                copied = copied_buffer(program, equation)
                facts["loops"].append(loop | {"copied": copied})
    facts["scatters"] = dict(scatters.most_common())
    return facts | {"callbacks": sorted(callbacks)}


def copied_buffer(program: Any, loop: Any) -> str:
    """Return the buffer that a loop writes parts of, if XLA copies it."""
    written = {
        str(equation.outvars[0].aval.shape).strip("(,)").replace(" ", "")
        for body in jaxprs_in_params(loop.params)
        for equation in equations(body)
        if re.match("scatter|dynamic_update", equation.primitive.name)
    }
    with contextlib.suppress(Exception):  # not every device has this text
        jitted = jax.jit(jaxpr_as_fun(program))
        text = jitted.lower(*program.in_avals).compile().as_text()
        for body in re.findall(r"body=%?([\w.-]+)", text) if written else ():
            block = re.search(
                rf"^%?{re.escape(body)} .*?^}}", text, re.M | re.S
            )
            for shape in re.findall(r"\[([\d,]+)\]\S* copy\(", block[0]):
                if shape in written:
                    return shape
    return ""


def find_unrolled(jaxpr: Any, folder: str) -> dict[str, Any]:
    """Return how often operations are repeated that are half of a program.

    Operations are the same if they come through the same of the user's lines.
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
