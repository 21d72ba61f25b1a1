"""Measure what each stage gains and costs.

Each row's result is compared with the reference before its time is shown; a
wrong cell, or a time that cannot be true, ends the run. A row appears as soon
as it is measured, and Ctrl-C ends with what there is.

    python benchmarks/bench.py --only small,large
"""

import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "stages"))

import psutil

import peers
import readme
from machine import describe_machine, machine_line, prepare_jax
from measuring import RefusedError, Stage, load_stages
from sections import PLANS, QUICK, Settings
from tables import show
from workshop.devices import stray_variables
from workshop.harness import check_writable, time_call
from workshop.stages import STAGES_FOLDER
from workshop.terminal import (
    fail,
    parse,
    reader_may_leave,
    say,
    write_whole,
)

ALL_PLANS = {**PLANS, "peers": peers.plan_peers}
MAX_BUSY = 0.1
BYTES_A_CELL = 7  # of the section large: states, reference, comparison


@dataclasses.dataclass(frozen=True)
class Arguments:
    """The command line."""

    only: str = ",".join(PLANS)
    """Sections to measure, separated by commas."""
    size: int | None = None
    """Cells and rows of the sections large and peers, 8000 unless quick."""
    quick: bool = False
    """A rehearsal: smaller sizes, fewer calls."""
    json: Path | None = None
    """Write all samples to this file."""
    plot: Path | None = None
    """Draw the results into this PNG file."""
    record: bool = False
    """Keep the table of peers, for README."""
    readme: Path | None = None
    """Rewrite the tables in this file, and the pictures in .github beside."""


def main() -> int:
    """Check the arguments, measure, keep the results; the exit status."""
    arguments = parse(Arguments, __doc__.partition("\n")[0])
    names, settings = check_arguments(arguments)
    prepare_jax()
    stages, machine = load_stages(STAGES_FOLDER), describe_machine()
    record = {"machine": machine, "complete": False, "sections": {}}
    print_header(machine)
    try:
        _, seconds = time_call(measure_all, names, stages, settings, record)
    except RefusedError as error:
        fail(str(error), status=1)
    except KeyboardInterrupt:
        say("interrupted: what was measured stands above")
        arguments = Arguments(json=arguments.json)
    else:
        record["complete"] = True
        print()
        say(
            f"Done in {seconds:.0f} seconds. Every result was compared with"
            f" {stages[0].label} before its time was shown."
        )
    for path, content in results(record, arguments):
        try:
            write_whole(path, content)
        except OSError as error:
            fail(f"{path} cannot be written: {error}", status=1)
        print(f"wrote {path}")
    return 0 if record["complete"] else 130


def measure_all(
    names: list[str], stages: list[Stage], settings: Settings, record: dict
) -> None:
    """Measure section after section; each row goes on screen and record."""
    for name in names:
        section, rows = ALL_PLANS[name](stages, settings), []
        record["sections"][name] = {"title": section.title, "rows": rows}
        show(name, section, rows)


def print_header(machine: dict) -> None:
    """Say where this is measured, and what the columns mean."""
    say(machine_line(machine))
    if machine["busy"] > MAX_BUSY:
        say(f"other programs keep {machine['busy']:.0%} of the cores busy")
    if machine["pages"] == "small" and sys.platform == "linux":
        say("small pages: large results wait for them (make asks for huge)")
    if stray := stray_variables():
        say(f"set from outside: {', '.join(stray)}")
    say(
        "first: trace, compile, run. later: the median of at least 3 calls."
        " spread: from quartile to quartile, in % of the median."
    )


def results(record: dict, arguments: Arguments) -> Iterator[tuple]:
    """The files that were asked for: paths and contents."""
    if arguments.json:
        text = json.dumps(record, default=dataclasses.asdict, indent=1)
        yield arguments.json, text + "\n"
    if arguments.record:
        yield readme.PEERS, readme.to_peers(record, peers.COLUMNS)
    if arguments.plot or arguments.readme:
        import plot  # matplotlib is slow to import
    if arguments.plot:
        yield arguments.plot, plot.draw(record)
    if path := arguments.readme:
        yield path, readme.rewrite(path.read_text(encoding="utf-8"), record)
        for name, image in plot.draw_pictures(record).items():
            yield path.parent / ".github" / name, image


def check_arguments(arguments: Arguments) -> tuple[list[str], Settings]:
    """The sections in order, and how large they are.

    Ends with one line and status 2 if something could not work.
    """
    asked = [name.strip() for name in arguments.only.split(",")]
    names = [name for name in ALL_PLANS if name in asked]
    if not set(asked) <= set(names):
        fail(f"only must name some of {','.join(ALL_PLANS)}, got {asked}")
    settings = QUICK if arguments.quick else Settings()
    if arguments.size is not None:
        settings = dataclasses.replace(settings, large=arguments.size)
    check_size(settings.large, "peers" in names)
    for option in ("json", "plot", "readme"):
        if path := getattr(arguments, option):
            check_writable(option, path)
    if arguments.plot and arguments.plot.suffix.lower() != ".png":
        fail(f"plot must be a file named .png, got {arguments.plot}")
    if arguments.record and "peers" not in names:
        fail(f"record needs the section peers, got {arguments.only}")
    if path := arguments.readme:
        if not {"small", "large"} <= set(names):
            fail(f"readme needs small and large, got {arguments.only}")
        try:
            readme.check(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            fail(f"readme must be a file with markers, got {path}: {error}")
    return names, settings


def check_size(size: int, in_words: bool) -> None:
    """Is it possible, and is there memory for it?"""
    if size < 1:
        fail(f"size must be at least 1, got {size}")
    if in_words and size % peers.WORD_BITS:
        fail(f"size must be a multiple of {peers.WORD_BITS}, got {size}")
    available = psutil.virtual_memory().available
    if BYTES_A_CELL * size**2 > available:
        fail(
            f"size must fit into the memory available, {available:,} bytes,"
            f" got {size}, which needs {BYTES_A_CELL * size**2:,}"
        )


if __name__ == "__main__":
    with reader_may_leave():
        sys.exit(main())
