"""What a program does with JAX, seen from outside while it runs.

From jax.jit, a trace of the call, and what Python asks of JAX's arrays:
nothing is read from the text of the program.
"""

import contextlib
import dataclasses
import functools
import inspect
import os
import sys
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import jax
import numpy as np

from workshop.tracing import TRACED, count_compilations

READS = ("__array__", "__bool__", "__complex__", "__float__", "__format__")
READS += ("__index__", "__int__", "__repr__", "__str__", "item", "tolist")


class Watch:
    """Everything that is seen of the programs in a folder."""

    def __init__(self, folder: Path) -> None:
        """Nothing yet."""
        self.folder = f"{folder}{os.sep}"
        self.inside = False
        self.traced: list[float] = []
        self.programs: dict[str, Any] = {}
        self.seen: dict = defaultdict(list)
        self.results: dict = defaultdict(list)
        self.forget_counts()

    def forget_counts(self) -> None:
        """Count from 0 again, but remember what was traced."""
        self.traces: list[dict] = []
        self.calls: Counter = Counter()
        self.chained: Counter = Counter()
        self.reads: Counter = Counter()
        self.answers: list = []
        self.known: Iterator | None = None

    def line(self) -> str | None:
        """The user's line that asks for something, as FILE:NUMBER, if any."""
        frame = sys._getframe(2)
        file = frame.f_code.co_filename
        return (
            f"{file}:{frame.f_lineno}" if is_own(file, self.folder) else None
        )

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Inside the block, what the user's files do is seen."""
        jit = functools.wraps(jax.jit)(functools.partial(self.jit, jax.jit))
        with contextlib.ExitStack() as stack:
            stack.enter_context(patch.object(jax, "jit", jit))
            for kind in type(jax.numpy.zeros(())), jax.core.Tracer:
                reading = {k: self.reading(getattr(kind, k)) for k in READS}
                stack.enter_context(patch.multiple(kind, **reading))
            counted = count_compilations(what=TRACED)
            self.traced = stack.enter_context(counted)
            yield

    def reading(self, method: Callable) -> Callable:
        """The method of JAX's arrays, counted for the line that calls it."""

        @functools.wraps(method)
        def read(*args: Any, **kwargs: Any) -> Any:
            return self.answer(self.line(), method, *args, **kwargs)

        return read

    def answer(
        self, line: str | None, ask: Callable, *args: Any, **kwargs: Any
    ) -> Any:
        """What Python asks of JAX's arrays in that line; or asked before."""
        if line is None or self.inside:
            return ask(*args, **kwargs)
        if self.known is not None:
            return next(self.known)
        self.reads[line] += 1
        answer = ask(*args, **kwargs)
        if ask.__name__ != "__array__":
            self.answers.append(answer)
        return answer

    @contextlib.contextmanager
    def answered(self) -> Iterator[None]:
        """Inside the block Python gets the answers of the call before.

        So that a call can be traced that has to know values. What NumPy takes
        without asking, into an array of its own say, is 0 then.
        """
        self.known = iter(self.answers)
        zeros = functools.partialmethod(lambda x, *_, **__: np.zeros(x.shape))
        with patch.object(jax.core.Tracer, "__array__", zeros):
            yield
        self.known = None

    def watch_numpy(self, module: ModuleType) -> None:
        """See what of JAX's the module gives to NumPy, which reads it."""
        for name, value in list(vars(module).items()):
            if value is np:
                setattr(module, name, WatchedNumPy(self))

    def jit(self, jit: Callable, *args: Any, **kwargs: Any) -> Callable:
        """What jax.jit returns, watched if the user's file asks for it."""
        line = self.line()
        if line is None:
            return jit(*args, **kwargs)
        watched = functools.partial(self.jit_at, line, jit, **kwargs)
        return watched(*args) if args else watched  # a decorator

    def jit_at(
        self, line: str, jit: Callable, function: Callable, **kwargs: Any
    ) -> Callable:
        """The compiled function that was made in that line, watched."""
        made = jit(function, **kwargs)
        named = getattr(function, "func", function)  # of a partial
        made.__name__ = getattr(named, "__name__", "it")

        @functools.wraps(made)
        def call(*args: Any, **kwargs: Any) -> Any:
            if self.inside:  # what is called while it is traced is in it
                return made(*args, **kwargs)
            self.inside = True
            try:
                signature = sign(function, args, kwargs)
                self.traced.clear()
                self.note_call(made, args, kwargs)
                result = made(*args, **kwargs)
            finally:
                self.inside = False
            if self.traced:
                self.note_trace(line, made.__name__, function, signature)
            self.results[made.__name__] = jax.tree.leaves(result)
            return result

        for method in ("lower", "trace", "eval_shape", "clear_cache"):
            setattr(call, method, getattr(made, method, None))
        return call

    def note_call(self, made: Callable, args: tuple, kwargs: dict) -> None:
        """Count it, and whether it takes what the call before returned.

        The first time its program is kept, too.
        """
        name = made.__name__
        self.calls[name] += 1
        before = {id(leaf) for leaf in self.results[name]}
        leaves = jax.tree.leaves((args, kwargs))
        self.chained[name] += any(id(leaf) in before for leaf in leaves)
        if name not in self.programs:
            self.programs[name] = None
            with contextlib.suppress(Exception):  # the call itself will fail
                self.programs[name] = made.trace(*args, **kwargs)

    def note_trace(
        self, line: str, name: str, function: Callable, signature: dict
    ) -> None:
        """Keep why it was traced: what is new since it was traced before."""
        before = self.seen[line, function]
        others = {where for where, other in self.seen if other != function}
        self.traces.append(
            {
                "name": name,
                "line": line,
                "fresh": not before and line in others,
                "why": differences(signature, before),
            }
        )
        before.append(signature)


