"""Find the cause of a difference: run the port with one thing changed.

The experiments run in the process of the port. Each returns fields of
Evidence.
"""

import ast
import contextlib
import functools
import linecache
import random
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import jax
import numpy as np
from jax.extend.core import set_current_trace
from jax.extend.source_info_util import current

from workshop.port.facts import DRAWS
from workshop.port.results import Arrays, Difference, relate
from workshop.tracing import Recorder, Value, is_own

SUMS = {"add", "sub", "mul", "cumsum", "reduce_sum", "dot_general"}
SUMS |= {"reduce_prod", "cumprod"}
LIST_METHODS = {"append", "extend", "insert"}
FAR_LESS = 1e-4
NOTHING = np.zeros(0)


def experiment(
    program: Any, difference: Difference, got: Arrays, wants: list[Arrays]
) -> Iterator[dict[str, Any]]:
    """Run the port again with one thing changed; yield fields of Evidence.

    wants: the results of the old program's first and last call, or only one
    result if both calls return the same.
    """
    path, index, want = difference.path, difference.index, wants[0]
    if not path:
        return
    given = {
        name: value
        for name, value in program.set_up().items()
        if hasattr(value, "dtype") and program.names.get(name) is not value
    }
    yield {"rebound": find_rebound(program.path)}
    yield {"relation": relate(got[path], want[path], given)}
    tried: list[str] = []
    for run in EXPERIMENTS if index is not None else ():
        with contextlib.suppress(Exception):  # an experiment may fail
            found = run(program, got, wants, path, index)
            if found.pop("ended", True):
                tried.append(run.__name__)
            yield found
    yield {"tried": tried}


def without_jit(
    program: Any, _: Arrays, wants: list[Arrays], *__: Any
) -> dict[str, Any]:
    """Call the port twice without jit, and watch each operation.

    If this takes too long, "ended" is False.
    """
    program.load()
    walk, watch, right = Walk(), Watch(program), []
    recorder = Recorder(program.folder, walk.look)
    with contextlib.suppress(TimeoutError):
        for want in wants[0], wants[-1]:
            got = call_watched(program, recorder, watch)
            right.append(program.compare(got, want) is None)
    unused = [line for line, value in walk.made.items() if not value.used]
    unused = unused if right else []  # unknown if no call has ended
    return {
        "ended": len(right) == 2,
        "without_jit": right == [True, True],
        "changed": watch.changed,
        "events": walk.events,
        "dropped": unused[0] if unused else "",
        "operations": sorted(walk.operations),
    }


def call_watched(program: Any, recorder: Recorder, watch: Any) -> Arrays:
    """Call the port without jit under both observers; return its result."""
    names = program.set_up()
    with jax.disable_jit(), set_current_trace(recorder):
        sys.settrace(watch)
        try:
            result, _ = program.call(names=names)
        finally:
            sys.settrace(None)
        result = jax.tree.map(recorder.lower, result)
    return program.flatten(result)


def with_64_bits(
    program: Any, got: Arrays, wants: list[Arrays], path: str, index: tuple
) -> dict[str, list[str]]:
    """Run the port with 64 bits, and return what this changes.

    If the results are now the same, return both values at the index where
    they differed. If the results still differ, but far less, return the
    largest difference before and after.
    """
    with jax.enable_x64(True):
        program.load()
        wide = program.flatten(program.call()[0])
    want = wants[0][path]
    if program.compare(wide, wants[0]) is None:
        return {"wide": [str(wide[path][index]), str(want[index])]}
    before, after = (np.abs(a[path] - want).max() for a in (got, wide))
    shrinks = want.dtype.kind in "fc" and after < FAR_LESS * before
    return {"shrinks": [f"{before:.1g}", f"{after:.1g}"] if shrinks else []}


def reused_key(program: Any, *_: Any) -> dict[str, str]:
    """Return the line that uses a random key for the second time."""
    program.load()
    try:
        with jax.debug_key_reuse(True), jax.disable_jit():
            program.call()
    except jax.errors.KeyReuseError as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [f for f in frames if is_own(f.filename, program.folder)]
        return {"reused": f"{own[-1].filename}:{own[-1].lineno}"}
    return {}


