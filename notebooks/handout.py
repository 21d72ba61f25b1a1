"""The handout: one sheet of paper, with no text of its own.

What it says is said elsewhere: in the stages, the README, the Makefile,
TEACHING.md, the table of errors; the picture is one of notebook 2.
"""

import re
from collections.abc import Iterable
from pathlib import Path

import nbformat
from jinja2 import Environment, FileSystemLoader
from nbconvert.filters import markdown2html
from pygments.formatters import HtmlFormatter

from workshop.errors import ROWS
from workshop.stages import diff_lines, find_stages

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
FIGURE = "scan: "  # how its alternative text begins


def make_handout(cells: Iterable[nbformat.NotebookNode]) -> str:
    """The page, with the picture of scan from executed cells."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER), autoescape=True, trim_blocks=True
    )
    environment.filters["markdown"] = markdown2html
    readme, guide = read("README.md"), read("TEACHING.md")
    further = readme.partition("## Where to go on\n")[2]
    file_link = r"\[([^]]*)\]\((?!http)[^)]*\)"  # paper has no files
    return environment.get_template("handout.html.j2").render(
        ideas=find_ideas(readme),
        picture=find_picture(cells),
        commands=find_commands(read("Makefile")),
        method=re.search(r"(?ms)^1\. Functions: .*?\n\n", guide)[0],
        errors=ROWS,
        further=re.sub(file_link, r"\1", further),
        highlighting=HtmlFormatter(style="bw").get_style_defs(".highlight"),
    )


def read(name: str) -> str:
    """A text on top of the repository."""
    return (ROOT / name).read_text(encoding="utf-8")


def find_ideas(readme: str) -> list[dict[str, str]]:
    """Of each stage its title, what one will see, links, and its diff."""
    row = r"^\| \[(\d+)\].*? \| (.*?) \| (.*?) \| (.*?) ?\|"
    titles = {
        n: path.read_text(encoding="utf-8").splitlines()[0].strip('"')
        for n, path in find_stages().items()
    }
    return [
        {
            "title": titles[int(n)],
            "seen": seen,
            "more": more,
            "diff": "\n".join(telling_lines(int(n), changes)) if more else "",
        }
        for n, changes, seen, more in re.findall(row, readme, re.M)
    ]


def telling_lines(number: int, changes: str) -> list[str]:
    """Of a stage's diff the first line with each code that changes names."""
    _, _, *lines = diff_lines(number)
    found = []
    for code in re.findall(r"`(.+?)`", changes):
        word = re.compile(rf"[-+].*(?<!\w){re.escape(code)}(?!\w)")
        found.append(next(filter(word.match, lines)))
    return [line[0] + line[1:].strip() for line in found]


def find_picture(cells: Iterable[nbformat.NotebookNode]) -> dict[str, str]:
    """The picture of scan: its data and its alternative text."""
    (picture,) = (
        {"alt": about.alt, "data": output.data["image/png"]}
        for cell in cells
        for output in cell.get("outputs", [])
        for about in [output.get("metadata", {}).get("image/png", {})]
        if about.get("alt", "").startswith(FIGURE)
    )
    return picture


def find_commands(makefile: str) -> list[tuple[str, str]]:
    """What attendees and learners type, and what it does."""
    parts = re.findall(r"### (?:attendee|learner)\n(.*?)###", makefile, re.S)
    return re.findall(r"(?m)^([a-z]+):.*## (.*)$", "".join(parts))
