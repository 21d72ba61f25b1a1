"""What a call of a port does, asked of JAX and Python while the call runs.

Nothing of JAX or NumPy is replaced. The sources are a Trace, by which JAX
hands over every operation, JAX's log of cache misses, the programs that jit
has recorded, and Python's own trace function for the time of each line.
"""

import contextlib
import dataclasses
import logging
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import jax
from jax.core import Trace, Tracer, eval_context
from jax.extend.core import jaxpr_as_fun, jaxprs_in_params, set_current_trace
from jax.extend.source_info_util import current, summarize

from workshop.tracing import LOOPS, count_equations, equations, largest_value

PATIENCE = 20  # seconds that a call may take while it is watched
AGAIN = 8  # operations that are repeated so often are an unrolled loop,
LONG = 32  # or so often in a program that has a loop of its own
READS = ("__array__", "__bool__", "__complex__", "__float__", "__format__")
READS += ("__index__", "__int__", "__repr__", "__str__", "item", "tolist")
KINDS = {  # of reasons to trace again, by JAX's words
    "fresh": "never seen function",
    "form": "tuple of length|symmetric difference",
    "types": "different input types",
    "static": "",
}


def empty(kind: type) -> Any:
    """Return a field of a dataclass that begins as an empty list or dict."""
    return dataclasses.field(default_factory=kind)


@dataclasses.dataclass
class Evidence:
    """All that is known of a port. A line is FILE:NUMBER, "" if unknown."""

    call: str = ""
    old: float = 0  # the seconds of a call of the old program
    first: float = 0  # the seconds of the first call of the port
    later: float = 0  # the seconds of a later call
    floor: float = 0  # the seconds to write as many bytes as the result has
    is_jax: bool = True  # whether the result has arrays of JAX's
    misses: list[dict] = empty(list)  # what the first call traces, and why
    again: list[dict] = empty(list)  # what the second call traces, and why
    compiling: float = 0  # the seconds that the second call spends on it
    narrowed: list[str] = empty(list)  # lines that get 32 bits instead of 64
    function: dict = empty(dict)  # what --call calls: see LineTimer
    eager: dict[str, int] = empty(dict)  # operations sent one by one, by line
    eager_loop: str = ""  # the line of a scan or while_loop outside jit
    calls: dict[str, int] = empty(dict)  # calls of each jitted function,
    chained: dict[str, int] = empty(dict)  # and calls with its own result
    reads: dict[str, int] = empty(dict)  # values brought to Python, by line
    inside: float = 0  # the seconds of a call inside compiled functions
    outside: dict[str, float] = empty(dict)  # the other seconds, by line
    unrolled: dict = empty(dict)  # operations that are repeated most
    grows: list[int] = empty(list)  # operations of --call, and of --larger
    callbacks: list[str] = empty(list)
    constants: dict[str, int] = empty(dict)  # bytes, by jitted function
    loops: list[dict] = empty(list)  # line, largest value and length of each
    copied: dict[str, str] = empty(dict)  # a buffer that a loop copies
    scatters: dict[str, int] = empty(dict)  # values written by index, by line
    alike: dict[str, int] = empty(dict)  # bytes that could be donated

    # Of a port whose result differs:
    differs: dict = empty(dict)  # see results.Difference
    repeats: bool = True  # whether two calls of the port return the same
    at_second: bool = False  # whether only the second call is wrong
    allow: float | None = None  # the least --rtol that would do
    relation: list[str] = empty(list)  # see results.relate
    without_jit: bool = False  # whether the port is right without jit
    changed: dict[str, str] = empty(dict)  # what jit has fixed: see causes
    wide: list[str] = empty(list)  # the two values, if 64 bits make it right
    dropped: str = ""  # the line that makes an array which is not used
    draws: bool = False  # whether the port draws by jax.random
    sorts: bool = False
    reused: str = ""  # the line that uses a random key once more
    events: dict[str, list[str]] = empty(dict)  # see causes.find_events
    tried: list[str] = empty(list)  # the experiments that came to an end
    old_repeats: bool = True  # whether the old program repeats
    uninitialized: str = ""  # the line of its np.empty


def is_own(file: str, folder: str) -> bool:
    """Return whether the user wrote a file; packages may be in the folder."""
    inside = file.startswith(f"{folder}{os.sep}")
    return inside and "site-packages" not in file or file == "--call"


def own_lines(traceback: Any, folder: str) -> list[str]:
    """Return the user's lines that led to an operation, innermost first."""
    return [
        f"{frame.file_name}:{frame.line_num}"
        for frame in getattr(traceback, "frames", ())
        if is_own(frame.file_name, folder)
    ]


def line_of(equation: Any, folder: str) -> str:
    """Return the user's line that an equation comes from."""
    return next(iter(own_lines(equation.source_info.traceback, folder)), "")


def own_name(params: dict[str, Any], folder: str) -> str:
    """Return the name of a jitted function, if the user has written it."""
    program = getattr(params.get("jaxpr"), "jaxpr", None)
    source = program and program.debug_info.func_src_info or ""
    own = is_own(source.partition(" at ")[2], folder)
    return params.get("name", "") if own else ""


