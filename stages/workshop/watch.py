"""Check an exercise whenever it is saved, until Ctrl-C.

python stages/workshop/watch.py 5
"""

import dataclasses
import sys
from contextlib import suppress
from pathlib import Path

if not __package__:  # run as a script
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import watchfiles

from workshop.check import check_own
from workshop.command_line import StageNumber, parse
from workshop.sandbox import Limits
from workshop.tasks import find_task, require_file, shown
from workshop.terminal import moves_cursor, reader_may_leave


@dataclasses.dataclass(frozen=True)
class Arguments:
    """The command line."""

    number: StageNumber
    """The stage to arrive at."""


def main() -> None:
    """Check now, and again at every save; editors may replace the file."""
    arguments = parse(Arguments, "Check an exercise whenever it is saved.")
    task = find_task(arguments.number)
    path = require_file(task)
    saves = watchfiles.watch(
        path.parent,
        watch_filter=lambda _, changed: Path(changed).name == path.name,
        rust_timeout=500,
        yield_on_timeout=True,
    )
    seen = None  # the first time-out brings the first check
    with reader_may_leave(), suppress(KeyboardInterrupt):
        for _ in saves:
            if path.is_file() and path.stat().st_mtime_ns != seen:
                seen = path.stat().st_mtime_ns
                if moves_cursor(sys.stdout):
                    print("\x1b[2J\x1b[H", end="")
                check_own(task, Limits())
                print(
                    f"\nwaiting for {shown(path)} to be saved; Ctrl-C ends",
                    flush=True,
                )
    print()


if __name__ == "__main__":
    main()
