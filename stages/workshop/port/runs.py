"""Run the old program, or the port, in a process of its own.

`old` runs the old program, `again` runs it once more in another process, `new`
runs the port, and `trace` only traces it. What is found is reported at once.
"""

import ast
import difflib
import functools
import importlib.util
import io
import json
import pickle
import re
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
from workshop.port import causes, evidence
from workshop.port.results import compare_results, flatten, tolerance
from workshop.sandbox import report
from workshop.tracing import count_compilations, describe_compilation

SINGLE = tolerance(np.zeros(1, np.float32))
RTOLS = 1e-4, 1e-3, 0.01, 0.1
MIN_LATER, MAX_LATER, BUDGET, PATIENCE = 3, 50, 1.0, 10.0
Tell = Callable[..., None]
Arrays = dict[str, np.ndarray]


class Program:
    """A file, and the call to make in it."""

    def __init__(self, request: dict[str, Any], path: Path) -> None:
        """Import the file, as `python FILE` does but for its main guard."""
        self.request, self.path, self.folder = request, path, str(path.parent)
        # A Python float has 64 bits; what it was made from may have had 32.
        self.compare = functools.partial(
            compare_results, rtol=request["rtol"], least=SINGLE
        )
        sys.argv = [str(path)]
        sys.path.insert(0, self.folder)
        self.load()

    def load(self) -> None:
        """Import the file, and the files beside it, from the beginning."""
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None) or ""
            if Path(file).parent == self.path.parent:
                del sys.modules[name]
        name = self.path.stem
        if name in sys.modules:
            name = "program"
        check_encoding(self.path)
        spec = importlib.util.spec_from_file_location(name, self.path)
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.names = vars(module)

    def set_up(self) -> dict[str, Any]:
        """Run --setup; return the names that the call sees.

        It runs before each call, since the program may change its arguments.
        `np` is NumPy, whatever the program calls so.
        """
        names = self.names | {"np": np}
        exec(compile(self.request["setup"], "--setup", "exec"), names)
        return names

    def given(self) -> dict[str, Any]:
        """Return what --setup makes, by name."""
        names = self.set_up()
        known = self.names | {"np": np, "__builtins__": 0}
        return {k: v for k, v in names.items() if known.get(k, names) is not v}

    def call(
        self, what: str = "call", names: dict[str, Any] | None = None
    ) -> tuple[Any, float]:
        """Return the result of a call, and the seconds until it is there."""
        names = self.set_up() if names is None else names
        code = compile(self.request[what], "--call", "eval")
        return time_call(eval, code, names)

    def flatten(self, result: Any) -> Arrays:
        """Return the arrays of a result by their paths."""
        return flatten(result, self.request["call"])

    def later_calls(self, spent: float) -> Iterator[float]:
        """Yield the seconds of further calls, none if one takes long."""
        start = time.monotonic() - spent
        for number in range(MAX_LATER):
            spent = time.monotonic() - start
            if spent > (BUDGET if number >= MIN_LATER else PATIENCE):
                return
            yield self.call()[1]


def check_encoding(path: Path) -> None:
    """Raise SyntaxError, as Python does, if a file is not in its encoding."""
    content = path.read_bytes()
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        content.decode(encoding)
    except (SyntaxError, UnicodeDecodeError) as error:
        raise SyntaxError(
            f"{path.name} is not in UTF-8, and Python refuses such a file."
            " Save it as UTF-8, or name its encoding in the first line:"
            " # -*- coding: latin-1 -*-"
        ) from error


def run_old(program: Program, results: Path, tell: Tell) -> None:
    """Keep the result of a call, compare it with a second, and time some."""
    tell(step="the old program runs")
    result, first = program.call()
    tell(step="its result can be compared")
    arrays = program.flatten(result)
    tell(bytes=sum(array.nbytes for array in arrays.values()))
    if not arrays:
        raise ValueError(
            "The call returns nothing. If the program changes its arguments,"
            " let the call return them: --call 'f(x, y) or (x, y)'."
        )
    results.write_bytes(pickle.dumps([arrays]))
    del result, arrays  # a large result is kept once
    result, second = program.call()
    arrays = program.flatten(result)
    wants = pickle.loads(results.read_bytes())
    repeats = compare_results(arrays, wants[0]) is None
    if not repeats:
        results.write_bytes(pickle.dumps([*wants, arrays]))
    del result, arrays, wants
    later = program.later_calls(second)
    tell(old=float(np.median([first, second, *later])), old_repeats=repeats)


def run_again(program: Program, results: Path, tell: Tell) -> None:
    """Compare the old program with what it returned in another process.

    Here the memory that NumPy hands out is not 0, but what was left in it.
    """
    wants, names = pickle.loads(results.read_bytes()), program.set_up()
    left = [np.full(n, 255, np.uint8) for n in range(1, 1025) for _ in "1234567"]
    del left
    got = program.flatten(program.call(names=names)[0])
    repeats = compare_results(got, wants[0]) is None
    text = program.path.read_text("utf-8")
    empty = re.search(r"\bempty(_like)?\(", text)
    line = text.count("\n", 0, empty.start()) + 1 if empty else 0
    named = {"uninitialized": f"{program.path}:{line}"} if empty else {}
    tell(**named, **({} if repeats else {"old_repeats": False}))


