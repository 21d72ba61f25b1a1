"""Show what JAX and XLA made of a call: one screen, the text, a profile."""

import ast
import contextlib
import dataclasses
import functools
import gzip
import json
import re
import sys
import tempfile
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from workshop.devices import start_jax
from workshop.exercises.examine import explain_error, import_file
from workshop.exercises.tasks import find_task, require_file, shown
from workshop.harness import (
    Arguments,
    check_arguments,
    check_writable,
    time_call,
)
from workshop.hlo import Program
from workshop.jaxprs import count_equations, equations
from workshop.port.port import check_code
from workshop.stages import COLORS, RESET, find_stages
from workshop.terminal import (
    fail,
    page,
    say,
    shows_color,
    terminal_size,
    write_whole,
)

# JAX's primitives and XLA's operations that are worth a row, if there.
PRIMITIVES = {
    "gather": "looks up by index",
    "scatter-add": "adds up by index",
    "dot_general": "multiplies matrices",
    "scan": "a loop, its body written once",
    "while": "a loop, its end computed",
    "ppermute": "sends to another device",
}
OPERATIONS = {
    "fusion": "many operations in one pass",
    "while": "a loop, its body written once",
    "copy": "moves bytes, computes nothing",
    "dot": "multiplies matrices",
    "custom-call": "a function of a library",
    "collective-permute": "sends to another device",
    "all-reduce": "adds up over all devices",
    "all-gather": "collects from all devices",
}
MEMORY = {
    "argument": "in bytes, by memory_analysis()",
    "output": "the result",
    "temp": "temporaries: while it runs",
}
NAMES = {  # of operations, in the two texts
    "jaxpr": r"(?<= = )[a-z_][\w-]*",
    "hlo": r"(?<=[\]})] )[a-z][\w-]*(?=\()",
}


@dataclasses.dataclass(frozen=True)
class Made:
    """A call of a compiled function, and what JAX and XLA made of it."""

    path: Path
    call: Callable
    traced: Any
    larger: Any | None
    """Traced for twice as many steps, if the call has so many."""
    compiled: Any
    seconds: float
    """To trace and compile it."""

    @functools.cached_property
    def program(self) -> Program:
        """What can be read from the optimized HLO."""
        return Program(self.compiled.as_text())

    @functools.cached_property
    def lines(self) -> dict[str, int]:
        """Instruction to line of the file."""
        return self.program.source_lines(self.path)


def inspect(
    n: str,
    other: str = "",
    /,
    exercise: bool = False,
    jaxpr: bool = False,
    hlo: bool = False,
    profile: Path | None = None,
    call: str = "simulate(110, width, num_steps)",
    setup: str = "",
    width: int = 80,
    num_steps: int = 80,
    num_devices: int = 2,
) -> None:
    """Show what JAX and XLA made of a stage, or of your own program.

    Args:
        n: The stage, or a file of yours.
        other: One to compare it with.
        exercise: Your exercise instead of the stage.
        jaxpr: Print the whole of what JAX recorded.
        hlo: Print the whole of what XLA made, the optimized HLO.
        profile: Trace a call, into this file, and list what took longest.
        call: The call of a compiled function; it may use what is in the file.
        setup: What to run before, to make its arguments.
        width: Number of cells, for the call.
        num_steps: Number of rows, for the call.
        num_devices: That a CPU simulates.
    """
    check_code("call", call, "eval")
    check_code("setup", setup, "exec")
    check_arguments(Arguments(width=width, num_steps=num_steps))
    if num_devices < 1:
        fail(f"num_devices must be at least 1, got {num_devices}")
    if profile is not None:
        check_writable("--profile", profile)
    paths = [find_program(name, exercise) for name in (n, other) if name]
    jax.config.update("jax_num_cpu_devices", num_devices)
    start_jax()
    size = {"width": width, "num_steps": num_steps}
    made = [make(path, call, setup, size) for path in paths]
    for one in made:
        if jaxpr:
            page(paint(str(one.traced.jaxpr), "jaxpr"))
        if hlo:
            page(paint(one.program.text, "hlo"))
        if profile is not None:
            show_profile(one, profile)
    if not (jaxpr or hlo or profile):
        title = re.sub(
            r"\b(width|num_steps)\b(?!\s*=)", lambda m: f"{size[m[0]]}", call
        )
        show(made, title)


def find_program(name: str, exercise: bool) -> Path:
    """The file of a stage, of an exercise, or the one of that name."""
    stages = find_stages()
    if name.isdecimal() and exercise:
        return require_file(find_task(int(name))).resolve()
    if name.isdecimal() and int(name) in stages:
        return stages[int(name)]
    if not Path(name).is_file() or exercise:
        fail(
            f"N must be a stage, {min(stages)} to {max(stages)}, or a file of"
            f" Python, got {name}"
        )
    return Path(name).resolve()


@contextlib.contextmanager
def failing_in_one_line(path: Path) -> Iterator[None]:
    """End with one line and status 1 if something in that file fails."""
    try:
        yield
    except (Exception, SystemExit) as error:
        lines = explain_error(error, path).splitlines()
        fail(": ".join(line.strip() for line in lines), status=1)