class Value(Tracer):
    """An array that notes which of the user's lines asks for its numbers."""

    def __init__(self, trace: Any, array: Any) -> None:
        """Wrap the array."""
        super().__init__(trace, jax.typeof(array))
        self.array, self.used = array, False

    def to_concrete_value(self) -> Any:
        """Return the array to JAX, which needs it for a shape for example."""
        return self.array


def reading(name: str) -> Callable[..., Any]:
    """Return a method of Value that is noted, and then done by the array."""

    def read(value: Value, *args: Any, **kwargs: Any) -> Any:
        value.used = True
        value._trace.note_read(sys._getframe(1))
        return getattr(value.array, name)(*args, **kwargs)

    return read


for read in READS:
    setattr(Value, read, reading(read))


class Recorder(Trace):
    """Runs the operations of a call one by one, as JAX does outside jit."""

    def __init__(self, folder: str) -> None:
        """Begin to record what files in that folder do."""
        super().__init__()
        self.folder, self.line = folder, ""
        self.end = time.monotonic() + PATIENCE
        self.reads: Counter[str] = Counter()

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

    def lift(self, array: Any) -> Value:
        """Return the array as a Value."""
        return Value(self, array)

    def process_primitive(
        self, primitive: Any, values: Any, params: dict[str, Any], /
    ) -> Any:
        """Run one operation and note it. JAX calls this for each."""
        if time.monotonic() > self.end:
            raise TimeoutError
        lines = own_lines(current().traceback, self.folder)
        self.line = lines[0] if lines else ""
        arrays = [self.lower(value) for value in values]
        start = time.perf_counter()
        with eval_context():
            results = primitive.bind(*arrays, **params)
        jax.block_until_ready(results)
        seconds = time.perf_counter() - start
        several = primitive.multiple_results
        found = results if several else [results]
        self.note(primitive.name, params, arrays, found, seconds)
        lifted = [self.lift(result) for result in found]
        return lifted if several else lifted[0]

    def stage_value(self, value: Any) -> Any:
        """Return a number or one of NumPy's arrays as a Value."""
        with eval_context():
            return self.lift(jax.numpy.asarray(self.lower(value)))

    def process_custom_jvp_call(
        self, _: Any, function: Any, *rest: Any, **__: Any
    ) -> Any:
        """Run a function that has a derivative of its own."""
        with set_current_trace(self):
            return function.call_wrapped(*rest[-1])

    process_custom_vjp_call = process_custom_jvp_call


class Sent(Recorder):
    """Counts what Python sends to the device: operations, and calls."""

    def __init__(self, folder: str) -> None:
        """Begin to count."""
        super().__init__(folder)
        self.eager, self.calls, self.chained = Counter(), Counter(), Counter()
        self.seconds: Counter[str] = Counter()
        self.programs: dict[str, Any] = {}
        self.results: dict[str, set] = {}
        self.eager_loop = ""

    def note(
        self, kind: str, params: dict, arrays: list, results: list, spent: float
    ) -> None:
        """Count an operation, or a call of a jitted function."""
        name = own_name(params, self.folder)
        if not name:
            self.eager[self.line] += 1
            self.eager_loop = self.line if kind in LOOPS else self.eager_loop
            return
        self.seconds[self.line] += spent
        self.calls[name] += 1
        before = map(id, self.results.get(name, ()))
        self.chained[name] += not {*before}.isdisjoint(map(id, arrays))
        self.results[name], self.programs[name] = results, params


class LineTimer:
    """A trace function of Python that adds up the seconds of each line."""

    def __init__(self, folder: str) -> None:
        """Begin to measure."""
        self.folder, self.line = folder, "--call:1"
        self.seconds: Counter[str] = Counter()
        self.function: dict[str, Any] = {}
        self.last = time.perf_counter()
        self.end = self.last + PATIENCE

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        """Charge the time since the last event to the line before it.

        The arrays of a function are waited for, so that a line pays for what
        it has asked for.
        """
        if not is_own(frame.f_code.co_filename, self.folder):
            return None
        arrays = [v for v in frame.f_locals.values() if hasattr(v, "dtype")]
        jax.block_until_ready([a for a in arrays if not isinstance(a, Tracer)])
        now = time.perf_counter()
        self.seconds[self.line] += now - self.last
        if now > self.end:
            raise TimeoutError
        caller = own_caller(frame, self.folder)
        if event == "call" and caller and caller.f_code.co_name == "<module>":
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


def own_caller(frame: FrameType, folder: str) -> FrameType | None:
    """Return the nearest of the user's functions that called this one."""
    caller = frame.f_back
    while caller and not is_own(caller.f_code.co_filename, folder):
        caller = caller.f_back
    return caller