def run_new(program: Program, results: Path, tell: Tell) -> None:
    """Compare two calls with the old program, then time and watch the port."""
    wants, folder = pickle.loads(results.read_bytes()), program.folder
    want = wants[0]
    tell(step="the port runs")
    with (
        evidence.cache_misses(folder) as misses,
        warnings.catch_warnings(record=True) as warned,
    ):
        warnings.simplefilter("always")
        result, first = program.call()
    narrowed = [
        f"{warning.filename}:{warning.lineno}"
        for warning in warned
        if re.search("requested.*64", str(warning.message), re.DOTALL)
    ]
    tell(step="its result can be compared")
    is_jax = any(isinstance(x, jax.Array) for x in jax.tree.leaves(result))
    got = program.flatten(result)
    tell(step="same result", dtypes=changed_dtypes(got, want))
    difference = program.compare(got, want)
    with (
        evidence.cache_misses(folder) as again,
        count_compilations() as seconds,
    ):
        result, second = program.call()
    later_got = program.flatten(result)
    repeats = compare_results(later_got, got) is None
    if difference is None:
        tell(step="same at the second call")
        difference = program.compare(later_got, wants[-1])
        tell(at_second=difference is not None)
    if difference:
        tell(differs=difference._asdict(), repeats=repeats)
        rtols = (r for r in RTOLS if not compare_results(got, want, r))
        tell(allow=next(rtols, None))
        seen = causes.experiment(program, misses, got, wants, difference)
        for facts in seen:
            tell(**facts)
        return
    later = float(np.median([second, *program.later_calls(second)]))
    tell(first=first, later=later, floor=time_floor(got), is_jax=is_jax)
    tell(misses=misses, again=again, narrowed=narrowed)
    tell(compiling=sum(seconds), step="what JAX makes of it")
    tell(**evidence.observe(program), grows=compare_sizes(program))


def run_trace(program: Program, _: Path, tell: Tell) -> None:
    """Only trace the port, which takes too long to compile or to run."""
    jaxpr = evidence.trace(program)
    own = (e.params for e in jaxpr.eqns if "jaxpr" in e.params)
    programs = {evidence.own_name(p, program.folder): p for p in own}
    programs.pop("", None)
    tell(**evidence.look_inside(programs, program.folder))


def compare_sizes(program: Program) -> tuple[int, int]:
    """Return the operations in the program of --call, and of --larger."""
    if program.request["larger"]:
        pair = [evidence.trace(program, what) for what in ("call", "larger")]
        if all(pair):
            return tuple(map(evidence.count_equations, pair))
    return 1, 1


def changed_dtypes(got: Arrays, want: Arrays) -> str:
    """Return the dtypes that are not as they were, in a few words."""
    pairs = {(str(got[p].dtype), str(want[p].dtype)) for p in want if p in got}
    return ", ".join(f"{g} for {w}" for g, w in sorted(pairs) if g != w)


def time_floor(results: Arrays) -> float:
    """Return the seconds in which the bytes of the result can be written."""
    size = sum(array.nbytes for array in results.values())
    return min(time_call(np.full, size, 1, np.uint8)[1] for _ in range(3))


RUNS = {"old": run_old, "again": run_again, "new": run_new, "trace": run_trace}


def work(tell: Tell, mode: str, request: str, path: Path) -> None:
    """Report what is found, and why it fails if it does."""
    content = json.loads(request)
    try:
        tell(step="imports")
        program = Program(content, path)
        RUNS[mode](program, Path(content["results"]), tell)
    except BaseException as error:
        tell(why=explain(error, path, content))


def explain(error: BaseException, path: Path, request: dict) -> str:
    """Return what failed, in which line, and what to do about it."""
    files = [f.filename for f in traceback.extract_tb(error.__traceback__)]
    ours = [file for file in files if file.startswith("--")]
    if ours and str(path) not in files:
        text = f"In {ours[-1]}: {explain_error(error, path)}"
        return f"{text}\n{explain_call(error, path)}".rstrip()
    text = explain_error(error, path)
    if isinstance(error, SystemExit | EOFError) and not ours:
        text += (
            "\nThe file reads its command line or its input when it is"
            " imported. Put that part under `if __name__ == \"__main__\":`,"
            " and the computation in a function, which --call can call."
        )
    return text


def explain_call(error: BaseException, path: Path) -> str:
    """Return why the call does not fit the file, "" if that is not known."""
    if isinstance(error, NameError) and error.name:
        tree = ast.parse(path.read_bytes())
        names = [n.name for n in tree.body if hasattr(n, "name")]
        near = difflib.get_close_matches(error.name, names, cutoff=0) or names
        return (
            f"{path.name} has no `{error.name}`. It has {', '.join(near)}."
            " --call is the same for both files, so both need that name:"
            f" {error.name} = {near[0]} in {path.name}, for example."
        )
    if isinstance(error, TypeError) and "argument" in str(error):
        return (
            f"The call does not give what the function in {path.name} takes."
            " --call is the same for both files: give an argument that only"
            " one of them needs a default there, for example"
            " key=jax.random.key(0)."
        )
    return ""


if __name__ == "__main__":
    report(work, describe_compilation)
