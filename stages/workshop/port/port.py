"""Compare a program with its port: the same? what is gained? what next?"""

import ast
import dataclasses
import functools
import json as json_format
import math
import os
import re
import sys
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workshop.harness import check_writable
from workshop.port.advice import advise, explain, show_seconds
from workshop.port.evidence import Evidence
from workshop.sandbox import (
    Limits,
    Report,
    check_code,
    check_limits,
    check_path,
    run_within,
)
from workshop.terminal import (
    command,
    fail,
    say,
    show_item,
    show_text,
    write_whole,
)
from workshop.tracing import COMPILING

Run = Callable[[str, Path], Report]  # mode, path
HIDDEN = "imports", "its result can be compared", "what JAX makes of it"


def port(
    old: Path,
    new: Path,
    /,
    call: str,
    setup: str = "",
    larger: str = "",
    rtol: float | None = None,
    json: Path | None = None,
    seconds: float = 300,
    gigabytes: float = 4,
) -> int:
    """Compare your own program with its port: same? gained? what next?

    Exit status 0 if the results are the same, 1 if not, 2 for bad arguments.

    Args:
        old: The program in NumPy.
        new: Its port to JAX. Neither file is changed.
        call: What to evaluate in both: "simulate(initial, 0.1, steps=500)".
        setup: Statements that make its arguments, run before each call. They
            see the names of the program, and NumPy as np.
        larger: The call with more steps: shows whether a loop is unrolled.
        rtol: How far floats may differ, relative to the value or to the mean
            of all values. Without it, what their dtype can hold.
        json: Write all that was found to this file.
        seconds: How long each program may run.
        gigabytes: How much memory each may take.
    """
    request = {"call": call, "setup": setup, "larger": larger, "rtol": rtol}
    check_request(request, old, new, json)
    limits = Limits(seconds, gigabytes)
    check_limits(limits)
    say(f"{new.name} against {old.name}: {call}")
    say(f"(Each has {seconds:g} seconds: this may take a while.)")
    sys.stdout.flush()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        run = functools.partial(run_program, request, Path(folder), limits)
        facts = compare_programs(request, old.resolve(), new.resolve(), run)
    if json is not None:
        write_whole(json, json_format.dumps(facts, indent=1) + "\n")
    return 0 if facts["same"] else 1


def check_request(
    request: dict, old: Path, new: Path, json: Path | None
) -> None:
    """End with one line and status 2 if an argument cannot work."""
    for name, path in ("old", old), ("new", new):
        check_path(path, name)
    for name, mode in ("call", "eval"), ("setup", "exec"), ("larger", "eval"):
        if name != "larger" or request[name]:
            check_code(name, request[name], mode)
    if not 0 <= (request["rtol"] or 0) < math.inf:
        fail(f"--rtol must be at least 0, and finite, got {request['rtol']}")
    if json is not None:
        check_writable("--json", json)


def run_program(
    request: dict, folder: Path, limits: Limits, mode: str, path: Path
) -> Report:
    """Run one in a process of its own; return what it reports."""
    content = request | {"results": str(folder / "results")}
    environment = os.environ | {"MPLBACKEND": "Agg"}
    if mode == "again":  # glibc then fills the memory that it hands out
        environment["MALLOC_PERTURB_"] = "165"
    return run_within(
        *(limits, "workshop.port.runs", mode, json_format.dumps(content)),
        path=path,
        folder=folder,
        environment=environment,
        cwd=path.parent,
    )


def compare_programs(request: dict, old: Path, new: Path, run: Run) -> dict:
    """Print the report; return what it says, "same" among it."""
    before = run("old", old)
    show_steps(before)
    if before.why:
        return dataclasses.asdict(before) | {"same": False}
    after = run("new", new)
    same = "later" in after.facts
    if same or "differs" in after.facts:  # what came later was to explain
        after.why = ""
    facts = {"call": request["call"]} | before.facts | after.facts
    show_steps(after)
    if "differs" in facts:
        facts |= run("again", old).facts
    elif re.search(f"{COMPILING}|of memory", after.why):
        facts |= run("trace", new).facts
    known = {field.name for field in dataclasses.fields(Evidence)}
    evidence = Evidence(**{k: v for k, v in facts.items() if k in known})
    if "differs" in facts:
        facts["verdict"] = explain(evidence)
        print()
        show_text(facts["verdict"])
    elif calls_nothing(request["call"]):
        say("\nThe call calls nothing, so nothing is timed: its value was computed when the file was imported. Put the program in a function, and call that.")
    elif "loops" in facts or same:
        facts["findings"] = advise(evidence)
        show_findings(facts["findings"], evidence)
    return facts | {"same": same, "steps": after.steps, "why": after.why}


