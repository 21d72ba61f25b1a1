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

from workshop.compare import (
    Difference,
    compare_results,
    flatten,
    tolerance,
)
from workshop.exercises.examine import import_file
from workshop.harness import time_call
from workshop.limits import Limits, keep_within

SINGLE = tolerance(np.zeros(1, np.float32))
MIN_LATER, MAX_LATER, BUDGET = 3, 50, 1.0
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
        """Seconds of further calls, until they have taken their time."""
        start, num_calls = time.perf_counter(), 0
        while num_calls < MIN_LATER or (
            num_calls < MAX_LATER and time.perf_counter() < start + BUDGET
        ):
            yield self.call()[1]
            num_calls += 1


def run_old(program: Program, report: Path, tell: Tell) -> None:
    """Keep the results of two calls, and time some."""
    tell(begin="the old program runs")
    result, first = program.call()
    results = [flatten(result)]
    result, second = program.call()
    results.append(flatten(result))
    report.with_name("results").write_bytes(pickle.dumps(results))
    later = [first, second, *program.later_calls()]
    tell(
        old=float(np.median(later)), repeats=compare_results(*results) is None
    )


def run_new(program: Program, report: Path, tell: Tell) -> None:
    """Compare two calls with those of the old program, then time and look."""
    import jax

    wanted = pickle.loads(report.with_name("results").read_bytes())
    traced: list[str] = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, _, **more: traced.append(str(more.get("fun_name")))
    )
    tell(begin="the port runs")
    result, first = program.call()
    got = [flatten(result)]
    uses_jax = bool(traced) or holds_jax(result)
    tell(begin="same result")
    # A Python float has 64 bits, but what JAX computed for it may have 32.
    narrow = not jax.config.jax_enable_x64
    how = program.request["rtol"], SINGLE if narrow else 0
    difference = compare_results(got[0], wanted[0], *how)
    result, _ = program.call()
    got.append(flatten(result))
    if difference is None:
        tell(dtypes=widths(got[0], wanted[0]), begin="same at the second call")
        difference = compare_results(got[1], wanted[1], *how)
    if difference:
        tell(
            differs=vars(difference),
            repeats=compare_results(*got) is None,
            draws=draws_numbers(program),
        )
        return
    del result
    later = float(np.median(list(program.later_calls())))
    tell(first=first, later=later, floor=time_floor(got[0]), uses_jax=uses_jax)
    from workshop.port.look import look

    tell(begin="what JAX makes of it")
    tell(stands=look(program, first, later))


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
    rtol = program.request["rtol"]
    agrees = compare_results(got, want, rtol, SINGLE) is None
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
    pairs = {(str(got[p].dtype), str(want[p].dtype)) for p in want}
    return ", ".join(f"{g} for {w}" for g, w in sorted(pairs) if g != w)


def time_floor(results: dict[str, np.ndarray]) -> float:
    """The seconds in which as many bytes as the result can be written."""
    size = sum(array.nbytes for array in results.values())
    return min(time_call(np.full, size, 1, np.uint8)[1] for _ in range(3))


def explain(error: BaseException, path: Path) -> dict[str, str]:
    """What failed, in the user's own line, and the row of the error table."""
    from workshop.errors import find_row
    from workshop.exercises.examine import explain_error

    row = find_row(error)
    facts = {"why": explain_error(error, path)}
    return facts | ({k: v for k, v in vars(row).items()} if row else {})


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
