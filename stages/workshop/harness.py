"""Run a stage as a script: command line, checks, timing, printing."""

import dataclasses
import inspect
import os
import re
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Annotated, Any

import numpy as np
import psutil

from workshop.devices import (
    DeviceArguments,
    check_devices,
    free_device_memory,
    name_devices,
    peers_may_leave,
    set_up_devices,
    start_jax,
)
from workshop.rendering import (
    encode_image,
    make_grid,
    play_flip_book,
    print_sheet,
    print_states,
    save_image,
)
from workshop.stages import failure, find_stages, stage_number
from workshop.terminal import fail, moves_cursor, parse, reader_may_leave, say

COPIES = 4  # of the states: as computed, stacked, as pixels, as a file
DEVICE_COPIES = 2  # where a device has memory of its own: with the loop's
ALL_RULES = np.arange(256, dtype=np.uint8)
MAX_LEARNING_CELLS = 2**24 - 1  # float32 resolves one cell among so many
MAX_WIDTH = 2**31 - 1  # JAX numbers cells in int32


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
    """cpu, cuda or tpu, if JAX should not take the fastest that it has."""
    print_rule: bool = True
    """Print the rule as the table that stages look up."""
    print_image: bool = True
    """Print the states as a picture."""
    save_image: bool = False
    """Write the states to --output, one pixel a cell."""
    output: Path = Path("output.png")
    """Image file for --save-image; the suffix chooses the format."""

    num_diagrams = 1
    """That the memory has to hold at once."""
    other_lines = 0
    """That are printed beside rule, times and picture."""

    def check(self) -> None:
        """End with one line and status 2 if an argument cannot work."""


