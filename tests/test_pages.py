"""Test the set-up cell, and the .ipynb files and pages that are made."""

import re

import pytest

import convert
import kernel
from running import NAMES, make_notebook, write_pages
from support import (
    assert_refused,
    copy_workshop,
    output_of,
    run_python,
)
from workshop import doctor


def set_up(name=NAMES[0]):
    """Return a notebook's code up to check_kernel, the end of the set-up."""
    source = make_notebook(name).cells[1].source
    found = source.partition("from kernel import")[0]
    return f"{found}from kernel import check_kernel\ncheck_kernel()"


def test_the_set_up_is_the_same_everywhere_and_finds_the_stages(tmp_path):
    """Run the set-up in its folder, beside a clone, and with an old jax."""
    assert {set_up(name) for name in NAMES} == {set_up()}
    code, right = set_up(), "The right kernel"
    done = run_python("-c", code, cwd=convert.FOLDER)
    assert output_of(done).startswith(right)
    copy_workshop(tmp_path / "clone", "notebooks")
    old = tmp_path / "packages" / "jax-0.9.2.dist-info"
    old.mkdir(parents=True)
    (old / "METADATA").write_text("Name: jax\nVersion: 0.9.2\n")
    assert run_python("-c", code, cwd=tmp_path).stdout.startswith(right)
    env = {"PYTHONPATH": str(old.parent)}
    refused = run_python("-c", code, cwd=tmp_path, env=env).stderr
    assert "jax 0.9.2" in refused
    assert str(tmp_path / "clone") in refused


def test_in_a_wrong_place_the_set_up_names_the_remedy(tmp_path, monkeypatch):
    code = set_up()
    done = run_python("-c", code, cwd=tmp_path)
    assert_refused(done, "make lab", status=1)
    done = run_python("-S", "-c", code, cwd=convert.FOLDER)
    assert done.returncode == 1
    assert f'%pip install -r "{kernel.REQUIREMENTS}"' in done.stderr
    assert "Traceback" not in done.stderr
    assert kernel.OLDEST_PYTHON == doctor.OLDEST_PYTHON
    oldest = ".".join(map(str, kernel.OLDEST_JAX))
    wanted = doctor.read_requirements("requirements.txt")["jax"]
    assert f">={oldest}" in str(wanted.specifier).split(",")
    monkeypatch.setattr(kernel, "OLDEST_PYTHON", (4, 0))
    with pytest.raises(SystemExit, match=r"Python 3\..*4\.0"):
        kernel.check_kernel()


def test_a_notebook_that_its_source_does_not_make_is_noticed(
    tmp_path, monkeypatch, capsys
):
    convert.check_notebooks()  # the real notebooks pass
    source = tmp_path / "1_port.py"
    source.write_bytes((convert.FOLDER / "1_port.py").read_bytes())
    monkeypatch.setattr(convert, "SOURCES", [source])
    monkeypatch.setattr(convert, "ROOT", tmp_path)
    convert.write_notebooks()
    convert.check_notebooks()
    with source.open("a", encoding="utf-8") as more:
        more.write("\n# %%\n1 + 1\n")
    with pytest.raises(SystemExit, match="1"):
        convert.check_notebooks()
    assert "make notebooks" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("https://example.org/o/r.git", "https://example.org/o/r"),
        ("https://me:word@example.org/o/r/", "https://example.org/o/r"),
        ("https://example.org:8443/o/r", "https://example.org:8443/o/r"),
        ("git@example.org:o/r.git", "https://example.org/o/r"),
        ("example.org:2222/r", "https://example.org/2222/r"),
        ("ssh://git@example.org:2222/o/r", "https://example.org/o/r"),
        ("/srv/git/r.git", ""),
        ("../r.git", ""),
        ("r.git", ""),
        ("file:///srv/r.git", ""),
        ("", ""),
    ],
)
def test_a_remote_has_an_address_if_it_is_on_the_web(remote, address):
    assert convert.make_address(remote) == address


def test_the_handout_shows_the_address(tmp_path):
    convert.write_pages(tmp_path, {}, "https://example.org/workshop")
    handout = (tmp_path / "handout.html").read_text(encoding="utf-8")
    assert 'class="address">https://example.org/workshop</span>' in handout


@pytest.mark.slow  # all notebooks are run
def test_pages_need_nothing_else(run_notebook, tmp_path):
    write_pages(tmp_path, run_notebook)
    pages = {path.stem: path for path in tmp_path.glob("*.html")}
    assert set(pages) == {"index", "handout", *NAMES}
    for path in pages.values():
        page = path.read_text(encoding="utf-8")
        sources = re.findall(r'<img[^>]*\ssrc="([^"]{,30})', page)
        assert all(src.startswith("data:image/png;") for src in sources)
        for loads in ("<link", "@import", "<script src"):
            assert loads not in page
        for local in re.findall(r'href="([\w.]+)(?:#[\w.-]*)?"', page):
            assert (tmp_path / local).exists()
