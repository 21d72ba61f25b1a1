"""Measure what each stage gains and costs.

Each result is compared with stage 0's before its time is shown.

    python benchmarks/bench.py --only small,large
"""
# ruff: noqa: E402

import signal

signal.signal(signal.SIGINT, signal.SIG_DFL)  # even while importing jax

import dataclasses
import json
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "stages"))

import psutil

import machine
import report
from picture import draw
from programs import load_stages
from sections import QUICK, SECTIONS, Sizes
from workshop.devices import stray_variables
from workshop.harness import check_writable, time_call
from workshop.stages import STAGES_FOLDER
from workshop.terminal import fail, parse, reader_may_leave, say, write_asked

BUDGET = 90  # seconds; after this time, the sections are smaller
BUSY = 10  # percent of the cores; above this, a warning is printed
PICTURE = ".github/bench.png"  # relative to the README's folder


@dataclasses.dataclass(frozen=True)
class Arguments:
    """The command line."""

    only: str = ",".join(name for name in SECTIONS if name != "peers")
    """Sections to measure, separated by commas. By default all but peers."""
    device: str | None = None
    """cpu, cuda or tpu, if JAX should not take the fastest that it has."""
    quick: bool = False
    """Measure less, for a rehearsal."""
    json: Path | None = None
    """Write all samples to this file."""
    plot: Path | None = None
    """Draw the largest size into this PNG file."""
    readme: Path | None = None
    """Rewrite the tables of this README, and its picture."""


def main() -> None:
    """Check the arguments, measure, report."""
    arguments = parse(Arguments, __doc__.partition("\n")[0])
    names = check_arguments(arguments)
    machine.prepare_jax(arguments.device)
    busy = round(psutil.cpu_percent(interval=0.3))  # by other programs
    below = f"{machine.describe()}; other programs use {busy}% of the cores"
    print_header(below, busy)
    try:
        tables = measure_all(names, arguments.quick)
    except OSError:  # the reader of the output has left
        raise
    except Exception as error:
        fail(explain(error), status=1)
    if table := tables.get("large") or tables.get("small"):
        report.summarize(table)
    for path, content in make_files(arguments, tables, below):
        write_asked(path, content)
        print(f"wrote {path}")


def measure_all(names: list[str], quick: bool) -> dict[str, report.Table]:
    """Measure and print one section after another."""
    stages, tables, spent = load_stages(STAGES_FOLDER), {}, 0.0
    for name in names:
        sizes = QUICK if quick else Sizes()
        if spent > BUDGET and not quick:
            sizes = QUICK
            say(f"{BUDGET} seconds are up: the next section is smaller.")
        lines = SECTIONS[name](stages, sizes)
        tables[name], seconds = time_call(report.show, name, lines)
        spent += seconds
    print()
    say(f"Done in {spent:.0f} s. Every result equals stage 0's.")
    return tables


def check_arguments(arguments: Arguments) -> list[str]:
    """Return the sections to measure, in order.

    End with one line and status 2 if an argument is invalid.
    """
    asked = [name.strip() for name in arguments.only.split(",")]
    if not set(asked) <= set(SECTIONS):
        fail(f"--only must name some of {','.join(SECTIONS)}, got {asked}")
    for option in ("json", "plot", "readme"):
        if path := getattr(arguments, option):
            check_writable(option, path)
    if path := arguments.plot:
        if path.suffix.lower() != ".png":
            fail(f"--plot must end in .png, got {path}")
        if not {"small", "large"} & set(asked):
            fail(f"--only must name small or large with --plot, got {asked}")
    if path := arguments.readme:
        try:
            report.rewrite(path.read_text(encoding="utf-8"), {}, "")
        except (OSError, ValueError) as error:
            fail(f"--readme must be a file with markers, got {path}: {error}")
    return [name for name in SECTIONS if name in asked]


def print_header(below: str, busy: int) -> None:
    """Print a description of the machine, and what the columns mean."""
    say(below)
    if busy > BUSY:
        say("The machine is busy: times are longer, and vary more.")
    if stray := stray_variables():
        say(f"Environment variables that configure JAX: {', '.join(stray)}")
    say(
        "first: trace, compile, run. later: the median of later calls."
        " pays off: the first call after which all calls together took less"
        " time than NumPy's. packed: a bit for each cell. ~: extrapolated from"
        " few rows."
    )


def explain(error: Exception) -> str:
    """Return a one-line message; if a stage failed, name its file and line."""
    reason = f"{type(error).__name__}: {error}".splitlines()[0]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.parent == STAGES_FOLDER:
            return f"{path.name}, line {frame.lineno}: {reason}"
    return reason


def make_files(
    arguments: Arguments, tables: dict[str, report.Table], below: str
) -> Iterator[tuple[Path, str | bytes]]:
    """Yield the path and the content of each file that was asked for."""
    table = tables.get("large") or tables.get("small")
    if path := arguments.json:
        rows = {
            name: [dataclasses.asdict(row) for row in table.rows]
            for name, table in tables.items()
        }
        record = {"machine": below, "sections": rows}
        yield path, json.dumps(record, indent=1) + "\n"
    if path := arguments.plot:
        yield path, draw(table, below)
    if path := arguments.readme:
        text = path.read_text(encoding="utf-8")
        yield path, report.rewrite(text, tables, below)
        if "large" in tables:
            yield path.parent / PICTURE, draw(table, below)


if __name__ == "__main__":
    with reader_may_leave():
        main()
