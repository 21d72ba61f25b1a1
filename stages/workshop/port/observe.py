"""What a program does with JAX, seen from outside while it runs.

From jax.jit, the profiler and what is asked of JAX's arrays: nothing is read
from the text of the program.
"""

import contextlib
import functools
import inspect
import sys
import tempfile
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np

READS = ("__array__", "__bool__", "__complex__", "__float__", "__format__")
READS += ("__index__", "__int__", "__repr__", "__str__", "item", "tolist")


class Watch:
    """Everything that is seen of the programs in a folder."""

    def __init__(self, folder: Path) -> None:
        """Nothing yet."""
        self.folder = str(folder)
        self.tracing = 0
        self.bodies: dict = {}
        self.calls: Counter = Counter()
        self.chained: Counter = Counter()
        self.reads: Counter = Counter()
        self.traces: list[dict] = []
        self.programs: dict[str, Any] = {}
        self.seen: dict = defaultdict(list)
        self.results: dict = defaultdict(list)

    def forget_counts(self) -> None:
        """Count from 0 again, but remember what was traced."""
        self.traces = []
        for counter in self.calls, self.chained, self.reads:
            counter.clear()

    def line(self) -> str | None:
        """The user's line that asks for something, as FILE:NUMBER, if any."""
        frame = sys._getframe(2)
        if frame.f_code.co_filename.startswith(self.folder):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        return None

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Inside the block, what the user's files do is seen."""
        jit, array = jax.jit, type(jax.numpy.zeros(()))
        kept = {name: getattr(array, name) for name in READS}
        jax.jit = functools.wraps(jit)(functools.partial(self.jit, jit))
        for name, method in kept.items():
            setattr(array, name, self.reading(method))
        try:
            yield
        finally:
            jax.jit = jit
            for name, method in kept.items():
                setattr(array, name, method)

    def reading(self, method: Callable) -> Callable:
        """The method of JAX's arrays, counted for the line that calls it."""

        @functools.wraps(method)
        def read(*args: Any, **kwargs: Any) -> Any:
            self.reads[self.line()] += 1
            return method(*args, **kwargs)

        return read

    def jit(self, jit: Callable, *args: Any, **kwargs: Any) -> Callable:
        """What jax.jit returns, watched if the user's file asks for it."""
        line = self.line()
        made = jit(*args, **kwargs)
        if line is None:
            return made
        if not args:  # a decorator with options
            return functools.partial(self.jit_at, line, jit, **kwargs)
        return self.jit_at(line, jit, *args, **kwargs)

    def jit_at(
        self, line: str, jit: Callable, function: Callable, **kwargs: Any
    ) -> Callable:
        """The compiled function that was made in that line, watched."""
        body, traced = self.watched_body(function)
        made = jit(body, **kwargs)
        name = body.__name__

        @functools.wraps(made)
        def call(*args: Any, **kwargs: Any) -> Any:
            if self.tracing:
                return made(*args, **kwargs)
            traced.clear()
            signature = sign(function, args, kwargs)
            self.note_call(name, args, kwargs)
            self.keep_program(name, made, args, kwargs)
            result = made(*args, **kwargs)
            if traced:
                self.note_trace(name, line, id(body), signature)
            self.results[name] = jax.tree.leaves(result)
            return result

        for method in ("lower", "trace", "eval_shape", "clear_cache"):
            setattr(call, method, getattr(made, method, None))
        return call

    def watched_body(self, function: Callable) -> tuple[Callable, list]:
        """The function, and a list that grows each time that it is traced.

        One for each function: jit knows again what it has compiled before.
        """
        if function in self.bodies:
            return self.bodies[function]
        traced: list[int] = []
        named = getattr(function, "func", function)  # of a partial

        def body(*args: Any, **kwargs: Any) -> Any:
            traced.append(1)
            self.tracing += 1
            try:
                return function(*args, **kwargs)
            finally:
                self.tracing -= 1

        body.__name__ = getattr(named, "__name__", "it")
        body.__wrapped__ = function  # has the signature
        self.bodies[function] = body, traced
        return body, traced

    def note_call(self, name: str, args: tuple, kwargs: dict) -> None:
        """Count it, and whether it takes what the call before returned."""
        self.calls[name] += 1
        before = {id(leaf) for leaf in self.results[name]}
        leaves = jax.tree.leaves((args, kwargs))
        self.chained[name] += any(id(leaf) in before for leaf in leaves)

    def keep_program(
        self, name: str, made: Callable, args: tuple, kwargs: dict
    ) -> None:
        """Trace it for these arguments, the first time that it is called."""
        if name not in self.programs and hasattr(made, "trace"):
            self.programs[name] = None
            with contextlib.suppress(Exception):  # the call itself will fail
                self.programs[name] = made.trace(*args, **kwargs)

    def note_trace(
        self, name: str, line: str, body: int, signature: dict
    ) -> None:
        """Keep why it was traced: what is new since it was traced before."""
        before = self.seen[line, body]
        why = differences(signature, before) if before else []
        others = [key for key in self.seen if key != (line, body)]
        fresh = not before and any(where == line for where, _ in others)
        before.append(signature)
        self.traces.append(
            {"name": name, "line": line, "fresh": fresh, "why": why}
        )

    def watch_numpy(self, module: ModuleType) -> None:
        """See what of JAX's the module gives to NumPy, which reads it."""
        for name, value in list(vars(module).items()):
            if value is np:
                setattr(module, name, WatchedNumPy(self))


