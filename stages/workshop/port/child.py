"""Run one program for port.py, in a process of its own.

python -m workshop.port.child MODE REQUEST SECONDS GIGABYTES PLACE

REQUEST is a file of JSON, beside which the report is written: a line of JSON
for each thing that was found, {"begin": what} before what may not end. MODE
is old, new (the port), or wide (the port with 64 bits).
"""

import contextlib
import json
import os
import pickle
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from workshop.exercises.examine import explain_error, import_file
from workshop.exercises.limits import Limits, keep_within
from workshop.harness import time_call
from workshop.port.results import (
    Difference,
    compare_results,
    flatten,
    tolerance,
)

SINGLE = tolerance(np.zeros(1, np.float32))
MIN_LATER, MAX_LATER, BUDGET, PATIENCE = 3, 50, 1.0, 10.0
Tell = Callable[..., None]


class Program:
    """A file, and the call to make in it."""

    def __init__(self, request: dict) -> None:
        """Import the file."""
        self.request, self.path = request, Path(request["path"])
        self.load()

    def load(self) -> ModuleType:
        """Import the file anew."""
        module = import_file(self.path)
        self.names = vars(module)
        if self.request["setup"]:
            self.names.setdefault("np", np)
        return module

    def call(self, what: str = "call") -> tuple[Any, float]:
        """The result, and the seconds until it is there.

        What is to be done before is done again before each call: the program
        may have changed its arguments.
        """
        exec(compile(self.request["setup"], "--setup", "exec"), self.names)
        code = compile(self.request[what], f"--{what}", "eval")
        return time_call(eval, code, self.names)

    def later_calls(self) -> Iterator[float]:
        """Seconds of further calls, until they have taken their time.

        At least one; three, unless they take ten times as long.
        """
        start, num_calls, spent = time.monotonic(), 0, 0.0
        while num_calls < MAX_LATER and (
            num_calls < 1
            or spent < BUDGET
            or (num_calls < MIN_LATER and spent < PATIENCE)
        ):
            yield self.call()[1]
            num_calls += 1
            spent = time.monotonic() - start


def run_old(program: Program, report: Path, tell: Tell) -> None:
    """Keep the results of two calls, and time some."""
    tell(begin="the old program runs")
    result, first = program.call()
    results = [flatten(result)]
    if not results[0]:
        raise ValueError(
            "The call returns nothing. If the program changes its arguments,"
            " let it return them: --call 'f(x, y) or (x, y)', say."
        )
    result, second = program.call()
    results.append(flatten(result))
    report.with_name("results").write_bytes(pickle.dumps(results))
    later = [first, second, *program.later_calls()]
    tell(
        old=float(np.median(later)), repeats=compare_results(*results) is None
    )


def run_new(program: Program, report: Path, tell: Tell) -> None:
    """Compare two calls with those of the old program, then time and look."""
    from workshop.port.look import look

    wanted = pickle.loads(report.with_name("results").read_bytes())
    tell(begin="the port runs")
    result, first = program.call()
    got = [flatten(result)]
    is_jax = holds_jax(result)
    tell(begin="same result", dtypes=widths(got[0], wanted[0]))
    difference = compare(program, got[0], wanted[0])
    got.append(flatten(program.call()[0]))
    if difference is None:
        tell(begin="same at the second call")
        difference = compare(program, got[1], wanted[1])
    if difference:
        repeats, draws = compare_results(*got) is None, draws_numbers(program)
        tell(differs=vars(difference), repeats=repeats, draws=draws)
        return
    later = float(np.median(list(program.later_calls())))
    tell(first=first, later=later, floor=time_floor(got[0]), is_jax=is_jax)
    tell(begin="what JAX makes of it")
    with contextlib.suppress(Exception):  # what cannot be seen is left out
        tell(stands=look(program, first, later))


def compare(
    program: Program, got: dict[str, np.ndarray], want: dict[str, np.ndarray]
) -> Difference | None:
    """The first difference, for what JAX computes in single precision.

    A Python float has 64 bits, but what it was made from may have had 32.
    """
    return compare_results(got, want, program.request["rtol"], SINGLE)


def run_trace(program: Program, report: Path, tell: Tell) -> None:
    """Look at the port without compiling it."""
    from workshop.port.look import look_at_trace

    tell(begin="the port is traced")
    tell(stands=look_at_trace(program))


def run_wide(program: Program, report: Path, tell: Tell) -> None:
    """Whether the port is right with 64 bits; its value where it was not."""
    (want, _) = pickle.loads(report.with_name("results").read_bytes())
    tell(begin="the port runs with 64 bits")
    got = flatten(program.call()[0])
    difference = Difference("", **program.request["differs"])
    value = want_value = None
    with contextlib.suppress(KeyError, IndexError):
        value = got[difference.path][tuple(difference.index)]
        want_value = want[difference.path][tuple(difference.index)]
    agrees = compare(program, got, want) is None
    tell(agrees=agrees, value=str(value), want=str(want_value))


def draws_numbers(program: Program) -> bool:
    """Whether the port asks JAX for random numbers, as far as it is known."""
    from workshop.jaxprs import equations
    from workshop.port.look import trace

    jaxpr = trace(program, "call")
    names = {e.primitive.name for e in equations(jaxpr)} if jaxpr else ()
    return any("random" in name or "threefry" in name for name in names)


def holds_jax(result: Any) -> bool:
    """Whether some of the result is JAX's."""
    import jax

    return any(isinstance(x, jax.Array) for x in jax.tree.leaves(result))


def widths(got: dict, want: dict) -> str:
    """The dtypes that are not as wide as they were, in a few words."""
    pairs = {(str(got[p].dtype), str(want[p].dtype)) for p in want if p in got}
    return ", ".join(f"{g} for {w}" for g, w in sorted(pairs) if g != w)


def time_floor(results: dict[str, np.ndarray]) -> float:
    """The seconds in which as many bytes as the result can be written."""
    size = sum(array.nbytes for array in results.values())
    return min(time_call(np.full, size, 1, np.uint8)[1] for _ in range(3))


def explain(error: BaseException, path: Path) -> dict[str, str]:
    """What failed, in the user's own line, and the stage that shows it."""
    from workshop.exercises.errors import find_row

    row = find_row(error)
    return {"why": explain_error(error, path), "see": row.stage if row else ""}


def main() -> None:
    """Write the report line by line, and end whatever else still runs."""
    mode, request, seconds, gigabytes, place = sys.argv[1:]
    keep_within(Limits(float(seconds), float(gigabytes)), Path(place))
    content = json.loads(Path(request).read_text(encoding="utf-8"))
    path = Path(content["path"])
    modes = {"old": run_old, "new": run_new, "wide": run_wide}
    run = (modes | {"trace": run_trace})[mode]
    with Path(request).with_name("report").open("w", encoding="utf-8") as file:

        def tell(**what: Any) -> None:
            print(json.dumps(what), file=file, flush=True)

        try:
            tell(begin="imports")
            run(Program(content), Path(request), tell)
        except BaseException as error:
            tell(failed=explain(error, path))
        sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
