"""The classic mistakes: each is the reference with one edit.

The states that a mistake leads to are computed, not stored: the edited source
of stage 0 is run.
"""

from types import ModuleType

import numpy as np

from workshop.catalog import find_stages

# What it does, the text in stage 0, the text instead.
MISTAKES = [
    (
        "the edges are not wrapped: beyond them all is dead",
        'mode="wrap"',
        'mode="constant"',
    ),
    (
        "mirrored, not periodic: beyond the edge is the edge cell itself",
        'mode="wrap"',
        'mode="symmetric"',
    ),
    (
        "mirrored, not periodic: beyond the edge is the cell before it",
        'mode="wrap"',
        'mode="reflect"',
    ),
    (
        "the bits of the rule are reversed: entry 0 is the lowest bit",
        'bitorder="little"',
        'bitorder="big"',
    ),
    (
        "left and right are swapped",
        "rule_table[left, center, right]",
        "rule_table[right, center, left]",
    ),
    (
        "row 0 is missing: record the state first, then advance it",
        "np.stack(states)",
        "np.stack([*states[1:], state])",
    ),
    (
        "one step too many: row 0 counts as one of num_steps",
        "range(num_steps)",
        "range(num_steps + 1)",
    ),
    (
        "one step too few: num_steps counts rows, row 0 is one of them",
        "range(num_steps)",
        "range(num_steps - 1)",
    ),
    (
        "the live cell is lost: `.at[i].set(1)` returns a new array, use it",
        "state[width // 2] = 1",
        "state[width // 2]",
    ),
    (
        "the pair is swapped: the body of a scan returns the next carry"
        " first, then what to record",
        "states.append(state)\n        state = step(state, rule_table)",
        "states.append(step(state, rule_table))",
    ),
    (
        "the carry was taken for the states: scan returns the last carry"
        " first, then what was recorded",
        "np.stack(states)",
        "state",
    ),
]


def load_reference(old: str = "", new: str = "") -> ModuleType:
    """Stage 0 as a module, with the one place where `old` stands edited."""
    path = find_stages()[0]
    source = path.read_text(encoding="utf-8")
    reference = ModuleType(path.stem)
    code = compile(source.replace(old, new) if old else source, path, "exec")
    exec(code, vars(reference))
    return reference


def name_mistake(
    states: np.ndarray, rule: int, width: int, num_steps: int
) -> str | None:
    """The mistake that gives just these states, None if no classic one does.

    Not every rule tells all mistakes apart: rule 30 does, from three cells on.
    """
    for name, old, new in MISTAKES:
        mistaken = load_reference(old, new).simulate(rule, width, num_steps)
        if np.array_equal(states, mistaken):
            return name
    return None
