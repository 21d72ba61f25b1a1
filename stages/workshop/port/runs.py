"""Run the old program, or the port, in a process of its own.

`old` runs the old program, `again` runs it once more in another process, and
`new` runs the port. Each fact is reported as soon as it is known; Evidence
lists the facts.
"""

import contextlib
import importlib.util
import json
import pickle
import re
import statistics
import sys
import time
import tokenize
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from workshop.errors import explain_error
from workshop.harness import time_call
from workshop.port.advice import words
from workshop.port.causes import experiment
from workshop.port.evidence import observe
from workshop.port.facts import find_empty
from workshop.port.results import (
    Arrays,
    Difference,
    compare_results,
    find_tolerance,
    flatten,
)
from workshop.sandbox import CALL
from workshop.tracing import (
    cache_misses,
    count_compilations,
    count_equations,
    own_frame,
)

SETUP = "--setup"
MIN_LATER, MAX_LATER, BUDGET, PATIENCE = 3, 50, 1.0, 10.0
Tell = Callable[..., None]


class Program:
    """A program's file, and the call to make with it."""

    def __init__(self, request: dict[str, Any], path: Path) -> None:
        """Import the file as `python FILE` would, but skip its main guard."""
        self.request, self.path, self.folder = request, path, str(path.parent)
        self.misses: list[dict] = []
        self.names: dict[str, Any] = {}
        sys.argv = [str(path)]
        sys.path.insert(0, self.folder)
        self.load()

    def load(self) -> None:
        """Import the file again, and all modules from the same folder."""
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None) or ""
            if Path(file).parent == self.path.parent:
                del sys.modules[name]
        name = self.path.stem
        name = "program" if name in sys.modules else name
        try:
            with tokenize.open(self.path) as file:
                file.read()
        except (SyntaxError, UnicodeDecodeError):
            text = words("encoding", "says", {"name": self.path.name})
            raise SyntaxError(text) from None
        spec = importlib.util.spec_from_file_location(name, self.path)
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        self.names = vars(module)
        spec.loader.exec_module(module)

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
        self, what: str = "call", names: dict[str, Any] | None = None
    ) -> tuple[Any, float]:
        """Return the result of a call, and the seconds until it is ready."""
        names = self.set_up() if names is None else names
        code = compile(self.request[what], CALL, "eval")
        return time_call(eval, code, names)

    def median(self, *seconds: float) -> float:
        """Time more calls; return the median of all times, given and new."""
        start, times = time.monotonic() - seconds[-1], [*seconds]
        for number in range(MAX_LATER):
            spent = time.monotonic() - start
            if spent > (BUDGET if number >= MIN_LATER else PATIENCE):
                break
            times.append(self.call()[1])
        return statistics.median(times)

    def flatten(self, result: Any) -> Arrays:
        """Return a result's arrays by their paths; fail if it has no array."""
        if arrays := flatten(result, self.request["call"]):
            return arrays
        raise ValueError(words("nothing", "says"))

    def compare(self, got: Arrays, want: Arrays) -> Any:
        """Return the first difference that --rtol and --atol do not allow."""
        tolerances = self.request["rtol"], self.request["atol"]
        return compare_results(got, want, *tolerances)


def run_old(program: Program, results: Path, tell: Tell) -> None:
    """Save the result of a call, compare it with the next, time more calls."""
    tell(step="old_runs")
    result, first = program.call()
    tell(step="comparable")
    arrays = program.flatten(result)
    tell(bytes=sum(array.nbytes for array in arrays.values()))
    results.write_bytes(pickle.dumps([arrays]))
    del result, arrays  # hold only one copy of a large result
    result, second = program.call()
    arrays, wants = program.flatten(result), pickle.loads(results.read_bytes())
    repeats = compare_results(arrays, wants[0]) is None
    if not repeats:
        results.write_bytes(pickle.dumps([*wants, arrays]))
    del result, arrays, wants
    tell(old_repeats=repeats, old=program.median(first, second))


