"""Show what JAX and XLA made of a call: a screen, their text, a profile."""

from __future__ import annotations

import ast
import contextlib
import functools
import gzip
import itertools
import json
import math
import re
import sys
import tempfile
import textwrap
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from workshop.devices import start_jax
from workshop.errors import explain_error
from workshop.exercises.tasks import find_task, require_file
from workshop.harness import (
    Arguments,
    check_arguments,
    check_writable,
    time_call,
)
from workshop.sandbox import check_code, check_path, import_file
from workshop.stages import COLORS, RESET, find_stages
from workshop.terminal import (
    fail,
    page,
    say,
    show_path,
    shows_color,
    terminal_size,
    write_whole,
)
from workshop.tracing import count_equations, equations

# What is counted, where it is there: JAX's primitives, XLA's operations.
PRIMITIVES = {
    "gather": "looks up by index",
    "scatter-add": "adds up by index",
    "scan": "a loop, its body written once",
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
BUFFERS = {
    "in place": "a loop's buffer, never copied",
    "copied": "a loop's buffer, at each turn",
}
MEMORY = {
    "argument": "bytes, by memory_analysis()",
    "output": "the result, on each device",
    "temp": "what it needs while it runs",
}
Row = tuple[str, list[Any], str]  # a name, values, what they mean


class Made(NamedTuple):
    """A call of a compiled function, and what JAX and XLA made of it."""

    path: Path
    call: Callable
    traced: Any
    larger: Any
    """Traced with twice num_steps, if the call depends on it."""
    compiled: Any
    seconds: float
    program: Program
    lines: dict[str, int]


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
        jaxpr: Print all that JAX recorded.
        hlo: Print all that XLA made of it, the optimized HLO.
        profile: Trace a call into this file, and list what took longest.
        call: The call of a compiled function, by names of the file.
        setup: What to run before, to make its arguments.
        width: Number of cells, for the call.
        num_steps: Number of rows, for the call.
        num_devices: That a CPU simulates.
    """
    size = {"width": width, "num_steps": num_steps}
    check_request(call, setup, size, num_devices)
    paths = [find_program(name, exercise) for name in (n, other) if name]
    if profile is not None:
        check_writable("--profile", profile)
        if other:
            fail(f"--profile needs one program, got {n} and {other}")
    with contextlib.suppress(RuntimeError):  # a notebook has its devices
        jax.config.update("jax_num_cpu_devices", num_devices)
    start_jax()
    made = [make(path, call, setup, size) for path in paths]
    for one in made:
        if jaxpr:
            color = shows_color(sys.stdout)
            page(one.traced.jaxpr.pretty_print(use_color=color))
        if hlo:
            page(paint(one.program.text))
        if profile is not None:
            show_profile(one, profile)
    if not (jaxpr or hlo or profile):
        for name, number in size.items():
            call = re.sub(rf"\b{name}\b(?!\s*=)", str(number), call)
        show(made, call)


def check_request(
    call: str, setup: str, size: dict[str, int], num_devices: int
) -> None:
    """End with one line and status 2 if an argument cannot work."""
    check_code("call", call, "eval")
    check_code("setup", setup, "exec")
    if not isinstance(ast.parse(call, mode="eval").body, ast.Call):
        fail(f"--call must call a function, got {call!r}")
    check_arguments(Arguments(**size))
    if num_devices < 1:
        fail(f"num_devices must be at least 1, got {num_devices}")


def find_program(name: str, exercise: bool) -> Path:
    """The file of a stage, of an exercise, or the one of that name."""
    stages = find_stages()
    if name.isdecimal() and exercise:
        return require_file(find_task(int(name))).resolve()
    if name.isdecimal() and int(name) in stages:
        return stages[int(name)]
    if exercise or not Path(name).is_file():
        numbers = f"{min(stages)} to {max(stages)}"
        fail(f"N must be a stage, {numbers}, or a file, got {name}")
    check_path(Path(name), "N")
    return Path(name).resolve()


@contextlib.contextmanager
def one_line(path: Path) -> Iterator[None]:
    """End with one line and status 1 if something in that file fails."""
    try:
        yield
    except (Exception, SystemExit) as error:
        lines = explain_error(error, path).splitlines()
        fail(" ".join(line.strip() for line in lines), status=1)


def make(path: Path, call: str, setup: str, size: dict[str, int]) -> Made:
    """Trace and compile the call, and trace one with twice num_steps."""
    with one_line(path):
        module = vars(import_file(path))
        names = {"np": np, **size, **module}
        function, args, kwargs = evaluate(call, setup, names)
    if not hasattr(function, "trace"):
        fail(
            f"{show_path(path)}: {call.partition('(')[0]} is not what jax.jit"
            " returns, so there is no one program to look at"
        )
    larger = None
    with one_line(path):
        traced, seconds = time_call(function.trace, *args, **kwargs)
        compiled, more_seconds = time_call(lambda: traced.lower().compile())
        if "num_steps" in call + setup and "num_steps" not in module:
            names = {"np": np, **size, **module}
            names["num_steps"] *= 2
            _, more, named = evaluate(call, setup, names)
            larger = function.trace(*more, **named)
    run = functools.partial(function, *args, **kwargs)
    program, seconds = Program(compiled.as_text()), seconds + more_seconds
    lines = program.source_lines(path)
    return Made(path, run, traced, larger, compiled, seconds, program, lines)


def evaluate(call: str, setup: str, names: dict[str, Any]) -> tuple:
    """The function that is called, its arguments, those by name."""
    exec(compile(setup, "--setup", "exec"), names)
    node = ast.parse(call, mode="eval").body
    inside = ", ".join(map(ast.unparse, [*node.args, *node.keywords]))
    taken = eval(f"(lambda *args, **kwargs: (args, kwargs))({inside})", names)
    return eval(ast.unparse(node.func), names), *taken


def show(made: list[Made], call: str) -> None:
    """Print a screen of what was made, one column for each program."""
    found = [dict(describe(one)) for one in made]
    rows: list[Row] = [
        (name, [each[name, meaning] for each in found], meaning)
        for name, meaning in found[0]
        if any(each[name, meaning] for each in found)
    ]
    if len(made) > 1:
        heads = [one.path.stem.partition("_")[0][:12] for one in made]
        rows.insert(0, ("", heads, ""))
    room = max(2, terminal_size()[1] - 3 - len(rows)) // len(made)
    for one in made:
        text = one.path.read_text(encoding="utf-8").splitlines()
        for line, count in Counter(one.lines.values()).most_common(room):
            values = [count if each is one else "" for each in made]
            rows.append(
                (f"HLO of line {line}", values, text[line - 1].strip())
            )
    files = " and ".join(one.path.name for one in made)
    platform = jax.devices()[0].platform
    say(f"{files}: {call}; jax {jax.__version__}, {platform}")
    print_rows(rows)


def describe(made: Made) -> Iterator[tuple[tuple[str, str], Any]]:
    """What there is to say: a name and what it means, then the value."""
    jaxpr, program = made.traced.jaxpr, made.program
    recorded = Counter(e.primitive.name for e in equations(jaxpr))
    run = Counter(
        x.operation.removesuffix("-start") for x in program.running()
    )
    more = made.larger and count_equations(made.larger.jaxpr)
    total = count_equations(jaxpr)
    yield ("jaxpr equations", "what JAX recorded: --jaxpr"), total
    yield ("  at num_steps x 2", "more if Python unrolls a loop"), more
    for name, meaning in PRIMITIVES.items():
        yield (f"  {name}", meaning), recorded[name]
    yield ("HLO instructions", "what XLA made of it: --hlo"), run.total()
    for name, meaning in OPERATIONS.items():
        yield (f"  {name}", meaning), run[name]
    yield from describe_loops(program)
    memory = made.compiled.memory_analysis()  # None where XLA does not say
    for name, meaning in MEMORY.items():
        size = getattr(memory, f"{name}_size_in_bytes", None)
        yield (f"memory: {name}", meaning), size
    flops = (made.compiled.cost_analysis() or {}).get("flops", 0)
    yield ("cost_analysis: flops", "a loop's body counts once"), int(flops)
    yield ("ms to compile", "and to trace"), round(1000 * made.seconds)


def describe_loops(program: Program) -> Iterator[tuple[tuple[str, str], str]]:
    """How often the loops turn, and whether their buffers are copied."""
    turns = ", ".join(program.turns()[:-4:-1])  # outer loops come last
    yield ("  turns", "of a loop"), turns
    for name, meaning in BUFFERS.items():
        shapes = [
            shape for shape, how in program.loop_buffers() if how == name
        ]
        yield (f"  {name}", meaning), max(shapes, key=num_cells, default="")


def num_cells(shape: str) -> int:
    """The elements of an array, by its shape in HLO: u8[80,80]."""
    return math.prod(map(int, re.findall(r"\d+", shape.partition("[")[2])))


def print_rows(rows: list[Row]) -> None:
    """Print a table. What is too long is cut, in a narrow terminal wrapped."""
    columns, _ = terminal_size()
    width = max(len(name) for name, _, _ in rows)
    cells = [
        [f"{v:,}" if isinstance(v, int) else str(v or "") for v in values]
        for _, values, _ in rows
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for (name, _, meaning), values in zip(rows, cells, strict=True):
        row = f"{name:{width}}"
        for value, size in zip(values, widths, strict=True):
            row += f"  {value:>{size}}"
        row = f"{row}  {meaning}".rstrip()
        if len(row) > columns >= 80:
            row = f"{row[: columns - 3]}..."
        print(textwrap.fill(row, columns, subsequent_indent="    "))


def paint(hlo: str) -> str:
    """The text, its operations in color where the terminal shows color."""
    if not shows_color(sys.stdout):
        return hlo
    green = rf"{COLORS['+']}\1{RESET}"
    return re.sub(r"(?<=[\]})] )([a-z][\w-]*)(?=\()", green, hlo)


def show_profile(made: Made, file: Path) -> None:
    """Write the trace of one call, and print what took longest in it."""
    jax.block_until_ready(made.call())
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder, create_perfetto_trace=True):
            jax.block_until_ready(made.call())
        (found,) = Path(folder).rglob("perfetto_trace.json.gz")
        trace = found.read_bytes()
    write_whole(file, trace)
    spent, times = own_times(json.loads(gzip.decompress(trace))["traceEvents"])
    rows: list[Row] = [("operation", ["ms", "share", "times"], "from")]
    for name, microseconds in spent.most_common(10):
        share = f"{100 * microseconds / spent.total():.0f} %"
        values = [f"{microseconds / 1000:.3f}", share, times[name]]
        line = made.lines.get(name)
        rows.append((name, values, f"line {line}" if line else ""))
    print_rows(rows)
    say(f"wrote {file}: open it at https://ui.perfetto.dev")


def own_times(events: list[dict]) -> tuple[Counter, Counter]:
    """Microseconds that each operation took, and how often it ran.

    Of a loop without what ran inside of it.
    """
    spent, times, outer = Counter(), Counter(), defaultdict(list)
    ran = [e for e in events if "hlo_op" in e.get("args", {})]
    for event in sorted(ran, key=lambda e: (e["ts"], -e["dur"])):
        name, end = event["args"]["hlo_op"], event["ts"] + event["dur"]
        around = outer[event["pid"], event["tid"]]
        while around and around[-1][1] <= event["ts"]:
            around.pop()
        if around:
            spent[around[-1][0]] -= event["dur"]
        around.append((name, end))
        spent[name] += event["dur"]
        times[name] += 1
    return spent, times


INSTRUCTION = re.compile(
    r"\s+(ROOT )?%(\S+) = (.+?) ([a-z][\w-]*)\((.*?)\)(.*)"
)
ONLY_NAMES = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast"}
PASS_ON = {"copy", "bitcast", "dynamic-update-slice"}  # the first operand


class Instruction(NamedTuple):
    """One value: its name, shape, operation, and what it is computed from."""

    is_root: bool
    """Whether it is the result of its computation."""
    name: str
    shape: str
    operation: str
    operands: list[str]
    rest: str
    """What stands behind the operands: attributes and metadata."""

    def attribute(self, name: str) -> str:
        """Its value, a number or the name of a computation, "" without it."""
        found = re.search(rf"\b{name}=%?([\w.-]+)", self.rest)
        return found[1] if found else ""


class Program:
    """The computations of a program, and what can be read from them."""

    def __init__(self, text: str) -> None:
        """Read what `compiled.as_text()` returns."""
        self.text = text
        self.computations: dict[str, list[Instruction]] = {}
        for line in re.sub(r"/\*.*?\*/", "", text).splitlines():
            if found := re.match(r"(?:ENTRY )?%(\S+) .*\{$", line):
                inside = self.computations[found[1]] = []
            elif found := INSTRUCTION.match(line):
                root, *parts, operands, rest = found.groups()
                names = re.findall(r"[\w.-]+", operands)
                inside.append(Instruction(bool(root), *parts, names, rest))
        everything = itertools.chain(*self.computations.values())
        self.instructions = {it.name: it for it in everything}

    def running(self) -> Iterator[Instruction]:
        """The instructions that run by themselves, those of a loop once.

        Not what is fused, nor what only gives a name to something.
        """
        inner = {
            it.attribute(kind)
            for it in self.instructions.values()
            for kind in ("calls", "to_apply")
            if it.operation != "call"
        }
        for name, instructions in self.computations.items():
            for it in instructions if name not in inner else ():
                ends = it.operation.endswith("-done")  # its start counts
                if it.operation not in ONLY_NAMES and not ends:
                    yield it

    def turns(self) -> list[str]:
        """How often each loop turns, where XLA knows."""
        return re.findall(r'known_trip_count":\{"n":"(\d+)"', self.text)

    def root(self, computation: str) -> Instruction:
        """The result of a computation."""
        return next(it for it in self.computations[computation] if it.is_root)

    def buffer_path(self, name: str) -> Iterator[Instruction]:
        """The instruction, and those that handed its buffer on, last first.

        What a fusion hands on is found among the instructions inside.
        """
        while it := self.instructions.get(name):
            yield it
            if it.operation == "fusion":
                root = self.root(it.attribute("calls"))
                *_, last = inside = [*self.buffer_path(root.name)]
                yield from inside
                if last.operation != "parameter":
                    return
                name = it.operands[int(last.operands[0])]
            elif it.operation in PASS_ON:
                name = it.operands[0]
            else:
                return

    def loop_buffers(self) -> Iterator[tuple[str, str]]:
        """The shape of each buffer that a loop writes parts of, and how.

        "in place" if nothing copies it between where it comes into a turn
        and where it leaves: where XLA cannot do that, it puts a copy.
        """
        for loop in self.instructions.values():
            if loop.operation != "while":
                continue
            root = self.root(loop.attribute("body"))
            for name in root.operands:
                path = [*self.buffer_path(name)]
                passed = {it.operation for it in path}
                if "dynamic-update-slice" in passed:
                    kept = "copy" not in passed
                    shape = path[0].shape.partition("{")[0]
                    yield shape, "in place" if kept else "copied"

    def source_lines(self, path: Path) -> dict[str, int]:
        """Instruction to the line of that file that asked for it.

        Empty where the text does not say so.
        """
        frames, places, files = map(
            self.table, ("StackFrames", "FileLocations", "FileNames")
        )

        def find_line(frame: str) -> int | None:
            while frame in frames:
                place, *_, outer = re.findall(r"=(\d+)", frames[frame])
                file, _, line = re.findall(r"=(\d+)", places[place])[:3]
                if re.split(r"[\\/]", files[file].strip('"'))[-1] == path.name:
                    return int(line)
                frame = str(int(outer) - 1)
            return None

        found = {
            it.name: find_line(it.attribute("stack_frame_id"))
            for it in self.running()
        }
        return {name: line for name, line in found.items() if line}

    def table(self, name: str) -> dict[str, str]:
        """One of the tables that stand before the computations, by number."""
        found = re.search(rf"^{name}\n((?:\d+ .*\n)+)", self.text, re.M)
        rows = found[1] if found else ""
        return dict(re.findall(r"^(\d+) (.*)$", rows, re.M))