def run(simulate: Callable) -> None:
    """Run a stage from its main guard, with the command line's arguments.

    What simulate takes beyond rule, width and num_steps become options. What
    is shown beyond its states follows from the stage's other functions, by
    their names: see shows.py. A stage whose docstring says what it fails with
    ends with status 0 only if it fails with just that.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it at once
    stage = sys.modules[simulate.__module__]
    docstring = inspect.getdoc(stage) or ""
    kind, show = find_show(stage)
    with reader_may_leave():
        arguments = parse(
            with_options_of(simulate, kind), docstring.partition("\n")[0]
        )
        check_arguments(arguments)
        if isinstance(arguments, DeviceArguments):
            arguments = set_up_devices(arguments)
        else:
            start_jax(arguments.device)
        check_memory(arguments)
        print_rule(arguments)
        if failure(docstring):
            run_failing(simulate, arguments, *failure(docstring))
        else:
            with peers_may_leave():
                show(stage, arguments)


def with_options_of(
    simulate: Callable, kind: type[Arguments]
) -> type[Arguments]:
    """The command line with the parameters that simulate has beyond it.

    A line `name: text` in simulate's docstring becomes the help.
    """
    from tyro.conf import arg

    parameters = dict(inspect.signature(simulate, eval_str=True).parameters)
    bases = (kind,)
    if "num_devices" in parameters:
        bases = (DeviceArguments, kind)
    known = {
        field.name for base in bases for field in dataclasses.fields(base)
    }
    fields = []
    for name in parameters.keys() - known:
        found = re.search(rf"^\s*{name}: (.+)$", simulate.__doc__ or "", re.M)
        hint = parameters[name].annotation
        hint = Annotated[hint, arg(help=found[1] if found else "")]
        fields.append((name, hint, parameters[name].default))
    return dataclasses.make_dataclass(
        "Arguments", fields, bases=bases, frozen=True
    )


def time_call(
    function: Callable, *args: Any, wait: bool = True, **kwargs: Any
) -> tuple:
    """Call a function; return its result and the seconds until it is there.

    JAX returns before it has computed: without the wait this would measure
    how long it takes to ask. wait=False measures just that: it is wrong, and
    there for showing so.
    """
    start = time.perf_counter()
    result = function(*args, **kwargs)
    if wait and "jax" in sys.modules:
        sys.modules["jax"].block_until_ready(result)
    return result, time.perf_counter() - start


def simulate_and_time(
    simulate: Callable, rule: int | np.ndarray, arguments: Arguments
) -> Any:
    """Call simulate, twice if it is JAX's, and print what each call took.

    It is given rule, width and num_steps by position, and by name what else
    it takes.
    """
    shape = arguments.width, arguments.num_steps
    _, _, _, *names = inspect.signature(simulate).parameters
    options = {name: getattr(arguments, name) for name in names}
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


def show_states(stage: Any, arguments: Arguments) -> Any:
    """Simulate one rule, show it as far as asked for; return its states.

    What other processes hold of what is shown is brought here first.
    """
    states = simulate_and_time(stage.simulate, arguments.rule, arguments)
    if not (arguments.print_image or arguments.save_image):
        return states
    if not getattr(states, "is_fully_addressable", True):
        from jax.experimental import multihost_utils

        states = multihost_utils.process_allgather(states, tiled=True)
    if arguments.print_image:
        above = 13 if arguments.print_rule else 4
        print_states(states, other_lines=above + arguments.other_lines)
    if arguments.save_image and arguments.output != Path(os.devnull):
        save_image(states, arguments.output)
    return states


def run_failing(
    simulate: Callable,
    arguments: Arguments,
    error_type: type[Exception],
    keyword: str,
) -> None:
    """Show the failure that is the lesson; exit status 1 for any other."""
    expected = f'{error_type.__name__} with the word "{keyword}"'
    try:
        simulate_and_time(simulate, arguments.rule, arguments)
    except Exception as error:
        stage = Path(inspect.unwrap(simulate).__code__.co_filename)
        as_declared = type(error) is error_type and keyword in str(error)
        error.__traceback__ = frames_from(stage, error.__traceback__)
        out = sys.stdout if as_declared else sys.stderr
        traceback.print_exception(error, file=out)
        if not as_declared:
            fail(f"this stage has to fail with {expected}", status=1)
        next_stage = find_stages(stage.parent)[stage_number(stage) + 1]
        print()
        say("This failure is the lesson of this stage.")
        say(f"stages/{next_stage.name} mends it.")
    else:
        fail(f"this stage has to fail with {expected}, but ran", status=1)


def frames_from(path: Path, frames: TracebackType) -> TracebackType:
    """The traceback without the frames before the first one in that file."""
    start = frames
    while start and start.tb_frame.f_code.co_filename != str(path):
        start = start.tb_next
    return start or frames


def print_rule(arguments: Arguments) -> None:
    """Print the rule in binary, and as the table that stages look up."""
    rule = arguments.rule
    print(f"rule: {rule:3d} (0b{rule:08b})")
    if arguments.print_rule:
        bits = [rule >> i & 1 for i in range(8)]
        print(f"bits: [{' '.join(map(str, bits))}]")
        for i, bit in enumerate(bits):
            entry = f"{i >> 2},{i >> 1 & 1},{i & 1}"
            print(f"rule_table[{entry}] = {bit}")


def check_arguments(arguments: Arguments) -> None:
    """End with one line and status 2 if an argument cannot work."""
    if not 0 <= arguments.rule <= 255:
        fail(f"rule must be between 0 and 255, got {arguments.rule}")
    if arguments.width < 1:
        fail(f"width must be at least 1, got {arguments.width}")
    if arguments.width > MAX_WIDTH:
        fail(f"width must be at most {MAX_WIDTH}, got {arguments.width}")
    if arguments.num_steps < 1:
        fail(f"num_steps must be at least 1, got {arguments.num_steps}")
    arguments.check()
    if isinstance(arguments, DeviceArguments):
        check_devices(arguments)
    if arguments.save_image:
        check_writable("output", arguments.output)
        try:
            encode_image(np.zeros((1, 1)), arguments.output.suffix)
        except ValueError as error:
            fail(f"output: {error}, got {arguments.output}")
    elif arguments.output != Arguments.output:
        fail(f"output needs --save-image, got {arguments.output}")


def check_memory(arguments: Arguments) -> None:
    """End with one line and status 2 if the states would not fit.

    Onto the device, if it has memory of its own; then into the host's only
    if they are shown. Devices share the states.
    """
    num_diagrams = arguments.num_diagrams
    num_bytes = num_diagrams * arguments.num_steps * arguments.width
    factor = f"{num_diagrams} x " if num_diagrams > 1 else ""
    places = [("", psutil.virtual_memory().available, COPIES)]
    if (free := free_device_memory()) is not None:
        shown = arguments.print_image or arguments.save_image
        free *= getattr(arguments, "num_devices", 1)
        places = [("device's ", free, DEVICE_COPIES), *places[: int(shown)]]
    for whose, available, copies in places:
        if copies * num_bytes > available:
            fail(
                f"{factor}num_steps x width must fit {copies} times into the"
                f" {whose}memory available, {available:,} bytes, got"
                f" {num_bytes:,} bytes"
            )


def check_writable(argument: str, path: Path) -> None:
    """End with one line and status 2 if no file can be written there."""
    if not path.parent.is_dir():
        fail(f"{argument} must be in a folder that exists, got {path}")
    if path.is_dir():
        fail(f"{argument} must be a file, got the folder {path}")
    try:
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        fail(f"{argument} must be in a writable folder, got {path}: {error}")


@dataclasses.dataclass(frozen=True)
class RulesArguments(Arguments):
    """The command line of a stage that simulates all rules at once."""

    flip_book: bool = False
    """Show every rule, one after the other, in a terminal."""

    num_diagrams = len(ALL_RULES)

    def check(self) -> None:
        """End with one line and status 2 if no terminal can show it."""
        if self.flip_book and not moves_cursor(sys.stdout):
            fail("flip_book needs a terminal that moves its cursor")


@dataclasses.dataclass(frozen=True)
class LearningArguments(Arguments):
    """The command line of a stage that learns a rule from its states."""

    other_lines = 7

    def check(self) -> None:
        """End with one line and status 2 if a rule cannot be learned so."""
        num_cells = self.num_steps * self.width
        if num_cells > MAX_LEARNING_CELLS:
            fail(
                "num_steps x width must be at most"
                f" {MAX_LEARNING_CELLS:,} to learn from, got {num_cells:,}"
            )


def show_rules(stage: ModuleType, arguments: RulesArguments) -> None:
    """Simulate all rules, and show many of them."""
    num_bytes = len(ALL_RULES) * arguments.num_steps * arguments.width
    say(
        f"{len(ALL_RULES)} rules x {arguments.num_steps} steps"
        f" x {arguments.width} cells: {num_bytes:,} bytes"
    )
    states = simulate_and_time(stage.simulate_rules, ALL_RULES, arguments)
    states = np.asarray(states)
    if arguments.flip_book:
        say("flip-book, from dark to bright; Ctrl-C ends it")
        play_flip_book(states)
    elif arguments.print_image:
        print_sheet(states, first=arguments.rule)
    if arguments.save_image:
        save_image(make_grid(states), arguments.output)


def show_learned(stage: ModuleType, arguments: LearningArguments) -> None:
    """Simulate one rule, learn it back from its states, and compare."""
    states = show_states(stage, arguments)
    (rule_table, losses), seconds = time_call(stage.learn_rule, states)
    say("learning the table from the states; at first all entries are 0.5")
    run_on = f"run{name_devices(losses)}"
    say(f"first call:  {seconds:.5f} seconds (trace, compile, {run_on})")
    updates = [0, *(4**k for k in range(9) if 4**k < len(losses))]
    say_row("updates:", (f"{number:7}" for number in updates))
    say_row("loss:   ", (f"{losses[number]:.1e}" for number in updates))
    learned_rule = print_learned(rule_table.ravel(), arguments.rule)
    num_steps, width = states.shape
    again = stage.simulate(learned_rule, width, num_steps)
    if not np.array_equal(again, states):
        fail(f"rule {learned_rule} does not reproduce the states", status=1)
    note = " (? is undetermined: 0)" if np.any(rule_table == 0.5) else ""
    say(
        f"rule {learned_rule}, as learned{note}, reproduces the states exactly"
    )


def print_learned(entries: np.ndarray, rule: int) -> int:
    """Print the learned entries below the true ones; return their rule.

    An entry that is undetermined, still one half, counts as 0.
    """
    shown = ["?" if entry == 0.5 else f"{entry:.2f}" for entry in entries]
    say_row("bits:   ", (f"{rule >> i & 1:<4}" for i in range(8)))
    say_row("learned:", (f"{entry:4}" for entry in shown))
    return sum(1 << i for i, entry in enumerate(entries) if entry > 0.5)


def say_row(name: str, cells: Iterable[str]) -> None:
    """Print cells below those of other rows, where a line has room."""
    say(" ".join([name, *cells]).rstrip())


SHOWS = {
    "simulate_rules": (RulesArguments, show_rules),
    "learn_rule": (LearningArguments, show_learned),
}


def find_show(stage: ModuleType) -> tuple[type[Arguments], Callable]:
    """The command line of a stage, and what shows it."""
    for name, show in SHOWS.items():
        if hasattr(stage, name):
            return show
    return Arguments, show_states
