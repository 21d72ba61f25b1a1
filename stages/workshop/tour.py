"""Run every stage in order, each under what it says of itself."""

import ast
import subprocess
import sys

from workshop.stages import find_stages


def tour() -> int:
    """Run every stage in order.

    The exit status is that of the first stage that does not end with 0.
    """
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
