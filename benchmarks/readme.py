"""The tables of results in the README: the bench's, and the kept peers'."""

import json
import re
from pathlib import Path

from machine import machine_line
from measuring import Row
from tables import milliseconds, pays_off, speedup, three_digits

PEERS = Path(__file__).with_name("peers.json")
TABLE = r"(<!-- {0}:start -->\n)(.*?)(<!-- {0}:end -->)"


def check(text: str) -> None:
    """Raises ValueError if the markers of a table are not there."""
    for name in ("bench", "peers"):
        if not re.search(TABLE.format(name), text, re.DOTALL):
            raise ValueError(f"it has no <!-- {name}:start --> and :end")


def rewrite(text: str, record: dict) -> str:
    """The text with new tables between its markers."""
    peers = json.loads(PEERS.read_text(encoding="utf-8"))
    tables = {"bench": bench_table(record), "peers": peers_table(peers)}
    for name, lines in tables.items():
        table = "".join(f"{line}\n" for line in lines)
        text = re.sub(
            TABLE.format(name),
            lambda found, table=table: found[1] + table + found[3],
            *(text, 1, re.DOTALL),
        )
    return text


def markdown(heads: list[str], rows: list[list[str]], machine: dict) -> list:
    """The lines of a table, and below it where it was measured."""
    rule = [":--"] + ["--:"] * (len(heads) - 1)
    lines = [f"| {' | '.join(cells)} |" for cells in [heads, rule, *rows]]
    return [*lines, "", f"Medians. {machine_line(machine)}."]


def bench_table(record: dict) -> list[str]:
    """The small and the large section side by side."""
    sections = [record["sections"][name] for name in ("small", "large")]
    heads = ["stage"]
    for section in sections:
        size = section["title"].partition(" cells")[0]
        heads += [f"{size}: ms", "vs NumPy", "pays off from"]
    labels = dict.fromkeys(r.label for s in sections for r in s["rows"])
    table = []
    for label in sorted(labels, key=stage_of_label):
        cells = [label]
        for section in sections:
            found = [r for r in section["rows"] if r.label == label]
            cells += markdown_cells(found, section["rows"])
        table.append(cells)
    return markdown(heads, table, record["machine"])


def markdown_cells(found: list[Row], rows: list[Row]) -> list[str]:
    """Later calls, speedup, when it pays off; or why there are none."""
    if not found or found[0].remark:
        return [*(row.remark for row in found), "", "", ""][:3]
    (row,) = found
    return [
        milliseconds(row.typical), speedup(row, rows), pays_off(row, rows)
    ]  # fmt: skip


def stage_of_label(label: str) -> float:
    """The 8 of "8 bitpack, packed"; what is no stage comes last."""
    number = label.partition(" ")[0]
    return int(number) if number.isdigit() else float("inf")


def peers_table(record: dict) -> list[str]:
    """The comparison with other programs, by cell."""
    rows = [Row(**row) for row in record["rows"]]
    heads = ["program", "size", "ms", "million cells/s", "vs NumPy, by cell"]
    table = [
        [
            row.label,
            f"{round(row.num_cells**0.5):,}",
            milliseconds(row.typical),
            three_digits(row.num_cells / row.typical / 1e6),
            speedup(row, rows),
        ]
        for row in rows
    ]
    return markdown(heads, table, record["machine"])
