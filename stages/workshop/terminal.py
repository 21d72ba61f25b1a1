"""Find out what the terminal can show, and print to it.

Also parse command lines, and write files atomically. This needs nothing but
Python until a command line is parsed, so that the doctor can use it.
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

# The pager `less` quits at the end of the text (F, E) and at Ctrl-C (K). Its
# prompt says how to go on, so that nobody types a command into it.
LESS = "FERXKPs(space for the next page, q to leave)$"


def terminal_size() -> tuple[int, int]:
    """Return (columns, lines), which is (80, 24) without a terminal."""
    size = shutil.get_terminal_size(fallback=(80, 24))
    return size.columns, size.lines


def moves_cursor(stream: TextIO) -> bool:
    """Return whether stream is a terminal that obeys escape sequences."""
    obeys = sys.platform != "win32" or "WT_SESSION" in os.environ
    return stream.isatty() and obeys and os.environ.get("TERM") != "dumb"


def shows_color(stream: TextIO) -> bool:
    """Return whether to use color: not if NO_COLOR is set (no-color.org)."""
    return moves_cursor(stream) and not os.environ.get("NO_COLOR")


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
    """Return a text in lines that fit the terminal; no word is broken."""
    columns, _ = terminal_size()
    return textwrap.fill(
        text, columns, break_long_words=False, break_on_hyphens=False
    )


def bold(text: str) -> str:
    """Return a text, in bold where the terminal shows color."""
    return f"\x1b[1m{text}\x1b[0m" if shows_color(sys.stdout) else text


def say(text: str, stream: TextIO | None = None) -> None:
    """Print a sentence, wrapped to the terminal."""
    print(wrap(text), file=stream)


def page(text: str) -> None:
    """Print a text; on a terminal through the user's pager, as git does."""
    import subprocess

    try:
        pager = shlex.split(os.environ.get("PAGER", "less"))
    except ValueError:  # a quotation mark that is never closed
        pager = []
    if not (sys.stdout.isatty() and pager and shutil.which(pager[0])):
        print(text)
        return
    sys.stdout.flush()
    environment = {**os.environ, "LESS": LESS, "LESSSECURE": "1"}
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the pager gets it
    subprocess.run(pager, input=text.encode(), env=environment)
    signal.signal(signal.SIGINT, before)


@contextmanager
def interrupts_raise() -> Iterator[None]:
    """Raise SystemExit at Ctrl-C and SIGTERM in the block, to clean up.

    Everywhere else these signals simply end the program. Do not run JAX in the
    block, because it drops an exception that is raised in one of its
    callbacks.
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
    """End with status 1 and no traceback if the output cannot be written.

    In `make bench | head`, for example, the reader leaves before the end. A
    character that the output cannot encode is written as an escape.
    """
    if sys.stdout is None:
        fail("standard output is closed: there is nowhere to write", status=1)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OSError as error:
        is_full = error.errno == errno.ENOSPC
        if error.filename is not None or not (is_full or has_left(error)):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if is_full:
            fail(f"the output cannot be written: {error.strerror}", status=1)
        sys.exit(1)


def has_left(error: OSError) -> bool:
    """Return whether an error means that the reader of a pipe has left."""
    if sys.platform == "win32" and error.errno == errno.EINVAL:
        return True
    return error.errno == errno.EPIPE


def fail(message: str, status: int = 2) -> NoReturn:
    """Print a message on standard error and end with that exit status.

    The message is wrapped only on a terminal.
    """
    if sys.stderr.isatty():
        say(message, sys.stderr)
    else:
        print(message, file=sys.stderr)
    sys.exit(status)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all; encode text as UTF-8.

    The file is written under a new name beside the old one, and then renamed.
    It keeps its mode, a link keeps pointing to it, and a device is written to
    directly. If writing fails, this raises OSError and leaves what was there
    before.
    """
    if isinstance(content, str):
        content = content.encode()
    path = path.resolve()
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
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
    """Write a file that an option names; end with one line if that fails."""
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
    """Parse a command line by the signature of a function or dataclass.

    Returns the function with these arguments, not yet called, or the instance
    of the dataclass. A command line that does not fit ends the program with
    tyro's explanation and status 2. --help prints the help and ends it.
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
    """Return a function with the same signature that only prepares a call."""

    @functools.wraps(function)
    def later(*args: Any, **kwargs: Any) -> Callable:
        return functools.partial(function, *args, **kwargs)

    return later


def show_path(path: Path) -> str:
    """Return the path as one would type it, with forward slashes."""
    path = path.resolve()
    if path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return path.as_posix()


def show_item(verdict: str, what: str) -> None:
    """Print a verdict and what it is about, in columns."""
    columns, _ = terminal_size()
    indent = " " * 6
    item = f"{verdict:4}  {what}"
    print(textwrap.fill(item, columns, subsequent_indent=indent))


def show_text(text: str) -> None:
    """Print lines, wrapped. An indented line is code, so it is cut to fit."""
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

    make sets MAKELEVEL for all that it runs.
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
