"""Compare a program with its port: the same? what is gained? what next?"""

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
from workshop.port.findings import at, cause, find, show_bytes, show_seconds
from workshop.sandbox import (
    Limits,
    check_code,
    check_limits,
    check_path,
    run_within,
)
from workshop.terminal import fail, say, show_item, show_text, write_whole
from workshop.tracing import COMPILING

CHILD = "workshop.port.child"
Run = Callable[[dict, str, Path], dict[str, Any]]  # request, mode, path


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
        setup: What to run before each call, in both: to make its arguments.
        larger: The call with more steps: shows whether a loop is unrolled.
        rtol: How far floats may differ; without it, what their dtype holds.
        json: Write all that was found to this file.
        seconds: How long each program may run.
        gigabytes: How much memory each may take.
    """
    request = {"call": call, "setup": setup, "larger": larger, "rtol": rtol}
    return compare_files(request, old, new, json, Limits(seconds, gigabytes))


def compare_files(
    request: dict, old: Path, new: Path, json: Path | None, limits: Limits
) -> int:
    """Compare them, write what was found; the exit status."""
    check_request(request, old, new, json)
    check_limits(limits)
    say(f"{new.name} against {old.name}: {request['call']}")
    say(f"(Each has {limits.seconds:g} seconds: this may take a while.)")
    sys.stdout.flush()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        run = functools.partial(run_program, Path(folder), limits)
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
    folder: Path, limits: Limits, request: dict, mode: str, path: Path
) -> dict[str, Any]:
    """Run one in a process of its own; all that it told."""
    content = request | {"results": str(folder / "results")}
    wide = {"JAX_ENABLE_X64": "1"} if mode == "wide" else {}
    report = run_within(
        *(limits, CHILD, mode, json_format.dumps(content)),
        path=path,
        folder=folder,
        environment=os.environ | wide,
        cwd=path.parent,
    )
    facts = {"steps": report.steps, "printed": report.printed} | report.facts
    return facts | ({"why": report.why} if report.why else {})


def compare_programs(request: dict, old: Path, new: Path, run: Run) -> dict:
    """Print the report; return what it says, "same" among it."""
    before = run(request, "old", old)
    if not show_steps(before):
        return {"same": False, "old_program": before}
    facts = run(request, "new", new)
    same = "later" in facts
    if same:  # what comes then is no part of being the same
        facts.pop("why", None)
    fine = show_steps(facts)
    facts |= {"same": same, "call": request["call"], "old": before["old"]}
    if "differs" in facts and fine:
        facts["verdict"] = find_cause(request, before, facts, new, run)
    elif re.search(f"{COMPILING}|of memory", facts.get("why", "")):
        facts = run(request, "trace", new) | facts
    if facts.get("stands"):
        facts["findings"] = find(facts)
    if facts.get("findings") or (same and "findings" in facts):
        show_findings(facts["findings"], facts)
    elif same:
        show_gain(facts)
    return facts


def show_steps(facts: dict[str, Any]) -> bool:
    """Print what went well, then how it failed; whether nothing did."""
    *right, last = facts["steps"]
    wrong = "why" in facts or "differs" in facts
    for step in right if wrong else facts["steps"]:
        widths = facts.get("dtypes") if step == "same result" else ""
        if step not in ("imports", "what JAX makes of it"):
            show_item("OK", step + (f" ({widths})" if widths else ""))
    if wrong:
        show_item("FAIL", last)
        print()
        why = facts.get("why") or facts["differs"]["text"]
        endless = " " + cause("endless") if why.endswith("seconds.") else ""
        show_text(why + endless)
    if "why" in facts and facts["printed"]:
        print()
        say("The last lines that were printed:")
        show_text(textwrap.indent(facts["printed"], "    "))
    return "why" not in facts


def find_cause(
    request: dict, old: dict, new: dict, path: Path, run: Run
) -> str:
    """Print what the first difference comes from, if known; return that."""
    named, differs = name_cause(old, new).rstrip(), new["differs"]
    if not named and differs["index"] is not None:
        where = {"where": (differs["path"], differs["index"])}
        if pair := run(request | where, "wide", path).get("wide"):
            named = cause("precision", *pair)
            if allow := new["allow"]:
                named += f"If 32 bits are enough: --rtol {allow}."
    if named:
        print()
        show_text(named)
    return named


def name_cause(old: dict, new: dict) -> str:
    """What the difference comes from, "" if the calls do not show it."""
    for mistake in "dropped", "reused":
        if line := new.get(mistake):
            return cause(mistake, at(line))
    said = ""
    if not old["repeats"]:
        said = cause("draws", "old")
        if new["repeats"] and not new.get("draws"):
            said += cause("frozen")
    elif not new["repeats"]:
        if new["steps"][-1] == "same at the second call":
            return cause("kept")
        said = cause("draws", "new")
    return said + cause("other numbers") if said or new.get("draws") else ""


def show_findings(findings: list[dict], facts: dict[str, Any]) -> None:
    """Print where the port stands, what it gains, and what is next."""
    print("\nWhere does it stand?")
    for finding in findings:
        show_text(finding["stands"])
    if not findings:
        say("Compiled as a whole, traced once, nothing comes back in between.")
    if "later" in facts:
        show_gain(facts)
    print("\nWhat next?")
    for finding in findings[:1]:
        show_text(finding["todo"])
        if n := finding["stage"]:
            say(
                f"Stage {n} shows it: make stage N={n};"
                f" notebooks/{finding['notebook']}.ipynb teaches it."
            )
    if not findings:
        say(
            "Nothing is left that shows from outside. The floor, to write as"
            f" many bytes as the result: {show_seconds(facts['floor'])}; the"
            f" port takes {show_seconds(facts['later'])}."
        )
        if facts["later"] > facts["old"]:
            say(
                "NumPy is as fast with work of this kind and size: try the"
                " size that you need, on the device that you will use."
            )


def show_gain(facts: dict[str, Any]) -> None:
    """Print what the calls took, and from which on the port pays off."""
    print("\nWhat is gained?")
    old, first, later = facts["old"], facts["first"], facts["later"]
    ratio = max(old, later) / min(old, later)
    ratio = f"{ratio:.2f}" if ratio < 10 else f"{ratio:,.0f}"
    faster, pays = f"{ratio} times as slow", "never, at this size"
    if later < old:
        faster = f"{ratio} times as fast"
        call = max(1, math.ceil((first - later) / (old - later)))
        pays = f"from call {call}"
    show_item("", f"old: {show_seconds(old)}")
    show_item(
        "", f"port, first call: {show_seconds(first)} (trace, compile, run)"
    )
    show_item("", f"port, later: {show_seconds(later)}, {faster}")
    show_item("", f"pays off: {pays}")
    if memory := facts.get("stands", {}).get("memory"):
        name = max(memory, key=lambda name: sum(memory[name].values()))
        parts = ("arguments", "result", "temporary")
        sizes = ", ".join(f"{p} {show_bytes(memory[name][p])}" for p in parts)
        show_item("", f"memory of `{name}`: {sizes}")
    say("Every result was compared before, and every call waited for.")
