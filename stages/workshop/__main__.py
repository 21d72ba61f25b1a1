"""Run a command of the workshop: `python stages/workshop check 5`.

A command is a function: its signature is the command line, and its docstring
is the help. Without a command, all are listed. This file needs nothing but
Python, because the doctor must run where the installation failed.
"""

from __future__ import annotations

# ruff: noqa: E402
import signal

# Ctrl-C ends every command at once, even while it imports or compiles, so this
# comes first. Code that has to clean up uses terminal.interrupts_raise.
signal.signal(signal.SIGINT, signal.SIG_DFL)

import ast
import importlib
import sys
from pathlib import Path

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

# The module of each command, in the order in which they are met.
COMMANDS = {
    "tour": "tour",
    "stage": "stages",
    "diff": "stages",
    "inspect": "inspection",
    "exercise": "exercises.commands",
    "check": "exercises.check",
    "hint": "exercises.commands",
    "watch": "exercises.commands",
    "run": "exercises.commands",
    "progress": "exercises.commands",
    "doctor": "doctor",
    "cluster": "cluster",
    "port": "port.port",
}
# Their first argument is N, and all that follows is for a stage.
STAGE_COMMANDS = ("stage", "run")
# Commands that are scripts of their own: path, arguments, and what they do.
SCRIPTS = {
    "bench": (["benchmarks/bench.py"], "Measure what each stage gains."),
    "lab": (["notebooks/lab.py"], "Open your copies of the notebooks."),
    "html": (["notebooks/convert.py", "html"], "Make pages of the notebooks."),
}


def summarize(name: str) -> str:
    """Return what a command does, without importing it."""
    if name in SCRIPTS:
        return SCRIPTS[name][1]
    path = FOLDER.joinpath(*COMMANDS[name].split(".")).with_suffix(".py")
    (function,) = (
        node
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name == name
    )
    return ast.get_docstring(function).partition("\n")[0]


def list_commands() -> None:
    """Print each command with what it does."""
    for name in [*COMMANDS, *SCRIPTS]:
        show_item(f"{name:8}", summarize(name))
    say("How to use one: python stages/workshop NAME --help")


def call_script(name: str, arguments: list[str]) -> None:
    """Run a script of the repository as Python would."""
    (path, *first), _ = SCRIPTS[name]
    stages = importlib.import_module("workshop.stages")
    stages.run_script(ROOT / path, [*first, *arguments])


def call_command(name: str, arguments: list[str]) -> int | None:
    """Import a command, call it with those arguments; return its status."""
    module = importlib.import_module(f"workshop.{COMMANDS[name]}")
    function = getattr(module, name)
    rest: list[str] = []
    if name in STAGE_COMMANDS:
        arguments, rest = arguments[:1], arguments[1:]
    parameters = function.__annotations__.keys() - {"return"}
    if function.__annotations__.get("n") is int:
        check_number(name, arguments)
        if len(arguments) == 1 and arguments[0].isdecimal():
            return function(int(arguments[0]), *rest)  # tyro is slow to import
    if arguments or parameters:
        return parse(function, arguments=arguments, prog=name)(*rest)
    return function()


def check_number(name: str, arguments: list[str]) -> None:
    """End with one line and status 2 unless the number N is given."""
    example = command(name, 5)
    number = arguments[0] if arguments else ""
    if number == "":
        fail(f"N must be a number, as in {example}, got nothing")
    if not (number.isdecimal() or number.startswith("-")):  # an option is fine
        fail(f"N must be a number, as in {example}, got {number}")


def call(name: str, arguments: list[str]) -> int | None:
    """Call the command of that name, and return its exit status."""
    if name in ("-h", "--help"):
        return list_commands()
    if name in COMMANDS:
        return call_command(name, arguments)
    if name in SCRIPTS:
        return call_script(name, arguments)
    known = ", ".join([*COMMANDS, *SCRIPTS])
    fail(f"the command must be one of {known}, got {name}")


def main() -> int | None:
    """Call the command that the arguments name; return the exit status."""
    name, *arguments = sys.argv[1:] or ["--help"]
    with reader_may_leave():
        try:
            return call(name, arguments)
        except ModuleNotFoundError as error:
            if name == "run":  # the attendee's own file
                raise
            how = command("doctor")
            fail(f"{error.name} is not installed: run {how}", status=1)
        except ValueError as error:
            if not stopped_importing_jax():
                raise
            fail(f"JAX cannot be imported: {error}")


def stopped_importing_jax() -> bool:
    """Return whether JAX raised an error while it was imported.

    It does that if an environment variable has a value that is not allowed.
    """
    return "jax" not in sys.modules and "jax.version" in sys.modules


if __name__ == "__main__":
    sys.exit(main())
