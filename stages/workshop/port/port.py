"""Compare a program with its port: the same? what is gained? what next?"""

import ast
import json as json_format
import math
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from workshop.exercises.check import item, show
from workshop.exercises.limits import Ended, Limits, find_place, run_within
from workshop.harness import check_writable
from workshop.port.findings import Finding, find, show_bytes, show_seconds
from workshop.terminal import fail, say, write_whole

CHILD = "workshop.port.child"
OTHER_NUMBERS = (
    "JAX and NumPy draw different numbers, and JAX the same ones for the same"
    " key. Draw them once by NumPy with a fixed seed, in --setup, and pass"
    " them (or the initial state) into both programs; or, if only the average"
    " counts, allow for it: --rtol 0.05."
)


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
    check_request(request, old, new, json)
    say(f"{new.name} against {old.name}: {call}")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        children = Children(Path(folder), request, Limits(seconds, gigabytes))
        facts = compare_programs(children, old.resolve(), new.resolve())
    if json is not None:
        write_whole(json, json_format.dumps(facts, indent=1) + "\n")
    return 0 if facts["same"] else 1


def check_request(
    request: dict, old: Path, new: Path, json: Path | None
) -> None:
    """End with one line and status 2 if an argument cannot work."""
    for name, path in ("old", old), ("new", new):
        if not path.is_file():
            fail(f"{name} must be a file, got {path}")
    for name, mode in ("call", "eval"), ("setup", "exec"), ("larger", "eval"):
        if name != "larger" or request[name]:
            check_code(name, request[name], mode)
    if request["rtol"] is not None and not request["rtol"] >= 0:
        fail(f"--rtol must be at least 0, got {request['rtol']}")
    if json is not None:
        check_writable("--json", json)


def check_code(name: str, code: str, mode: str) -> None:
    """End with one line and status 2 if it is not Python: eval or exec."""
    try:
        ast.parse(code, mode=mode)
    except (SyntaxError, ValueError):
        kind = {"eval": "an expression", "exec": "statements"}[mode]
        fail(f"--{name} must be {kind} of Python, got {code!r}")


class Children:
    """Processes that run the programs, and share a folder."""

    def __init__(self, folder: Path, request: dict, limits: Limits) -> None:
        """None started yet."""
        self.folder, self.request, self.limits = folder, request, limits

    def run(self, mode: str, path: Path, **more: Any) -> dict[str, Any]:
        """Start one, wait, and return all that it reported.

        Its "steps" were begun in this order. "failed" is how it failed.
        """
        sys.stdout.flush()
        request, report = self.folder / "request", self.folder / "report"
        content = self.request | {"path": str(path)} | more
        request.write_text(json_format.dumps(content), encoding="utf-8")
        report.unlink(missing_ok=True)
        wide = {"JAX_ENABLE_X64": "1"} if mode == "wide" else {}
        ended = run_within(
            *(self.limits, CHILD, mode, request),
            folder=self.folder,
            environment=dict(os.environ) | wide,
            cwd=path.parent,
        )
        if not report.exists():
            fail("The program could not start. Why: make doctor", 1)
        facts: dict[str, Any] = {"steps": []}
        for line in report.read_text(encoding="utf-8").splitlines():
            found = json_format.loads(line)
            facts["steps"] += [found.pop("begin")] if "begin" in found else []
            facts |= found
        return facts | self.failure(ended, path)

    def failure(self, ended: Ended, path: Path) -> dict[str, Any]:
        """How a process failed that did not come to its end."""
        if why := ended.broken:
            why += find_place(ended.place, path, path.name)
            why = f"{why}\n{ended.note}".rstrip()
            return {"failed": {"why": why, "compiling": bool(ended.note)}}
        why = f"The file ended Python, status {ended.status}."
        failed = {"why": why, "printed": ended.printed}
        return {"failed": failed} if ended.status else {}


def compare_programs(
    children: Children, old_path: Path, new_path: Path
) -> dict[str, Any]:
    """Print the report; return what it says, "same" among it."""
    old = children.run("old", old_path)
    if not show_steps(old):
        return {"same": False, "old_program": old}
    new = children.run("new", new_path)
    if "later" in new:  # what comes then is no part of being the same
        new.pop("failed", None)
    passed = show_steps(new)
    facts = {"same": "later" in new, "call": children.request["call"]}
    facts |= new | {"old": old["old"]}
    if "differs" in new and passed:
        facts["verdict"] = explain_difference(children, old, new, new_path)
    elif new.get("failed", {}).get("compiling"):
        facts |= children.run("trace", new_path)
    if "stands" in facts:
        findings = find(facts)
        show_findings(findings, facts)
        facts["findings"] = [asdict(finding) for finding in findings]
    elif "later" in facts:
        show_gain(facts)
    return facts


