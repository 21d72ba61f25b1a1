"""Record and examine the program of a call, and watch what XLA compiles."""

import contextlib
import functools
import math
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import jax
from jax.core import Trace, Tracer, eval_context
from jax.extend.core import ClosedJaxpr, jaxprs_in_params, set_current_trace
from jax.extend.source_info_util import current

from workshop.errors import STANDARD_LIBRARY
from workshop.harness import time_call
from workshop.sandbox import CALL

# The primitives that are loops, and the parameter that holds a loop's body.
LOOPS = {"scan": "jaxpr", "while": "body_jaxpr"}
COMPILED = "/jax/core/compile/backend_compile_duration"
WORKSHOP = Path(__file__).parent
PATIENCE = 20  # seconds that a recorded call may take
READS = ("__array__", "__bool__", "__complex__", "__float__", "__format__")
READS += ("__index__", "__int__", "__repr__", "__str__", "item", "tolist")
FEW = 8  # values in a small array, for example a point in space


def trace(function: Callable, *args: Any, **kwargs: Any) -> Any | None:
    """Return the program of a call, None if the call cannot be traced."""
    with contextlib.suppress(Exception):
        return jax.make_jaxpr(lambda: function(*args, **kwargs))().jaxpr
    return None


def trace_call(function: Callable, *args: Any, **kwargs: Any) -> Any | None:
    """Return the program of a call, None if JAX compiles nothing.

    If the call cannot be traced, make the call and return the largest program
    that XLA compiles for it.
    """
    if traced := trace(function, *args, **kwargs):
        return traced
    jax.clear_caches()
    program = largest_compiled(function, *args, **kwargs)
    return program and program.jaxpr


def largest_compiled(
    function: Callable, *args: Any, **kwargs: Any
) -> ClosedJaxpr | None:
    """Make a call; return the largest program that JAX compiles, or None.

    Raise RuntimeError if JAX compiles something, but no program can be found.
    """
    programs: list[ClosedJaxpr] = []
    with count_compilations(programs) as seconds:
        jax.block_until_ready(function(*args, **kwargs))
    if seconds and not programs:
        raise RuntimeError(
            "The workshop cannot find the programs that jax"
            f" {jax.__version__} compiles. This is not your mistake:"
            " install the version of jax that requirements/lock.txt names."
        )
    return max(programs, key=count_equations, default=None)


def equations(jaxpr: Any) -> Iterator[Any]:
    """Yield all equations of a program; yield the body of a loop once."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jaxprs_in_params(equation.params):
            yield from equations(inner)


def primitives(jaxpr: Any) -> set[str]:
    """Return the names of all operations in a program."""
    return {equation.primitive.name for equation in equations(jaxpr)}


def loops(jaxpr: Any) -> Iterator[Any]:
    """Yield the equations that are loops, including loops inside loops."""
    for equation in equations(jaxpr):
        if equation.primitive.name in LOOPS:
            yield equation


def largest_value(loop: Any) -> int:
    """Return the size of the largest value that a loop's body computes."""
    sizes = (
        variable.aval.size
        for body in jaxprs_in_params(loop.params)
        for equation in equations(body)
        for variable in equation.outvars
    )
    return max(sizes, default=0)


def largest_result(jaxpr: Any) -> int:
    """Return the size of the largest value that a program returns."""
    return max((result.aval.size for result in jaxpr.outvars), default=0)


def takes_a_gradient(jaxpr: Any) -> bool:
    """Return whether JAX differentiated a part of the program.

    The names of differentiated operations contain jvp(...).
    """
    return "jvp(" in jaxpr.pretty_print(name_stack=True)


def count_equations(jaxpr: Any) -> int:
    """Return the number of equations in a program.

    Each equation in the body of a loop counts `unroll` times.
    """
    return len(jaxpr.eqns) + sum(
        equation.params.get("unroll", 1) * count_equations(inner)
        for equation in jaxpr.eqns
        for inner in jaxprs_in_params(equation.params)
    )


