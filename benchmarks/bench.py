"""Measure what each stage gains and costs.

Each result is compared with stage 0's before its time is shown.

    python benchmarks/bench.py --only small,large
"""
# ruff: noqa: E402

import signal

signal.signal(signal.SIGINT, signal.SIG_DFL)  # even while importing jax

import dataclasses
import json
import os
import platform
import re
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "stages"))

import jax
import numpy as np

import report
from sections import QUICK, SECTIONS, SIZES, load_stages
from workshop.devices import start_jax
from workshop.harness import check_writable
from workshop.stages import STAGES_FOLDER
from workshop.terminal import fail, parse, reader_may_leave, say, write_asked


@dataclasses.dataclass(frozen=True)
class Arguments:
    """The command line."""

    only: str = ",".join(name for name in SECTIONS if name != "peers")
    """Sections to measure, separated by commas. By default all but peers."""
    quick: bool = False
    """Measure less, for a rehearsal."""
    json: Path | None = None
    """Write all samples to this file."""
    plot: Path | None = None
    """Draw the results for the largest size in this PNG file."""
    readme: Path | None = None
    """Rewrite the tables of this README."""


def main() -> None:
    """Check the arguments, measure, report."""
    arguments = parse(Arguments, __doc__.partition("\n")[0])
    names = check_arguments(arguments)
    prepare_jax()
    machine = describe_machine()
    say(machine)
    say(
        "first: trace, compile, run. later: the median of later calls."
        " spread: the range of the middle half of the later calls, relative to"
        " their median. x 2: on two devices. packed: a bit for each cell."
        f" {report.NOTE}"
    )
    try:
        tables = measure_all(names, arguments.quick)
    except OSError:  # the reader of the output has left
        raise
    except Exception as error:
        fail(explain(error), status=1)
    print("\nEvery result equals stage 0's.")
    write_files(arguments, tables, machine)


def check_arguments(arguments: Arguments) -> list[str]:
    """Return the sections to measure, in order.

    Exit with a message and status 2 if an argument is invalid.
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


def prepare_jax() -> None:
    """Start JAX with one CPU device per core, without a compilation cache."""
    jax.config.update("jax_enable_compilation_cache", False)
    if "JAX_NUM_CPU_DEVICES" not in os.environ:
        jax.config.update("jax_num_cpu_devices", num_cores())
    start_jax()


def num_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe_machine() -> str:
    """Return one line that names the machine, the versions and the time."""
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        found = re.search(r"model name\s*:\s*(.+)", text)
        cpu = found[1] if found else cpu
    devices = f"{jax.device_count()} x {jax.devices()[0].device_kind}"
    return (
        f"{cpu}, {num_cores()} cores; Python {platform.python_version()}, jax"
        f" {jax.__version__}, NumPy {np.__version__}; devices: {devices};"
        f" {time.strftime('%Y-%m-%d %H:%M %z')}"
    )


def measure_all(names: list[str], quick: bool) -> dict[str, report.Table]:
    """Measure and print each section; return the tables, keyed by name."""
    stages, tables = load_stages(STAGES_FOLDER), {}
    for name in names:
        title, make_rows = SECTIONS[name]
        sizes = QUICK[name] if quick else SIZES[name]
        rows = make_rows(stages, *sizes)
        tables[name] = report.show(name, title.format(*sizes), rows)
    return tables


def explain(error: Exception) -> str:
    """Return a one-line message; if a stage failed, name its file and line."""
    reason = f"{type(error).__name__}: {error}".splitlines()[0]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.parent == STAGES_FOLDER:
            return f"{path.name}, line {frame.lineno}: {reason}"
    return reason


def write_files(
    arguments: Arguments, tables: dict[str, report.Table], machine: str
) -> None:
    """Write the files that were asked for."""
    if path := arguments.json:
        rows = {name: table.rows for name, table in tables.items()}
        record = {"machine": machine, "sections": rows}
        write_asked(path, json.dumps(record, indent=1, default=vars))
    if path := arguments.plot:
        largest = tables.get("large") or tables["small"]
        write_asked(path, report.draw(largest, machine))
    if path := arguments.readme:
        text = path.read_text(encoding="utf-8")
        write_asked(path, report.rewrite(text, tables, machine))


if __name__ == "__main__":
    with reader_may_leave():
        main()
