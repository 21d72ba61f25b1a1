"""Find the cause of a difference: run the port with one thing changed.

The experiments run in the process of the port. Each adds the causes that it
finds to Trial.causes: a name of [causes] in advice.toml, and the values to
fill into its text. That file tells which cause is the surest.
"""

import ast
import contextlib
import dataclasses
import functools
import linecache
import random
import traceback
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any

import jax
import numpy as np
from jax.extend.core import set_current_trace
from jax.extend.source_info_util import current

from workshop.port.advice import words
from workshop.port.results import Arrays, Difference, compare_results, relate
from workshop.tracing import Recorder, Value, is_own

SUMS = {"add", "sub", "mul", "cumsum", "reduce_sum", "dot_general"}
SUMS |= {"reduce_prod", "cumprod"}
LIST_METHODS = {"append", "extend", "insert"}
FAR_LESS = 1e-4  # times a difference
SMALL = 1e-4  # a difference that may be allowed, whatever the values
DRAWS = "a generator"  # how the description of a random generator begins


@dataclasses.dataclass
class Trial:
    """A port whose result differs, and the causes that have been found.

    wants: the results of the old program's first and last call, or only one
    result if both calls return the same.
    """

    program: Any
    difference: Difference
    got: Arrays
    later: Arrays  # the result of the second call
    wants: list[Arrays]
    misses: list[dict]  # what JAX has traced in the first call
    causes: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    operations: set[str] = dataclasses.field(default_factory=set)


def find_causes(trial: Trial) -> Iterator[dict[str, dict[str, Any]]]:
    """Make one experiment after the other; yield the causes found so far."""
    is_value = trial.difference.index is not None
    tried = []
    for run in EXPERIMENTS if is_value else [compare_numbers]:
        with contextlib.suppress(Exception):  # an experiment may fail
            if run(trial):
                tried.append(run.__name__)
        yield trial.causes
    if tried:
        excluded = ", ".join(words("experiments", name) for name in tried)
        ended = "without_jit" in tried
        hint = "" if ended else f" {words('experiments', 'unfinished')}"
        trial.causes["unknown"] = {"tried": excluded, "hint": hint}
        yield trial.causes


def compare_numbers(trial: Trial) -> None:
    """Find out what the port's wrong array has in common with other arrays."""
    program, path = trial.program, trial.difference.path
    given = {
        name: value
        for name, value in program.set_up().items()
        if isinstance(value, np.ndarray | jax.Array)
        and program.names.get(name) is not value
    }
    name, detail = relate(trial.got[path], trial.wants[0][path], given)
    if name == "shuffled" and "sort" in trial.operations:
        name = "ties"
    if name:
        trial.causes[name] = {"detail": detail}


def compare_calls(trial: Trial) -> None:
    """Find out whether a program draws random numbers, or keeps something."""
    draws = any("random" in name for name in trial.operations)
    repeats = compare_results(trial.later, trial.got) is None
    if trial.program.compare(trial.got, trial.wants[0]) is None:
        trial.causes["second"] = {}
    old_repeats = len(trial.wants) == 1
    which = {"which": "the port" if old_repeats else "the old program"}
    name = "draws" if draws else ""
    if not (repeats and old_repeats):
        name = "frozen" if repeats and not draws else "not_repeated"
    if name:
        fact = words("experiments", name, which)
        trial.causes["draws"] = {"fact": fact}


def without_jit(trial: Trial) -> bool:
    """Call the port twice without jit, and watch each operation.

    Return False if this takes too long.
    """
    trial.program.load()
    walk, watch, right = Walk(), Watch(trial), []
    recorder = Recorder(trial.program.folder, walk.look)
    with contextlib.suppress(TimeoutError):
        for want in trial.wants[0], trial.wants[-1]:
            with jax.disable_jit(), set_current_trace(recorder):
                result, _ = trial.program.call(observer=watch)
                result = jax.tree.map(recorder.lower, result)
            got = trial.program.flatten(result)
            right.append(trial.program.compare(got, want) is None)
    trial.operations, ended = walk.operations, len(right) == 2
    if "NaN" not in trial.difference.text:
        walk.events.pop("nan", None)
    trial.causes |= walk.events
    unused = [line for line, value in walk.made.items() if not value.used]
    if right and unused:
        trial.causes["dropped"] = {"line": unused[0]}
    if right == [True, True] or (watch.changed and not ended):
        proof = words("experiments", "proven" if ended else "probable")
        name = "fixed_value" if watch.changed else "fixed"
        if watch.changed.get("before", "").startswith(DRAWS):
            name = "fixed_draws"
        trial.causes[name] = watch.changed | {"proof": proof}
    return ended


def with_64_bits(trial: Trial) -> bool:
    """Run the port with 64 bits: it may be right now, or far less wrong."""
    with jax.enable_x64(True):
        trial.program.load()
        wide = trial.program.flatten(trial.program.call()[0])
    path, want = trial.difference.path, trial.wants[0]
    before, after = (
        np.abs(np.subtract(got[path], want[path], dtype=complex)).max()
        for got in (trial.got, wide)
    )
    floats = want[path].dtype.kind in "fc"
    better = floats and after < FAR_LESS * before
    better = better or trial.program.compare(wide, want) is None
    # An integer that is too large, or a cast, is a better explanation.
    if better and not {"overflow", "cast"} & trial.causes.keys():
        values = {"before": f"{before:.1g}", "after": f"{after:.1g}"}
        values["allow"] = ""
        size = np.abs(want[path]).max()
        if before < max(0.01 * size, SMALL):
            option = f"--atol {2 * before:.1g}"
            values["allow"] = f" To allow for it: {option}."
        trial.causes["precision"] = values
    return True


