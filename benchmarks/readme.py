"""The tables of results in the README: the bench's, and the kept peers'."""

import json
from pathlib import Path

from machine import machine_line
from measuring import Row
from tables import PAYS_OFF, SPEEDUP, TYPICAL, Column

PEERS = Path(__file__).with_name("peers.json")
SHOWN = (TYPICAL, SPEEDUP, PAYS_OFF)


def check(text: str) -> None:
    """Raises ValueError if a marker is missing."""
    for name in ("peers", "bench"):
        replace(text, name, [])


def rewrite(text: str, record: dict) -> str:
    """The text with the tables of this run, and of the kept one of peers."""
    kept = json.loads(PEERS.read_text(encoding="utf-8"))
    return replace(
        replace(text, "peers", kept["table"]), "bench", bench_table(record)
    )


def replace(text: str, name: str, table: list[str]) -> str:
    """The text with a table between its markers, ValueError without them."""
    start, end = f"<!-- {name}:start -->\n", f"<!-- {name}:end -->"
    before, _, rest = text.partition(start)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"it has no {start.strip()} followed by {end}")
    return before + start + "\n".join([*table, ""]) + end + after


def markdown(heads: list[str], rows: list[list[str]], machine: dict) -> list:
    """The lines of a table, and below it where it was measured."""
    rule = [":--"] + ["--:"] * (len(heads) - 1)
    lines = [f"| {' | '.join(cells)} |" for cells in [heads, rule, *rows]]
    return [*lines, "", f"Later: the median. {machine_line(machine)}."]


def to_peers(record: dict, columns: tuple[Column, ...]) -> str:
    """What is kept of the section peers: its table, for `rewrite`."""
    rows = [r for r in record["sections"]["peers"]["rows"] if r.samples]
    cells = [[r.label, *(c.text(r, rows) for c in columns)] for r in rows]
    heads = ["program", *(c.head for c in columns)]
    table = markdown(heads, cells, record["machine"])
    return json.dumps({"table": table}, indent=1) + "\n"


def bench_table(record: dict) -> list[str]:
    """The small and the large section side by side."""
    sections = [record["sections"][name] for name in ("small", "large")]
    sizes = [section["title"].partition(" cells")[0] for section in sections]
    heads = [f"{size}: {TYPICAL.head} | vs NumPy | pays off" for size in sizes]
    labels = [row.label for section in sections for row in section["rows"]]
    rows = [
        [label, *(cells(label, section["rows"]) for section in sections)]
        for label in sorted(set(labels), key=lambda x: (x[0] == "f", x))
    ]
    return markdown(
        ["stage", *" | ".join(heads).split(" | ")], rows, record["machine"]
    )


def cells(label: str, rows: list[Row]) -> str:
    """Later calls, speedup, when it pays off; or why there are none."""
    for row in rows:
        if row.label == label and row.samples:
            return " | ".join(c.text(row, rows) for c in SHOWN)
        if row.label == label:
            return f"{row.remark} | | "
    return " | | "
