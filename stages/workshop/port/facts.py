"""Define the facts about a port: one process finds, another explains them.

This module imports no JAX, so that the process that prints the report starts
at once.
"""

import dataclasses
import re
from pathlib import Path
from typing import Any

LARGE = 100_000  # bytes; this many take time to copy, and use memory
DRAWS = "a generator"  # how the description of a random generator begins


@dataclasses.dataclass
class Evidence:
    """All facts about a port. A line is FILE:NUMBER, or "" if unknown."""

    old: float  # the seconds of a call of the old program
    first: float  # the seconds of the first call of the port
    later: float  # the seconds of a later call
    is_jax: bool  # whether the result contains JAX arrays
    misses: list[dict]  # what the first call traces, and why
    again: list[dict]  # what the second call traces, and why
    compiling: float  # the seconds that the second call spends compiling
    narrowed: list[str]  # lines that ask for 64 bits and get 32
    function: dict[str, Any]  # what --call calls: see LineTimer
    eager: dict[str, int]  # operations that are sent one by one, by line
    small: int  # operations that return only a few values
    eager_loop: str  # the line of a scan or while_loop outside jit
    calls: dict[str, int]  # calls of each jitted function
    chained: dict[str, int]  # calls of each that use its previous result
    reads: dict[str, int]  # values that Python waits for, by line
    inside: float  # the seconds of a call inside compiled functions
    outside: dict[str, float]  # the other seconds, by line
    unrolled: dict[str, Any]  # see evidence.find_unrolled
    grows: list[int]  # the number of operations in --call and in --larger
    callbacks: list[str]  # the names of operations that call Python
    constants: dict[str, int]  # bytes of constants in each jitted function
    loops: list[dict]  # the line, size and copied buffer of each loop
    scatters: dict[str, int]  # how many values each line writes by index
    # If the result differs:
    differs: dict[str, Any]  # see results.Difference
    repeats: bool  # whether two calls of the port return the same
    at_second: bool  # whether only the second call is wrong
    allow: str  # the option that allows for the difference, "" if none
    relation: list[str]  # see results.relate
    without_jit: bool  # whether the port is right without jit
    changed: dict[str, str]  # what jit has kept: see causes.Watch
    wide: list[str]  # the two values, if 64 bits make the port right
    shrinks: list[str]  # the largest differences, with 32 and 64 bits
    dropped: str  # the line of a call whose result is not used
    rebound: dict[str, str]  # see causes.find_rebound
    operations: list[str]  # the names of all operations
    reused: str  # the line that uses a random key a second time
    events: dict[str, list[str]]  # see causes.find_events
    tried: list[str]  # the experiments that came to an end
    old_repeats: bool  # whether two old calls return the same
    uninitialized: str  # a line with np.empty, if two processes differ


def make_evidence(facts: dict[str, Any]) -> Evidence:
    """Make Evidence from the reported facts; a missing fact is 0 or empty."""
    fields = dataclasses.fields(Evidence)
    return Evidence(*(facts.get(field.name, field.type()) for field in fields))


def find_empty(path: Path) -> str:
    """Return the first line of a program that calls np.empty, or ""."""
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if re.search(rb"\bempty(_like)?\(", line):
            return f"{path}:{number}"
    return ""
