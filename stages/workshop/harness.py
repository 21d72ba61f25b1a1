"""Run a stage as a script: check its arguments, time it, show its result.

`find_kind` decides which arguments a stage takes and how its result is shown.
It looks at the stage's docstring ("Fails with: ...") and at its functions.
"""

import dataclasses
import inspect
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import psutil

from workshop.devices import name_devices, set_up_devices, start_jax
from workshop.rendering import (
    GRAY,
    make_grid,
    print_sheet,
    print_states,
    save_image,
)
from workshop.stages import failure, find_stages, stage_number
from workshop.terminal import (
    fail,
    parse,
    reader_may_leave,
    say,
    show_path,
    show_text,
)

# The memory must hold four copies of the states: as computed, stacked, as
# pixels, and encoded as a file.
COPIES = 4
ALL_RULES = np.arange(256, dtype=np.uint8)
OTHER_LINES = 6  # the most lines that are printed besides the picture
LEARNING_LINES = 6  # how many more, if the stage learns a rule


@dataclasses.dataclass(frozen=True)
class Arguments:
    """The command line of every stage."""

    rule: int = 110
    """Wolfram's number of the rule, 0 to 255."""
    width: int = 80
    """Number of cells on the ring."""
    num_steps: int = 80
    """Number of rows, the initial state included."""
    device: str | None = None
    """cpu, cuda or tpu; by default the fastest device that JAX finds."""
    print_rule: bool = False
    """Print the rule as a table. Stage 0 always does."""
    print_image: bool = True
    """Print the states as a picture."""
    save_image: bool = False
    """Write the states to --output, one pixel per cell."""
    output: Path = Path("output.png")
    """PNG file for --save-image."""


@dataclasses.dataclass(frozen=True)
class FailingArguments(Arguments):
    """The command line of a stage that fails on purpose."""

    traceback: bool = False
    """Print the whole traceback, not only the lines of the stage's file."""


@dataclasses.dataclass(frozen=True)
class ShardedArguments(Arguments):
    """The command line of a stage that divides the ring among devices."""

    num_devices: int | None = None
    """Devices of this process; by default, a number that divides the width."""
    coordinator: str | None = None
    """HOST:PORT of process 0; not needed under SLURM or on a TPU pod."""
    num_processes: int | None = None
    """Number of processes; required with --coordinator."""
    process_id: int | None = None
    """Number of this process, counted from 0."""


def find_kind(stage: ModuleType) -> tuple[type[Arguments], Callable]:
    """Return the class of arguments and the show_* function for a stage."""
    if failure(inspect.getdoc(stage) or ""):
        return FailingArguments, show_failure
    if hasattr(stage, "simulate_rules"):
        return Arguments, show_rules
    if hasattr(stage, "learn_rule"):
        return Arguments, show_learned
    if "num_devices" in inspect.signature(stage.simulate).parameters:
        return ShardedArguments, show_states
    return Arguments, show_states