@contextlib.contextmanager
def cache_misses(folder: str) -> Iterator[list[dict[str, str]]]:
    """List what JAX traces inside the block: the line, the name, and why."""
    found: list[dict[str, str]] = []

    def keep(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        line = re.search(r"TRACING CACHE MISS at (.+?:\d+)", text)
        name = re.search(r"(\S+) (?:id=\d+ )?defined at (.+)", text)
        if line and name and is_own(line[1], folder):
            change = re.search(r"\* at (.+?), now (.+) and before (.+)", text)
            why = "{0} was {2}, now {1}".format(*change.groups()) if change else ""
            kind = next(k for k, words in KINDS.items() if re.search(words, text))
            found.append({"line": line[1], "kind": kind, "why": why})
            found[-1] |= {"name": name[1], "made": name[2]}
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
    sent = Sent(program.folder)
    with contextlib.suppress(Exception), set_current_trace(sent):
        program.call()
    for _ in range(2):  # the first is slow wherever Python has to warm up
        names, timer = program.set_up(), LineTimer(program.folder)
        sys.settrace(timer)
        with contextlib.suppress(Exception):
            program.call(names=names)
        sys.settrace(None)
    inside = Counter(
        {x: min(s, timer.seconds[x]) for x, s in sent.seconds.items()}
    )
    return {
        "function": timer.function,
        "eager": dict(sent.eager.most_common()),
        "eager_loop": sent.eager_loop,
        "calls": sent.calls,
        "chained": sent.chained,
        "reads": dict(sent.reads.most_common()),
        "inside": inside.total(),
        "outside": dict((timer.seconds - inside).most_common()),
        **look_inside(sent.programs, program.folder),
    }


def trace(program: Any, what: str = "call") -> Any:
    """Return all that JAX is asked in a call; None if it reads values."""
    with contextlib.suppress(Exception):
        return jax.make_jaxpr(lambda: program.call(what)[0])().jaxpr


def look_inside(programs: dict[str, dict], folder: str) -> dict[str, Any]:
    """Return what compiled programs hold, by the parameters of their jit."""
    facts: dict[str, Any] = {"constants": {}, "copied": {}, "alike": {}}
    loops, scatters, names = [], Counter(), set()
    for name, params in programs.items():
        program = params["jaxpr"]
        sizes = [getattr(value, "nbytes", 0) for value in program.consts]
        facts["constants"][name] = sum(sizes)
        if not any(params.get("donated_invars", ())):
            facts["alike"][name] = count_alike(program)
        for equation in equations(program.jaxpr):
            kind, line = equation.primitive.name, line_of(equation, folder)
            names.add(kind)
            if kind.startswith("scatter"):
                scatters[line] += equation.invars[2].aval.size
            if kind in LOOPS:
                size = largest_value(equation)
                length = equation.params.get("length", 0)
                loops.append({"line": line, "size": size, "length": length})
        with contextlib.suppress(Exception):  # not every device says so
            if loops and (shape := copied_buffer(program)):
                facts["copied"][name] = shape
    facts["callbacks"] = [name for name in names if "callback" in name]
    facts["unrolled"] = find_unrolled(programs, folder)
    return facts | {"loops": loops, "scatters": dict(scatters.most_common())}


def count_alike(program: Any) -> int:
    """Return the bytes of the arguments that a result could be written to."""
    results = {(a.shape, a.dtype) for a in program.out_avals}
    alike = [a for a in program.in_avals if (a.shape, a.dtype) in results]
    return sum(a.size * a.dtype.itemsize for a in alike)


def copied_buffer(program: Any) -> str:
    """Return the longest shape that XLA copies at each iteration of a loop."""
    jitted = jax.jit(jaxpr_as_fun(program))
    text, shapes = jitted.lower(*program.in_avals).compile().as_text(), []
    for body in re.findall(r"body=%?([\w.-]+)", text):
        block = re.search(rf"^%?{re.escape(body)} .*?^}}", text, re.M | re.S)
        shapes += re.findall(r" (\w+\[[\d,]+\])\S* copy\(", block[0])
    return max(shapes, key=len, default="")


def find_unrolled(programs: dict[str, dict], folder: str) -> dict[str, Any]:
    """Return the run of operations that is repeated most, and how often."""
    best: dict[str, Any] = {"times": 0}
    for name, params in programs.items():
        inner = [*equations(params["jaxpr"].jaxpr)]
        has_loop = any(e.primitive.name in LOOPS for e in inner)
        bodies = [params["jaxpr"].jaxpr]
        for equation in inner:
            bodies += jaxprs_in_params(equation.params)
        for body in bodies:
            times, line = repeated(body, folder)
            if times >= max(LONG if has_loop else AGAIN, best["times"] + 1):
                best = {"times": times, "name": name, "line": line}
                best["equations"] = len(inner)
    return best if best["times"] else {}


def repeated(body: Any, folder: str) -> tuple[int, str]:
    """Return how often the same operations are half of a program, a line.

    Operations are the same if they come through the same lines.
    """
    places = [
        (e.primitive.name, summarize(e.source_info))
        + (*own_lines(e.source_info.traceback, folder),)
        for e in body.eqns
    ]
    times = Counter(places)
    for often in sorted({*times.values()}, reverse=True):
        alike = [p for p in places if times[p] % often == 0]
        if often >= AGAIN and 2 * len(alike) >= len(places):
            return often, next((p[2] for p in alike if len(p) > 2), "")
    return 0, ""
