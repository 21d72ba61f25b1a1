"""Run the old program, or the port, in a process of its own.

Each fact is reported as soon as it is known. Evidence lists most of them.
"""

import contextlib
import functools
import json
import pickle
import re
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from importlib.util import decode_source
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np

from workshop.errors import explain_error
from workshop.harness import time_call
from workshop.port import results
from workshop.port.advice import words
from workshop.port.causes import Trial, find_causes
from workshop.port.evidence import cache_misses, observe
from workshop.port.results import Arrays, NotComparable, compare_results
from workshop.sandbox import CALL
from workshop.tracing import count_compilations, count_equations

SETUP = "--setup"
MOST, BUDGET = 50, 3.0  # calls, and seconds, for the median time of a call
PATIENCE = 5  # seconds; a call that takes longer gets no experiment
EMPTY = re.compile(r"(?<=\.)empty(?=(_like)?\()")
Tell = Callable[..., None]


class Program:
    """A program's file, and the call to make with it."""

    def __init__(self, request: dict[str, Any], path: Path) -> None:
        """Import the file as `python FILE` would, but skip its main guard."""
        self.request, self.path, self.folder = request, path, str(path.parent)
        self.names: dict[str, Any] = {}
        tolerances = {name: request[name] for name in ("rtol", "atol")}
        self.compare = functools.partial(compare_results, **tolerances)
        self.flatten = functools.partial(results.flatten, call=request["call"])
        sys.argv = [str(path)]
        sys.path.insert(0, self.folder)
        self.load()

    def load(self, empty: str = "empty") -> None:
        """Import the file again, and all modules from the same folder.

        Other functions of NumPy may replace np.empty, for an experiment.
        """
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None) or ""
            if Path(file).parent == self.path.parent:
                del sys.modules[name]
        name = self.path.stem
        name = "program" if name in sys.modules else name
        module = sys.modules[name] = ModuleType(name)
        module.__file__ = str(self.path)
        self.names = vars(module)
        text = decode_source(self.path.read_bytes())
        code = compile(EMPTY.sub(empty, text), self.path, "exec")
        exec(code, self.names)

    def set_up(self) -> dict[str, Any]:
        """Run --setup; return the names that the call sees.

        --setup runs before each call, because the program may change its
        arguments. `np` is NumPy, even if the program uses this name for
        something else.
        """
        names = self.names | {"np": np}
        exec(compile(self.request["setup"], SETUP, "exec"), names)
        return names

    def call(
        self, what: str = "call", observer: Callable | None = None
    ) -> tuple[Any, float]:
        """Return the result of a call, and the seconds until it is ready.

        observer: a trace function, which Python calls at each line.
        """
        names = self.set_up()
        code = compile(self.request[what], CALL, "eval")
        sys.settrace(observer)
        try:
            return time_call(eval, code, names)
        finally:
            sys.settrace(None)

    def median(self, *seconds: float) -> float:
        """Time more calls; return the median of all times, given and new."""
        start, times = time.monotonic() - sum(seconds), [*seconds]
        while len(times) < MOST and time.monotonic() - start < BUDGET:
            times.append(self.call()[1])
        return statistics.median(times)


def run_old(program: Program, file: Path, tell: Tell) -> None:
    """Save the results of two calls, or of one if they are the same."""
    tell(step="the old program runs")
    result, first = program.call()
    tell(step="its result can be compared")
    wants = [program.flatten(result)]
    tell(bytes=sum(array.nbytes for array in wants[0].values()))
    del result  # it may be large
    result, second = program.call()
    wants.append(program.flatten(result))
    del result
    if compare_results(wants[1], wants[0]) is None:
        wants.pop()
    file.write_bytes(pickle.dumps(wants))
    tell(old=program.median(first, second))
    if first < PATIENCE:
        check_empty(program, wants[0])


