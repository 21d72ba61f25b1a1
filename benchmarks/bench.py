"""Measure what each stage gains and costs.

Each row's result is compared with the reference before its time is shown; a
wrong cell, or a time that cannot be true, ends the run. A row appears as soon
as it is measured, and Ctrl-C ends with what there is.

    python benchmarks/bench.py --only small,large
"""

import dataclasses
import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "stages"))

import jax
import jax.numpy as jnp
import psutil

import readme
from machine import describe_machine, machine_line, num_cores
from measuring import RefusedError, Stage, load_stages
from sections import PLANS, QUICK, Settings
from tables import show
from workshop.catalog import STAGES_FOLDER
from workshop.command_line import parse
from workshop.doctor import stray_variables
from workshop.files import write_whole
from workshop.harness import check_writable, time_call
from workshop.terminal import fail, reader_may_leave, say

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
    readme: Path | None = None
    """Rewrite the tables in this file, and the pictures in .github beside."""


def main() -> int:
    """Check the arguments, measure, keep the results; the exit status."""
    arguments = parse(Arguments, __doc__.partition("\n")[0])
    names, settings = check_arguments(arguments)
    prepare_jax()
    stages = load_stages(STAGES_FOLDER)
    record = {"schema": 2, "machine": describe_machine(), "sections": {}}
    print_header(record["machine"])
    try:
        _, seconds = time_call(measure_all, names, stages, settings, record)
    except RefusedError as error:
        fail(str(error), status=1)
    except KeyboardInterrupt:
        say("interrupted: what was measured stands above")
        if arguments.json:
            keep(arguments.json, to_json(record | {"complete": False}))
        return 130
    print()
    say(
        f"Done in {seconds:.0f} seconds. Every result was compared with"
        f" {stages[0].label} before its time was shown."
    )
    keep_results(record | {"complete": True}, arguments)
    return 0


def measure_all(
    names: list[str], stages: list[Stage], settings: Settings, record: dict
) -> None:
    """Measure section after section; each row goes on screen and record."""
    for name in names:
        section = PLANS[name](stages, settings)
        rows = []
        record["sections"][name] = {"title": section.title, "rows": rows}
        show(name, section, rows)


def prepare_jax() -> None:
    """A device for every core, and no results of earlier compilations."""
    jax.config.update("jax_enable_compilation_cache", False)
    if "JAX_NUM_CPU_DEVICES" not in os.environ:
        jax.config.update("jax_num_cpu_devices", num_cores())
    jax.block_until_ready(jax.jit(jnp.add)(1, 1))  # starts the devices


def print_header(machine: dict) -> None:
    """Say where this is measured, and what the columns mean."""
    say(machine_line(machine))
    if machine["busy"] > MAX_BUSY:
        say(
            f"other programs keep {machine['busy']:.0%} of the cores busy:"
            " expect noise"
        )
    if machine["pages"] == "small" and sys.platform == "linux":
        say("small pages: large results wait for them; make asks for huge ones")
    if stray := stray_variables():
        say(f"set from outside: {', '.join(stray)}")
    say(
        "first: trace, compile, run. later: the median of at least 3 calls."
        " spread: from quartile to quartile, in % of the median."
    )


def keep_results(record: dict, arguments: Arguments) -> None:
    """Write the files that were asked for."""
    if arguments.json:
        keep(arguments.json, to_json(record))
    if arguments.plot or arguments.readme:
        import plot  # matplotlib is slow to import
    if arguments.plot:
        keep(arguments.plot, plot.draw(record))
    if arguments.readme:
        text = arguments.readme.read_text(encoding="utf-8")
        keep(arguments.readme, readme.rewrite(text, record))
        for name, image in plot.draw_pictures(record).items():
            keep(arguments.readme.parent / ".github" / name, image)


def to_json(record: dict) -> str:
    """All of it, every sample."""
    return json.dumps(record, default=dataclasses.asdict, indent=1) + "\n"


def keep(path: Path, content: str | bytes) -> None:
    """Write a file and say where it is."""
    try:
        path.parent.mkdir(exist_ok=True)
        write_whole(path, content)
    except OSError as error:
        fail(f"{path} cannot be written: {error}", status=1)
    print(f"wrote {path}")


def check_arguments(arguments: Arguments) -> tuple[list[str], Settings]:
    """The sections in order, and how large they are.

    Ends with one line and status 2 if something could not work.
    """
    names = [name.strip() for name in arguments.only.split(",")]
    if not set(names) <= set(PLANS):
        fail(f"only must name some of {','.join(PLANS)}, got {arguments.only}")
    settings = QUICK if arguments.quick else Settings()
    if arguments.size is not None:
        settings = dataclasses.replace(settings, large=arguments.size)
    if "large" in names:
        check_size(settings.large)
    for option in ("json", "plot", "readme"):
        if path := getattr(arguments, option):
            check_writable(option, path)
    if path := arguments.plot:
        if path.suffix.lower() != ".png":
            fail(f"plot must be a file named .png, got {path}")
        if find_spec("matplotlib") is None:
            fail("plot needs matplotlib: python -m pip install matplotlib")
    if path := arguments.readme:
        check_readme(path, names)
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


def check_readme(path: Path, names: list[str]) -> None:
    """Can its tables be replaced?"""
    if not {"small", "large"} <= set(names):
        fail(f"readme needs the sections small,large, got {','.join(names)}")
    try:
        readme.check(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        fail(f"readme must be a file with markers, got {path}: {error}")


if __name__ == "__main__":
    with reader_may_leave():
        sys.exit(main())
