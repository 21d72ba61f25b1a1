"""Compare a program with its port: results, times, and what to do next."""

import ast
import functools
import json as json_format
import math
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workshop.harness import check_writable
from workshop.port.advice import (
    advise,
    explain,
    outside,
    show_seconds,
    words,
)
from workshop.port.facts import Evidence, find_empty, make_evidence
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
    write_asked,
)

Run = Callable[[str, Path], Report]  # mode, path
# The steps that runs.py reports, and the text that is printed for each.
STEPS = {
    "imports": "imports",
    "old_runs": "the old program runs",
    "new_runs": "the port runs",
    "comparable": "its result can be compared",
    "same_result": "same result",
    "same_again": "same at the second call",
}
QUIET = "imports", "comparable"  # shown only if they fail


def port(
    old: Path,
    new: Path,
    /,
    call: str,
    setup: str = "",
    larger: str = "",
    rtol: float | None = None,
    atol: float = 0,
    json: Path | None = None,
    seconds: float = 300,
    gigabytes: float = 4,
) -> int:
    """Compare your own program with its port, and say what to do next.

    The exit status is 0 if the results are the same, 1 if not, and 2 for bad
    arguments.

    Args:
        old: The program in NumPy.
        new: Its port to JAX. Neither file is changed.
        call: What to evaluate in both: "simulate(x, 0.1, steps=500)".
        setup: Statements that make the arguments of the call. They run
            before each call, and can use np and the names of the program.
        larger: The same call with more steps. It shows whether a loop
            is unrolled.
        rtol: How far floats may differ, relative to the value or to the
            mean size of all values, whichever is larger. The default
            depends on their dtype.
        atol: How far floats may differ, whatever their size, such as 1e-8.
        json: Write everything that is found to this file.
        seconds: How long each program may run.
        gigabytes: How much memory each program may use.
    """
    request = {"call": call, "setup": setup, "larger": larger}
    request |= {"rtol": rtol, "atol": atol}
    for name, path in ("old", old), ("new", new):
        check_path(path, name)
    check_request(request)
    if json is not None:
        check_writable("--json", json)
    limits = Limits(seconds, gigabytes)
    check_limits(limits)
    say(f"{new.name} against {old.name}: {call}")
    say(f"(Each program has {seconds:g} seconds: this may take a while.)")
    sys.stdout.flush()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        run = functools.partial(run_program, request, Path(folder), limits)
        facts = compare_programs(call, old.resolve(), new.resolve(), run)
    if json is not None:
        write_asked(json, json_format.dumps(facts, indent=1) + "\n")
    return 0 if facts["same"] else 1


def check_request(request: dict[str, Any]) -> None:
    """End with one line and status 2 if a request cannot work."""
    check_code("call", request["call"], "eval")
    check_code("setup", request["setup"], "exec")
    if request["larger"]:
        check_code("larger", request["larger"], "eval")
    for name in "rtol", "atol":
        value = request[name]
        if value is not None and not 0 <= value < math.inf:
            fail(f"--{name} must be at least 0, and finite, got {value}")


def run_program(
    request: dict, folder: Path, limits: Limits, mode: str, path: Path
) -> Report:
    """Run a program in a process of its own; return what it reports."""
    content = request | {"results": str(folder / "results")}
    environment = os.environ | {"MPLBACKEND": "Agg"}
    if mode == "again":  # glibc then fills the memory that it hands out
        environment["MALLOC_PERTURB_"] = "165"
    return run_within(
        limits,
        "workshop.port.runs",
        mode,
        json_format.dumps(content),
        path=path,
        folder=folder,
        environment=environment,
        cwd=path.parent,
    )


def compare_programs(call: str, old: Path, new: Path, run: Run) -> dict:
    """Run both programs, print a report, and return its facts.

    The fact "same" tells whether both programs return the same.
    """
    before = run("old", old)
    show_steps(before)
    if before.why:
        return {"same": False, "why": before.why}
    after = run("new", new)
    facts = {"call": call, "same": "later" in after.facts}
    facts |= before.facts | after.facts
    if facts["same"] or "differs" in facts:
        after.why = ""  # it was only the explanation that failed
    facts["why"] = after.why
    show_steps(after)
    facts |= repeat_old(facts, old, run)
    if not (facts["same"] or facts["why"]):
        facts["verdict"] = explain(make_evidence(facts))
        show_text(facts["verdict"] and f"\n{facts['verdict']}")
    elif facts["same"]:
        evidence = make_evidence(facts)
        facts["findings"] = advise(evidence)
        show_verdict(call, facts["findings"], evidence)
    return facts


def repeat_old(facts: dict, old: Path, run: Run) -> dict:
    """Run the old program again if that may explain something.

    Return the facts that this adds. "same" becomes False if the old program
    agreed with the port only because of the memory that np.empty returned.
    """
    if "differs" in facts:
        return run("again", old).facts
    if not (facts["same"] and facts["old_repeats"] and find_empty(old)):
        return {}
    found = {"old_repeats": True} | run("again", old).facts
    if not found["old_repeats"]:
        show_item("FAIL", "another process returns the same")
    return found | {"same": found["old_repeats"]}


def show_steps(report: Report) -> None:
    """Print the steps that succeeded, then the reason for any failure."""
    facts, (*done, last) = report.facts, report.steps
    wrong = report.why or facts.get("differs", {}).get("text", "")
    for step in done if wrong else report.steps:
        text = STEPS[step]
        if step == "same_result" and facts["dtypes"]:
            text += f" ({facts['dtypes']})"
        if step not in QUIET:
            show_item("OK", text)
    if not wrong:
        return
    show_item("FAIL", STEPS[last])
    print()
    show_text(wrong)
    if "differs" in facts:
        say("(got: the port; want: the old program)")
    show_limit(report)


def show_limit(report: Report) -> None:
    """If a limit stopped the program, print how to allow more."""
    size = report.facts.get("bytes", 0) / 1e9
    if report.broken == "gigabytes":
        least = math.ceil(6 * size + 4)
        say(
            f"The result takes {size:.3g} GB. To allow more memory:"
            f" --gigabytes {least}"
        )
    if report.broken == "seconds":
        say(
            "Allow more time with --seconds, or make a smaller call. If no"
            " line is named, check that each jax.lax.while_loop ends."
        )


def show_verdict(call: str, findings: list[dict], e: Evidence) -> None:
    """Print what the port does now, what it gains, and what to do next."""
    work = ast.Call | ast.BinOp | ast.UnaryOp | ast.Compare
    if not any(isinstance(node, work) for node in ast.walk(ast.parse(call))):
        show_text(words("calls_nothing", "says"))
        return
    print("\nWhere does it stand?")
    for finding in findings:
        show_text(finding["stands"])
    if e.calls:
        inside = 100 - outside(e)[0]
        say(f"Compiled functions take {inside} % of the time of a call.")
    show_gain(e)
    print("\nWhat next?")
    done = "done" if 1.1 * e.later < e.old else "numpy"
    show_text(findings[0]["todo"] if findings else words(done, "says"))
    if findings and (n := findings[0]["stage"]):
        say(
            f"Stage {n} shows it: {command('stage', n)};"
            f" notebooks/{findings[0]['notebook']}.ipynb teaches it."
        )


def show_gain(e: Evidence) -> None:
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
    first, later = show_seconds(e.first), show_seconds(e.later)
    show_item("", f"old: {show_seconds(e.old)}")
    show_item("", f"port, first call: {first} (trace, compile, run)")
    show_item("", f"port, later: {later}, {faster}")
    show_item("", f"pays off: {pays}")
    say("Each time includes the wait for the result.")
