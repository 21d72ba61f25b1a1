"""Read the optimized HLO, the program that XLA made, from its text.

It consists of computations: the one that is called, the bodies of loops, what
is fused into one pass. Each is a list of instructions, a name for each value.
"""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

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
