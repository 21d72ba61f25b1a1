"""Every command of the workshop: `python stages/workshop check 5`.

A command is a function: its signature is its command line, its docstring its
help. Without a command they are listed. Needs nothing but Python until one is
called that has arguments: the doctor has to run where installing went wrong.
"""

from __future__ import annotations

import ast
import importlib
import re
import signal
import sys
from functools import partial
from pathlib import Path

signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback while importing

FOLDER = Path(__file__).resolve().parent
sys.path[0] = str(FOLDER.parent)

from workshop.terminal import fail, parse, reader_may_leave, say  # noqa: E402

# The module of each, in the order in which they are met.
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
# What follows the number is for a script. It starts no other process: so
# signals end it at once, while it imports or compiles too.
SCRIPTS = ("stage", "run")


def summarize(name: str) -> str:
    """The first line of the command's docstring, read without importing."""
    path = FOLDER.joinpath(*COMMANDS[name].split(".")).with_suffix(".py")
    (function,) = (
        node
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name == name
    )
    return ast.get_docstring(function).partition("\n")[0]


def list_commands() -> None:
    """Print each command with what it does."""
    for name in COMMANDS:
        print(f"{name:10} {summarize(name)}")
    say("How to use one: python stages/workshop NAME --help")


def call_command(name: str, arguments: list[str]) -> int | None:
    """Import it, and call it with those arguments; its exit status."""
    module = importlib.import_module(f"workshop.{COMMANDS[name]}")
    command = getattr(module, name)
    rest: list[str] = []
    if name in SCRIPTS:
        arguments, rest = arguments[:1], arguments[1:]
    takes = command.__annotations__
    if takes.get("n") is int and re.fullmatch(r"\d+", " ".join(arguments)):
        command = partial(command, int(arguments[0]))  # a parser takes 0.1 s
    elif arguments or takes.keys() > {"return"}:
        command = parse(command, arguments=arguments, prog=name)
    return command(*rest)


def leave(number: int, _: object) -> None:
    """End as an exception does, so that what was started is ended too."""
    sys.exit(128 + number)


def main() -> int | None:
    """Call the command that is named; the exit status, 130 for Ctrl-C.

    It is 1 if the reader of the output left before the end.
    """
    name, *arguments = sys.argv[1:] or ["--help"]
    if name not in SCRIPTS:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for ended in {"SIGTERM", "SIGHUP"} & vars(signal).keys():
            signal.signal(getattr(signal, ended), leave)
    status: int | None = 1
    try:
        with reader_may_leave():
            if name in ("-h", "--help"):
                status = list_commands()
            elif name in COMMANDS:
                status = call_command(name, arguments)
            else:
                known = ", ".join(COMMANDS)
                fail(f"the command must be one of {known}, got {name}")
    except KeyboardInterrupt:
        return 130
    return status


if __name__ == "__main__":
    sys.exit(main())
