"""Run every stage in order, each under what it says of itself.

python stages/workshop/tour.py
"""

import ast
import signal
import subprocess
import sys
from pathlib import Path

if not __package__:  # run as a script
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from workshop.catalog import find_stages
from workshop.terminal import reader_may_leave


def main() -> int:
    """The exit status: that of the first stage that did not end with 0."""
    # Ctrl-C is for the stage that runs: some go on after it.
    signal.signal(signal.SIGINT, lambda *_: None)
    with reader_may_leave():
        for path in find_stages().values():
            docstring = ast.get_docstring(ast.parse(path.read_text("utf-8")))
            about, _, _ = docstring.rpartition("\n\n")  # without the command
            print(f"\n=== stages/{path.name}\n\n{about}\n", flush=True)
            status = subprocess.run([sys.executable, path]).returncode
            if status:
                return status if status > 0 else 128 - status
        print("\nThat was the tour. What each stage changes: make diff N=1")
        print("Your turn: make exercise N=2")
    return 0


if __name__ == "__main__":
    sys.exit(main())
