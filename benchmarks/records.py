"""Keep the results: JSON, comparison with an earlier run, README's table."""

import dataclasses
import json
from typing import Any

from machine import machine_line
from measuring import Row
from tables import Column, milliseconds, speedup, three_digits

SCHEMA = 1
START, END = "<!-- bench:start -->", "<!-- bench:end -->"


@dataclasses.dataclass
class Record:
    """A run of the benchmark, or as much of it as was measured."""

    machine: dict[str, Any]
    sections: dict[str, dict[str, Any]] = dataclasses.field(
        default_factory=dict
    )
    """By name: the "title" and the "rows"."""
    complete: bool = False
    """Whether the run came to its end."""

    def to_json(self) -> str:
        """All of it, every sample."""
        content = {"schema": SCHEMA, **dataclasses.asdict(self)}
        return json.dumps(content, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Record":
        """The record again; ValueError, TypeError or KeyError if it is none.

        ValueError also if it was written with another schema.
        """
        content = dict(json.loads(text))
        schema = content.pop("schema")
        if schema != SCHEMA:
            raise ValueError(f"schema must be {SCHEMA}, is {schema}")
        record = cls(**content)
        for section in record.sections.values():
            section["rows"] = [Row(**row) for row in section["rows"]]
        return record


def explain_changes(before: Record, now: Record) -> str:
    """What was different when the earlier run was measured."""
    changes = [
        f"{name} was {before.machine.get(name)}"
        for name, value in now.machine.items()
        if name not in ("date", "busy") and before.machine.get(name) != value
    ]
    return "; ".join([f"before: {before.machine.get('date')}", *changes])


def compare_column(name: str, title: str, before: Record) -> Column:
    """A column of ratios to the rows of that section in an earlier run.

    A ratio is marked as slower or faster if the two spreads, quartile to
    quartile, do not overlap. A section of another title is another one.
    """
    section = before.sections.get(name, {"title": None})
    same = section["title"] == title
    old_rows = {row.label: row for row in section["rows"]} if same else {}

    def text(row: Row, rows: list[Row]) -> str:
        old = old_rows.get(row.label)
        if old is None or old.typical is None:
            return "new"
        ratio = f"{three_digits(row.typical / old.typical)}x"
        if row.quartiles is None or old.quartiles is None:
            return ratio
        if row.quartiles[0] > old.quartiles[1]:
            return f"{ratio} slower"
        if row.quartiles[1] < old.quartiles[0]:
            return f"{ratio} faster"
        return ratio

    return Column("now/before", 12, text)


def split_at_markers(readme: str) -> tuple[str, str]:
    """What stands up to the first marker, and from the second one on.

    ValueError if they are not there.
    """
    before, start, rest = readme.partition(START)
    _, end, after = rest.partition(END)
    if not (start and end):
        raise ValueError(f"it has no {START} followed by {END}")
    return before + start, end + after


def replace_table(readme: str, record: Record) -> str:
    """The text with the table of this run between its two markers."""
    before, after = split_at_markers(readme)
    return f"{before}\n{readme_table(record)}\n{after}"


def readme_table(record: Record) -> str:
    """The small and the large section side by side, in Markdown."""
    small, large = (record.sections[name] for name in ("small", "large"))
    rows = {row.label: [row, None] for row in small["rows"]}
    for row in large["rows"]:
        rows.setdefault(row.label, [None, None])[1] = row
    sizes = [section["title"].partition(",")[0] for section in (small, large)]
    heads = [f"{size}: first call | later | vs NumPy" for size in sizes]
    lines = [
        "| stage | " + " | ".join(heads) + " |",
        "|:--" + "|--:" * 6 + "|",
    ]
    for label in sorted(rows, key=stage_of_label):
        left, right = rows[label]
        cells = [
            *markdown_cells(left, small["rows"]),
            *markdown_cells(right, large["rows"]),
        ]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    lines += [
        "",
        "Milliseconds; later: median. " + machine_line(record.machine),
    ]
    return "\n".join(lines)


def markdown_cells(row: Row | None, rows: list[Row]) -> list[str]:
    """First call, later calls and speedup; or why there are none."""
    if row is None or row.remark:
        return [row.remark if row else "", "", ""]
    times = (row.first, row.typical)
    return [*map(milliseconds, times), speedup(row, rows)]


def stage_of_label(label: str) -> float:
    """The 8 of "8 bitpack, packed"; what is no stage comes last."""
    number = label.partition(" ")[0]
    return int(number) if number.isdigit() else float("inf")
