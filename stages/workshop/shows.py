"""What is shown of a stage beyond its states, by the name of a function.

A stage that has `simulate_rules` or `learn_rule` is shown by it. A further
one is a class of arguments, a function, and a line in SHOWS.
"""

import dataclasses
import sys
from collections.abc import Callable, Iterable
from types import ModuleType

import numpy as np

from workshop.devices import name_devices
from workshop.harness import (
    Arguments,
    show_states,
    simulate_and_time,
    time_call,
)
from workshop.rendering import (
    make_grid,
    play_flip_book,
    print_sheet,
    save_image,
)
from workshop.terminal import fail, moves_cursor, say

ALL_RULES = np.arange(256, dtype=np.uint8)
MAX_LEARNING_CELLS = 2**24 - 1  # float32 resolves one cell among so many


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