def reused_key(trial: Trial) -> bool:
    """Run the port so that JAX raises an error if a key is used again."""
    program = trial.program
    program.load()
    try:
        with jax.debug_key_reuse(True), jax.disable_jit():
            program.call()
    except jax.errors.KeyReuseError as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [f for f in frames if is_own(f.filename, program.folder)]
        line = f"{own[-1].filename}:{own[-1].lineno}"
        trial.causes["reused"] = {"line": line}
    return True


class Walk:
    """A record of surprising values in the operations of a run."""

    def __init__(self) -> None:
        """Begin with an empty record."""
        self.operations: set[str] = set()
        self.events: dict[str, dict[str, str]] = {}
        self.made: dict[str, Value] = {}

    def look(
        self, primitive: Any, params: dict, arrays: list, made: list, line: str
    ) -> None:
        """Keep the line where each kind of event first occurs.

        Also keep the last array of each line that find_unused returns.
        """
        self.operations.add(primitive.name)
        path, _, number = line.rpartition(":")
        if path and int(number) in find_unused(path):
            self.made[line] = made[-1]
        values, after = map(as_numbers, arrays), as_numbers(made[0].array)
        found = find_events(primitive, params, [*values], after)
        for event, detail in found:
            values = {"line": line, "detail": detail}
            self.events.setdefault(event, values)


@functools.cache
def find_unused(path: str) -> set[int]:
    """Return the lines of a file whose new array nothing seems to use.

    Such a line is a call, or assigns x.at[i].set(v) to a name that is not read
    anywhere else in the function.
    """
    found: set[int] = set()
    for node in ast.walk(ast.parse("".join(linecache.getlines(path)))):
        call = node.value if isinstance(node, ast.Expr) else None
        method = getattr(getattr(call, "func", None), "attr", "")
        if isinstance(call, ast.Call) and method not in LIST_METHODS:
            found.update(range(node.lineno, node.end_lineno + 1))
        inner = ast.walk(node) if isinstance(node, ast.FunctionDef) else ()
        for part in inner:
            if isinstance(part, ast.Assign) and ".at[" in ast.unparse(part):
                name = ast.unparse(part.targets[0])
                if 0 < count_reads(node, name) == count_reads(part, name):
                    found.update(range(part.lineno, part.end_lineno + 1))
    return found


def count_reads(node: ast.AST, name: str) -> int:
    """Return how often a part of a program reads a variable."""
    names = [part for part in ast.walk(node) if isinstance(part, ast.Name)]
    return sum(n.id == name and isinstance(n.ctx, ast.Load) for n in names)


def as_numbers(array: Any) -> np.ndarray:
    """Return an array as a NumPy array; return no values for random keys."""
    dtype = getattr(array, "dtype", jax.dtypes.extended)
    key = jax.dtypes.issubdtype(dtype, jax.dtypes.extended)
    return np.zeros(0) if key else np.asarray(array)


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
            lost = values[0][after != np.trunc(values[0])]
            for value in lost[:1]:
                yield "cast", f"The value {value:g} becomes {after.dtype},"
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
    shape, dims = np.array(values[0].shape if values else ()), []
    if kind == "dynamic_slice":
        return np.array([values[1:]]), shape - params["slice_sizes"]
    if kind == "dynamic_update_slice":
        return np.array([values[2:]]), shape - values[1].shape
    limits = shape - params.get("slice_sizes", 1)
    numbers = params.get("dimension_numbers")
    if kind == "gather":
        dims = [*numbers.start_index_map]
    if kind.startswith("scatter"):
        dims = [*numbers.scatter_dims_to_operand_dims]
    if dims:  # x.at[:].set(v) has no index
        return values[1].reshape(-1, len(dims)), limits[dims]
    return np.zeros((0, 1)), np.zeros(1)


class Watch:
    """A Python trace function that notes what jitted functions read."""

    def __init__(self, trial: Trial) -> None:
        """Watch the functions of a program that JAX has already traced."""
        self.folder = trial.program.folder
        self.traced = {miss["made"] for miss in trial.misses}
        self.seen: dict[tuple[CodeType, str], str] = {}
        self.changed: dict[str, str] = {}

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        """Convert arguments to JAX arrays, as jit does.

        Also note the first value that a function reads from outside and that
        has changed since the function read it before.
        """
        if not is_own(frame.f_code.co_filename, self.folder):
            return
        caller: FrameType | None = frame
        while caller and place_of(caller.f_code) not in self.traced:
            caller = caller.f_back
        for name, value in reads_of(frame) if caller else ():
            after, code = describe(value), frame.f_code
            before = self.seen.setdefault((code, name), after)
            if before != after and not self.changed:
                self.changed = {"name": name, "function": code.co_name}
                self.changed |= {"line": place_of(code)}
                self.changed |= {"before": before[:30], "after": after[:30]}
        if caller is frame:  # do this last: before 3.13 f_locals is a copy
            names = frame.f_locals
            for name, value in [*names.items()]:
                if isinstance(value, np.ndarray):
                    names[name] = jax.numpy.asarray(value)


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


EXPERIMENTS = [without_jit, with_64_bits, reused_key]
EXPERIMENTS += [compare_numbers, compare_calls]