@dataclasses.dataclass
class WatchedNumPy:
    """NumPy, or of it one function: tells when it is given JAX's arrays."""

    watch: Watch
    inner: Any = np

    def __getattr__(self, name: str) -> Any:
        """As it is there, its functions watched."""
        value = getattr(self.inner, name)
        if isinstance(value, type) or not callable(value):
            return value
        return WatchedNumPy(self.watch, value)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What NumPy's function returns; counted if JAX's arrays go in."""
        leaves = jax.tree.leaves((args, kwargs))
        if any(isinstance(leaf, jax.Array) for leaf in leaves):
            line = self.watch.line()
            return self.watch.answer(line, self.inner, *args, **kwargs)
        return self.inner(*args, **kwargs)


def is_own(file: str, folder: str) -> bool:
    """Whether the user wrote it; the packages may lie in the folder, too."""
    return file.startswith(folder) and "site-packages" not in file


def sign(function: Callable, args: tuple, kwargs: dict) -> dict[str, str]:
    """The shape and dtype of each argument, or the value of what has none."""
    named = {str(i): arg for i, arg in enumerate(args)} | kwargs
    with contextlib.suppress(TypeError, ValueError):
        named = inspect.signature(function).bind(*args, **kwargs).arguments
    leaves, _ = jax.tree_util.tree_flatten_with_path(named)
    signature = {
        f"{path[0].key}{jax.tree_util.keystr(path[1:])}": describe(leaf)
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
    against = (
        [
            f"{name} was {old.get(name)}, now {signature.get(name)}"
            for name in old | signature
            if old.get(name) != signature.get(name)
        ]
        for old in before
    )
    return min(against, key=len, default=[])


@contextlib.contextmanager
def narrowings() -> Iterator[list[str]]:
    """List where 64 bits were asked for and 32 given, inside the block."""
    lines: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield lines
    for warning in caught:
        text = str(warning.message)
        if "requested" in text and "64" in text:
            lines.append(f"{warning.filename}:{warning.lineno}")