def calls_nothing(call: str) -> bool:
    """Return whether a call only names something."""
    work = ast.Call | ast.BinOp | ast.UnaryOp | ast.Compare
    return not any(isinstance(x, work) for x in ast.walk(ast.parse(call)))


def show_steps(report: Report) -> None:
    """Print what went well, then how it failed."""
    facts, steps = report.facts, report.steps
    wrong = report.why or facts.get("differs", {}).get("text", "")
    for step in steps[:-1] if wrong else steps:
        if step not in HIDDEN:
            dtypes = facts.get("dtypes") if step == "same result" else ""
            show_item("OK", step + (f" ({dtypes})" if dtypes else ""))
    if not wrong:
        return
    show_item("FAIL", steps[-1])
    print()
    show_text(wrong)
    if "differs" in facts:
        say("(got: the port; want: the old program)")
    if report.broken == "gigabytes":
        size = facts.get("bytes", 0) / 1e9
        least = math.ceil(8 * size + 4)
        result = f"The result alone has {size:.2f} GB. " if size > 0.1 else ""
        say(f"{result}Allow more: --gigabytes {least}")
    if report.broken == "seconds":
        say("Allow more: --seconds 3000, for example. If no line of the file is at work, it is compiled code: does each jax.lax.while_loop end?")
    if report.why and report.printed:
        print()
        say("The last lines that were printed:")
        show_text(textwrap.indent(report.printed, "    "))


def show_findings(findings: list[dict], evidence: Evidence) -> None:
    """Print where the port stands, what it gains, and what is next."""
    print("\nWhere does it stand?")
    for finding in findings:
        show_text(finding["stands"])
    total = evidence.inside + sum(evidence.outside.values())
    if total and evidence.calls:
        share = 100 * evidence.inside / total
        say(f"Compiled functions take {share:.0f} % of the time of a call.")
    if evidence.later:
        show_gain(evidence)
    print("\nWhat next?")
    for finding in findings[:1]:
        show_text(finding["todo"])
        if n := finding["stage"]:
            say(
                f"Stage {n} shows it: {command('stage', n)};"
                f" notebooks/{finding['notebook']}.ipynb teaches it."
            )
    if not findings:
        show_text(conclude(evidence))


def conclude(e: Evidence) -> str:
    """Return what there is to say of a port without a finding."""
    if e.later > e.old:
        return (
            "NumPy is the better tool for this call: nothing is left to do in"
            " the port, and the old program is faster. Try the size that you"
            " need, on the device that you will use."
        )
    floor = (
        ""
        if e.loops
        else f" To write as many bytes as the result has takes {show_seconds(e.floor)}."
    )
    return f"Nothing is left: it is done.{floor}"


def show_gain(e: Evidence) -> None:
    """Print what the calls took, and from which on the port pays off."""
    print("\nWhat is gained?")
    ratio = max(e.old, e.later) / min(e.old, e.later)
    times = f"{ratio:.2f}" if ratio < 10 else f"{ratio:,.0f}"
    faster, pays = f"{times} times as slow", "never, at this size"
    if ratio < 1.1:
        faster = "about the same"
    elif e.later < e.old:
        faster = f"{times} times as fast"
        call = max(1, math.ceil((e.first - e.later) / (e.old - e.later)))
        pays = f"from call {call}"
    show_item("", f"old: {show_seconds(e.old)}")
    show_item("", f"port, first call: {show_seconds(e.first)} (trace, compile, run)")
    show_item("", f"port, later: {show_seconds(e.later)}, {faster}")
    show_item("", f"pays off: {pays}")
    say("Every result was compared before, and every call waited for.")