def check_empty(program: Program, want: Arrays) -> None:
    """Raise NotComparable if the result depends on what np.empty returns.

    The experiment runs the program with np.ones in place of np.empty. If the
    result changes, a second run makes sure that it does not change by itself.
    """
    text, ones = decode_source(program.path.read_bytes()), []
    with contextlib.suppress(Exception):  # np.ones may not work there
        for _ in range(2) if EMPTY.search(text) else ():
            program.load("ones")
            ones.append(program.flatten(program.call()[0]))
    repeats = len(ones) == 2 and not compare_results(*ones)
    if repeats and compare_results(ones[0], want):
        number = EMPTY.split(text)[0].count("\n") + 1
        values = {"line": f"{program.path}:{number}"}
        raise NotComparable(words("errors", "uninitialized", values))


def run_new(program: Program, file: Path, tell: Tell) -> None:
    """Compare two calls of the port with the results of the old program.

    If they differ, look for the cause. Otherwise time and observe the port.
    """
    wants, folder = pickle.loads(file.read_bytes()), program.folder
    tell(step="the port runs")
    with cache_misses(folder) as misses:
        result, first = program.call()
    tell(step="its result can be compared")
    got = program.flatten(result)
    tell(step=f"same result{changed_dtypes(got, wants[0])}")
    difference = program.compare(got, wants[0])
    with cache_misses(folder) as again, count_compilations() as compiling:
        result, second = program.call()
    later = program.flatten(result)
    if not difference:
        tell(step="same at the second call")
        difference = program.compare(later, wants[-1])
    if difference:
        tell(differs=difference._asdict())
        trial = Trial(program, difference, got, later, wants, misses)
        for causes in find_causes(trial):
            tell(causes=causes)
        return
    tell(first=first, later=program.median(second), misses=misses)
    tell(again=again, compiling=sum(compiling))
    tell(grows=compare_sizes(program), **observe(program))


def changed_dtypes(got: Arrays, want: Arrays) -> str:
    """Return a text that lists the dtypes that the port has changed."""
    pairs = {(str(got[p].dtype), str(want[p].dtype)) for p in want if p in got}
    changed = ", ".join(f"{g} for {w}" for g, w in sorted(pairs) if g != w)
    return f" ({changed})" if changed else ""


def compare_sizes(program: Program) -> list[int]:
    """Return the numbers of operations in --call and in --larger."""
    sizes = []
    with contextlib.suppress(Exception):  # tracing may fail
        for what in ("call", "larger") if program.request["larger"] else ():
            traced = jax.make_jaxpr(lambda what=what: program.call(what)[0])()
            sizes.append(count_equations(traced.jaxpr))
    return sizes


def work(tell: Tell, mode: str, request: str, path: Path) -> None:
    """Run the old or the new program; report what happens, or why it fails."""
    content, names = json.loads(request), {}
    try:
        tell(step="imports")
        program = Program(content, path)
        names = program.names
        run = run_old if mode == "old" else run_new
        run(program, Path(content["results"]), tell)
    except NotComparable as error:
        tell(why=str(error))
    except BaseException as error:
        tell(why=explain(error, path, names))


def explain(error: BaseException, path: Path, names: dict[str, Any]) -> str:
    """Return what failed, in which line, and what to do about it."""
    text = explain_error(error, path)
    files = [f.filename for f in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, UnicodeDecodeError) and str(path) not in files:
        return words("errors", "encoding", {"name": path.name})
    if str(path) in files or not {CALL, SETUP} & {*files}:
        return text
    own = [
        name
        for name, value in names.items()
        if getattr(value, "__module__", 0) == names["__name__"]
    ]
    values = {"name": path.name, "has": ", ".join(own) or "no function"}
    text = f"In {files[-1]}: {text}\n"
    if isinstance(error, NameError):
        text += words("errors", "not_there", values)
    form = "missing|takes|unexpected keyword"
    if isinstance(error, TypeError) and re.search(form, str(error)):
        text += words("errors", "not_given", values)
    return text.rstrip()
