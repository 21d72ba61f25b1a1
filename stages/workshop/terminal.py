"""What the terminal can show, and how a script speaks to it.

Needs nothing but Python, so that the doctor can use it.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn, TextIO

BLOCKS = "█▀▄"


def terminal_size() -> tuple[int, int]:
    """(columns, lines); 80 by 24 where there is no terminal to ask."""
    size = shutil.get_terminal_size(fallback=(80, 24))
    return size.columns, size.lines


def moves_cursor(stream: TextIO) -> bool:
    """Whether stream is a terminal that obeys escape sequences."""
    if sys.platform == "win32" and not os.environ.keys() & {
        "WT_SESSION",
        "TERM",
    }:
        return False  # the old console shows them as characters
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def shows_color(stream: TextIO) -> bool:
    """Whether to color: not if the user set NO_COLOR (no-color.org)."""
    return moves_cursor(stream) and not os.environ.get("NO_COLOR")


def shows_blocks(stream: TextIO) -> bool:
    """Whether the encoding of stream has the half-block characters."""
    try:
        BLOCKS.encode(stream.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def say(text: str, stream: TextIO | None = None) -> None:
    """Print a sentence, wrapped to the terminal; a link stays in one piece."""
    columns, _ = terminal_size()
    cut = "://" not in text
    print(textwrap.fill(text, columns, break_long_words=cut), file=stream)


@contextmanager
def reader_may_leave() -> Iterator[None]:
    """End quietly when the reader of our output, `| head` say, has left.

    A full disk ends it with one line and status 1.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OSError as error:
        gone = (errno.EPIPE, errno.EINVAL)  # EINVAL: on Windows
        if error.errno not in (*gone, errno.ENOSPC):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno == errno.ENOSPC:
            fail("the output cannot be written: no space is left", status=1)


def fail(message: str, status: int = 2) -> NoReturn:
    """Print one line on standard error and end with that exit status."""
    print(message, file=sys.stderr)
    sys.exit(status)
