"""What a difference comes from: the port runs again, one thing changed.

The experiments run in the process of the port. What they find is Evidence.
"""

import ast
import contextlib
import functools
import linecache
import random
import sys
import traceback
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any

import jax
import numpy as np
from jax.extend.core import set_current_trace
from jax.extend.source_info_util import current

from workshop.port.evidence import Recorder, Value, is_own
from workshop.port.results import relate

DRAWS = "a generator"  # what the state of one begins with
ELEMENTWISE = {"add": np.add, "sub": np.subtract, "mul": np.multiply}


def experiment(
    program: Any, misses: list, got: dict, wants: list, difference: Any
) -> Iterator[dict[str, Any]]:
    """Run the port again, each time with one thing changed; yield Evidence.

    wants: the results of the old program's first and last call.
    """
    path, index = difference.path, difference.index
    if path not in got or path not in wants[0]:
        return
    made = {k: v for k, v in program.given().items() if hasattr(v, "dtype")}
    yield {"relation": relate(got[path], wants[0][path], made)}
    if index is None:
        return
    tried = []
    for run, *rest in (
        (without_jit, wants, misses),
        (with_64_bits, wants[0], path, index),
        (reused_key,),
    ):
        with contextlib.suppress(Exception):  # it may fail where jit does not
            yield run(program, *rest)
            tried.append(run.__name__)
    yield {"tried": tried}


def without_jit(program: Any, wants: list[dict], misses: list[dict]) -> dict:
    """Run the port twice, one operation at a time, and watch each."""
    program.load()
    walk, watch = Walk(program.folder), Watch(program.folder, misses)
    right = []
    with (
        contextlib.suppress(TimeoutError),
        jax.disable_jit(),
        set_current_trace(walk),
    ):
        for want in wants[0], wants[-1]:
            names = program.set_up()
            sys.settrace(watch)
            try:
                result, _ = program.call(names=names)
            finally:
                sys.settrace(None)
            got = program.flatten(jax.tree.map(walk.lower, result))
            right.append(program.compare(got, want) is None)
    unused = [line for line, value in walk.made.items() if not value.used]
    return {
        "without_jit": right == [True, True],
        "changed": watch.changed,
        "events": walk.events,
        "dropped": next(iter(unused), ""),
        "draws": any("random" in name for name in walk.names),
        "sorts": "sort" in walk.names,
    }


def with_64_bits(program: Any, want: dict, path: str, index: tuple) -> dict:
    """Run the port with 64 bits; return both values where they differed."""
    with jax.enable_x64(True):
        program.load()
        got = program.flatten(program.call()[0])
    if program.compare(got, want):
        return {}
    return {"wide": [str(got[path][index]), str(want[path][index])]}


def reused_key(program: Any) -> dict[str, str]:
    """Return the line in which a key is used that has been used before."""
    program.load()
    try:
        with jax.debug_key_reuse(True), jax.disable_jit():
            program.call()
    except jax.errors.KeyReuseError as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [f for f in frames if is_own(f.filename, program.folder)]
        return {"reused": f"{own[-1].filename}:{own[-1].lineno}"}
    return {}


class Walk(Recorder):
    """Notes what may surprise in the values of each operation."""

    def __init__(self, folder: str) -> None:
        """Begin with nothing seen."""
        super().__init__(folder)
        self.names: set[str] = set()
        self.events: dict[str, list[str]] = {}
        self.made: dict[str, Value] = {}

    def lift(self, array: Any) -> Value:
        """Keep the last value that the call in a statement makes."""
        value = super().lift(array)
        if self.line and is_statement(self.line):
            self.made[self.line] = value
        return value

    def note(
        self, kind: str, params: dict, arrays: list, results: list, _: float
    ) -> None:
        """Keep the first line of each event."""
        self.names.add(kind)
        values, after = map(as_numbers, arrays), as_numbers(results[0])
        for event, detail in find_events(kind, params, [*values], after):
            self.events.setdefault(event, [self.line, detail])


@functools.cache
def find_statements(path: str) -> set[int]:
    """Return the lines of calls whose result no statement takes."""
    return {
        line
        for node in ast.walk(ast.parse("".join(linecache.getlines(path))))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
        for line in range(node.lineno, node.end_lineno + 1)
    }


def is_statement(line: str) -> bool:
    """Return whether nothing takes what the call in this line returns."""
    path, _, number = line.rpartition(":")
    return int(number) in find_statements(path)


def as_numbers(array: Any) -> np.ndarray:
    """Return an array as one of NumPy's, or an empty one for random keys."""
    dtype = getattr(array, "dtype", None)
    key = dtype is None or jax.dtypes.issubdtype(dtype, jax.dtypes.extended)
    return np.zeros(0) if key else np.asarray(array)


