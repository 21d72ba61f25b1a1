"""Show what JAX records and XLA compiles for a call, as a table or in full."""

from __future__ import annotations

import ast
import contextlib
import functools
import inspect as reflection
import linecache
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from workshop.devices import start_jax
from workshop.errors import explain_error
from workshop.harness import check_writable, time_call
from workshop.sandbox import check_code, check_path, import_file
from workshop.stages import find_stages
from workshop.terminal import fail, page, say, terminal_size, write_asked
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
    "  iterations": "of the scans, the outer one first",
    "  ppermute": "sends to another device",
    "constants": "bytes of arrays that it closes over",
    "  largest": "the largest of these arrays",
    "HLO instructions": "what XLA made of it: --hlo",
    "  fusion": "many operations in one pass",
    "  while": "a loop, its body counted once",
    "  copy": "moves bytes, computes nothing",
    "  dot": "multiplies matrices",
    "  custom-call": "a library function",
    "  collective-permute": "sends to another device",
    "  in place": "buffer of a loop, never copied",
    "  copied": "buffer of a loop, copied at each iteration",
    "memory: argument": "bytes, on each device",
    "memory: output": "bytes of the result",
    "memory: temp": "bytes needed while it runs",
    "ms to compile": "tracing included",
}


class Call(NamedTuple):
    """A call of a jitted function, and the code that makes its arguments."""

    code: str
    setup: str
    sizes: dict[str, int]


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
    call: str = "",
    setup: str = "",
    width: int = 80,
    num_steps: int = 80,
) -> None:
    """Show what JAX records and XLA compiles for a stage or your program.

    Args:
        n: The number of a stage, or the path of your own file.
        other: A second stage or file, to show both side by side.
        jaxpr: Print the whole program that JAX recorded.
        hlo: Print the whole program that XLA made, the optimized HLO.
        profile: Write a trace of the call to this .json.gz file.
        call: A call of a jitted function in the file; by default
            "simulate(110, width, num_steps)".
        setup: Code to run before the call, to make its arguments.
        width: Number of cells; the call can use it as width.
        num_steps: Number of rows; the call can use it as num_steps.
    """
    code = call or f"simulate(110, {width}, {num_steps})"
    asked = Call(code, setup, {"width": width, "num_steps": num_steps})
    check_call(asked, profile)
    show(compile_calls([n, other], asked), asked, jaxpr, hlo, profile)


def check_call(asked: Call, profile: Path | None) -> None:
    """Exit with a message and status 2 if the call cannot work."""
    check_code("call", asked.code, "eval")
    check_code("setup", asked.setup, "exec")
    if not isinstance(ast.parse(asked.code, mode="eval").body, ast.Call):
        fail(f"--call must call a function, got {asked.code!r}")
    for name, size in asked.sizes.items():
        if size < 1:
            fail(f"{name} must be at least 1, got {size}")
    if profile is not None:
        check_writable("--profile", profile)


def show(
    inspected: list[Inspected],
    asked: Call,
    jaxpr: bool,
    hlo: bool,
    profile: Path | None,
) -> None:
    """Show what the options ask for, or the table if they ask for nothing."""
    if profile is not None:
        write_trace(inspected, profile)
    elif not (jaxpr or hlo):
        show_table(inspected, asked)
    for one in inspected:
        if jaxpr:
            page(str(one.jaxpr))
        if hlo:
            page(one.compiled.as_text())


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


@contextlib.contextmanager
def explained(path: Path, advice: str = "") -> Iterator[None]:
    """If the block raises an error, explain it and exit with status 1."""
    try:
        yield
    except (Exception, SystemExit) as error:
        for line in f"{explain_error(error, path)}\n{advice}".splitlines():
            say(line, sys.stderr)
        sys.exit(1)


def compile_calls(names: list[str], asked: Call) -> list[Inspected]:
    """Trace and compile a call in each file."""
    paths = [find_file(str(name)) for name in names if name]
    if "JAX_NUM_CPU_DEVICES" not in os.environ:
        with contextlib.suppress(RuntimeError):  # JAX has already started
            jax.config.update("jax_num_cpu_devices", NUM_DEVICES)
    start_jax()
    return [compile_call(path, asked) for path in paths]