class Walk:
    """A record of surprising values in the operations of a run."""

    def __init__(self) -> None:
        """Begin with an empty record."""
        self.operations: set[str] = set()
        self.events: dict[str, list[str]] = {}
        self.made: dict[str, Value] = {}

    def look(
        self, primitive: Any, params: dict, arrays: list, made: list, line: str
    ) -> None:
        """Keep the line where each kind of event first occurs.

        Also keep the result of a statement that only makes a call.
        """
        self.operations.add(primitive.name)
        path, _, number = line.rpartition(":")
        if path and int(number) in find_statements(path):
            self.made[line] = made[-1]
        values, after = map(as_numbers, arrays), as_numbers(made[0].array)
        found = find_events(primitive, params, [*values], after)
        for event, detail in found:
            self.events.setdefault(event, [line, detail])


@functools.cache
def find_statements(path: str) -> set[int]:
    """Return the lines of calls whose result is not used."""
    return {
        line
        for node in ast.walk(ast.parse("".join(linecache.getlines(path))))
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and getattr(node.value.func, "attr", "") not in LIST_METHODS
        for line in range(node.lineno, node.end_lineno + 1)
    }


def find_rebound(path: Path) -> dict[str, str]:
    """Return the name and the line of an argument that a function rebinds.

    The function assigns an updated array to the argument, but returns nothing.
    """
    for node in ast.walk(ast.parse(path.read_bytes())):
        if not isinstance(node, ast.FunctionDef):
            continue
        inner = [*ast.walk(node)]
        names = {argument.arg for argument in node.args.args}
        if any(isinstance(part, ast.Return | ast.Yield) for part in inner):
            continue
        for part in inner:
            if isinstance(part, ast.Assign) and ".at[" in ast.unparse(part):
                name = ast.unparse(part.targets[0])
                if name in names:
                    return {"name": name, "line": f"{path}:{part.lineno}"}
    return {}


def as_numbers(array: Any) -> np.ndarray:
    """Return an array as a NumPy array; return no values for random keys."""
    dtype = getattr(array, "dtype", jax.dtypes.extended)
    key = jax.dtypes.issubdtype(dtype, jax.dtypes.extended)
    return NOTHING if key else np.asarray(array)


def find_events(
    primitive: Any, params: dict, values: list[np.ndarray], after: np.ndarray
) -> Iterator[tuple[str, str]]:
    """Yield the name and a detail of each event in an operation.

    An event is a result that NumPy would not give, or that hides a mistake.
    """
    kind = primitive.name
    yield from find_index_events(kind, params, values)
    if after.dtype.kind in "iu":
        if kind == "convert_element_type" and values[0].dtype.kind == "f":
            yield from find_casts(values[0], after.dtype)
        if kind in ("div", "rem") and np.any(values[1] == 0):
            yield "zero", ""
        # Unsigned integers wrap around on purpose, but not in a sum.
        if kind in SUMS and (after.dtype.kind == "i" or "sum" in kind):
            yield from find_overflow(primitive, params, values, after.dtype)
    if has_nan(after) and not any(map(has_nan, values)):
        yield "nan", ""


def find_index_events(
    kind: str, params: dict, values: list[np.ndarray]
) -> Iterator[tuple[str, str]]:
    """Yield the first index out of bounds, and the first written twice."""
    index, limits = find_index(kind, params, values)
    for row in index[((index < 0) | (index > limits)).any(axis=1)][:1]:
        yield "bounds", ", ".join(map(str, row))
    # The gradient of a lookup adds up at repeated indices, as it should.
    gradient = "transpose" in str(current().name_stack)
    if kind.startswith("scatter") and not gradient:
        rows, counts = np.unique(index, axis=0, return_counts=True)
        for row in rows[counts > 1][:1]:
            name = "added" if kind == "scatter-add" else "repeated"
            yield name, ", ".join(map(str, row))


def find_casts(before: np.ndarray, dtype: Any) -> Iterator[tuple[str, str]]:
    """Yield a float that an integer dtype cannot hold."""
    info = np.iinfo(dtype)
    fits = (before > info.min - 1) & (before < info.max + 1)
    if not fits.all():
        yield "cast", f"The value {before[~fits].flat[0]:g} becomes {dtype},"


