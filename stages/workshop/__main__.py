"""Run a command of the workshop: `python stages/workshop check 5`.

Each command is a function. Its signature defines the command line, and its
docstring is the help text. Without a command, this program lists all commands.
This file needs nothing but Python, because the doctor must run even where the
installation failed.
"""

from __future__ import annotations

# ruff: noqa: E402
import signal

# Ctrl-C ends every command at once, even during an import or a compilation, so
# this line comes before the other imports. Code that has to clean up uses
# terminal.interrupts_raise.
signal.signal(signal.SIGINT, signal.SIG_DFL)

import ast
import importlib
import sys
from functools import partial
from inspect import signature
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
sys.path[0] = str(FOLDER.parent)

from workshop.terminal import (
    command,
    fail,
    parse,
    reader_may_leave,
    say,
    show_item,
)


class Command(NamedTuple):
    """The module that defines a command, and how its command line begins."""

    module: str
    takes_number: bool = False
    """Whether the first argument is a number, N."""
    runs_stage: bool = False
    """Whether everything after N is passed on to a stage."""


# The commands, in the order in which an attendee meets them.
COMMANDS = {
    "tour": Command("stages"),
    "stage": Command("stages", takes_number=True, runs_stage=True),
    "diff": Command("stages", takes_number=True),
    "inspect": Command("inspection"),
    "exercise": Command("exercises.commands", takes_number=True),
    "check": Command("exercises.commands", takes_number=True),
    "hint": Command("exercises.commands", takes_number=True),
    "watch": Command("exercises.commands", takes_number=True),
    "run": Command("exercises.commands", takes_number=True, runs_stage=True),
    "progress": Command("exercises.commands"),
    "doctor": Command("doctor"),
    "cluster": Command("cluster"),
    "port": Command("port.port"),
}
# Commands that are separate scripts: path and first arguments, and a summary.
SCRIPTS = {
    "bench": (["benchmarks/bench.py"], "Measure what each stage gains."),
    "lab": (["notebooks/lab.py"], "Open your copies of the notebooks."),
    "html": (["notebooks/convert.py", "html"], "Convert notebooks to HTML."),
}


def summarize(name: str) -> str:
    """Return a one-line summary of a command, without importing it."""
    if name in SCRIPTS:
        return SCRIPTS[name][1]
    parts = COMMANDS[name].module.split(".")
    path = FOLDER.joinpath(*parts).with_suffix(".py")
    (function,) = (
        node
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name == name
    )
    return ast.get_docstring(function).partition("\n")[0]


def list_commands() -> None:
    """Print each command with its summary."""
    for name in [*COMMANDS, *SCRIPTS]:
        show_item(f"{name:8}", summarize(name))
    say("How to use one: python stages/workshop NAME --help")


def call_script(name: str, arguments: list[str]) -> None:
    """Run one of the SCRIPTS with these arguments."""
    (path, *first), _ = SCRIPTS[name]
    stages = importlib.import_module("workshop.stages")
    stages.run_script(ROOT / path, [*first, *arguments])


def call_command(name: str, arguments: list[str]) -> int | None:
    """Import a command and call it with these arguments; return its status."""
    asked = COMMANDS[name]
    module = importlib.import_module(f"workshop.{asked.module}")
    function = getattr(module, name)
    rest: list[str] = []
    if asked.runs_stage:
        arguments, rest = arguments[:1], arguments[1:]
    if asked.takes_number:
        check_number(name, arguments)
    is_number = len(arguments) == 1 and arguments[0].isdecimal()
    # The parser is slow to import, and most calls do not need it.
    if asked.takes_number and is_number:
        function = partial(function, int(arguments[0]))
    elif arguments or signature(function).parameters:
        function = parse(function, arguments=arguments, prog=name)
    return function(*rest)


def check_number(name: str, arguments: list[str]) -> None:
    """Exit with a message and status 2 unless the number N is given."""
    example = command(name, 5)
    number = arguments[0] if arguments else ""
    if number == "":
        fail(f"N must be a number, as in {example}, got nothing")
    if not (number.isdecimal() or number.startswith("-")):  # an option is fine
        fail(f"N must be a number, as in {example}, got {number}")


def call(name: str, arguments: list[str]) -> int | None:
    """Call the command with this name, and return its exit status."""
    if name in ("-h", "--help"):
        return list_commands()
    if name in COMMANDS:
        return call_command(name, arguments)
    if name in SCRIPTS:
        return call_script(name, arguments)
    known = ", ".join([*COMMANDS, *SCRIPTS])
    fail(f"the command must be one of {known}, got {name}")


def main() -> int | None:
    """Call the command that sys.argv names, and return its exit status."""
    name, *arguments = sys.argv[1:] or ["--help"]
    with reader_may_leave():
        try:
            return call(name, arguments)
        except ModuleNotFoundError as error:
            if name == "run":  # raised by the attendee's own file
                raise
            how = command("doctor")
            fail(f"{error.name} is not installed: run {how}", status=1)
        except ValueError as error:
            if not stopped_importing_jax():
                raise
            fail(f"JAX cannot be imported: {error}")


def stopped_importing_jax() -> bool:
    """Return whether JAX raised an error while it was imported.

    This happens if an environment variable has a value that JAX rejects.
    """
    return "jax" not in sys.modules and "jax.version" in sys.modules


if __name__ == "__main__":
    sys.exit(main())
