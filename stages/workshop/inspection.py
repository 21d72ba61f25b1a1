"""Show what JAX records and XLA compiles for a call, as a table or in full."""

import ast
import contextlib
import functools
import linecache
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from workshop.devices import start_jax
from workshop.errors import explain_error
from workshop.harness import time_call
from workshop.sandbox import check_code, check_path, import_file
from workshop.stages import find_stages
from workshop.terminal import (
    fail,
    page,
    say,
    show_path,
    show_text,
    terminal_size,
    uses_make,
)
from workshop.tracing import (
    count_equations,
    equations,
    find_buffers,
    num_elements,
)

EQUATIONS = ("gather", "scatter-add", "scan", "ppermute")  # in JAX's words
NUM_DEVICES = 2  # simulated on a CPU, unless JAX_NUM_CPU_DEVICES is set
# The rows of the table, and what they mean. A row without a value is left out.
MEANINGS = {
    "jaxpr equations": "what JAX recorded: --jaxpr",
    "  gather": "looks up by index",
    "  scatter-add": "adds up by index",
    "  scan": "a loop, its body counted once",
    "  iterations": "of the scans, outermost first",
    "  ppermute": "sends to another device",
    "constants": "bytes of arrays it closes over",
    "  largest": "the largest of these arrays",
    "HLO instructions": "what XLA made of it: --hlo",
    "  fusion": "many operations in one pass",
    "  while": "a loop, its body counted once",
    "  copy": "moves bytes, computes nothing",
    "  dot": "multiplies matrices",
    "  custom-call": "a library function",
    "  collective-permute": "sends to another device",
    "  in place": "loop buffer, never copied",
    "  copied": "loop buffer, copied each time",
    "memory: argument": "bytes, on each device",
    "memory: output": "bytes of the result",
    "memory: temp": "bytes needed while it runs",
    "ms to compile": "tracing included",
}


class Inspected(NamedTuple):
    """A call in a file, its programs in JAX and XLA, and the compile time."""

    path: Path
    run: Callable[[], Any]
    jaxpr: Any
    compiled: Any
    seconds: float


def inspect(
    n: str,
    other: str = "",
    /,
    jaxpr: bool = False,
    hlo: bool = False,
    profile: Path | None = None,
    call: str = "simulate(110, 80, 80)",
    setup: str = "",
) -> None:
    """Show what JAX records and XLA compiles for a stage or your program.

    Args:
        n: The number of a stage, or the path of your own file.
        other: A second stage or file, to show both side by side.
        jaxpr: Print the whole program that JAX recorded.
        hlo: Print the whole program that XLA made, the optimized HLO.
        profile: Write a trace of the call to this folder.
        call: A call of a jitted function in the file.
        setup: Code to run before the call, to make its arguments.
    """
    check_call(call, setup, profile)
    names = [n, other] if other else [n]
    inspected = compile_calls(names, call, setup)
    if profile is not None:
        write_trace(inspected, profile)
    elif jaxpr or hlo:
        show_programs(inspected, jaxpr, hlo)
    else:
        show_table(inspected, call)


def check_call(call: str, setup: str, profile: Path | None) -> None:
    """Make the folder for the trace, if there is one.

    Exit with a message and status 2 if an option cannot work.
    """
    check_code("call", call, "eval")
    check_code("setup", setup, "exec")
    if not isinstance(ast.parse(call, mode="eval").body, ast.Call):
        fail(f"--call must call a function, got {call!r}")
    if profile is not None:
        try:
            profile.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            fail(f"--profile must be a folder, got {profile}: {error}")


def compile_calls(names: list[str], call: str, setup: str) -> list[Inspected]:
    """Trace and compile a call in each file."""
    paths = [find_file(name) for name in names]
    if "JAX_NUM_CPU_DEVICES" not in os.environ:
        with contextlib.suppress(RuntimeError):  # JAX has already started
            jax.config.update("jax_num_cpu_devices", NUM_DEVICES)
    start_jax()
    return [compile_call(path, call, setup) for path in paths]


def find_file(name: str) -> Path:
    """Return the path of a stage, given its number, or of a file."""
    stages = find_stages()
    if name.isdecimal() and int(name) in stages:
        return stages[int(name)]
    if not Path(name).is_file():
        numbers = f"{min(stages)} to {max(stages)}"
        fail(f"N must be a stage ({numbers}) or a file, got {name!r}")
    check_path(Path(name), "N")
    return Path(name).resolve()


def compile_call(path: Path, call: str, setup: str) -> Inspected:
    """Trace and compile a call of a jitted function of the file."""
    names: dict[str, Any] = {"np": np}
    node: Any = ast.parse(call, mode="eval").body
    with errors_explained(path, names):
        names |= vars(import_file(path))
        exec(compile(setup, "--setup", "exec"), names)
        function = eval(ast.unparse(node.func), names)
    if not isinstance(function, jax.stages.Wrapped):
        fail(f"{call} calls no jitted function. {name_jitted(names)}")
    node.func = ast.Attribute(node.func, "trace")  # f(x) becomes f.trace(x)
    with errors_explained(path, names):
        traced, tracing = time_call(eval, ast.unparse(node), names)
        compiled, compiling = time_call(lambda: traced.lower().compile())
    run = functools.partial(eval, call, names)
    return Inspected(path, run, traced.jaxpr, compiled, tracing + compiling)


