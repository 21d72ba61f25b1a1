"""Run one program for port.py, in a process of its own.

It is run as it is (old), as the port (new), as the port with 64 bits (wide)
or as the port that is only traced (trace). What is found is told at once.
"""

import contextlib
import functools
import json
import pickle
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np

from workshop.errors import explain_error
from workshop.harness import time_call
from workshop.port.look import look, look_for_mistakes
from workshop.port.results import compare_results, flatten, tolerance
from workshop.sandbox import import_file, report
from workshop.tracing import count_compilations, describe_compilation

SINGLE = tolerance(np.zeros(1, np.float32))
RTOLS = 1e-4, 1e-3, 0.01, 0.1
MIN_LATER, MAX_LATER, BUDGET, PATIENCE = 3, 50, 1.0, 10.0
Tell = Callable[..., None]
Arrays = dict[str, np.ndarray]


class Program:
    """A file, and the call to make in it."""

    def __init__(self, request: dict) -> None:
        """Import the file."""
        self.request, self.path = request, Path(request["path"])
        # A Python float has 64 bits, what it was made from perhaps had 32.
        self.compare = functools.partial(
            compare_results, rtol=request["rtol"], least=SINGLE
        )
        self.load()

    def load(self) -> ModuleType:
        """Import the file anew, and those beside it."""
        for name, module in list(sys.modules.items()):
            if (
                Path(getattr(module, "__file__", None) or "").parent
                == self.path.parent
            ):
                del sys.modules[name]
        module = import_file(self.path)
        self.names = vars(module)
        return module

    def call(self, what: str = "call") -> tuple[Any, float]:
        """The result, and the seconds until it is there.

        What is to be done before is done again before each call: the program
        may have changed its arguments. It sees NumPy as np, whatever the
        program calls so, and changes no name of the program.
        """
        names = self.names | {"np": np}
        exec(compile(self.request["setup"], "--setup", "exec"), names)
        code = compile(self.request[what], f"--{what}", "eval")
        return time_call(eval, code, names)

    def later_calls(self, spent: float) -> Iterator[float]:
        """Seconds of further calls: some, none if one takes very long."""
        start = time.monotonic() - spent
        for number in range(MAX_LATER):
            spent = time.monotonic() - start
            if spent > (BUDGET if number >= MIN_LATER else PATIENCE):
                return
            yield self.call()[1]


def run_old(program: Program, results: Path, tell: Tell) -> None:
    """Keep the results of two calls, and time some."""
    tell(step="the old program runs")
    result, first = program.call()
    kept = [flatten(result)]
    if not kept[0]:
        raise ValueError(
            "The call returns nothing. If the program changes its arguments,"
            " let it return them: --call 'f(x, y) or (x, y)', say."
        )
    result, second = program.call()
    kept.append(flatten(result))
    results.write_bytes(pickle.dumps(kept))
    later = program.later_calls(second)
    seconds = float(np.median([first, second, *later]))
    tell(old=seconds, repeats=compare_results(*kept) is None)


def run_new(program: Program, results: Path, tell: Tell) -> None:
    """Compare two calls with those of the old program, then time and look."""
    want = pickle.loads(results.read_bytes())
    tell(step="the port runs")
    result, first = program.call()
    is_jax = any(isinstance(x, jax.Array) for x in jax.tree.leaves(result))
    got = [flatten(result)]
    tell(step="same result", dtypes=widths(got[0], want[0]))
    difference = program.compare(got[0], want[0])
    with count_compilations() as again:
        result, second = program.call()
    got.append(flatten(result))
    if difference is None:
        tell(step="same at the second call")
        difference = program.compare(got[1], want[1])
    if difference:
        tell(
            differs=difference._asdict(), repeats=compare_results(*got) is None
        )
        rtols = (r for r in RTOLS if not compare_results(got[0], want[0], r))
        tell(allow=next(rtols, None))
        with contextlib.suppress(Exception):  # what cannot be seen is left out
            tell(**look_for_mistakes(program))
        return
    later = float(np.median([second, *program.later_calls(second)]))
    tell(first=first, later=later, floor=time_floor(got[0]), is_jax=is_jax)
    tell(step="what JAX makes of it")
    with contextlib.suppress(Exception):  # what cannot be seen is left out
        tell(stands=look(program, first, later, bool(again)))


def run_wide(program: Program, results: Path, tell: Tell) -> None:
    """Whether the port is right with 64 bits; its value where it was not."""
    want, _ = pickle.loads(results.read_bytes())
    tell(step="the port runs with 64 bits")
    got = flatten(program.call()[0])
    if program.compare(got, want) is None:
        path, index = program.request["where"]
        pair = got[path][tuple(index)], want[path][tuple(index)]
        tell(wide=list(map(str, pair)))


def widths(got: Arrays, want: Arrays) -> str:
    """The dtypes that are not as wide as they were, in a few words."""
    pairs = {(str(got[p].dtype), str(want[p].dtype)) for p in want if p in got}
    return ", ".join(f"{g} for {w}" for g, w in sorted(pairs) if g != w)


def time_floor(results: Arrays) -> float:
    """The seconds in which as many bytes as the result can be written."""
    size = sum(array.nbytes for array in results.values())
    return min(time_call(np.full, size, 1, np.uint8)[1] for _ in range(3))


def work(tell: Tell, mode: str, request: str, path: Path) -> None:
    """Tell what is found, and why it fails if it does."""
    content = json.loads(request) | {"path": path}
    run = {"old": run_old, "new": run_new, "wide": run_wide}
    try:
        tell(step="imports")
        program = Program(content)
        if mode == "trace":
            tell(stands=look(program))
        else:
            run[mode](program, Path(content["results"]), tell)
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        files = [f.filename for f in frames]
        ours = [file for file in files if file.startswith("--")]
        where = f"In {ours[-1]}: " if ours and str(path) not in files else ""
        tell(why=where + explain_error(error, path))


if __name__ == "__main__":
    report(work, describe_compilation)