def find_overflow(
    primitive: Any, params: dict, values: list[np.ndarray], dtype: Any
) -> Iterator[tuple[str, str]]:
    """Yield the dtype of a sum if the sum in floats does not fit in it."""
    floats = (jax.numpy.asarray(value, float) for value in values)
    params = {k: v for k, v in params.items() if "element_type" not in k}
    exact, limits = primitive.bind(*floats, **params), np.iinfo(dtype)
    if jax.numpy.any((exact < limits.min) | (exact > limits.max)):
        yield "overflow", str(dtype)


def has_nan(values: np.ndarray) -> bool:
    """Return whether any of the values is NaN."""
    return values.dtype.kind in "fc" and bool(np.isnan(values).any())


def find_index(
    kind: str, params: dict, values: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return an operation's indices, and the largest index allowed.

    Each row is one index. There are no rows if the operation uses no index.
    """
    shape = np.array(values[0].shape if values else ())
    if kind in ("dynamic_slice", "dynamic_update_slice"):
        update = kind == "dynamic_update_slice"
        sizes = values[1].shape if update else params["slice_sizes"]
        return np.array([values[1 + update :]]).reshape(1, -1), shape - sizes
    dims, limits = [], shape - 1
    if kind == "gather":
        dims = [*params["dimension_numbers"].start_index_map]
        limits = shape - params["slice_sizes"]
    if kind.startswith("scatter"):
        numbers = params["dimension_numbers"]
        dims = [*numbers.scatter_dims_to_operand_dims]
    if dims:  # x.at[:].set(v) has no index
        return values[1].reshape(-1, len(dims)), limits[dims]
    return np.zeros((0, 1)), np.zeros(1)


class Watch:
    """A Python trace function that notes what jitted functions read."""

    def __init__(self, program: Any) -> None:
        """Watch the functions of a program that JAX has already traced."""
        self.folder = program.folder
        self.traced = {miss["made"] for miss in program.misses}
        self.seen: dict[tuple[CodeType, str], str] = {}
        self.changed: dict[str, str] = {}

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        """Convert arguments to JAX arrays, as jit does.

        Also check whether values that a function reads from outside have
        changed since it first read them.
        """
        if not is_own(frame.f_code.co_filename, self.folder):
            return
        caller: FrameType | None = frame
        while caller and place_of(caller.f_code) not in self.traced:
            caller = caller.f_back
        for name, value in reads_of(frame) if caller else ():
            self.compare(frame.f_code, name, describe(value))
        if caller is frame:  # do this last: before 3.13 f_locals is a copy
            names = frame.f_locals
            for name, value in [*names.items()]:
                if isinstance(value, np.ndarray):
                    names[name] = jax.numpy.asarray(value)

    def compare(self, code: CodeType, name: str, value: str) -> None:
        """Note a name whose value has changed since its first read.

        An attribute of `self` never replaces another name, because `self` may
        be an argument.
        """
        before = self.seen.setdefault((code, name), value)
        known = self.changed.get("name", "self.").startswith("self.")
        if before != value and known >= name.startswith("self."):
            self.changed = {"name": name, "function": code.co_name}
            self.changed |= {"line": place_of(code)}
            self.changed |= {"before": before[:30], "after": value[:30]}


def place_of(code: CodeType) -> str:
    """Return where a function begins, as FILE:NUMBER."""
    return f"{code.co_filename}:{code.co_firstlineno}"


def reads_of(frame: FrameType) -> Iterator[tuple[str, Any]]:
    """Yield each name that a function reads from outside, and its value."""
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
    """Return a text that changes when the value changes.

    Return "" for a value that cannot be compared this way.
    """
    if value is random:
        return f"{DRAWS} {hash(random.getstate())}"
    if value is np.random or isinstance(value, np.random.RandomState):
        return f"{DRAWS} {value.get_state()[1:3]}"
    if isinstance(value, np.random.Generator):
        return f"{DRAWS} {value.bit_generator.state}"
    value = value.array if isinstance(value, Value) else value
    plain = isinstance(value, int | float | complex | str | list | dict)
    return repr(value) if plain or hasattr(value, "dtype") else ""


EXPERIMENTS = without_jit, with_64_bits, reused_key
