"""Find out what the terminal can show, and print to it.

This module also parses command lines and writes files atomically. It needs
nothing but Python until it parses a command line, so the doctor can use it.
"""

from __future__ import annotations

import errno
import functools
import io
import os
import secrets
import shlex
import shutil
import signal
import stat
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NoReturn, TextIO

BLOCKS = "█▀▄"

# Options of the pager `less`. It quits at the end of the text (F, E) and at
# Ctrl-C (K). Its prompt says how to go on, so that nobody types a shell
# command while `less` is running.
LESS = "FERXKPs(space for the next page, q to leave)$"


def terminal_size() -> tuple[int, int]:
    """Return (columns, lines), or (80, 24) if there is no terminal."""
    size = shutil.get_terminal_size(fallback=(80, 24))
    return size.columns, size.lines


def shows_color(stream: TextIO) -> bool:
    """Return whether to use color; NO_COLOR forbids color (no-color.org)."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    # An old console of Windows prints escape sequences as they are.
    obeys = sys.platform != "win32" or "WT_SESSION" in os.environ
    return stream.isatty() and obeys


def shows_true_color(stream: TextIO) -> bool:
    """Return whether stream shows 24-bit colors."""
    known = os.environ.get("COLORTERM") in ("truecolor", "24bit")
    return shows_color(stream) and (known or "WT_SESSION" in os.environ)


def shows_blocks(stream: TextIO) -> bool:
    """Return whether the encoding of stream has half-block characters."""
    try:
        BLOCKS.encode(stream.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def wrap(text: str) -> str:
    """Wrap a text to the width of the terminal; do not break words."""
    columns, _ = terminal_size()
    return textwrap.fill(
        text, columns, break_long_words=False, break_on_hyphens=False
    )


def bold(text: str) -> str:
    """Return a text, in bold where the terminal shows color."""
    return f"\x1b[1m{text}\x1b[0m" if shows_color(sys.stdout) else text


def say(text: str, stream: TextIO | None = None) -> None:
    """Print a sentence, wrapped to the terminal."""
    # One write, because several processes may print at the same time.
    print(f"{wrap(text)}\n", end="", file=stream)


def page(text: str) -> None:
    """Print a text; on a terminal, use the user's pager, as git does."""
    import subprocess

    pager = shlex.split(os.environ.get("PAGER", "less"))
    if not (sys.stdout.isatty() and pager and shutil.which(pager[0])):
        print(text)
        return
    sys.stdout.flush()
    environment = {**os.environ, "LESS": LESS, "LESSSECURE": "1"}
    # While the pager runs, only the pager reacts to Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    subprocess.run(pager, input=text.encode(), env=environment)
    signal.signal(signal.SIGINT, before)


@contextmanager
def interrupts_raise() -> Iterator[None]:
    """Make Ctrl-C and SIGTERM raise SystemExit in the block, for cleanup.

    Outside the block, these signals end the program at once. Do not run JAX in
    the block: if the exception is raised in one of JAX's callbacks, JAX drops
    the exception.
    """

    def leave(number: int, _: object) -> NoReturn:
        sys.exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def reader_may_leave() -> Iterator[None]:
    """Exit with status 1 and no traceback if nobody reads the output.

    For example, in `make bench | head`, `head` stops reading before the end.
    A character that the output cannot encode is written as an escape.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OSError as error:
        is_closed = isinstance(error, BrokenPipeError)
        if sys.platform == "win32":  # it has another error for a closed pipe
            is_closed = is_closed or error.errno == errno.EINVAL
        if error.filename is not None or not is_closed:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def fail(message: str, status: int = 2) -> NoReturn:
    """Print a message on standard error, and exit with this status.

    The message is wrapped only on a terminal.
    """
    if sys.stderr.isatty():
        say(message, sys.stderr)
    else:
        print(message, file=sys.stderr)
    sys.exit(status)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file completely or not at all; encode text as UTF-8.

    The content is written to a new file in the same folder. The new file gets
    the mode of the old file, and is then renamed to replace the old file. If
    the path is a link, the file that the link points to is replaced. If
    writing fails, raise OSError and leave the old file unchanged.
    """
    if isinstance(content, str):
        content = content.encode()
    path = path.resolve()
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:  # x: a new file, never through a link
            file.write(content)
        if path.exists():
            part.chmod(stat.S_IMODE(path.stat().st_mode))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_asked(path: Path, content: str | bytes) -> None:
    """Write a file that an option names; exit with a message on failure."""
    try:
        write_whole(path, content)
    except OSError as error:
        reason = error.strerror or error
        fail(f"{path} cannot be written: {reason}", status=1)


def parse(
    command: Callable,
    description: str | None = None,
    arguments: list[str] | None = None,
    prog: str | None = None,
) -> Any:
    """Parse a command line for a function or a dataclass.

    The signature of `command` defines the command line. For a function, return
    a partial of the function with the arguments. For a dataclass, return an
    instance. If the command line does not fit, print tyro's explanation and
    exit with status 2. If it contains --help, print the help and exit.
    """
    import tyro

    # tyro colors what it writes to a terminal, even where NO_COLOR is set.
    usage, complaint = io.StringIO(), io.StringIO()
    try:
        with redirect_stdout(usage), redirect_stderr(complaint):
            return tyro.cli(
                command if isinstance(command, type) else defer(command),
                args=arguments,
                prog=prog or Path(sys.argv[0]).name,
                description=description,
                config=(tyro.conf.PositionalMetavarFromFieldName,),
            )
    except SystemExit:
        print(usage.getvalue(), end="")
        print(complaint.getvalue(), end="", file=sys.stderr)
        raise


def defer(function: Callable) -> Callable:
    """Return a function with the same signature.

    The returned function does not call `function`. It returns a partial of
    `function` with the arguments.
    """

    @functools.wraps(function)
    def later(*args: Any, **kwargs: Any) -> Callable:
        return functools.partial(function, *args, **kwargs)

    return later


def show_path(path: Path) -> str:
    """Return the path as a user would type it, with forward slashes."""
    path = path.resolve()
    if path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return path.as_posix()


def show_item(verdict: str, what: str) -> None:
    """Print a verdict in one column, and a text in the next column."""
    columns, _ = terminal_size()
    indent = " " * 6
    item = f"{verdict:4}  {what}"
    print(textwrap.fill(item, columns, subsequent_indent=indent))


def show_text(text: str) -> None:
    """Print lines, wrapped. Indented lines are code and are cut instead."""
    columns, _ = terminal_size()
    for line in text.splitlines():
        if not line.startswith(" "):
            say(line)
        elif len(line) <= columns:
            print(line)
        else:
            print(line[: columns - 3] + "...")


def uses_make() -> bool:
    """Return whether this command was typed as `make ...`.

    make sets MAKELEVEL for every command that it runs.
    """
    return "MAKELEVEL" in os.environ


def command(name: str, n: int | None = None, arguments: str = "") -> str:
    """Return how to type a command: with make if the user typed make."""
    by_make = uses_make()
    words = ["make" if by_make else "python stages/workshop", name]
    if n is not None:
        words.append(f"N={n}" if by_make else str(n))
    if arguments:
        words.append(f'ARGS="{arguments}"' if by_make else arguments)
    return " ".join(words)
