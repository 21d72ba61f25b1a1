"""Pictures are decoded back into cells, and compared."""

import inspect
import io
import re

import numpy as np
import pytest
from PIL import Image

from support import REFERENCE, read_half_blocks
from workshop import rendering

NEEDS_MATTHEWPLOTLIB = pytest.mark.skipif(
    rendering.mp is None,
    reason="matthewplotlib is optional and not installed here",
)


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


class FakeImage:
    """In the place of matthewplotlib.image, which is optional."""

    def __init__(self, values):
        self.values = values

    def __str__(self):
        return "\x1b[0mdrawn by matthewplotlib"


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)


def read_ascii(picture):
    return [[int(c == "#") for c in line] for line in picture]


def read_colored(picture):
    """Cells from half blocks in 24-bit color: dark is live."""
    rows = []
    for line in picture:
        upper, lower, live = [], [], [0, 0]
        for code, character in re.findall(r"\x1b\[([\d;]*)m|(.)", line):
            if character:
                shown = {"▀": live, "█": live[:1] * 2, " ": live[1:] * 2}
                upper.append(shown[character][0])
                lower.append(shown[character][1])
                continue
            live = live if code != "0" else [0, 0]
            for ground, red in re.findall(r"([34])8;2;(\d+)", code):
                live[int(ground) - 3] = int(int(red) < 128)
        rows += [upper, lower]
    return rows


@pytest.mark.parametrize("num_steps", [1, 2, 7, 40])
@pytest.mark.parametrize("width", [1, 3, 79, 80])
def test_half_blocks_show_every_cell(width, num_steps):
    states = REFERENCE.simulate(30, width, num_steps)
    stream = Stream()
    rendering.print_states(states, stream)
    rows = read_half_blocks(stream.text().splitlines())
    assert not np.any(rows[num_steps:])
    np.testing.assert_array_equal(rows[:num_steps], states)


@pytest.mark.parametrize("num_steps", [1, 2, 7])
def test_ascii_shows_every_cell(num_steps):
    states = REFERENCE.simulate(30, 40, num_steps)
    stream = Stream("ascii", terminal=True)
    rendering.print_states(states, stream)
    np.testing.assert_array_equal(
        read_ascii(stream.text().splitlines()), states
    )


@NEEDS_MATTHEWPLOTLIB
@pytest.mark.parametrize("num_steps", [2, 8, 40])
@pytest.mark.parametrize("width", [1, 3, 80])
def test_matthewplotlib_shows_every_cell(width, num_steps):
    states = REFERENCE.simulate(30, width, num_steps)
    stream = Stream(terminal=True)
    rendering.print_states(states, stream)
    assert "\x1b[" in stream.text()
    np.testing.assert_array_equal(
        read_colored(stream.text().splitlines()), states
    )


@pytest.mark.parametrize(
    ("stream", "env", "drawn"),
    [
        (Stream(terminal=True), {}, True),
        (Stream(), {}, False),
        (Stream(terminal=True), {"NO_COLOR": "1"}, False),
        (Stream(terminal=True), {"NO_COLOR": ""}, True),
        (Stream(terminal=True), {"TERM": "dumb"}, False),
        (Stream("ascii", terminal=True), {}, False),
    ],
    ids=["terminal", "pipe", "NO_COLOR", "empty NO_COLOR", "dumb", "ascii"],
)
def test_matthewplotlib_draws_on_color_terminals(
    stream, env, drawn, monkeypatch
):
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    fake = type("matthewplotlib", (), {"image": FakeImage})
    monkeypatch.setattr(rendering, "mp", fake)
    rendering.print_states(REFERENCE.simulate(30, 40, 8), stream)
    assert ("drawn by matthewplotlib" in stream.text()) == drawn
    assert ("\x1b" in stream.text()) == drawn


def test_without_matthewplotlib_a_terminal_gets_plain_characters(monkeypatch):
    monkeypatch.setattr(rendering, "mp", None)
    stream = Stream(terminal=True)
    states = REFERENCE.simulate(30, 40, 8)
    rendering.print_states(states, stream)
    rows = read_half_blocks(stream.text().splitlines())
    np.testing.assert_array_equal(rows, states)


