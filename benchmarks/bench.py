"""Measure what each stage gains and costs.

Five sections. Each row's result is compared with the reference before its
time is shown; the first wrong cell ends the run. A row appears as soon as it
is measured, and Ctrl-C ends with what there is.

    python benchmarks/bench.py --only small,large
"""

import dataclasses
import os
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "stages"))

import jax
import jax.numpy as jnp
import psutil

from machine import describe_machine, machine_line, num_cores
from measuring import MismatchError, Row, Stage, load_stages
from records import (
    Record,
    compare_column,
    explain_changes,
    replace_table,
    split_at_markers,
)
from sections import PLANS, QUICK, Settings
from tables import COLUMNS, Screen
from workshop.devices import stray_variables
from workshop.harness import check_writable, time_call
from workshop.stages import STAGES_FOLDER, find_stages
from workshop.terminal import fail, parse, reader_may_leave, write_whole

MAX_BUSY = 0.1
BYTES_A_CELL = 6  # of the section large: states, reference, comparison


@dataclasses.dataclass(frozen=True)
class Arguments:
    """The command line."""

    only: str = ",".join(PLANS)
    """Sections to measure, separated by commas."""
    size: int | None = None
    """Cells and rows of the section large, 8000 unless quick."""
    quick: bool = False
    """A rehearsal: smaller sizes, fewer calls."""
    json: Path | None = None
    """Write all samples to this file."""
    plot: Path | None = None
    """Draw the results into this PNG file."""
    compare: Path | None = None
    """Show ratios to an earlier run: a file that --json wrote."""
    readme: Path | None = None
    """Rewrite the table of results in this file."""
    stages: Path = STAGES_FOLDER
    """Folder of the stages. The first one is the reference."""


def main() -> int:
    """Check the arguments, measure, keep the results; the exit status."""
    arguments = parse(Arguments, __doc__.partition("\n")[0])
    names, settings = check_arguments(arguments)
    before = read_record(arguments.compare) if arguments.compare else None
    prepare_jax()
    stages = load_stages(arguments.stages)
    screen, record = Screen(), Record(describe_machine())
    print_header(screen, record, before)
    measure_all = partial(run_sections, names, stages, settings)
    try:
        _, seconds = time_call(measure_all, screen, record, before)
    except MismatchError as error:
        fail(str(error), status=1)
    except KeyboardInterrupt:
        screen.say("interrupted: what was measured stands above")
        if arguments.json:
            keep(screen, arguments.json, record.to_json())
        return 130
    record.complete = True
    screen.line()
    screen.say(
        f"Done in {seconds:.0f} seconds. Every result was compared with"
        f" {stages[0].label} before its time was shown."
    )
    keep_results(screen, record, arguments)
    return 0


def run_sections(
    names: list[str],
    stages: list[Stage],
    settings: Settings,
    screen: Screen,
    record: Record,
    before: Record | None,
) -> None:
    """Measure section after section; each row goes on screen and record."""
    for name in names:
        section = PLANS[name](stages, settings)
        columns = COLUMNS[name]
        if before:
            columns += (compare_column(name, section.title, before),)
        rows: list[Row] = []
        record.sections[name] = {"title": section.title, "rows": rows}
        title = f"{name}: {section.title}"
        screen.show(title, section.tasks, columns, rows)
        for note in section.notes(rows):
            screen.say(note)


def prepare_jax() -> None:
    """A device for every core, and no results of earlier compilations."""
    jax.config.update("jax_enable_compilation_cache", False)
    if "JAX_NUM_CPU_DEVICES" not in os.environ:
        jax.config.update("jax_num_cpu_devices", num_cores())
    jax.block_until_ready(jax.jit(jnp.add)(1, 1))  # starts the devices


def print_header(
    screen: Screen, record: Record, before: Record | None
) -> None:
    """Say where this is measured, and what the columns mean."""
    screen.say(machine_line(record.machine))
    if record.machine["busy"] > MAX_BUSY:
        screen.say(
            f"other programs keep {record.machine['busy']:.0%} of the cores"
            " busy: expect noise"
        )
    if stray := stray_variables():
        screen.say(f"set from outside: {', '.join(stray)}")
    if before:
        screen.say(explain_changes(before, record))
    screen.say(
        "first: trace, compile, run. later: the median of at least 3 calls."
        " spread: from quartile to quartile, in % of the median."
    )


def keep_results(screen: Screen, record: Record, arguments: Arguments) -> None:
    """Write the files that were asked for."""
    if arguments.json:
        keep(screen, arguments.json, record.to_json())
    if arguments.readme:
        readme = arguments.readme.read_text(encoding="utf-8")
        keep(screen, arguments.readme, replace_table(readme, record))
    if arguments.plot:
        from plot import draw  # matplotlib is slow to import

        keep(screen, arguments.plot, draw(record))


def keep(screen: Screen, path: Path, content: str | bytes) -> None:
    """Write a file and say where it is."""
    try:
        write_whole(path, content)
    except OSError as error:
        fail(f"{path} cannot be written: {error}", status=1)
    screen.line(f"wrote {path}")


def check_arguments(arguments: Arguments) -> tuple[list[str], Settings]:
    """The sections in order, and how large they are.

    Ends with one line and status 2 if something could not work.
    """
    names = [name.strip() for name in arguments.only.split(",")]
    if not set(names) <= set(PLANS):
        fail(f"only must name some of {','.join(PLANS)}, got {arguments.only}")
    if not (arguments.stages.is_dir() and find_stages(arguments.stages)):
        fail(f"stages must be a folder of stages, got {arguments.stages}")
    settings = QUICK if arguments.quick else Settings()
    if arguments.size is not None:
        settings = dataclasses.replace(settings, large=arguments.size)
    if "large" in names:
        check_size(settings.large)
    if arguments.json:
        check_writable("json", arguments.json)
    if arguments.plot:
        check_plot(arguments.plot)
    if arguments.readme:
        check_readme(arguments.readme, names)
    return [name for name in PLANS if name in names], settings


def check_size(size: int) -> None:
    """Is it possible, and is there memory for it?"""
    if size < 1:
        fail(f"size must be at least 1, got {size}")
    needed = BYTES_A_CELL * size**2
    available = psutil.virtual_memory().available
    if needed > available:
        fail(
            f"size must fit into the memory available, {available:,} bytes,"
            f" got {size}, which needs {needed:,}"
        )


def check_plot(path: Path) -> None:
    """Can a plot be drawn there?"""
    check_writable("plot", path)
    if path.suffix.lower() != ".png":
        fail(f"plot must be a file named .png, got {path}")
    if find_spec("matplotlib") is None:
        fail("plot needs matplotlib: python -m pip install matplotlib")


def check_readme(path: Path, names: list[str]) -> None:
    """Can its table be replaced?"""
    if not {"small", "large"} <= set(names):
        fail(f"readme needs the sections small,large, got {','.join(names)}")
    check_writable("readme", path)
    try:
        split_at_markers(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        fail(f"readme must be a file with markers, got {path}: {error}")


def read_record(path: Path) -> Record:
    """The earlier run to compare with."""
    try:
        return Record.from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, KeyError) as error:
        fail(f"compare must be a file written by --json, got {path}: {error}")


if __name__ == "__main__":
    with reader_may_leave():
        sys.exit(main())