@contextlib.contextmanager
def errors_explained(path: Path, names: dict[str, Any]) -> Iterator[None]:
    """Explain an error that the block raises, and exit with status 1."""
    try:
        yield
    except (Exception, SystemExit) as error:
        for line in explain_error(error, path).splitlines():
            say(line, sys.stderr)
        if "__file__" in names:  # the file has been imported
            say(name_jitted(names), sys.stderr)
        sys.exit(1)


def name_jitted(names: dict[str, Any]) -> str:
    """Return a sentence that names the jitted functions."""
    found = [n for n in names if isinstance(names[n], jax.stages.Wrapped)]
    listed = ", ".join(found) or "none"
    option = "CALL=" if uses_make() else "--call"
    return f"The file's jitted functions, for {option}: {listed}"


def write_trace(inspected: list[Inspected], folder: Path) -> None:
    """Call each program once, and write a trace for ui.perfetto.dev."""
    for one in inspected:
        jax.block_until_ready(one.run())  # compiles, before the trace begins
    with jax.profiler.trace(folder, create_perfetto_trace=True):
        for one in inspected:
            jax.block_until_ready(one.run())
    file = max(folder.rglob("perfetto_trace.json.gz"))  # the newest
    say(f"wrote {show_path(file)}: open it at https://ui.perfetto.dev")


def show_programs(inspected: list[Inspected], jaxpr: bool, hlo: bool) -> None:
    """Print whole programs: what JAX recorded, and what XLA made of it."""
    for one in inspected:
        if jaxpr:
            page(str(one.jaxpr))
        if hlo:
            page(one.compiled.as_text())


def show_table(inspected: list[Inspected], call: str) -> None:
    """Print a table with a column for each program, then the busiest lines."""
    files = " and ".join(one.path.name for one in inspected)
    versions = f"jax {jax.__version__}, {jax.default_backend()}"
    say(f"{files}: {call}; {versions}")
    rows = make_rows(inspected)
    for row in rows:
        say(row)
    free = terminal_size()[1] - 4 - len(rows)
    for one in inspected:
        show_lines(one, free // len(inspected) - 1)


def make_rows(inspected: list[Inspected]) -> list[str]:
    """Return the rows of the table; leave out a row without a value."""
    found = [describe(one) for one in inspected]
    rows = []
    if len(inspected) > 1:
        rows.append(make_row("", [one.path.stem[:12] for one in inspected]))
    for name, meaning in MEANINGS.items():
        values = [values.get(name, 0) for values in found]
        if any(values):
            rows.append(make_row(name, values, meaning))
    return rows


def make_row(name: str, values: list[int | str], meaning: str = "") -> str:
    """Return a row: a name, a column for each value, and a meaning."""
    row = f"{name:20}"
    for value in values:
        text = f"{value:,}" if isinstance(value, int) else value
        row += f"  {text:>12}"
    return f"{row}  {meaning}"


def show_lines(one: Inspected, most: int) -> None:
    """Print the lines of a file that gave JAX the most equations."""
    print(f"Most equations in {one.path.name}:")
    for line, count in count_lines(one.jaxpr, one.path).most_common(most):
        code = linecache.getline(str(one.path), line).strip()
        show_text(f"{count:9,}  line {line}: {code}")


def describe(one: Inspected) -> dict[str, int | str]:
    """Return the values of one call, keyed by the row names in MEANINGS."""
    hlo = one.compiled.as_text()
    instruction = r"= .+? ([a-z][\w-]*?)(?:-start)?\("
    operations = Counter(re.findall(instruction, hlo))
    in_place, copied = find_buffers(hlo)
    recorded = list(equations(one.jaxpr))
    primitives = Counter(each.primitive.name for each in recorded)
    lengths = [each.params.get("length") for each in recorded]
    arrays = {id(array): array for array in constants(one.jaxpr)}.values()
    shapes = [str(jax.typeof(array)) for array in arrays]
    found: dict[str, int | str] = {
        "jaxpr equations": count_equations(one.jaxpr),
        "  iterations": ", ".join(str(n) for n in lengths if n),
        "constants": sum(array.nbytes for array in arrays),
        "  largest": max(shapes, key=num_elements, default=""),
        "HLO instructions": operations.total(),
        "  in place": max(in_place, key=num_elements, default=""),
        "  copied": max(copied, key=num_elements, default=""),
        "ms to compile": round(1000 * one.seconds),
    }
    found |= {f"  {name}": operations[name] for name in operations}
    found |= {f"  {name}": primitives[name] for name in EQUATIONS}
    memory = one.compiled.memory_analysis()  # None on some devices
    for name in ("argument", "output", "temp"):
        found[f"memory: {name}"] = getattr(memory, f"{name}_size_in_bytes", 0)
    return found


def count_lines(jaxpr: Any, path: Path) -> Counter[int]:
    """Return how many equations each line of a file has produced."""
    found: Counter[int] = Counter()
    for equation in equations(jaxpr):
        traceback = equation.source_info.traceback
        frames = traceback.frames if traceback else ()  # innermost first
        own = [f.line_num for f in frames if f.file_name == str(path)]
        found.update(own[:1])
    return found


def constants(jaxpr: Any) -> Iterator[Any]:
    """Yield the arrays that a program closes over, inner programs included."""
    yield from jaxpr.consts
    for equation in equations(jaxpr):
        for value in equation.params.values():
            yield from getattr(value, "consts", ())