def count_runs(jaxpr: Any, name: str) -> float:
    """Return how often an operation runs in one call of the program.

    A while loop counts as infinitely many iterations, because the program does
    not say when the loop ends. If there are several branches, only the branch
    with the fewest runs counts.
    """
    total: float = 0
    for equation in jaxpr.eqns:
        kind = equation.primitive.name
        inner = [
            count_runs(program, name)
            for program in jaxprs_in_params(equation.params)
        ]
        if kind == name:
            total += 1
        elif kind == "cond":
            total += min(inner)
        elif kind == "while":
            total += math.inf if any(inner) else 0
        elif kind == "scan":
            total += equation.params["length"] * sum(inner)
        else:
            total += sum(inner)
    return total


def carried(loop: Any) -> list[Any]:
    """Return the shape and dtype of each value that a loop carries.

    Stacked results are left out. They are recognized by their shape, which has
    one more axis outside the loop than inside.
    """
    inside = loop.params[LOOPS[loop.primitive.name]].out_avals
    outside = [variable.aval for variable in loop.outvars]
    pairs = zip(inside, outside, strict=True)
    return [after for before, after in pairs if before.shape == after.shape]


def find_program(frame: FrameType | None) -> ClosedJaxpr | None:
    """Return the program in a variable of a frame or of one of its callers."""
    while frame:
        for value in frame.f_locals.values():
            if isinstance(value, ClosedJaxpr):
                return value
        frame = frame.f_back
    return None


def num_elements(shape: str) -> int:
    """Return how many elements a shape has: 6400 for u8[80,80]."""
    return math.prod(map(int, re.findall(r"\d+", shape.partition("[")[2])))


def find_buffers(hlo: str) -> tuple[set[str], set[str]]:
    """Return the shapes of two kinds of buffers: updated in place, and copied.

    A loop carries these buffers. If XLA cannot update such a buffer in place,
    it copies the buffer.
    """
    # Remove comments and layouts: u8[2,3]{1,0} becomes u8[2,3].
    hlo = re.sub(r"/\*.*?\*/|(?<=\])\{[^ ]*?\}", "", hlo)
    pattern = r"^(?:ENTRY )?%(\S+) .*?\{\n(.*?)^\}"
    computations = dict(re.findall(pattern, hlo, re.M | re.S))

    def read(name: str) -> str:
        """Return the text of a computation and of all that it calls."""
        text = computations[name]
        called = re.findall(r"(?:calls|to_apply)=%([\w.-]+)", text)
        return text + "".join(map(read, called))

    in_place, copied = set(), set()
    # A write at constant indices, for example at a boundary, does not count.
    update = r"= (\S+) dynamic-update-slice\(\S+ \S+ (?:%const\S+ )*%(?!const)"
    pattern = r"= (\(.*?\)) while\(.*?body=%([\w.-]+)"
    for carried, body in re.findall(pattern, hlo):
        text = read(body)
        buffers = set(re.findall(update, text))
        buffers &= set(re.findall(r"\w+\[[\d,]*\]", carried))
        copies = set(re.findall(r"= (\S+) copy\(", text))
        in_place |= buffers - copies
        copied |= buffers & copies
    return in_place, copied


@contextlib.contextmanager
def count_compilations(
    programs: list[ClosedJaxpr] | None = None,
) -> Iterator[list[float]]:
    """Collect how many seconds each compilation in the block takes.

    If the list `programs` is given, add the compiled programs to it.
    """
    seconds: list[float] = []

    def listen(event: str, duration: float, **_: Any) -> None:
        if event == COMPILED:
            seconds.append(duration)
            program = find_program(sys._getframe())
            if programs is not None and program is not None:
                programs.append(program)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seconds
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def is_own(file: str, folder: str) -> bool:
    """Return whether a file is the user's own code.

    The user's code is in the folder. The folder may also contain Python,
    packages and this workshop, but their files are not the user's own.
    """
    inside = file.startswith(f"{folder}{os.sep}")
    others = (f"{STANDARD_LIBRARY}{os.sep}", f"{WORKSHOP}{os.sep}")
    is_other = file.startswith(others) or "site-packages" in file
    return file == CALL or (inside and not is_other)


def own_lines(traceback: Any, folder: str) -> list[str]:
    """Return the user's lines that led to an operation, innermost first."""
    return [
        f"{frame.file_name}:{frame.line_num}"
        for frame in getattr(traceback, "frames", ())
        if is_own(frame.file_name, folder)
    ]