class WatchedNumPy:
    """NumPy, in which each function tells when it is given JAX's arrays."""

    def __init__(self, watch: Watch, inner: Any = np) -> None:
        """As NumPy, or as one of its functions."""
        self.watch, self.inner = watch, inner

    def __getattr__(self, name: str) -> Any:
        """As it is there, its functions watched."""
        value = getattr(self.inner, name)
        if isinstance(value, type) or not callable(value):
            return value
        return WatchedNumPy(self.watch, value)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What NumPy's function returns; counted if JAX's arrays go in."""
        if any(is_concrete(leaf) for leaf in jax.tree.leaves((args, kwargs))):
            self.watch.reads[self.watch.line()] += 1
        return self.inner(*args, **kwargs)


def is_concrete(leaf: Any) -> bool:
    """Whether it is one of JAX's arrays, and no tracer."""
    return isinstance(leaf, jax.Array) and not isinstance(
        leaf, jax.core.Tracer
    )


def sign(function: Callable, args: tuple, kwargs: dict) -> dict[str, str]:
    """The shape and dtype of each argument, or the value of what has none."""
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        names = []
    named = dict(zip(names, args, strict=False)) | kwargs
    rest = dict(enumerate(args[len(names) :]))
    leaves, _ = jax.tree_util.tree_flatten_with_path(
        {str(name): value for name, value in {**named, **rest}.items()}
    )
    signature = {
        jax.tree_util.keystr(path).replace("['", "", 1).replace("']", "", 1): (
            describe(leaf)
        )
        for path, leaf in leaves
    }
    form = f"{len(args)} by position, {len(kwargs)} by name"
    return signature | {"the form of the call": form}


def describe(leaf: Any) -> str:
    """What jax.jit looks at: the shape and the dtype, or the value."""
    if hasattr(leaf, "dtype"):
        weak = ", weak" if getattr(leaf, "weak_type", False) else ""
        return f"{leaf.dtype}{list(np.shape(leaf))}{weak}"
    value = repr(leaf)
    if len(value) > 30 or " at 0x" in value:
        return f"another {type(leaf).__name__}"
    return f"{type(leaf).__name__} {value}"


def differences(signature: dict, before: list[dict]) -> list[str]:
    """What is new against the most similar of the signatures before."""

    def against(old: dict) -> list[str]:
        return [
            f"{name} was {old.get(name)}, now {signature.get(name)}"
            for name in {**old, **signature}
            if old.get(name) != signature.get(name)
        ]

    return min(map(against, before), key=len)


def count_dispatches(run: Callable[[], Any]) -> Counter | None:
    """What is sent to the device one by one, by name, during a call.

    None where this version or system has no profiler.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        try:
            options = jax.profiler.ProfileOptions()
            options.python_tracer_level = 0
            options.host_tracer_level = 2
            tracing = jax.profiler.trace(folder, profiler_options=options)
        except (AttributeError, TypeError):
            tracing = contextlib.nullcontext()
        with tracing:
            jax.block_until_ready(run())
        for file in Path(folder).rglob("*.xplane.pb"):
            return count_calls(jax.profiler.ProfileData.from_file(str(file)))
    return None


def count_calls(profile: Any) -> Counter:
    """The outermost calls of compiled functions; JAX's own are such, too."""
    calls: Counter = Counter()
    for plane in profile.planes:
        for line in plane.lines:
            end = 0.0
            for event in sorted(line.events, key=lambda e: e.start_ns):
                name = event.name
                if name.startswith("PjitFunction(") and event.start_ns >= end:
                    calls[name[len("PjitFunction(") : -1]] += 1
                    end = event.start_ns + event.duration_ns
    return calls


@contextlib.contextmanager
def narrowings() -> Iterator[list[str]]:
    """List where 64 bits were asked for and 32 given, inside the block."""
    lines: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield lines
    for warning in caught:
        if "requested" in str(warning.message) and "64" in str(
            warning.message
        ):
            lines.append(f"{warning.filename}:{warning.lineno}")