def run_again(program: Program, results: Path, tell: Tell) -> None:
    """Run the old program again; compare with its result in another process.

    In this process, new memory from NumPy holds leftover values, not zeros.
    """
    wants, names = pickle.loads(results.read_bytes()), program.set_up()
    left = [np.full(i // 7, 255, np.uint8) for i in range(7, 7175)]
    del left
    got = program.flatten(program.call(names=names)[0])
    if compare_results(got, wants[0]):
        tell(old_repeats=False, uninitialized=find_empty(program.path))


def run_new(program: Program, results: Path, tell: Tell) -> None:
    """Compare two calls of the port with the results of the old program.

    If they differ, look for the cause. Otherwise time and observe the port.
    """
    wants, folder = pickle.loads(results.read_bytes()), program.folder
    tell(step="new_runs")
    with cache_misses(folder) as misses, narrowing(folder) as narrowed:
        result, first = program.call()
    program.misses = misses
    tell(step="comparable", is_jax=has_jax(result))
    got = program.flatten(result)
    tell(step="same_result", dtypes=changed_dtypes(got, wants[0]))
    difference = program.compare(got, wants[0])
    with cache_misses(folder) as again, count_compilations() as seconds:
        result, second = program.call()
    later_got = program.flatten(result)
    if difference is None:
        tell(step="same_again")
        difference = program.compare(later_got, wants[-1])
        tell(at_second=difference is not None)
    if difference:
        tell(repeats=compare_results(later_got, got) is None)
        tell_difference(program, difference, got, wants, tell)
    else:
        tell(first=first, later=program.median(second), misses=misses)
        tell(again=again, compiling=sum(seconds), narrowed=narrowed)
        tell(grows=compare_sizes(program), **observe(program))


def tell_difference(
    program: Program,
    difference: Difference,
    got: Arrays,
    wants: list[Arrays],
    tell: Tell,
) -> None:
    """Report a difference, the tolerance that allows for it, and its cause."""
    tell(differs=difference._asdict(), allow=find_tolerance(got, wants[0]))
    for facts in experiment(program, difference, got, wants):
        tell(**facts)


@contextlib.contextmanager
def narrowing(folder: str) -> Iterator[list[str]]:
    """List the lines that ask for 64 bits in the block, but get 32."""
    lines: list[str] = []

    def note(message: Warning | str, *_: Any) -> None:
        frame = own_frame(sys._getframe(), folder)
        if frame and "requested dtype" in str(message):
            lines.append(f"{frame.f_code.co_filename}:{frame.f_lineno}")

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = note
        yield lines


def has_jax(result: Any) -> bool:
    """Return whether a result contains a JAX array."""
    return any(isinstance(x, jax.Array) for x in jax.tree.leaves(result))


def changed_dtypes(got: Arrays, want: Arrays) -> str:
    """Return a text that lists the dtypes that the port has changed."""
    pairs = {(str(got[p].dtype), str(want[p].dtype)) for p in want if p in got}
    return ", ".join(f"{g} for {w}" for g, w in sorted(pairs) if g != w)


def compare_sizes(program: Program) -> list[int]:
    """Return the numbers of operations in --call and in --larger."""
    sizes = []
    with contextlib.suppress(Exception):  # tracing may fail
        for what in ("call", "larger") if program.request["larger"] else ():
            traced = jax.make_jaxpr(lambda what=what: program.call(what)[0])()
            sizes.append(count_equations(traced.jaxpr))
    return sizes


RUNS = {"old": run_old, "again": run_again, "new": run_new}


def work(tell: Tell, mode: str, request: str, path: Path) -> None:
    """Run a mode of RUNS, and report what it finds, or why it fails."""
    content, names = json.loads(request), {}
    try:
        tell(step="imports")
        program = Program(content, path)
        names = program.names
        RUNS[mode](program, Path(content["results"]), tell)
    except BaseException as error:
        tell(why=explain(error, path, names))


def explain(error: BaseException, path: Path, names: dict[str, Any]) -> str:
    """Return what failed, in which line, and what to do about it."""
    text = explain_error(error, path)
    files = [f.filename for f in traceback.extract_tb(error.__traceback__)]
    if str(path) in files or not {CALL, SETUP} & {*files}:
        return text
    module = names["__name__"]
    own = [
        n for n, v in names.items() if getattr(v, "__module__", 0) == module
    ]
    values = {"name": path.name, "has": ", ".join(own) or "no function"}
    text = f"In {files[-1]}: {text}\n"
    if isinstance(error, NameError):
        text += words("not_there", "says", values)
    form = "missing|takes|unexpected keyword"
    if isinstance(error, TypeError) and re.search(form, str(error)):
        text += words("not_given", "says", values)
    return text.rstrip()