def show_steps(facts: dict[str, Any]) -> bool:
    """Print what went well, then how it failed; whether nothing did."""
    wrong = "failed" in facts or "differs" in facts
    *right, last = facts["steps"]
    for step in right if wrong else facts["steps"]:
        widths = facts.get("dtypes") if step == "same result" else ""
        if step not in ("imports", "what JAX makes of it"):
            item("OK", step + (f" ({widths})" if widths else ""))
    if wrong:
        item("FAIL", last)
    if "failed" in facts:
        show_failure(facts["failed"])
    return "failed" not in facts


def show_failure(failed: dict[str, str]) -> None:
    """Print the error, the user's own line, and what the table says of it."""
    print()
    show(failed["why"])
    if failed.get("see"):
        say(f"See {failed['see']}.")
    elif failed.get("printed"):
        print()
        say("The last lines that were printed:")
        for line in failed["printed"].splitlines():
            show(f"    {line}")


def explain_difference(
    children: Children, old: dict, new: dict, path: Path
) -> str:
    """Print the first difference and what it comes from; return that."""
    print()
    show(new["differs"]["text"])
    verdict = name_cause(old, new)
    if not verdict and new["differs"]["index"] is not None:
        where = {k: new["differs"][k] for k in ("path", "index")}
        wide = children.run("wide", path, differs=where)
        if wide.get("agrees"):
            verdict = (
                "Precision, not a mistake: with 64 bits the port is right,"
                f" {wide['value']} there, want {wide['want']}. If 32 bits are"
                " enough, allow for it: --rtol 0.01, say; if not, set"
                " JAX_ENABLE_X64=1."
            )
    if verdict:
        print()
        say(verdict)
    return verdict


def name_cause(old: dict, new: dict) -> str:
    """What the difference comes from, "" if the calls do not show it."""
    if not new["repeats"] and old["repeats"]:
        if new["steps"][-1] == "same at the second call":
            return (
                "The first call is right and the second, like it, is not:"
                " something is kept from one call to the next, a global or a"
                " value that jit has seen when it traced."
            )
        return (
            "Two like calls of the port differ, too: it draws other random"
            " numbers each time. " + OTHER_NUMBERS
        )
    if not old["repeats"]:
        frozen = (
            " The port gives the same at each call: what NumPy or Python draw"
            " while jit traces is drawn once, and then a constant."
        )
        return (
            "Two like calls of the old program differ: it draws random numbers"
            " or keeps something from one call to the next."
            + frozen * (new["repeats"] and not new["draws"])
            + f" {OTHER_NUMBERS}"
        )
    return OTHER_NUMBERS if new["draws"] else ""


def show_findings(findings: list[Finding], facts: dict[str, Any]) -> None:
    """Print where the port stands, what it gains, and what is next."""
    head("Where does it stand?")
    for finding in findings:
        show(finding.stands)
    if not findings:
        say("Compiled as a whole, traced once, nothing comes back in between.")
    if "later" in facts:
        show_gain(facts)
    head("What next?")
    if findings:
        show(findings[0].todo)
        show_lesson(findings[0])
    else:
        say(
            "Nothing is left that shows from outside. The floor, to write as"
            f" many bytes as the result: {show_seconds(facts['floor'])}; the"
            f" port takes {show_seconds(facts['later'])}."
        )


def head(question: str) -> None:
    """Print the head of a part."""
    print(f"\n{question}")


def show_gain(facts: dict[str, Any]) -> None:
    """Print what the calls took, and from which on the port pays off."""
    head("What is gained?")
    old, first, later = facts["old"], facts["first"], facts["later"]
    ratio = max(old, later) / min(old, later)
    ratio = f"{ratio:.2f}" if ratio < 10 else f"{ratio:,.0f}"
    faster = f"{ratio} times as {'fast' if later < old else 'slow'}"
    pays = "never, at this size"
    if later < old:
        pays = (
            f"from call {max(1, math.ceil((first - later) / (old - later)))}"
        )
    item("", f"old: {show_seconds(old)}")
    item("", f"port, first call: {show_seconds(first)} (trace, compile, run)")
    item("", f"port, later: {show_seconds(later)}, {faster}")
    item("", f"pays off: {pays}")
    memory = facts.get("stands", {}).get("memory", {})
    if memory:
        name = max(memory, key=lambda name: sum(memory[name].values()))
        parts = ("arguments", "result", "temporary")
        sizes = ", ".join(f"{p} {show_bytes(memory[name][p])}" for p in parts)
        item("", f"memory of `{name}`: {sizes}")
    say("Every result was compared before, and every call waited for.")


def show_lesson(finding: Finding) -> None:
    """Print where the workshop teaches it."""
    if finding.stage is not None:
        say(
            f"Stage {finding.stage} shows it: make stage N={finding.stage};"
            f" notebooks/{finding.notebook}.ipynb teaches it."
        )
