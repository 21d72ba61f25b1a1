"""What the instructor's guide says is so, and every command in it runs."""

import re
import shlex
import shutil
import subprocess
import sys
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from support import (
    FAILING,
    ROOT,
    STAGES,
    clean_environment,
    import_stage,
    plain_environment,
)
from workplace import copy_workshop, run_script
from workshop.exercises.tasks import find_tasks

GUIDE = (ROOT / "TEACHING.md").read_text(encoding="utf-8")
BLOCKS = "\n".join(re.findall(r"```sh\n(.*?)```", GUIDE, flags=re.S))
INLINE = re.findall(r"`((?:make|python)\s[^`]+)`", GUIDE)
COMMANDS = sorted(
    {
        shlex.join(words)
        for line in [*BLOCKS.splitlines(), *INLINE]
        if (words := shlex.split(line, comments=True))
    }
)

# Run, but not from here.
ELSEWHERE = {
    "make setup": "test_a_room_without_a_network, and CI",
    "make wheelhouse": "test_a_room_without_a_network",
    "python -m pip install": "test_a_room_without_a_network, through make",
    "make watch": "tests/test_exercise.py",
    "make links": "tests/test_links.py",
    "make bench": "tests/test_bench.py",
    "make lab": "tests/test_browser.py, without make",
    "make cluster": "tests/test_cluster.py, and CI",
    "make doctor": "CI",
    "make tour": "CI",
    "make test": "CI",
    "make lint": "CI",
}
BARE_STAGE = re.compile(r"make stage N=\d+")  # tests/test_command_line.py


def section(title):
    """The text under a heading, up to the next of its rank or above."""
    rank = re.search(rf"^(#+) {title}$", GUIDE, flags=re.M)[1]
    rest = GUIDE.split(f"\n{rank} {title}\n")[1]
    return re.split(rf"\n#{{2,{len(rank)}}} ", rest)[0]


def elsewhere(command):
    """Whether the command is run by another test, or by CI."""
    return bool(BARE_STAGE.fullmatch(command)) or any(
        command.startswith(start) for start in ELSEWHERE
    )


