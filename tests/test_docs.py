"""Test that README matches the stages, and that documented commands work."""

import ast
import functools
import html
import re
import shlex
import shutil
import subprocess
import sys
from collections import defaultdict
from string import Template

import numpy as np
import pytest
from PIL import Image

from support import (
    ROOT,
    STAGES,
    copy_workshop,
    import_stage,
    options,
    output_of,
    plain_environment,
    run_python,
)

NAMES = "README.md", "TEACHING.md", "CONTRIBUTING.md", "notebooks/handout.html"
TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in NAMES}
README = TEXTS["README.md"]
# A command is a line of a block of shell, or code inside a sentence.
BLOCK = r"```sh\n(.*?)```"
INLINE = r"(?:`|<code>)((?:make|python)\s[^`<]+)(?:`|</code>)"


def find_commands():
    """Return every command that a text names, each once."""
    text = html.unescape("\n".join(TEXTS.values()))
    lines = "".join(re.findall(BLOCK, text, flags=re.S)).splitlines()
    split = (
        shlex.split(line, comments=True)
        for line in [*lines, *re.findall(INLINE, text)]
    )
    return sorted({shlex.join(words) for words in split if words})


COMMANDS = find_commands()
# These commands run here. Other commands install, measure, open a window or do
# not end. They have tests of their own, and here they are only parsed.
RUN = r"make (stage|diff|exercise|hint|check|run|progress|inspect)\b"
SLOW = r"make (check|run|inspect)|.*N=4.*320|.*8000"


def dry_run(command):
    """Return the lines of shell that make would run; fail if it refuses."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    done = subprocess.run(
        [*shlex.split(command), "--dry-run", "--no-print-directory"],
        cwd=ROOT,
        env=plain_environment(),
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@functools.cache
def known_commands():
    """Return the names of the commands that `python stages/workshop` lists."""
    listed = output_of(run_python("stages/workshop", cwd=ROOT))
    return {line.split()[0] for line in listed.splitlines()}


def workshop_arguments(command):
    """Return what make passes to `python stages/workshop`."""
    (line,) = (x for x in dry_run(command) if "stages/workshop" in x)
    given = (word.partition("=") for word in shlex.split(command)[2:])
    variables = defaultdict(str, {name: value for name, _, value in given})
    line = Template(line).substitute(variables)  # as the shell would
    return shlex.split(line.partition("stages/workshop")[2])


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_exists(command):
    words = shlex.split(command)
    if words[0] == "make":
        dry_run(command)
    elif words[1:2] == ["stages/workshop"]:
        assert words[2] in known_commands()
    for name in re.findall(r"[\w./-]+\.(?:txt|py)\b", command):
        given = name in ("old.py", "new.py") or "exercises/" in name
        assert given or (ROOT / name).is_file()


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(c, marks=[pytest.mark.slow] if re.match(SLOW, c) else [])
        for c in COMMANDS
        if re.match(RUN, c)
    ],
)
def test_a_command_runs_as_it_is_written(
    command, tmp_path, monkeypatch, run_here
):
    name, *arguments = workshop_arguments(command)
    if name == "stage":
        monkeypatch.chdir(tmp_path)
        output_of(run_here(int(arguments[0]), *arguments[1:]))
        return
    folder = copy_workshop(tmp_path)
    start = "stages/workshop", "exercise", 5
    if name in ("hint", "check", "run") or "--force" in arguments:
        run_python(*start, cwd=folder)
    done = subprocess.run(
        [sys.executable, "stages/workshop", name, *arguments],
        **options(cwd=folder),
    )
    # An exercise that nobody has solved does not pass.
    assert (done.returncode, done.stderr) == (int(name == "check"), "")
    assert done.stdout


def test_the_code_in_the_readme_is_that_of_stages_0_and_5():
    diff = re.search(r"```diff\n(.*?)```", README, flags=re.S)[1]
    for number, sign in ((0, "-"), (5, "+")):
        lines = [x[1:] for x in diff.splitlines() if x[0] in (" ", sign)]
        functions = ast.parse(STAGES[number].read_text("utf-8")).body
        (simulate,) = (
            x for x in functions if vars(x).get("name") == "simulate"
        )
        del simulate.body[0]  # the docstring
        for argument in (simulate, *simulate.args.args):
            argument.annotation = argument.returns = None
        shown = ast.unparse(ast.parse("\n".join(lines)))
        assert shown == ast.unparse(simulate)


def test_every_stage_has_its_row_in_the_readme():
    rows = re.findall(r"^\| \[(\d+)\]\(stages/(.+?)\) \|", README, flags=re.M)
    listed = [(int(number), name) for number, name in rows]
    assert listed == [(n, path.name) for n, path in STAGES.items()]


def test_the_picture_in_the_readme_is_what_stage_5_draws():
    states = np.asarray(import_stage(5).simulate(110, 360, 360))
    with Image.open(ROOT / ".github" / "rule110.png") as image:
        live = np.asarray(image.convert("L")) < 128
    scale = len(live) // 360  # pixels per cell
    states = states.repeat(scale, axis=0).repeat(scale, axis=1)
    np.testing.assert_array_equal(live, states)
