"""Test pictures (by reading their cells back), files, pagers and commands."""

import errno
import io
import os
import shutil
import sys
from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from support import DOOR, NOT_ON_WINDOWS, REFERENCE, read_half_blocks
from workshop import rendering, terminal
from workshop.terminal import write_whole


class Stream(io.TextIOWrapper):
    """A terminal or a pipe, with any encoding."""

    def __init__(self, encoding="utf-8", terminal=False):
        super().__init__(io.BytesIO(), encoding=encoding)
        self.terminal = terminal

    def isatty(self):
        return self.terminal

    def text(self):
        self.flush()
        return self.buffer.getvalue().decode(self.encoding)


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLORTERM", "truecolor")
    for name in ("WT_SESSION", "NO_COLOR", "MAKELEVEL"):
        monkeypatch.delenv(name, raising=False)


def read_ascii(picture):
    return [[int(c == "#") for c in line] for line in picture]


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (79, 7), (80, 40)])
@pytest.mark.parametrize(
    ("stream", "read"),
    [(("utf-8", False), read_half_blocks), (("ascii", True), read_ascii)],
)
def test_every_cell_is_shown(size, stream, read):
    states, stream = REFERENCE.simulate(30, *size), Stream(*stream)
    with redirect_stdout(stream):
        rendering.print_states(states)
    lines = stream.text().splitlines()
    if stream.isatty() and size[1] > 23:  # only as many rows as fit
        assert "22 of 40" in lines.pop()
        states = states[:22]
    rows = np.array(read(lines))
    np.testing.assert_array_equal(rows[: len(states)], states)
    assert not np.any(rows[len(states) :])


@pytest.mark.parametrize(
    ("stream", "env", "drawn"),
    [
        (("utf-8", True), {}, True),
        (("utf-8", False), {}, False),
        (("utf-8", True), {"NO_COLOR": "1"}, False),
        (("utf-8", True), {"NO_COLOR": ""}, True),
        (("utf-8", True), {"TERM": "dumb"}, False),
        (("utf-8", True), {"COLORTERM": ""}, False),
        (("utf-8", True), {"COLORTERM": "", "WT_SESSION": "1"}, True),
        (("ascii", True), {}, False),
    ],
)
def test_matthewplotlib_draws_on_terminals_of_24_bit_color(
    stream, env, drawn, monkeypatch
):
    """Check when matthewplotlib draws, and that it draws live cells dark."""
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    images = []

    def draw(image):
        images.append(image)
        return "\x1b[0mdrawn by it"

    monkeypatch.setattr(rendering, "mp", SimpleNamespace(image=draw))
    stream, states = Stream(*stream), REFERENCE.simulate(30, 40, 8)
    with redirect_stdout(stream):
        rendering.print_states(states)
    assert ("\x1b" in stream.text()) == drawn == (images != [])
    for image in images:
        np.testing.assert_array_equal(image < 0.5, states)


@pytest.mark.skipif(rendering.mp is None, reason="no matthewplotlib")
def test_the_real_matthewplotlib_draws():
    stream = Stream(terminal=True)
    with redirect_stdout(stream):
        rendering.print_states(REFERENCE.simulate(30, 40, 8))
    assert "\x1b" in stream.text()


