"""Measure what each stage gains and costs.

Each row's result is compared with the reference before its time is shown; a
wrong cell, or a time that cannot be true, ends the run.

    python benchmarks/bench.py --only small,large
"""

import dataclasses
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "stages"))

import psutil

import measuring
import report
from programs import LANES
from sections import (
    BYTES_A_CELL,
    ELSEWHERE,
    PLANS,
    Settings,
    choose_settings,
)
from tables import show
from workshop.devices import stray_variables
from workshop.harness import check_writable, time_call
from workshop.stages import STAGES_FOLDER
from workshop.terminal import fail, parse, reader_may_leave, say, write_whole

DEFAULT = ",".join(name for name in PLANS if name not in {"peers"} | ELSEWHERE)
MAX_BUSY = 10  # percent


@dataclasses.dataclass(frozen=True)
class Arguments:
    """The command line."""

    only: str = DEFAULT  # Sections to measure, separated by commas.
    device: str | None = None  # cpu, cuda or tpu, if not JAX's own choice.
    size: int | None = None  # Cells and rows of large and peers, else 8000.
    quick: bool = False  # A rehearsal: smaller sizes.
    json: Path | None = None  # Write all samples to this file.
    plot: Path | None = None  # Draw the results into this PNG file.
    readme: Path | None = None  # Rewrite the tables of these sections there.


def main() -> int:
    """Check the arguments, measure, keep the results; the exit status."""
    arguments = parse(Arguments, __doc__.partition("\n")[0])
    measuring.prepare_jax(arguments.device)
    names, settings = check_arguments(arguments)
    record = {"machine": measuring.describe_machine(), "sections": {}}
    record["complete"] = False
    try:
        _, seconds = time_call(measure_all, names, settings, record)
    except measuring.RefusedError as error:
        fail(str(error), status=1)
    except KeyboardInterrupt:
        say("interrupted: what was measured stands above")
        arguments = Arguments(json=arguments.json)
    else:
        record["complete"] = True
        print()
        say(f"Done in {seconds:.0f} seconds. Every result was compared first.")
    for path, content in results(record, arguments):
        try:
            write_whole(path, content)
        except OSError as error:
            fail(f"{path} cannot be written: {error}", status=1)
        print(f"wrote {path}")
    return 0 if record["complete"] else 130


def measure_all(names: list[str], settings: Settings, record: dict) -> None:
    """Measure section after section; each row goes on screen and record."""
    stages = measuring.load_stages(STAGES_FOLDER)
    print_header(record["machine"])
    for name in names:
        section, rows = PLANS[name](stages, settings), []
        record["sections"][name] = {"title": section.title, "rows": rows}
        show(name, section, rows)


def print_header(machine: str) -> None:
    """Say where this is measured, and what the columns mean."""
    say(machine)
    if (busy := psutil.cpu_percent(interval=0.2)) > MAX_BUSY:
        say(f"other programs keep {busy:.0f}% of the cores busy")
    if "small pages" in machine and sys.platform == "linux":
        say("small pages: large results wait for them (make asks for huge)")
    if stray := stray_variables():
        say(f"set from outside: {', '.join(stray)}")
    say(
        "first: trace, compile, run. later: the median of at least 3 calls."
        " spread: from quartile to quartile, in % of the median. packed: a bit"
        " for each cell."
    )


def results(record: dict, arguments: Arguments) -> Iterator[tuple]:
    """The files that were asked for: paths and contents."""
    if arguments.json:
        text = json.dumps(record, default=dataclasses.asdict, indent=1)
        yield arguments.json, text + "\n"
    if arguments.plot:
        yield arguments.plot, report.plot(record)
    if path := arguments.readme:
        yield path, report.rewrite(path.read_text(encoding="utf-8"), record)
        if "large" in record["sections"]:
            for name, image in report.draw_pictures(record).items():
                yield path.parent / ".github" / name, image


def check_arguments(arguments: Arguments) -> tuple[list[str], Settings]:
    """The sections in order, and how large they are.

    Ends with one line and status 2 if something could not work.
    """
    asked = [name.strip() for name in arguments.only.split(",")]
    device = measuring.accelerator()
    known = [name for name in PLANS if device or name not in ELSEWHERE]
    if not set(asked) <= set(known):
        fail(f"only must name some of {','.join(known)}, got {asked}")
    if device and arguments.only == DEFAULT:
        asked += ELSEWHERE
    names = [name for name in PLANS if name in asked]
    available = psutil.virtual_memory().available
    platform = device.platform if device else "cpu"
    settings = choose_settings(arguments.quick, platform, available)
    size = settings.large if arguments.size is None else arguments.size
    largest = math.isqrt(available // BYTES_A_CELL)
    if not 1 <= size <= largest:
        fail(f"size must be 1 to {largest}, for the memory, got {size}")
    if "peers" in names and size % LANES:
        fail(f"size must be a multiple of {LANES}, got {size}")
    check_files(arguments, names)
    return names, dataclasses.replace(settings, large=size)


def check_files(arguments: Arguments, names: list[str]) -> None:
    """End with one line and status 2 if a file cannot be written, or made."""
    for option in ("json", "plot", "readme"):
        if path := getattr(arguments, option):
            check_writable(option, path)
    if arguments.plot and set(names) <= {"compile", "scale"}:
        fail(f"plot needs a section with later calls, got {arguments.only}")
    tables = [needed for needed, _ in report.TABLES.values()]
    if arguments.readme and not any(set(t) <= set(names) for t in tables):
        fail(f"readme needs small,large or peers, got {arguments.only}")
    if (path := arguments.plot) and path.suffix.lower() != ".png":
        fail(f"plot must be a file named .png, got {path}")
    if path := arguments.readme:
        try:
            text = path.read_text(encoding="utf-8")
            for name in report.TABLES:
                report.replace(text, name, [])
        except (OSError, ValueError) as error:
            fail(f"readme must be a file with markers, got {path}: {error}")


if __name__ == "__main__":
    with reader_may_leave():
        sys.exit(main())
