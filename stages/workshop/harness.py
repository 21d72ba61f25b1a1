"""Run a stage as a script: command line, checks, timing, printing."""

import dataclasses
import inspect
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import psutil

from workshop.catalog import find_stages, stage_number
from workshop.command_line import parse
from workshop.devices import check_devices, end_lost, set_up_devices
from workshop.rendering import (
    encode_image,
    make_grid,
    play_flip_book,
    print_states,
    save_image,
)
from workshop.terminal import fail, moves_cursor, reader_may_leave, say

COPIES = 4  # of the states: as computed, stacked, as pixels, as a file
ALL_RULES = np.arange(256, dtype=np.uint8)
MAX_WIDTH = 2**31 - 1  # JAX numbers cells in int32
MAX_LEARNING_CELLS = 2**24 - 1  # float32 resolves one cell among so many


@dataclasses.dataclass(frozen=True)
class Arguments:
    """The command line of every stage."""

    rule: int = 110
    """Wolfram's number of the rule, 0 to 255."""
    width: int = 80
    """Number of cells on the ring."""
    num_steps: int = 80
    """Number of rows, the initial state included."""
    print_image: bool = True
    """Print the states as a picture."""
    save_image: bool = False
    """Write the states to --output, one pixel a cell."""
    output: Path = Path("output.png")
    """Image file for --save-image; the suffix chooses the format."""


@dataclasses.dataclass(frozen=True)
class LearningArguments(Arguments):
    """The command line of a stage that learns from a random initial state."""

    seed: int = 0
    """Number that the random initial state is drawn from."""


@dataclasses.dataclass(frozen=True)
class ShardingArguments(Arguments):
    """The command line of a stage that runs on many devices."""

    num_devices: int | None = None
    """Devices of this process, simulated on a CPU. Default: all there are."""
    coordinator: str | None = None
    """HOST:PORT of process 0; not needed under SLURM or on a TPU pod."""
    num_processes: int | None = None
    """Number of processes, with --coordinator."""
    process_id: int | None = None
    """Which of the processes this is, from 0."""


def run(
    simulate: Callable,
    simulate_rules: Callable | None = None,
    *,
    fails_with: tuple[type[Exception], str] | None = None,
    learn_rule: Callable | None = None,
    sharded: bool = False,
) -> None:
    """Run a stage from its main guard, with the command line's arguments.

    fails_with: the type and a keyword of the error that a stage raises on
    purpose. The exit status is then 0 only if the stage raises just that.
    learn_rule: states to a rule table and the losses on the way to it. Then
    simulate may also take a seed.
    sharded: simulate may also take num_devices.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it at once
    title = (sys.modules["__main__"].__doc__ or "").partition("\n")[0]
    kind = Arguments
    if learn_rule is not None:
        kind = LearningArguments
    elif sharded:
        kind = ShardingArguments
    with reader_may_leave():
        arguments = parse(kind, title)
        num_copies = len(ALL_RULES) if simulate_rules else 1
        if sharded:
            num_copies = count_copies(arguments)
        check_arguments(arguments, num_copies)
        if sharded:
            arguments = set_up_devices(arguments)
        print_rule(arguments.rule)
        if fails_with is not None:
            run_failing(simulate, arguments, *fails_with)
        elif learn_rule is not None:
            run_learning(simulate, learn_rule, arguments)
        elif sharded:
            run_sharded(simulate, arguments)
        elif simulate_rules is None:
            run_one_rule(simulate, arguments)
        else:
            run_all_rules(simulate_rules, arguments)


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


def only_taken(simulate: Callable, **options: Any) -> dict[str, Any]:
    """Those options that simulate takes; an exercise's may not."""
    taken = inspect.signature(simulate).parameters
    return {name: options[name] for name in options if name in taken}


def run_one_rule(
    simulate: Callable, arguments: Arguments, **options: Any
) -> np.ndarray:
    """Simulate one rule, show it, and return its states."""
    states = simulate_and_time(simulate, arguments.rule, arguments, **options)
    if arguments.print_image:
        print_states(states)
    if arguments.save_image:
        save(states, arguments.output)
    return states


def run_all_rules(simulate_rules: Callable, arguments: Arguments) -> None:
    """Simulate all rules, and show them one after the other."""
    num_bytes = len(ALL_RULES) * arguments.num_steps * arguments.width
    say(
        f"{len(ALL_RULES)} rules x {arguments.num_steps} steps"
        f" x {arguments.width} cells: {num_bytes:,} bytes"
    )
    states = simulate_and_time(simulate_rules, ALL_RULES, arguments)
    states = np.asarray(states)
    if arguments.print_image and moves_cursor(sys.stdout):
        say(f"flip-book, from rule {arguments.rule} on; Ctrl-C ends it")
        play_flip_book(
            (f"rule {rule} of 0 to 255", states[rule])
            for rule in np.roll(ALL_RULES, -arguments.rule)
        )
    elif arguments.print_image:
        say(f"rule {arguments.rule} of 0 to 255")
        print_states(states[arguments.rule])
    if arguments.save_image:
        save(make_grid(states), arguments.output)


def run_sharded(simulate: Callable, arguments: ShardingArguments) -> None:
    """Simulate one rule on many devices, and show it."""
    jax = sys.modules["jax"]
    options = only_taken(simulate, num_devices=arguments.num_devices)
    try:
        run_one_rule(simulate, arguments, **options)
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1:
            raise
        end_lost(error)


