"""Pictures are decoded back into cells, and compared."""

import inspect
import io
import re
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from support import REFERENCE, read_half_blocks
from workshop import rendering


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
    monkeypatch.delenv("WT_SESSION", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)


def read_ascii(picture):
    return [[int(c == "#") for c in line] for line in picture]


def draw_and_read(read, stream, size=(40, 8)):
    """The cells of a picture, and the states that it should show."""
    states = REFERENCE.simulate(30, *size)
    rendering.print_states(states, stream)
    return np.array(read(stream.text().splitlines())), states


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (79, 7), (80, 40)])
def test_every_cell_is_shown(size):
    rows, states = draw_and_read(read_half_blocks, Stream(), size)
    assert not np.any(rows[len(states) :])
    np.testing.assert_array_equal(rows[: len(states)], states)
    if size[1] > 22:
        return  # on a terminal only as many rows as fit
    ascii_only = Stream("ascii", terminal=True)
    rows, states = draw_and_read(read_ascii, ascii_only, size)
    np.testing.assert_array_equal(rows, states)


@pytest.mark.parametrize(
    ("stream", "env", "drawn"),
    [
        (("utf-8", True), {}, True),
        (("utf-8", False), {}, False),
        (("utf-8", True), {"NO_COLOR": "1"}, False),
        (("utf-8", True), {"NO_COLOR": ""}, True),
        (("utf-8", True), {"TERM": "dumb"}, False),
        (("utf-8", True), {"COLORTERM": ""}, False),
        (("utf-8", True), {"COLORTERM": "", "TERM": "xterm-kitty"}, True),
        (("utf-8", True), {"COLORTERM": "", "WT_SESSION": "1"}, True),
        (("ascii", True), {}, False),
    ],
)
def test_matthewplotlib_draws_on_terminals_of_24_bit_color(
    stream, env, drawn, monkeypatch
):
    """Live cells dark; elsewhere, and without it, plain characters."""
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    images = []

    def draw(image):
        images.append(image)
        return "\x1b[0mdrawn by it"

    monkeypatch.setattr(rendering, "mp", SimpleNamespace(image=draw))
    stream, states = Stream(*stream), REFERENCE.simulate(30, 40, 8)
    rendering.print_states(states, stream)
    assert ("\x1b" in stream.text()) == drawn == (images != [])
    assert ("drawn by it" in stream.text()) == drawn
    for image in images:
        np.testing.assert_array_equal(image < 0.5, states)


@pytest.mark.skipif(rendering.mp is None, reason="it is not installed here")
def test_the_real_matthewplotlib_draws():
    stream = Stream(terminal=True)
    rendering.print_states(REFERENCE.simulate(30, 40, 8), stream)
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
    rendering.print_states(REFERENCE.simulate(110, width, 60), stream)
    picture, note = stream.text().rsplit("scaled", 1)
    assert picture.strip()
    factor = -(-width // columns)
    assert f"{factor} x {factor}" in " ".join(note.split())
    assert max(map(len, stream.text().splitlines())) <= columns


def test_a_scaled_picture_shows_where_it_is_dense():
    states = np.zeros((6, 100), dtype=np.uint8)
    states[:, 50:] = 1
    density = rendering.scale_down(states, 3)
    rows = read_half_blocks(rendering.draw(density, Stream()).splitlines())
    np.testing.assert_array_equal(rows, density > 0.5)
    dead = rendering.draw(np.zeros((2, 45)), Stream())
    assert dead.strip() == ""  # as sparse as the mean, and yet dead


@pytest.mark.parametrize("shape", [(5, 7), (6, 6), (1, 1), (1, 9)])
def test_scaling_keeps_the_mean_of_every_block(shape):
    states = np.random.default_rng(0).integers(0, 2, shape, dtype=np.uint8)
    density = rendering.scale_down(states, 3)
    for row, column in np.ndindex(density.shape):
        block = states[3 * row : 3 * row + 3, 3 * column : 3 * column + 3]
        np.testing.assert_allclose(density[row, column], block.mean())


def test_the_picture_of_256_rules_has_16_in_each_row():
    rules = np.repeat(np.arange(256), 6).reshape(256, 2, 3)
    picture = rendering.make_grid(rules)
    assert picture.shape == (32, 48)
    np.testing.assert_array_equal(picture[::2, ::3].ravel(), np.arange(256))


@pytest.mark.parametrize("num_steps", [6, 45])
def test_the_flip_book_shows_all_and_fits_the_terminal(num_steps, capsys):
    rules = np.random.default_rng(1).integers(0, 2, (256, num_steps, 50))
    rendering.play_flip_book(rules, seconds_each=0)
    first, *rest = re.split(r"\x1b\[(\d+)A\x1b\[J", capsys.readouterr().out)
    moves, shown = [int(move) for move in rest[::2]], [first, *rest[1::2]]
    titles = {page.splitlines()[0] for page in shown}
    assert titles == {f"rule {rule} of 0 to 255" for rule in range(256)}
    heights = [len(page.splitlines()) for page in shown]
    assert moves == heights[:-1]
    assert max(heights) < 24


def test_the_flip_book_does_not_flash(capsys):
    """A flash is up and down again; three in a second are too many."""
    defaults = inspect.signature(rendering.play_flip_book).parameters
    assert defaults["seconds_each"].default > 1 / 3
    states = np.random.default_rng(1).integers(0, 2, (256, 4, 5))
    rendering.play_flip_book(states, seconds_each=0)
    order = re.findall(r"rule (\d+) of", capsys.readouterr().out)
    order = [int(rule) for rule in order]
    assert sorted(order) == list(range(256))
    assert (np.diff(states.mean(axis=(1, 2))[order]) >= 0).all()


@pytest.mark.parametrize("suffix", [".png", ".gif", ".bmp", ".tiff", ".PNG"])
def test_a_saved_picture_has_live_cells_black(suffix, tmp_path):
    states = np.random.default_rng(1).integers(0, 2, (7, 13))
    path = tmp_path / f"picture{suffix}"
    rendering.save_image(states, path)
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L"))
    np.testing.assert_array_equal(pixels, 255 - 255 * states)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", ["", ".such", ".jpg"])
def test_a_suffix_whose_format_loses_cells_or_is_none(
    suffix, tmp_path, capsys
):
    with pytest.raises(SystemExit):
        rendering.save_image(np.eye(3), tmp_path / f"picture{suffix}")
    assert "must be one of .png" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_no_file(tmp_path, monkeypatch, capsys):
    def write_half(path, data):
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError("no space left on device")

    monkeypatch.setattr(rendering.Path, "write_bytes", write_half)
    with pytest.raises(SystemExit):
        rendering.save_image(np.eye(3), tmp_path / "picture.png")
    assert "cannot hold 3 x 3: no space left" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