def find_events(
    kind: str, params: dict, values: list[np.ndarray], after: np.ndarray
) -> Iterator[tuple[str, str]]:
    """Yield what differs from NumPy, or hides a mistake, in an operation."""
    integer = after.dtype.kind in "iu"
    index, limits = find_index(kind, params, values)
    bad = index[((index < 0) | (index > limits)).any(axis=1)]
    if len(bad):
        yield "bounds", show_index(bad[0])
    # The gradient of a lookup adds up at repeated indices, as it should.
    if kind.startswith("scatter") and "transpose" not in str(
        current().name_stack
    ):
        rows, counts = np.unique(index, axis=0, return_counts=True)
        if counts.size and counts.max() > 1:
            adds = "scatter-add" if kind == "scatter-add" else "scatter"
            yield f"{adds}_repeated", show_index(rows[counts.argmax()])
    if kind == "convert_element_type" and integer:
        info, before = np.iinfo(after.dtype), values[0]
        if before.dtype.kind == "f":
            fits = (before > info.min - 1) & (before < info.max + 1)
            if not fits.all():
                yield "cast", f"{before[~fits].flat[0]:g} becomes {after.dtype}"
    if kind in ("div", "rem") and integer and np.any(values[1] == 0):
        yield "zero", ""
    if integer and overflows(kind, params, values, after):
        yield "overflow", str(after.dtype)
    if has_nan(after) and not any(map(has_nan, values)):
        yield "nan", ""


def has_nan(values: np.ndarray) -> bool:
    """Return whether a float among them is NaN."""
    return values.dtype.kind in "fc" and bool(np.isnan(values).any())


def show_index(index: np.ndarray) -> str:
    """Return an index as it is written between brackets."""
    return ", ".join(map(str, index))


def overflows(
    kind: str, params: dict, values: list, after: np.ndarray
) -> bool:
    """Return whether the result of integers does not fit into their dtype."""
    if kind in ELEMENTWISE and after.dtype.kind == "i":
        exact = ELEMENTWISE[kind](*(v.astype(float) for v in values[:2]))
    elif kind == "cumsum":
        exact = np.cumsum(values[0], params["axis"], float)
    elif kind == "reduce_sum":
        exact = values[0].sum(tuple(params["axes"]), float)
    else:
        return False
    limits = np.iinfo(after.dtype)
    return bool(np.any((exact < limits.min) | (exact > limits.max)))


def find_index(
    kind: str, params: dict, values: list
) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of an operation, a row each, and the largest allowed.

    Without rows if the operation does not index.
    """
    shape = np.array(values[0].shape if values else ())
    if kind in ("dynamic_slice", "dynamic_update_slice"):
        update = kind == "dynamic_update_slice"
        sizes = values[1].shape if update else params["slice_sizes"]
        index = np.array([[v.item() for v in values[1 + update :]]])
        return index, shape - sizes
    if kind == "gather":
        dims = [*params["dimension_numbers"].start_index_map]
        limits = (shape - params["slice_sizes"])[dims]
        return values[1].reshape(-1, len(dims)), limits
    if kind.startswith("scatter"):
        numbers = params["dimension_numbers"]
        dims = [*numbers.scatter_dims_to_operand_dims]
        return values[1].reshape(-1, len(dims)), shape[dims] - 1
    return np.zeros((0, 1)), np.zeros(1)


class Watch:
    """A trace function of Python that sees what jitted functions read."""

    def __init__(self, folder: str, misses: list[dict[str, str]]) -> None:
        """Watch the functions that JAX has traced before."""
        self.folder = folder
        self.traced = {miss["made"] for miss in misses}
        self.seen: dict = {}
        self.changed: dict[str, str] = {}

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        """Make the arguments JAX's, as jit does; compare what else is read."""
        caller: FrameType | None = frame
        if not is_own(frame.f_code.co_filename, self.folder):
            return
        while caller:
            code = caller.f_code
            if f"{code.co_filename}:{code.co_firstlineno}" in self.traced:
                break
            caller = caller.f_back
        if caller is frame:
            for name, value in [*frame.f_locals.items()]:
                if isinstance(value, np.ndarray):
                    frame.f_locals[name] = jax.numpy.asarray(value)
        for name, value in reads_of(frame) if caller else ():
            self.compare(frame.f_code, name, describe(value))

    def compare(self, code: CodeType, name: str, value: str) -> None:
        """Note the first name whose value is not what it was."""
        before = self.seen.setdefault((code, name), value)
        known = self.changed.get("name", "self.")
        if before != value and known.startswith("self.") >= name.startswith(
            "self."
        ):
            line = f"{code.co_filename}:{code.co_firstlineno}"
            self.changed = {"name": name, "function": code.co_name}
            self.changed |= {"line": line, "before": before, "after": value}


def reads_of(frame: FrameType) -> Iterator[tuple[str, Any]]:
    """Yield what a function reads from outside: its name, and the value."""
    code, owner = frame.f_code, frame.f_locals.get("self")
    for name in code.co_freevars:
        yield name, frame.f_locals.get(name)
    for name in code.co_names:
        value = frame.f_globals.get(name)
        if name in getattr(owner, "__dict__", ()):
            yield f"self.{name}", vars(owner)[name]
        elif value is np and "random" in code.co_names:
            yield f"{name}.random", np.random
        else:
            yield name, value


def describe(value: Any) -> str:
    """Return what tells a value from another; "" if that is not known."""
    if value is random:
        return f"{DRAWS} {hash(random.getstate())}"
    if value is np.random or isinstance(value, np.random.RandomState):
        return f"{DRAWS} {value.get_state()[1:3]}"
    if isinstance(value, np.random.Generator):
        return f"{DRAWS} {value.bit_generator.state}"
    if isinstance(value, Value):
        value = value.array
    plain = isinstance(value, int | float | complex | str | list | dict)
    return repr(value) if plain or hasattr(value, "dtype") else ""