@pytest.mark.parametrize(
    ("columns", "width", "encoding"),
    [(12, 500, "utf-8"), (40, 81, "ascii"), (80, 160, "utf-8")],
)
def test_nothing_is_wider_than_the_terminal(
    columns, width, encoding, monkeypatch
):
    monkeypatch.setenv("COLUMNS", str(columns))
    stream = Stream(encoding)
    states = REFERENCE.simulate(110, width, 60)
    with redirect_stdout(stream):
        rendering.print_states(states)
    factor = -(-width // columns)
    assert f"{factor} x {factor}" in " ".join(stream.text().split())
    assert max(map(len, stream.text().splitlines())) <= columns


@pytest.mark.parametrize("columns", [20, 40, 80])
@pytest.mark.parametrize("size", [(40, 80), (81, 70), (160, 72), (999, 900)])
def test_a_picture_and_its_note_fit_what_is_left(columns, size, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    stream = Stream(terminal=True)
    with redirect_stdout(stream):
        rendering.print_states(REFERENCE.simulate(30, *size), 5)
    assert 6 < stream.text().count("\n") <= 24 - 5 - 1


@pytest.mark.parametrize("shape", [(5, 7), (6, 6), (1, 1), (1, 9)])
def test_scaling_keeps_the_mean_of_every_block(shape):
    states = np.random.default_rng(0).integers(0, 2, shape, dtype=np.uint8)
    density = rendering.scale_down(states, 3)
    for row, column in np.ndindex(density.shape):
        block = states[3 * row : 3 * row + 3, 3 * column : 3 * column + 3]
        np.testing.assert_allclose(density[row, column], block.mean())
    with redirect_stdout(Stream("ascii")):
        drawn = rendering.draw(density).splitlines()
    dense = (density >= density.mean()) & (density > 0)
    np.testing.assert_array_equal(read_ascii(drawn), dense)


def test_a_grid_has_16_diagrams_in_each_row():
    rules = np.repeat(np.arange(256), 6).reshape(256, 2, 3)
    picture = rendering.make_grid(rules)
    assert picture.shape == (32, 48)
    np.testing.assert_array_equal(picture[::2, ::3].ravel(), np.arange(256))


@pytest.mark.parametrize("shape", [(7, 13), (1, 70_000)])
def test_a_saved_picture_has_live_cells_black(shape, tmp_path):
    states = np.random.default_rng(1).integers(0, 2, shape)
    path = tmp_path / "picture.PNG"
    rendering.save_image(states, path)
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L"))
    np.testing.assert_array_equal(pixels, 255 - 255 * states)
    assert list(tmp_path.iterdir()) == [path]


# Files


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch, capsys):
    path = tmp_path / "file"
    path.write_text("old")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", raise_full)
        with pytest.raises(OSError, match="full"):
            write_whole(path, "new")
        with pytest.raises(SystemExit):
            terminal.write_asked(path, "new")
    assert capsys.readouterr().err.count("\n") == 1
    assert path.read_text() == "old"
    write_whole(path, "new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def raise_full(*_):
    raise OSError("the disk is full")


@NOT_ON_WINDOWS
def test_a_file_keeps_its_mode_and_its_link(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    target.chmod(0o400)
    link.symlink_to(target)
    other = tmp_path / "other"
    other.write_text("mine")
    (tmp_path / "target.part").symlink_to(other)
    write_whole(link, b"new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert target.stat().st_mode & 0o777 == 0o400
    assert other.read_text() == "mine"
    umask = os.umask(0o022)
    os.umask(umask)
    write_whole(tmp_path / "fresh", "new")
    assert (tmp_path / "fresh").stat().st_mode & 0o777 == 0o666 & ~umask


# What is printed


def test_what_the_output_cannot_encode_is_escaped(monkeypatch):
    stream = Stream("cp1252")
    monkeypatch.setattr(sys, "stdout", stream)
    with terminal.reader_may_leave():
        print("λ = 1")
    assert stream.text() == "\\u03bb = 1\n"


@pytest.mark.parametrize(
    ("platform", "error", "status"),
    [
        ("linux", OSError(errno.EPIPE, "left"), 1),
        ("win32", OSError(errno.EINVAL, "left"), 1),
        ("linux", OSError(errno.EINVAL, "seek"), None),
        ("win32", OSError(errno.EINVAL, "name", "a?"), None),
        ("linux", OSError(errno.EPIPE, "left", "file"), None),
    ],
)
def test_only_an_error_of_the_output_ends_the_program(
    platform, error, status, monkeypatch
):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(
        sys,
        "stdout",
        SimpleNamespace(
            flush=lambda: None, fileno=lambda: os.open(os.devnull, os.O_WRONLY)
        ),
    )
    with (
        pytest.raises((SystemExit, OSError)) as end,
        terminal.reader_may_leave(),
    ):
        raise error
    assert getattr(end.value, "code", None) == status


# The pager, and how commands are named


@pytest.mark.skipif(shutil.which("less") is None, reason="there is no less")
@pytest.mark.parametrize(
    ("number", "keys", "whole"),
    [(5, "", True), (8, "q", False), (8, " ", True)],
)
def test_less_leaves_at_the_end_or_when_asked(
    number, keys, whole, run_in_terminal
):
    command = [sys.executable, DOOR, "diff", number]
    env = {"PAGER": "less", "LESS": ""}
    output, status = run_in_terminal(command, env, keys=keys, at="to leave)")
    assert status == 0
    assert ("to leave)" in output) == (keys != "")
    assert ("return states" in output[-60:]) == whole


def test_another_pager_gets_the_diff_in_color(run_in_terminal):
    command = [sys.executable, DOOR, "diff", 8]
    output, status = run_in_terminal(command, {"PAGER": "head -n 2"})
    assert status == 0
    first, second = output.splitlines()
    assert first.startswith("\x1b[1m--- stage5")
    assert second.startswith("\x1b[1m+++ stage8")


def test_a_command_is_named_in_the_form_that_was_typed(monkeypatch):
    named = terminal.command("check", 5)
    assert named == "python stages/workshop check 5"
    monkeypatch.setenv("MAKELEVEL", "1")
    assert terminal.command("check", 5) == "make check N=5"
    named = terminal.command("stage", 6, "--rule 30")
    assert named == 'make stage N=6 ARGS="--rule 30"'