def make(path: Path, call: str, setup: str, size: dict[str, int]) -> Made:
    """Trace and compile the call, and trace one with twice as many steps."""
    with failing_in_one_line(path):
        module = vars(import_file(path))
        function, args, kwargs = evaluate(call, setup, {**size, **module})
    if not hasattr(function, "trace"):
        fail(
            f"{shown(path)}: `{call.partition('(')[0]}` is not what jax.jit"
            " returns: there is no one program to look at"
        )

    def compile_it() -> tuple[Any, Any]:
        traced = function.trace(*args, **kwargs)
        return traced, traced.lower().compile()

    larger = None
    with failing_in_one_line(path):
        (traced, compiled), seconds = time_call(compile_it)
        if "num_steps" in call + setup and "num_steps" not in module:
            twice = {**size, "num_steps": 2 * size["num_steps"]}
            _, more, named = evaluate(call, setup, {**twice, **module})
            larger = function.trace(*more, **named)
    run = functools.partial(function, *args, **kwargs)
    return Made(path, run, traced, larger, compiled, seconds)


def evaluate(
    call: str, setup: str, names: dict[str, Any]
) -> tuple[Any, tuple, dict[str, Any]]:
    """The function that is called, and its arguments, evaluated."""
    names.setdefault("np", np)
    exec(compile(setup, "--setup", "exec"), names)
    node = ast.parse(call.strip(), "--call", "eval").body
    if not isinstance(node, ast.Call):
        raise TypeError(f"--call must call a function, got {call!r}")
    inside = ", ".join(map(ast.unparse, [*node.args, *node.keywords]))
    taken = eval(f"(lambda *args, **kwargs: (args, kwargs))({inside})", names)
    return eval(ast.unparse(node.func), names), *taken


def show(made: list[Made], call: str) -> None:
    """Print a screen of what was made, one column for each program."""
    rows = [
        (label, [row[1] for row in found], meaning)
        for found in zip(*map(describe, made), strict=True)
        if any(row[1] for row in found)
        for label, _, meaning in found[:1]
    ]
    if len(made) > 1:
        rows.insert(0, ("", [one.path.stem[:12] for one in made], ""))
    room = max(2, terminal_size()[1] - 3 - len(rows))
    for i, one in enumerate(made):
        rows += list_lines(one, room // len(made), i, len(made))
    names = " and ".join(shown(one.path) for one in made)
    platform = jax.devices()[0].platform
    say(f"{names}: {call}; jax {jax.__version__}, {platform}")
    print_rows(rows)


def describe(made: Made) -> Iterator[tuple[str, Any, str]]:
    """The same rows for each program: a name, a value, what it means."""
    jaxpr, program = made.traced.jaxpr, made.program
    recorded = Counter(e.primitive.name for e in equations(jaxpr))
    run = Counter(
        it.operation.removesuffix("-start") for it in program.running()
    )
    buffers = [*program.loop_buffers()]
    larger = made.larger and count_equations(made.larger.jaxpr)
    yield "jaxpr equations", count_equations(jaxpr), "what JAX recorded"
    yield "  at num_steps x 2", larger, "do they grow with it?"
    for name, meaning in PRIMITIVES.items():
        yield f"  {name}", recorded[name], meaning
    yield "HLO instructions", run.total(), "what XLA made, and runs"
    for name, meaning in OPERATIONS.items():
        yield f"  {name}", run[name], meaning
    yield "  turns", " x ".join(program.turns()), "of the loops"
    for name, kept, meaning in [
        ("in place", True, "a loop writes into this buffer"),
        ("copied", False, "a loop copies it at each turn"),
    ]:
        shapes = [shape for shape, so in buffers if so == kept]
        yield f"  {name}", max(shapes, key=len, default=""), meaning
    memory = attempt(made.compiled.memory_analysis)
    for name, meaning in MEMORY.items():
        size = getattr(memory, f"{name}_size_in_bytes", None)
        yield f"memory: {name}", size, meaning
    costs = attempt(made.compiled.cost_analysis)
    flops = costs.get("flops") if isinstance(costs, dict) else None
    yield "flops", flops and int(flops), "cost_analysis(): a loop counts once"
    yield "ms to compile", round(1000 * made.seconds), "to trace, too"


def attempt(analyze: Callable) -> Any:
    """What XLA says, None where it does not."""
    with contextlib.suppress(Exception):
        return analyze()
    return None


def list_lines(
    made: Made, room: int, column: int, columns: int
) -> Iterator[tuple[str, list[Any], str]]:
    """The lines of the file from which most instructions come."""
    counts = Counter(made.lines.values())
    if counts and room > 1:
        yield f"lines of {made.path.stem[:9]}", [""] * columns, ""
        text = made.path.read_text(encoding="utf-8").splitlines()
        for line, count in counts.most_common(room - 1):
            values = [""] * columns
            values[column] = count
            yield f"  {line}", values, text[line - 1].strip()


def print_rows(rows: list[tuple[str, list[Any], str]]) -> None:
    """Print a table; what a line has no room for goes below it."""
    columns, _ = terminal_size()
    texts = [
        (
            label,
            [f"{v:,}" if isinstance(v, int) else v or "" for v in values],
            meaning,
        )
        for label, values, meaning in rows
    ]
    first = max(len(label) for label, _, _ in texts)
    widths = [max(map(len, c)) for c in zip(*(v for _, v, _ in texts))]
    for label, values, meaning in texts:
        cells = [f"{v:>{w}}" for v, w in zip(values, widths, strict=True)]
        line = "  ".join([f"{label:{first}}", *cells, meaning])
        print(textwrap.fill(line.rstrip(), columns, subsequent_indent="    "))


def paint(text: str, kind: str) -> str:
    """The text, names of operations in color where the terminal has it."""
    if not shows_color(sys.stdout):
        return text
    return re.sub(NAMES[kind], lambda m: f"{COLORS['+']}{m[0]}{RESET}", text)
