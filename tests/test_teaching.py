"""What the instructor's guide says is so; every command of our texts runs."""

import functools
import re
import shlex
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from support import (
    FAILING,
    ROOT,
    STAGES,
    copy_workshop,
    import_stage,
    options,
    output_of,
    plain_environment,
    run_python,
)
from workshop.exercises.tasks import find_tasks

GUIDE = (ROOT / "TEACHING.md").read_text(encoding="utf-8")
NAMES = "README.md", "TEACHING.md", "CONTRIBUTING.md"
TEXTS = "\n".join((ROOT / name).read_text("utf-8") for name in NAMES)
BLOCKS = "\n".join(re.findall(r"```sh\n(.*?)```", TEXTS, flags=re.S))
INLINE = re.findall(r"`((?:make|python)\s[^`]+)`", TEXTS)
LINES = [*BLOCKS.splitlines(), *INLINE]
SPLIT = [shlex.split(line, comments=True) for line in LINES]
COMMANDS = sorted({shlex.join(words) for words in SPLIT if words})
BY_CI = r"make (tour|test|lint|doctor|bench|cluster|html)\b"
# Of these, tests of their own: what installs, asks the network, never ends,
# rewrites files, needs a terminal, or is there for every stage.
BY_OTHER_TESTS = (
    r"make (setup|pictures|wheelhouse|lab|notebooks|bench-peers|links|watch)\b"
    r"|make port\b"
    r"|make lock|make stage N=\d$|make (diff|exercise) N=[^5]|.*--flip-book"
    r"|python3? -m|source|python stages/stage5_scan.py$"
)
HERE = [c for c in COMMANDS if not re.match(f"{BY_CI}|{BY_OTHER_TESTS}", c)]
# Stage 9 chooses its own number of devices, which takes a new process.
STAGE = [c for c in HERE if re.match(r"make stage N=[0-8] ", c)]
LONG = "check|inspect|N=4.*320"  # and there are other tests of them


def each(commands):
    """To be parameters; what takes long is slow."""
    return [
        pytest.param(c, marks=[pytest.mark.slow] * bool(re.search(LONG, c)))
        for c in commands
    ]


