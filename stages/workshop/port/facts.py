"""The facts of a port, as one process finds them and another explains them.

This imports no JAX, so that the process which prints the report starts at
once.
"""

import dataclasses
import re
from pathlib import Path
from typing import Any

LARGE = 100_000  # bytes that take time to copy, or memory to hold
DRAWS = "a generator"  # how the description of a random generator begins


@dataclasses.dataclass
class Evidence:
    """All that is known of a port. A line is FILE:NUMBER, "" if unknown."""

    old: float  # the seconds of a call of the old program
    first: float  # the seconds of the first call of the port
    later: float  # the seconds of a later call
    is_jax: bool  # whether the result contains JAX arrays
    misses: list[dict]  # what the first call traces, and why
    again: list[dict]  # what the second call traces, and why
    compiling: float  # the seconds that the second call spends on it
    narrowed: list[str]  # lines that ask for 64 bits and get 32
    function: dict[str, Any]  # what --call calls: see LineTimer
    eager: dict[str, int]  # operations that are sent one by one, by line
    small: int  # how many of them return only a few values
    eager_loop: str  # the line of a scan or while_loop outside jit
    calls: dict[str, int]  # calls of each jitted function
    chained: dict[str, int]  # calls of each that take its last result
    reads: dict[str, int]  # values that Python waits for, by line
    inside: float  # the seconds of a call inside compiled functions
    outside: dict[str, float]  # the other seconds, by line
    unrolled: dict[str, Any]  # the operations that are repeated most
    grows: list[int]  # the operations of --call, and of --larger
    callbacks: list[str]  # the names of operations that call Python
    constants: dict[str, int]  # bytes in each jitted function
    loops: list[dict]  # of each: its line, its size, the buffer it copies
    scatters: dict[str, int]  # values that are written by index, by line
    # If the result differs:
    differs: dict[str, Any]  # see results.Difference
    repeats: bool  # whether two calls of the port return the same
    at_second: bool  # whether only the second call is wrong
    allow: str  # the option that allows for the difference, "" if none
    relation: list[str]  # see results.relate
    without_jit: bool  # whether the port is right without jit
    changed: dict[str, str]  # what jit has kept: see causes.Watch
    wide: list[str]  # the two values, if 64 bits make the port right
    shrinks: list[str]  # the largest difference with 32 and 64 bits
    dropped: str  # the line that makes an array which is not used
    rebound: dict[str, str]  # see causes.find_rebound
    operations: list[str]  # the names of all operations
    reused: str  # the line that uses a random key once more
    events: dict[str, list[str]]  # see causes.find_events
    tried: list[str]  # the experiments that came to an end
    old_repeats: bool  # whether two old calls return the same
    uninitialized: str  # the line of np.empty, if that may differ


def make_evidence(facts: dict[str, Any]) -> Evidence:
    """Make Evidence of the reported facts; a missing one is 0 or empty."""
    fields = dataclasses.fields(Evidence)
    return Evidence(*(facts.get(field.name, field.type()) for field in fields))


def find_empty(path: Path) -> str:
    """Return the line of a program that makes an array by np.empty, or ""."""
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if re.search(rb"\bempty(_like)?\(", line):
            return f"{path}:{number}"
    return ""
