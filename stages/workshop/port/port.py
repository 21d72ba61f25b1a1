"""Compare a program with its port: results, times, and what to do next."""

import ast
import dataclasses
import json
import math
import os
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import tyro

from workshop import sandbox
from workshop.port import advice
from workshop.sandbox import Limits, Report
from workshop.terminal import command, fail, say, show_item, show_text

QUIET = "imports", "its result can be compared"  # shown only if they fail


@dataclasses.dataclass(frozen=True)
class Arguments:
    """The command line."""

    old: tyro.conf.Positional[Path]
    """The program in NumPy."""
    new: tyro.conf.Positional[Path]
    """Its port to JAX. Neither file is changed."""
    call: str
    """What to evaluate in both: "simulate(x, 0.1, steps=500)"."""
    setup: str = ""
    """Statements that run before each call, to make its arguments.
    They can use np and the names of the program."""
    larger: str = ""
    """The same call with more steps. It shows whether a loop is unrolled."""
    rtol: float | None = None
    """How far floats may differ, relative to the value or the mean size.
    The default depends on their dtype."""
    atol: float = 0
    """How far floats may differ, whatever their size, such as 1e-8."""
    seconds: float = 300
    """How long each program may run."""
    gigabytes: float = 4
    """How much memory each program may use."""


def port(arguments: Annotated[Arguments, tyro.conf.arg(name="")]) -> int:
    """Compare your own program with its port, and say what to do next.

    The exit status is 0 if the results are the same, 1 if not, and 2 for bad
    arguments.
    """
    check_arguments(arguments)
    old, new = arguments.old.name, arguments.new.name
    say(f"{new} against {old}: {arguments.call}")
    limit = f"{arguments.seconds:g} seconds"
    say(f"(Each program has {limit}: this may take a while.)")
    sys.stdout.flush()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        return 0 if compare_programs(arguments, Path(folder)) else 1


def check_arguments(arguments: Arguments) -> None:
    """Exit with a message and status 2 if an argument cannot work."""
    sandbox.check_path(arguments.old, "old")
    sandbox.check_path(arguments.new, "new")
    sandbox.check_code("call", arguments.call, "eval")
    sandbox.check_code("setup", arguments.setup, "exec")
    if arguments.larger:
        sandbox.check_code("larger", arguments.larger, "eval")
    for name in "rtol", "atol":
        value = getattr(arguments, name)
        if value is not None and not 0 <= value < math.inf:
            fail(f"--{name} must be at least 0, and finite, got {value}")
    sandbox.check_limits(Limits(arguments.seconds, arguments.gigabytes))


def compare_programs(arguments: Arguments, folder: Path) -> bool:
    """Run both programs, print a report; return whether they do the same."""
    old = run_program(arguments, folder, "old")
    show_steps(old)
    if old.why:
        return False
    new = run_program(arguments, folder, "new")
    show_steps(new)
    if causes := new.facts.get("causes"):
        print()
        show_text(advice.explain(causes))
    if "later" not in new.facts:
        return False
    evidence = advice.make_evidence(old.facts | new.facts)
    show_verdict(arguments.call, advice.advise(evidence), evidence)
    return True


def run_program(arguments: Arguments, folder: Path, mode: str) -> Report:
    """Run the old or the new program in a process; return what it reports."""
    path = getattr(arguments, mode).resolve()
    request = dataclasses.asdict(arguments) | {"results": folder / "results"}
    report = sandbox.run_within(
        Limits(arguments.seconds, arguments.gigabytes),
        "workshop.port.runs",
        mode,
        json.dumps(request, default=str),
        path=path,
        folder=folder,
        environment=os.environ | {"MPLBACKEND": "Agg"},
        cwd=path.parent,
    )
    if report.facts.keys() & {"later", "differs"}:
        report.why = ""  # the results were compared, whatever failed then
    return report


def show_steps(report: Report) -> None:
    """Print the steps that succeeded, then the reason for any failure."""
    wrong = report.why or report.facts.get("differs", {}).get("text", "")
    for step in report.steps[:-1] if wrong else report.steps:
        if step not in QUIET:
            show_item("OK", step)
    if wrong:
        show_item("FAIL", report.steps[-1])
        print()
        show_text(wrong)
        show_limit(report)


def show_limit(report: Report) -> None:
    """If a limit stopped the program, print how to allow more."""
    size = report.facts.get("bytes", 0) / 1e9
    if report.broken == "gigabytes" and not size:
        say("Allow more memory with --gigabytes, or make a smaller call.")
    elif report.broken == "gigabytes":
        least = math.ceil(6 * size + 4)
        text = f"The result takes {size:.3g} GB. To allow more memory:"
        say(f"{text} --gigabytes {least}")
    if report.broken == "seconds":
        say("Allow more time with --seconds, or make a smaller call.")


def show_verdict(call: str, findings: list[dict], e: advice.Evidence) -> None:
    """Print what the port does now, what it gains, and what to do next."""
    work = ast.Call | ast.BinOp | ast.UnaryOp | ast.Compare
    if not any(isinstance(node, work) for node in ast.walk(ast.parse(call))):
        show_text(advice.words("verdicts", "calls_nothing"))
        return
    print("\nWhere does it stand?")
    for finding in findings:
        show_text(finding["stands"])
    if e.calls:
        inside = f"{100 - e.percent} %"
        say(f"Compiled functions take {inside} of the time of a call.")
    show_gain(e)
    print("\nWhat next?")
    done = "done" if 1.1 * e.later < e.old else "numpy"
    show_text(
        findings[0]["todo"] if findings else advice.words("verdicts", done)
    )
    if findings and (n := findings[0]["stage"]):
        say(f"Stage {n} shows it: {command('stage', n)}")


def show_gain(e: advice.Evidence) -> None:
    """Print how long calls took, and after how many the port pays off."""
    print("\nWhat is gained?")
    ratio = max(e.old, e.later) / min(e.old, e.later)
    times = f"{ratio:.2f}" if ratio < 10 else f"{ratio:,.0f}"
    faster, pays = f"{times} times as slow", "never, at this size"
    if ratio < 1.1:
        faster = "about the same"
    elif e.later < e.old:
        faster = f"{times} times as fast"
        call = max(1, math.ceil((e.first - e.later) / (e.old - e.later)))
        pays = f"from call {call:,}"
    first, later = advice.show_seconds(e.first), advice.show_seconds(e.later)
    show_item("", f"old: {advice.show_seconds(e.old)}")
    show_item("", f"port, first call: {first} (trace, compile, run)")
    show_item("", f"port, later: {later}, {faster}")
    show_item("", f"pays off: {pays}")
    say("Each time includes the wait for the result.")