def recipe(command, folder):
    """The lines of shell that make would run, in this Python, all set up."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    made = ("made", *map("has-{}".format, ("core", "notebooks", "all")))
    done = subprocess.run(
        [*shlex.split(command), "--dry-run", "--no-print-directory"]
        + [f"--old-file=.venv/{name}" for name in made],
        cwd=folder,
        env=plain_environment(),
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    python = shlex.quote(sys.executable)
    return done.stdout.replace(".venv/bin/python", python)


@pytest.mark.parametrize("command", sorted({*COMMANDS} - {*HERE}))
def test_what_is_run_elsewhere_is_known(command):
    if command.startswith("make"):
        recipe(command, ROOT)
    if by_ci := re.match(BY_CI, command):
        assert f"\n{by_ci[0]}" in (ROOT / ".ci" / "run").read_text("utf-8")
    for name in re.findall(r"[\w./-]+\.(?:txt|py)\b", command):
        assert name in ("old.py", "new.py") or (ROOT / name).is_file()


@pytest.mark.parametrize("command", each(STAGE))
def test_every_stage_runs_as_the_texts_say(
    command, tmp_path, monkeypatch, run_here
):
    _, _, _, number, *arguments = shlex.split(recipe(command, ROOT))
    monkeypatch.chdir(tmp_path)
    out = output_of(run_here(int(number), *arguments))
    shown = "usage:" if arguments == ["--help"] else "simulation complete!"
    assert shown in out or int(number) in FAILING


@pytest.mark.parametrize("command", each(sorted({*HERE} - {*STAGE})))
def test_every_other_command_runs(command, tmp_path):
    workshop = copy_workshop(tmp_path)
    if re.search(r"(check|run|hint) \D*5|FORCE", command):
        run_python("stages/workshop", "exercise", 5, cwd=workshop)
    line = command.replace("python", shlex.quote(sys.executable), 1)
    if command.startswith("make "):
        line = recipe(command, workshop)
    done = subprocess.run(line, shell=True, **options(cwd=workshop))
    fails = "check" in command  # the exercise is as it was handed out
    assert (done.returncode, done.stderr) == (1 if fails else 0, "")
    assert done.stdout


def section(title):
    """The text under a heading, up to the next of its rank or above."""
    rank = re.search(rf"^(#+) {title}$", GUIDE, flags=re.M)[1]
    rest = GUIDE.split(f"\n{rank} {title}\n")[1]
    return re.split(rf"\n#{{2,{len(rank)}}} ", rest)[0]


FORMS = re.findall(r"^### (.*?(\d+) minutes.*)$", GUIDE, flags=re.M)


@pytest.mark.parametrize(("title", "minutes"), FORMS)
def test_each_run_of_show_adds_up(title, minutes):
    rows = re.findall(
        r"^\| (\d+) \| (\d+) \| (\d*) ?\| .+? \|(.*)\| (.*?) ?\|$",
        section(title),
        flags=re.M,
    )
    at, late = 0, []
    for start, talk, exercise, shown, cut in rows:
        assert int(start) == at
        at += int(talk) + int(exercise or 0)
        assert bool(exercise) == bool(re.search("make (exer|port)", shown))
        assert exercise or "no exercise" not in cut
        late += [int(cut[0])] if cut else []
    assert at == int(minutes)
    assert sorted(late) == [*range(1, len(late) + 1)] != []
    shown = "".join(row[3] for row in rows)
    stages = [int(n) for n in re.findall(r"N=(\d+)`", shown)]
    assert stages == [n for n in STAGES if n <= max(stages)]
    exercises = re.findall(r"make exercise N=(\d+)`", shown)
    assert {*map(int, exercises)} <= {*find_tasks()}


def test_every_stage_has_its_notes():
    for number in STAGES:
        assert f"make stage N={number}" in section(f"Stage {number}")


def test_jit_traces_anew_what_is_called_in_another_way():
    traced = []

    @jax.jit(static_argnames="n")
    def count(x, n):
        traced.append(n)

    for _ in range(2):  # by position, by keyword, and a fresh function
        count(1, 5)
        count(1, n=5)
        jax.jit(lambda x: traced.append(x))(1)
    assert traced[:2] == [5, 5]
    assert len(traced) == 4


def test_what_is_out_of_range_is_silent():
    assert int(jax.jit(jnp.uint8)(300)) == 44
    state = jnp.arange(3)
    assert int(state[7]) == 2
    np.testing.assert_array_equal(state.at[7].set(1), state)


def test_print_under_jit_shows_a_tracer_once(capsys):
    jitted = jax.jit(print)
    jitted(1), jitted(2)
    assert capsys.readouterr().out.count("Tracer") == 1


def test_a_learning_rate_too_large_ends_as_nan(monkeypatch):
    stage = import_stage(7)
    monkeypatch.setattr(stage, "LEARNING_RATE", 5.0)
    learn_rule = jax.jit(stage.learn_rule.__wrapped__)  # traced anew
    _, losses = learn_rule(stage.simulate(30, 80, 80))
    assert losses[0] < losses[1] < losses[2]
    assert np.isnan(losses[-1])


def test_a_seam_unshifted_is_a_small_ring_for_each_bit(monkeypatch):
    """Of three cells if the ring has 80: rule 110 dies out after three."""
    stage = import_stage(8)
    wrap = functools.partial(jnp.pad, pad_width=1, mode="wrap")
    monkeypatch.setattr(stage, "add_halo", lambda words, _: wrap(words))
    states = stage.simulate.__wrapped__(110, 80, 5)
    assert states.sum(axis=1).tolist() == [1, 2, 3, 0, 0]
