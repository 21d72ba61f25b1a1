"""What the README says is so."""

import re
import shlex

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from support import FAILING, ROOT, STAGES, import_stage, run_python
from test_teaching import COMMANDS as COMMANDS_OF_TEACHING
from test_teaching import recipe

README = (ROOT / "README.md").read_text(encoding="utf-8")
CODE = "\n".join(re.findall(r"```sh\n(.*?)```", README, flags=re.S))
INLINE = re.findall(r"`((?:make|python) [^`]+)`", README)
COMMANDS = [
    words
    for line in [*CODE.splitlines(), *INLINE]
    if (words := shlex.split(line, comments=True))
]
# By CI, through make, and by test_exercise.py, in a folder of its own.
RUN_ELSEWHERE = ("tour", "cluster", "exercise", "hint", "check")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def table_rows(heading):
    """The cells of the rows of the table under that heading."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in lines[2:]
    ]


def test_the_table_has_the_stages_that_exist():
    rows = [row for row in table_rows("The stages") if "(stages/" in row[1]]
    listed = {int(row[0]): row[1] for row in rows}
    assert listed == {
        number: f"[{path.name}](stages/{path.name})"
        for number, path in STAGES.items()
    }


def test_the_stages_that_fail_are_marked():
    for row in table_rows("The stages"):
        if "(stages/" in row[1]:
            fails = int(row[0]) in FAILING
            assert ("**it fails**" in row[3]) == fails


def test_the_picture_is_what_stage_5_draws():
    states = np.asarray(import_stage(5).simulate(110, 360, 360))
    with Image.open(ROOT / ".github" / "rule110.png") as image:
        pixels = np.asarray(image.convert("L"))
    np.testing.assert_array_equal(pixels, 255 - 255 * states)


@pytest.mark.parametrize(
    "command",
    [words for words in COMMANDS if words[0] == "make"],
    ids=" ".join,
)
def test_make_commands_are_run_by_ci_or_set_up(command):
    ci = [
        shlex.split(line)
        for line in (ROOT / ".ci" / "run").read_text().splitlines()
        if line.startswith("make ")
    ]
    command = [word for word in command if not word.startswith("PYTHON=")]
    if command[1] == "setup":  # every target of ci begins with it
        assert re.search(r"^setup:.*PYTHON=.*LATEST=1", MAKEFILE, flags=re.M)
    elif command[1] in ("lab", "html", "bench-peers"):
        # What they do is tested by test_browser.py and test_peers.py.
        assert recipe(shlex.join(command), ROOT)
    elif command[1] == "stage":
        assert "stage" in [words[1] for words in ci]
    else:
        assert command in ci or shlex.join(command) in COMMANDS_OF_TEACHING


@pytest.mark.parametrize(
    "command",
    [words for words in COMMANDS if words[0] == "python"],
    ids=" ".join,
)
def test_python_commands_run(command, tmp_path):
    if command[1] == "-m":
        tool, *arguments = command[2:]
        assert tool in ("pip", "pytest")  # set-up, and this very run
        assert all(
            (ROOT / name).is_file()
            for name in arguments
            if name.startswith("requirements")
        )
        return
    script, *arguments = command[1:]
    if arguments and arguments[0] in RUN_ELSEWHERE:
        assert (ROOT / script).is_dir()
        return
    done = run_python(ROOT / script, *arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_links_to_files_lead_somewhere():
    links = re.findall(r"\]\(([^)#:]+)", README)
    assert len(links) > len(STAGES)
    assert all((ROOT / link).exists() for link in links)


def branch_on(value):
    return 1 if value > 0 else 2


def carry_floats(carry, _):
    return carry.astype(jnp.float32), carry


ERRORS = [
    ("TypeError", lambda: import_stage(1).make_initial_state(5)),
    ("OverflowError", lambda: jnp.uint8(300)),
    ("TypeError", lambda: jax.jit(jnp.zeros)(3)),
    ("TracerIntegerConversionError", lambda: jax.jit(range)(3)),
    ("TracerBoolConversionError", lambda: jax.jit(branch_on)(3)),
    ("TracerArrayConversionError", lambda: jax.jit(np.asarray)(3)),
    ("TypeError", lambda: jax.jit(lambda rule: f"{rule:08b}")(110)),
    ("ValueError", lambda: jax.jit(id, static_argnums=0)([1])),
    (
        "TypeError",
        lambda: jax.lax.scan(carry_floats, jnp.int32(0), length=3),
    ),
    (
        "ValueError",
        lambda: jax.vmap(jnp.add, in_axes=(0, None))(jnp.ones(3), y=4),
    ),
    ("ValueError", lambda: jax.vmap(jnp.add)(jnp.ones(3), 4)),
]


def test_every_error_in_the_table_is_the_one_that_users_get():
    rows = [row[0].strip("`") for row in table_rows("If you see this error")]
    *from_jax, not_installed = rows
    not_installed = not_installed.partition("`")[0]
    for row, (name, provoke) in zip(from_jax, ERRORS, strict=True):
        shown_name, shown_message = row.split(": ", maxsplit=1)
        assert shown_name == name
        with pytest.raises(
            Exception, match=re.escape(shown_message)
        ) as caught:
            provoke()
        assert type(caught.value).__name__ == name
    done = run_python("-S", STAGES[0])
    assert done.stderr.splitlines()[-1] == not_installed