def recipe(command, folder):
    """The lines of shell that make would run, in this Python."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    words = shlex.split(command)
    done = subprocess.run(
        [*words, "--dry-run", "--old-file=setup", "--no-print-directory"],
        cwd=folder,
        env=plain_environment(),
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    python = shlex.quote(sys.executable)
    return done.stdout.replace(".venv/bin/python", python)


@pytest.mark.parametrize("minutes", [60, 90, 180])
def test_the_minutes_of_each_run_of_show_add_up(minutes):
    table = section(f"{minutes} minutes")
    parts = re.findall(r"^\| (\d+) \|", table, flags=re.M)
    assert sum(map(int, parts)) == minutes
    shown = [int(n) for n in re.findall(r"N=(\d+)`", table)]
    assert shown == [n for n in STAGES if n <= max(shown)]
    exercises = re.findall(r"make exercise N=(\d+)`", table)
    assert set(map(int, exercises)) <= set(find_tasks())


def test_the_longest_form_has_every_stage():
    assert f"N={max(STAGES)}`" in section("180 minutes")


@pytest.mark.parametrize("number", STAGES)
def test_every_stage_has_its_notes(number):
    notes = section(f"Stage {number}")
    labels = re.findall(r"^\*\*(.+?)\.\*\*", notes, flags=re.M)
    assert labels == ["Ask", "Demo", "Expect", "If it breaks", "Questions"]
    assert f"make stage N={number}" in notes
    assert len(re.findall(r"\*[^*]+\?\*", notes)) >= 2
    assert ("It must" in notes) == (number in FAILING)


def test_there_are_ten_pitfalls_and_each_says_where_it_is_shown():
    rows = re.findall(
        r"^\| (\d+) \| .+ \| (.+) \|$",
        section("Ten pitfalls, and where each is shown"),
        flags=re.M,
    )
    assert [int(number) for number, _ in rows] == list(range(1, 11))
    for _, place in rows:
        assert re.search(r"(stages?|notebook) \d|`make |every compiled", place)


def test_every_command_says_where_it_is_typed():
    assert "typed in the folder of this repository" in GUIDE.split("\n## ")[0]


def test_no_line_is_too_long_but_those_of_tables():
    for line in GUIDE.splitlines():
        assert len(line) <= 79 or line.startswith("|"), line


@pytest.mark.parametrize(
    "command", [c for c in COMMANDS if elsewhere(c) and c.startswith("make")]
)
def test_make_knows_every_command_that_is_run_elsewhere(command):
    assert recipe(command, ROOT)


STAGE_COMMANDS = [
    command
    for command in COMMANDS
    # Stage 9 chooses its own number of devices, which takes a new process.
    if re.match(r"make stage N=[0-8] ", command)
]


@pytest.mark.parametrize("command", STAGE_COMMANDS)
def test_every_stage_runs_as_the_guide_says(
    command, tmp_path, monkeypatch, run_stage_here
):
    _, script, *arguments = shlex.split(recipe(command, ROOT))
    monkeypatch.chdir(tmp_path)
    number = int(re.search(r"stage(\d+)", script)[1])
    status, out, err = run_stage_here(number, *arguments)
    assert (status, err) == (0, "")
    assert "simulation complete!" in out or number in FAILING


@pytest.mark.parametrize(
    "command",
    [c for c in COMMANDS if not elsewhere(c) and c not in STAGE_COMMANDS],
)
def test_every_command_runs(command, tmp_path):
    workshop = copy_workshop(tmp_path)
    if re.search(r"make (check|run|hint)|check 5|FORCE", command):
        run_script(workshop, "exercise", 5)
    line = command
    if command.startswith("make "):
        line = recipe(command, workshop)
    else:
        line = line.replace("python", shlex.quote(sys.executable), 1)
    done = subprocess.run(
        line,
        shell=True,
        cwd=workshop,
        env=clean_environment(),
        capture_output=True,
        encoding="utf-8",
    )
    allowed = {
        "make check N=5": (1,),  # the exercise is as it was handed out
        "python stages/workshop check 5": (1,),
        "make doctor": (0, 1),  # as this machine is
    }
    assert done.returncode in allowed.get(command, (0,)), done.stderr
    assert done.stderr == ""
    assert done.stdout


def make_package(folder):
    """A wheel of a package with nothing in it but a name."""
    folder.mkdir()
    info = "tiny-1.0.dist-info"
    files = {
        "tiny.py": "",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\n"
        "Root-Is-Purelib: true\nTag: py3-none-any",
        f"{info}/RECORD": "",
    }
    wheel = folder / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return wheel


def test_a_room_without_a_network(tmp_path):
    workshop = copy_workshop(tmp_path)
    (workshop / "requirements.lock").write_text("tiny==1.0\n")
    (workshop / "requirements-matthewplotlib.txt").write_text("")
    wheel = make_package(tmp_path / "packages")

    def run(command, **variables):
        return subprocess.run(
            command,
            shell=True,
            cwd=workshop,
            env=clean_environment({"PIP_NO_INDEX": "1"} | variables),
            capture_output=True,
            encoding="utf-8",
        )

    # With a network, here a folder of packages, the wheelhouse is filled.
    download = recipe("make wheelhouse", workshop)
    done = run(download, PIP_FIND_LINKS=str(wheel.parent))
    assert done.returncode == 0, done.stderr
    wheelhouse = workshop / "wheelhouse"
    assert [path.name for path in wheelhouse.iterdir()] == [wheel.name]

    # Without one, set-up installs from it.
    done = run(f"make setup PYTHON={shlex.quote(sys.executable)}")
    assert done.returncode == 0, done.stderr
    assert run(".venv/bin/python -c 'import tiny'").returncode == 0


def test_a_static_by_position_and_by_keyword_is_traced_twice():
    simulate = import_stage(4).simulate
    traced = []

    def count(rule, width, num_steps):
        traced.append(width)
        return simulate(rule, width, num_steps)

    jitted = jax.jit(count, static_argnames=("width", "num_steps"))
    for _ in range(2):
        jitted(30, 5, 2)
        jitted(30, width=5, num_steps=2)
    assert len(traced) == 2


def test_a_rule_out_of_range_is_only_seen_outside_jit():
    with pytest.raises(OverflowError):
        jnp.uint8(300)
    assert int(jax.jit(jnp.uint8)(300)) == 44


def test_indices_out_of_range_are_silent():
    state = jnp.arange(3)
    assert int(state[7]) == 2
    np.testing.assert_array_equal(state.at[7].set(1), state)


def test_print_under_jit_shows_a_tracer_once(capsys):
    jitted = jax.jit(lambda x: print(x) or x)
    for value in (1, 2):
        jitted(value)
    assert capsys.readouterr().out.count("Tracer") == 1


def test_a_fresh_function_is_traced_at_each_call():
    traced = []
    for _ in range(3):
        jax.jit(lambda x: traced.append(x) or x)(1)
    assert len(traced) == 3


def test_the_bug_form_asks_for_the_doctor():
    form = ROOT / ".github" / "ISSUE_TEMPLATE" / "bug.yml"
    text = form.read_text(encoding="utf-8")
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    fields = {field["id"]: field for field in yaml.safe_load(text)["body"]}
    doctor = fields["doctor"]
    assert doctor["validations"]["required"]
    assert "`make doctor`" in doctor["attributes"]["description"]
    assert doctor["attributes"]["render"] == "text"