@pytest.mark.parametrize("columns", [12, 40, 80])
@pytest.mark.parametrize("width", [81, 160, 500])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_nothing_is_wider_than_the_terminal(
    columns, width, encoding, monkeypatch
):
    monkeypatch.setenv("COLUMNS", str(columns))
    stream = Stream(encoding)
    rendering.print_states(REFERENCE.simulate(110, width, 60), stream)
    picture, note = stream.text().rsplit("scaled", 1)
    assert 0 < max(map(len, picture.splitlines())) <= columns
    factor = -(-width // columns)
    assert f"{factor} x {factor}" in " ".join(note.split())
    assert max(map(len, stream.text().splitlines())) <= columns


def test_a_scaled_picture_shows_where_it_is_dense():
    states = np.zeros((6, 100), dtype=np.uint8)
    states[:, 50:] = 1
    density = rendering.scale_down(states, 3)
    assert density.shape == (2, 34)
    assert (density[:, :16] == 0).all()
    assert (density[:, 17:] == 1).all()
    np.testing.assert_allclose(density[:, 16], 1 / 3)
    rows = read_half_blocks(rendering.draw(density, Stream()).splitlines())
    np.testing.assert_array_equal(rows, density > 0.5)


@pytest.mark.parametrize("shape", [(5, 7), (6, 6), (1, 1), (1, 9)])
def test_scaling_keeps_the_mean_of_every_block(shape):
    states = np.random.default_rng(0).integers(0, 2, shape, dtype=np.uint8)
    density = rendering.scale_down(states, 3)
    for row, column in np.ndindex(density.shape):
        block = states[3 * row : 3 * row + 3, 3 * column : 3 * column + 3]
        np.testing.assert_allclose(density[row, column], block.mean())


def test_an_all_dead_picture_stays_dead_when_scaled():
    density = rendering.scale_down(np.zeros((4, 90), dtype=np.uint8), 2)
    assert rendering.draw(density, Stream()).strip() == ""


@pytest.mark.parametrize("num_steps", [6, 60])
def test_the_flip_book_shows_all_and_fits_the_terminal(num_steps, capsys):
    rules = [REFERENCE.simulate(rule, 50, num_steps) for rule in range(256)]
    rendering.play_flip_book(np.stack(rules), seconds_each=0)
    first, *rest = re.split(r"\x1b\[(\d+)A\x1b\[J", capsys.readouterr().out)
    moves, shown = [int(move) for move in rest[::2]], [first, *rest[1::2]]
    titles = {page.splitlines()[0] for page in shown}
    assert titles == {f"rule {rule} of 0 to 255" for rule in range(256)}
    heights = [len(page.splitlines()) for page in shown]
    assert moves == heights[:-1]
    assert max(heights) < 24


def test_the_flip_book_does_not_flash():
    """A flash is up and down again; three in a second are too many."""
    defaults = inspect.signature(rendering.play_flip_book).parameters
    assert defaults["seconds_each"].default > 1 / 3
    states = np.stack([REFERENCE.simulate(r, 80, 80) for r in range(256)])
    order = rendering.order_by_brightness(states)
    assert sorted(order) == list(range(256))
    assert (np.diff(states.mean(axis=(1, 2))[order]) >= 0).all()


@pytest.mark.parametrize("suffix", [".png", ".gif", ".bmp", ".tiff", ".PNG"])
@pytest.mark.parametrize("shape", [(1, 1), (7, 13), (64, 80)])
def test_a_saved_picture_has_live_cells_black(suffix, shape, tmp_path):
    states = np.random.default_rng(1).integers(0, 2, shape, dtype=np.uint8)
    path = tmp_path / f"picture{suffix}"
    rendering.save_image(states, path)
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L"))
    np.testing.assert_array_equal(pixels, 255 - 255 * states)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", ["", ".such", ".txt"])
def test_a_suffix_that_pillow_cannot_write(suffix, tmp_path):
    with pytest.raises(ValueError, match=r"one of \.png"):
        rendering.save_image(np.eye(3), tmp_path / f"picture{suffix}")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_no_file(tmp_path, monkeypatch):
    def write_half(path, data):
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError("no space left on device")

    monkeypatch.setattr(rendering.Path, "write_bytes", write_half)
    with pytest.raises(OSError, match="space"):
        rendering.save_image(np.eye(3), tmp_path / "picture.png")
    assert list(tmp_path.iterdir()) == []