def run(simulate: Callable) -> None:
    """Run a stage with the arguments of the command line.

    The main guard of each stage calls this function.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it at once
    stage = sys.modules[simulate.__module__]
    kind, show = find_kind(stage)
    title, _, _ = (inspect.getdoc(stage) or "").partition("\n")
    with reader_may_leave():
        arguments = parse(kind, title)
        # Learning needs two rows: it predicts a row from the one before.
        check_arguments(arguments, 2 if show is show_learned else 1)
        num_diagrams = len(ALL_RULES) if show is show_rules else 1
        check_memory(num_diagrams * arguments.num_steps * arguments.width)
        if isinstance(arguments, ShardedArguments):
            arguments = set_up_devices(arguments)
        else:
            start_jax(arguments.device)
        print(f"rule: {arguments.rule:3d} (0b{arguments.rule:08b})")
        if arguments.print_rule or stage_number(Path(stage.__file__)) == 0:
            print_rule_table(arguments.rule)
        show(stage, arguments)


def check_arguments(arguments: Arguments, least_steps: int) -> None:
    """Exit with a message and status 2 if an argument cannot work."""
    if not 0 <= arguments.rule <= 255:
        fail(f"rule must be between 0 and 255, got {arguments.rule}")
    if arguments.width < 1:
        fail(f"width must be at least 1, got {arguments.width}")
    if arguments.num_steps < least_steps:
        allowed = f"at least {least_steps}"
        fail(f"num_steps must be {allowed}, got {arguments.num_steps}")
    if arguments.save_image:
        check_writable("output", arguments.output)
        if arguments.output.suffix.lower() != ".png":
            fail(f"output must end in .png, got {arguments.output}")
    elif arguments.output != Arguments.output:
        fail(f"output works only with --save-image, got {arguments.output}")


def check_memory(num_bytes: int) -> None:
    """Exit with a message and status 2 if the states do not fit in memory."""
    limit = psutil.virtual_memory().available // COPIES
    if num_bytes > limit:
        allowed = f"{limit:,} bytes, 1/{COPIES} of the free memory"
        fail(f"num_steps x width must fit in {allowed}, got {num_bytes:,}")


def check_writable(argument: str, path: Path) -> None:
    """Exit with a message and status 2 if the path cannot be written."""
    folder = path.parent
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        fail(f"{argument} must be in a folder you can write to, got {path}")
    if path.exists() and not path.is_file():  # a device would be replaced
        fail(f"{argument} must be a file, got {path}")


def print_rule_table(rule: int) -> None:
    """Print all neighborhoods, and below each the next value of its cell."""
    print("table:", " ".join(f"{i:03b}" for i in range(8)))
    print("next: ", " ".join(f"{rule >> i & 1:3}" for i in range(8)))


def time_call(
    function: Callable, *args: Any, wait: bool = True, **kwargs: Any
) -> tuple:
    """Call a function; return its result and how many seconds the call took.

    JAX returns before the result is computed, so time_call waits for the
    result. With wait=False, it makes a common mistake on purpose: it measures
    only the time to hand the work to JAX.
    """
    start = time.perf_counter()
    result = function(*args, **kwargs)
    if wait and "jax" in sys.modules:
        sys.modules["jax"].block_until_ready(result)
    return result, time.perf_counter() - start


def simulate_and_time(
    simulate: Callable, rule: int | np.ndarray, arguments: Arguments
) -> Any:
    """Call simulate, twice if it uses JAX, and print the time of each call."""
    shape = arguments.width, arguments.num_steps
    options = {}
    if isinstance(arguments, ShardedArguments):
        options["num_devices"] = arguments.num_devices
    states, seconds = time_call(simulate, rule, *shape, **options)
    print("simulation complete!")
    if isinstance(states, np.ndarray):
        print(f"time taken {seconds:.5f} seconds")
        return states
    compiled = hasattr(simulate, "lower")
    compiling = "trace, compile" if compiled else "compile every operation"
    run_on = f"run{name_devices(states)}"
    say(f"first call:  {seconds:.5f} seconds ({compiling}, {run_on})")
    del states
    states, seconds = time_call(simulate, rule, *shape, **options)
    say(f"second call: {seconds:.5f} seconds ({run_on})")
    return states


def show_states(
    stage: ModuleType, arguments: Arguments, lines_below: int = 0
) -> Any:
    """Simulate one rule, print and save the states if asked, and return them.

    On a terminal, leave `lines_below` lines free below the picture.
    """
    states = simulate_and_time(stage.simulate, arguments.rule, arguments)
    if not getattr(states, "is_fully_addressable", True):
        from jax.experimental import multihost_utils

        # Other processes hold some of the states.
        states = multihost_utils.process_allgather(states, tiled=True)
    if arguments.print_image:
        print_states(states, OTHER_LINES + lines_below)
    if arguments.save_image:
        save_image(states, arguments.output)
    return states


def show_failure(stage: ModuleType, arguments: FailingArguments) -> None:
    """Run a stage that fails on purpose, and show its error.

    An error of another kind is not caught. If the stage raises no error, exit
    with status 1.
    """
    error_type, keyword = failure(inspect.getdoc(stage))
    path = Path(stage.__file__)
    try:
        simulate_and_time(stage.simulate, arguments.rule, arguments)
    except error_type as error:
        if keyword not in str(error):
            raise
        if arguments.traceback:
            traceback.print_exception(error, file=sys.stdout)
        else:
            print_error(error, path)
        next_stage = find_stages()[stage_number(path) + 1]
        print()
        say("This failure is the lesson of this stage.")
        say(f"stages/{next_stage.name} fixes it.")
    else:
        expected = error_type.__name__
        fail(f"this stage must fail with {expected}, but it ran", status=1)


def print_error(error: Exception, path: Path) -> None:
    """Print an error, and the lines of its traceback that are in one file."""
    lines = [f"In {show_path(path)} (--traceback shows all):"]
    for frame in traceback.extract_tb(error.__traceback__):
        if Path(frame.filename) == path:
            lines.append(f"  line {frame.lineno}, in {frame.name}")
            lines.append(f"    {frame.line}")
    message = str(error).replace(str(path), show_path(path))
    lines.append(f"{type(error).__name__}: {message}")
    show_text("\n".join(lines))


def show_rules(stage: ModuleType, arguments: Arguments) -> None:
    """Simulate all rules, and show as many as fit on the screen."""
    states = simulate_and_time(stage.simulate_rules, ALL_RULES, arguments)
    states = np.asarray(states)
    if arguments.print_image:
        print_sheet(states, arguments.rule, OTHER_LINES)
    if arguments.save_image:
        gaps = ((0, 0), (0, 1), (0, 1))
        framed = np.pad(states, gaps, constant_values=GRAY)
        save_image(make_grid(framed)[:-1, :-1], arguments.output)


def show_learned(stage: ModuleType, arguments: Arguments) -> None:
    """Simulate a rule, learn it from its states, and check the result."""
    states = show_states(stage, arguments, LEARNING_LINES)
    (rule_table, losses), seconds = time_call(stage.learn_rule, states)
    say("learning the table from the states; at first all entries are 0.5")
    run_on = f"run{name_devices(losses)}"
    say(f"first call:  {seconds:.5f} seconds (trace, compile, {run_on})")
    updates = [0, *(4**k for k in range(9) if 4**k < len(losses))]
    say("updates: " + " ".join(f"{number:7}" for number in updates))
    say("loss:    " + " ".join(f"{losses[number]:.1e}" for number in updates))
    learned_rule = print_learned(rule_table.ravel(), arguments.rule)
    again = stage.simulate(learned_rule, arguments.width, arguments.num_steps)
    if not np.array_equal(again, states):
        fail(f"rule {learned_rule} does not reproduce the states", status=1)
    if np.any(rule_table == 0.5):
        say("?: this neighborhood never occurs; its entry counts as 0")
    say(f"rule {learned_rule}, as learned, reproduces the states exactly")


def print_learned(entries: np.ndarray, rule: int) -> int:
    """Print the learned entries below the true ones; return the learned rule.

    An entry that is still one half is undetermined, and counts as 0.
    """
    bits = [f"{rule >> i & 1:<4}" for i in range(8)]
    shown = ["?   " if entry == 0.5 else f"{entry:.2f}" for entry in entries]
    say("bits:    " + " ".join(bits).rstrip())
    say("learned: " + " ".join(shown).rstrip())
    return sum(1 << i for i, entry in enumerate(entries) if entry > 0.5)