def compile_call(path: Path, asked: Call) -> Inspected:
    """Trace and compile a call of a jitted function of the file."""
    with explained(path):
        module = vars(import_file(path))
    advice = name_jitted(module)
    with explained(path, advice):
        names = {"np": np, **asked.sizes, **module}
        function, args, kwargs = evaluate(asked, names)
    if not hasattr(function, "trace"):
        name = ast.unparse(ast.parse(asked.code, mode="eval").body.func)
        fail(f"{name} is not a jitted function. {advice}")
    with explained(path):
        traced, tracing = time_call(function.trace, *args, **kwargs)
        compiled, compiling = time_call(lambda: traced.lower().compile())
    run = functools.partial(function, *args, **kwargs)
    return Inspected(path, run, traced.jaxpr, compiled, tracing + compiling)


def name_jitted(module: dict[str, Any]) -> str:
    """Return a line that names the jitted functions of a file."""
    own = module["__name__"]
    found = [
        f"{name}({', '.join(reflection.signature(value).parameters)})"
        for name, value in module.items()
        if getattr(value, "__module__", "") == own and hasattr(value, "trace")
    ]
    names = ", ".join(found) or "none"
    return f"The file's jitted functions, for --call: {names}"


def evaluate(asked: Call, names: dict[str, Any]) -> tuple:
    """Run the setup; return the function to call, and its arguments."""
    exec(compile(asked.setup, "--setup", "exec"), names)
    node = ast.parse(asked.code, mode="eval").body
    function = eval(ast.unparse(node.func), names)
    inside = ", ".join(map(ast.unparse, [*node.args, *node.keywords]))
    args, kwargs = eval(f"(lambda *a, **k: (a, k))({inside})", names)
    return function, args, kwargs


def write_trace(inspected: list[Inspected], file: Path) -> None:
    """Call each program once, and write a trace for ui.perfetto.dev."""
    for one in inspected:
        jax.block_until_ready(one.run())  # compiles, before the trace begins
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder, create_perfetto_trace=True):
            for one in inspected:
                jax.block_until_ready(one.run())
        (trace,) = Path(folder).rglob("perfetto_trace.json.gz")
        write_asked(file, trace.read_bytes())
    say(f"wrote {file}: open it at https://ui.perfetto.dev")


def show_table(inspected: list[Inspected], asked: Call) -> None:
    """Print a table that fits the screen, with a column for each program."""
    files = " and ".join(one.path.name for one in inspected)
    versions = f"jax {jax.__version__}, {jax.default_backend()}"
    say(f"{files}: {asked.code}; {versions}")
    print_rows(make_rows(inspected))


def make_rows(inspected: list[Inspected]) -> list[list[Any]]:
    """Return rows for the counts, then for the lines with most equations."""
    found = [describe(one) for one in inspected]
    rows = []
    if len(inspected) > 1:
        rows.append(["", *(one.path.stem[:12] for one in inspected), ""])
    for name, meaning in MEANINGS.items():
        values = [values.get(name, 0) for values in found]
        if any(values):
            rows.append([name, *values, meaning])
    room = (terminal_size()[1] - 3 - len(rows)) // len(inspected) - 1
    for i, one in enumerate(inspected):
        lines = count_lines(one.jaxpr, one.path).most_common(room)
        rest = found[i]["jaxpr equations"] - sum(count for _, count in lines)
        for line, count in [*lines, (0, rest)]:
            values = [""] * len(inspected)
            values[i] = count
            name, code = "jaxpr elsewhere", "other lines, and JAX's own"
            if line:
                name = f"jaxpr of line {line}"
                code = linecache.getline(str(one.path), line)
            rows.append([name, *values, code])
    return rows


def print_rows(rows: list[list[Any]]) -> None:
    """Print a table; cut each line to the screen's width, at least to 80."""
    columns, _ = terminal_size()
    texts = [
        [f"{cell:,}" if isinstance(cell, int) else cell for cell in row]
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for name, *values, meaning in texts:
        line = name.ljust(widths[0])
        for value, width in zip(values, widths[1:-1], strict=True):
            line += f"  {value:>{width}}"
        line = f"{line}  {meaning.strip()}".rstrip()
        say(line[: max(columns, 80)])


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