class Value(Tracer):
    """An array that notes when the user's code reads its values."""

    def __init__(self, trace: Any, array: Any) -> None:
        """Wrap the array."""
        super().__init__(trace, jax.typeof(array))
        self.array, self.used = array, False

    def to_concrete_value(self) -> Any:
        """Return the array. JAX calls this method if it needs the values."""
        return self.array

    def read(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Note that a method reads the array, and call the array's method."""
        self.used = True
        self._trace.note_read(sys._getframe(1))
        return getattr(self.array, name)(*args, **kwargs)


for name in READS:
    setattr(Value, name, functools.partialmethod(Value.read, name))


class Recorder(Trace):
    """Runs the operations of a call one by one, as JAX does outside jit.

    The recorder counts what Python sends to the device: operations, and calls
    of jitted functions. If `look` is given, the recorder calls it for each
    operation, with the operation's arguments and results.
    """

    def __init__(self, folder: str, look: Callable | None = None) -> None:
        """Prepare to record what the user's files in a folder do."""
        super().__init__()
        self.folder, self.look, self.line = folder, look, ""
        self.end = time.monotonic() + PATIENCE
        self.eager, self.calls, self.chained = Counter(), Counter(), Counter()
        self.reads, self.seconds = Counter(), Counter()
        self.programs: dict[str, Any] = {}
        self.results: dict[str, set[int]] = {}
        self.eager_loop, self.small = "", 0

    def note_read(self, frame: FrameType | None) -> None:
        """Count a read by the user's code, directly or through NumPy."""
        while frame and f"{os.sep}numpy{os.sep}" in frame.f_code.co_filename:
            frame = frame.f_back
        if frame and is_own(frame.f_code.co_filename, self.folder):
            self.reads[f"{frame.f_code.co_filename}:{frame.f_lineno}"] += 1

    def lower(self, value: Any) -> Any:
        """Return the array inside a Value; return anything else unchanged."""
        if isinstance(value, Value):
            value.used = True
            return value.array
        return value

    def process_primitive(
        self, primitive: Any, values: Any, params: dict[str, Any], /
    ) -> Any:
        """Run one operation and note it. JAX calls this for each operation."""
        if time.monotonic() > self.end:
            raise TimeoutError
        self.line = next(iter(own_lines(current().traceback, self.folder)), "")
        arrays = [self.lower(value) for value in values]
        with eval_context():
            found, seconds = time_call(
                lambda: primitive.bind(*arrays, **params)
            )
        several = primitive.multiple_results
        results = found if several else [found]
        if self.count(primitive.name, params, arrays, results):
            self.seconds[self.line] += seconds
        lifted = [Value(self, result) for result in results]
        if self.look:
            with eval_context():
                self.look(primitive, params, arrays, lifted, self.line)
        return lifted if several else lifted[0]

    def count(self, kind: str, params: dict, arrays: list, made: list) -> bool:
        """Count an operation; return whether it calls a jitted function."""
        program = getattr(params.get("jaxpr"), "jaxpr", None)
        source = (program and program.debug_info.func_src_info) or ""
        own = is_own(source.partition(" at ")[2], self.folder)
        if not (own and "name" in params):
            self.eager[self.line] += 1
            sizes = [array.size for array in made]
            self.small += max(sizes, default=0) <= FEW
            self.eager_loop = self.line if kind in LOOPS else self.eager_loop
            return False
        name = params["name"]
        self.calls[name] += 1
        before = {id(array) for array in self.results.get(name, ())}
        self.chained[name] += any(id(array) in before for array in arrays)
        self.results[name], self.programs[name] = made, params["jaxpr"]
        return True

    def stage_value(self, value: Any) -> Value:
        """Wrap a number or a NumPy array in a Value."""
        with eval_context():
            return Value(self, jax.numpy.asarray(self.lower(value)))

    def process_custom_jvp_call(
        self, _: Any, function: Any, *rest: Any, **__: Any
    ) -> Any:
        """Run a function that defines its own derivative."""
        with set_current_trace(self):
            return function.call_wrapped(*rest[-1])

    process_custom_vjp_call = process_custom_jvp_call