def run_learning(
    simulate: Callable, learn_rule: Callable, arguments: LearningArguments
) -> None:
    """Simulate one rule, learn it back from its states, and compare."""
    options = only_taken(simulate, seed=arguments.seed)
    if options:
        say(f"row 0 is random, from seed {arguments.seed}")
    states = run_one_rule(simulate, arguments, **options)
    (rule_table, losses), seconds = time_call(learn_rule, states)
    say("learning the table from the states; at first all entries are 0.5")
    say(f"first call:  {seconds:.5f} seconds (trace, compile, run)")
    shown = [0, *(2**k for k in range((len(losses) - 1).bit_length()))]
    for i in shown:
        print(f"loss after {i:3d} updates: {losses[i]:.1e}")
    learned_rule = print_learned(rule_table.ravel(), arguments.rule)
    num_steps, width = states.shape
    again = simulate(learned_rule, width, num_steps, **options)
    if not np.array_equal(again, states):
        fail(f"rule {learned_rule} does not reproduce the states", status=1)
    note = " (undetermined entries as 0)" if np.any(rule_table == 0.5) else ""
    say(
        f"rule {learned_rule}, as learned{note}, reproduces the states exactly"
    )


def print_learned(entries: np.ndarray, rule: int) -> int:
    """Print the learned entries beside the true ones; return their rule.

    An entry that is undetermined, still one half, counts as 0.
    """
    learned_rule = 0
    for i, entry in enumerate(entries):
        learned = "undetermined" if entry == 0.5 else f"learned {entry:.4f}"
        print(f"{table_entry(i)} = {rule >> i & 1}, {learned}")
        learned_rule |= int(entry > 0.5) << i
    return learned_rule


def simulate_and_time(
    simulate: Callable,
    rule: int | np.ndarray,
    arguments: Arguments,
    **options: Any,
) -> np.ndarray:
    """Call simulate, twice if it is JAX's, and print what each call took."""
    shape = arguments.width, arguments.num_steps
    states, seconds = time_call(simulate, rule, *shape, **options)
    print("simulation complete!")
    if isinstance(states, np.ndarray):
        print(f"time taken {seconds:.5f} seconds")
        return states
    compiled = hasattr(simulate, "lower")
    compiling = "trace, compile" if compiled else "compile every operation"
    say(f"first call:  {seconds:.5f} seconds ({compiling}, run)")
    del states
    states, seconds = time_call(simulate, rule, *shape, **options)
    say(f"second call: {seconds:.5f} seconds (run)")
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


def print_rule(rule: int) -> None:
    """Print the rule in binary, and as the table that stages look up."""
    bits = [rule >> i & 1 for i in range(8)]
    print(f"rule: {rule:3d} (0b{rule:08b})")
    print(f"bits: [{' '.join(map(str, bits))}]")
    for i, bit in enumerate(bits):
        print(f"{table_entry(i)} = {bit}")


def table_entry(i: int) -> str:
    """The name of the entry that bit i of the rule becomes."""
    return f"rule_table[{i >> 2},{i >> 1 & 1},{i & 1}]"


def check_arguments(arguments: Arguments, num_copies: int) -> None:
    """End with one line and status 2 if an argument cannot work."""
    if not 0 <= arguments.rule <= 255:
        fail(f"rule must be between 0 and 255, got {arguments.rule}")
    if arguments.width < 1:
        fail(f"width must be at least 1, got {arguments.width}")
    if arguments.width > MAX_WIDTH:
        fail(f"width must be at most {MAX_WIDTH}, got {arguments.width}")
    if arguments.num_steps < 1:
        fail(f"num_steps must be at least 1, got {arguments.num_steps}")
    num_bytes = num_copies * arguments.num_steps * arguments.width
    factor = f"{num_copies} x " if num_copies > 1 else ""
    available = psutil.virtual_memory().available
    if COPIES * num_bytes > available:
        fail(
            f"{factor}num_steps x width must fit {COPIES} times into the"
            f" memory available, {available:,} bytes, got {num_bytes:,} bytes"
        )
    if isinstance(arguments, LearningArguments):
        check_learning(arguments)
    if isinstance(arguments, ShardingArguments):
        check_devices(arguments)
    if arguments.save_image:
        check_output(arguments.output)
    elif arguments.output != Arguments.output:
        fail(f"output needs --save-image, got {arguments.output}")


def count_copies(arguments: ShardingArguments) -> int:
    """How many of simulated devices hold all of the states in the end.

    Cells that divide evenly stay where they are.
    """
    num_devices = arguments.num_devices or 1
    if arguments.coordinator is None and arguments.width % num_devices == 0:
        return 1
    return num_devices


def check_learning(arguments: LearningArguments) -> None:
    """End with one line and status 2 if a rule cannot be learned so."""
    if not 0 <= arguments.seed < 2**31:
        fail(f"seed must be between 0 and {2**31 - 1}, got {arguments.seed}")
    num_cells = arguments.num_steps * arguments.width
    if num_cells > MAX_LEARNING_CELLS:
        fail(
            "num_steps x width must be at most"
            f" {MAX_LEARNING_CELLS:,} to learn from, got {num_cells:,}"
        )


def check_output(output: Path) -> None:
    """End with one line and status 2 if no image can be written there."""
    check_writable("output", output)
    try:
        encode_image(ALL_RULES[:1, None], output.suffix)
    except ValueError as error:
        fail(f"output: {error}, got {output}")


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


def save(states: np.ndarray, output: Path) -> None:
    """Write the picture and say where it is."""
    num_rows, width = states.shape
    try:
        save_image(states, output)
    except (OSError, ValueError) as error:
        fail(f"output {output} cannot hold {width} x {num_rows}: {error}")
    print(f"wrote {output} ({width} x {num_rows} pixels)")
