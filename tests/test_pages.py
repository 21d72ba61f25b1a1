"""Test the set-up cell, and the .ipynb files and pages that are made."""

import re
import sys

import pytest

import convert
import kernel
from support import assert_refused, copy_workshop, output_of, run_python
from workshop import doctor

FIRST = convert.NAMES[0]


def set_up(name=FIRST):
    """Return a notebook's code up to check_kernel, the end of the set-up."""
    source = convert.make_notebook(name).cells[1].source
    found = source.partition("from kernel import")[0]
    return f"{found}from kernel import check_kernel\ncheck_kernel()"


def test_the_set_up_is_the_same_everywhere_and_finds_the_stages(tmp_path):
    """Run the set-up in its folder, beside a clone, and with an old jax."""
    assert {set_up(name) for name in convert.NAMES} == {set_up()}
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
    assert "0.9.2" in refused
    assert str(tmp_path / "clone") in refused


def test_in_a_wrong_place_the_set_up_names_the_remedy(tmp_path):
    code = set_up()
    done = run_python("-c", code, cwd=tmp_path)
    assert_refused(done, "make lab", status=1)
    done = run_python("-S", "-c", code, cwd=convert.FOLDER)
    assert done.returncode == 1
    assert f'%pip install -r "{kernel.REQUIREMENTS}"' in done.stderr
    assert "Traceback" not in done.stderr
    oldest = ".".join(map(str, kernel.OLDEST_JAX))
    wanted = doctor.read_requirements("requirements.txt")["jax"]
    assert f">={oldest}" in str(wanted.specifier).split(",")


def test_a_hosted_jupyter_first_installs_what_is_missing(monkeypatch, capsys):
    problems, commands = iter(["it has no jax", "", ""]), []
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release")
    monkeypatch.setattr(kernel, "find_problem", lambda: next(problems))
    monkeypatch.setattr(kernel.subprocess, "run", commands.append)
    kernel.check_kernel()
    kernel.check_kernel()
    assert len(commands) == 1
    assert commands[0][0] == sys.executable
    assert commands[0][-1] == kernel.REQUIREMENTS
    assert "The right kernel" in capsys.readouterr().out


def test_each_notebook_is_what_its_source_makes(tmp_path):
    convert.write_notebooks(tmp_path, "https://example.org/r")
    for made in tmp_path.iterdir():
        kept = (convert.FOLDER / made.name).read_text(encoding="utf-8")
        address = re.search(r'ADDRESS = \\"(.*?)\\"', kept)[1]
        text = made.read_text(encoding="utf-8")
        assert 'ADDRESS = \\"https://example.org/r\\"' in text
        expected = text.replace("https://example.org/r", address)
        assert kept == expected, "run: make notebooks"


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("https://example.org/o/r.git", "https://example.org/o/r"),
        ("https://me:word@example.org/o/r/", "https://example.org/o/r"),
        ("https://example.org:8443/o/r", "https://example.org:8443/o/r"),
        ("git@example.org:o/my.repo.git", "https://example.org/o/my.repo"),
        ("../r.git", ""),
    ],
)
def test_a_remote_has_an_address_if_it_is_on_the_web(remote, address):
    assert convert.make_address(remote) == address


def test_pages_are_complete_and_need_nothing_else(run_notebook, tmp_path):
    notebooks = {n: convert.make_notebook(n) for n in convert.NAMES}
    for notebook in notebooks.values():
        notebook.cells = notebook.cells[:9]
    notebooks[FIRST] = run_notebook(FIRST)
    convert.write_pages(tmp_path, notebooks, "https://example.org/r")
    pages = {path.stem: path for path in tmp_path.glob("*.html")}
    texts = {name: p.read_text(encoding="utf-8") for name, p in pages.items()}
    assert set(pages) == {"index", "handout", *convert.NAMES}
    for text in texts.values():
        sources = re.findall(r'<img[^>]*\ssrc="([^"]{,30})', text)
        assert all(src.startswith("data:image/png;") for src in sources)
        for loads in ("<link", "@import", "<script src"):
            assert loads not in text
        for local in re.findall(r'href="([\w.]+)(?:#[\w.-]*)?"', text):
            assert (tmp_path / local).exists()
    first = texts[FIRST]
    headings = re.findall(r'<h2 id="(.*?)"', first)
    assert headings == re.findall(r'<li><a href="#(.*?)"', first)
    assert first.count("data:image/png;") == 6  # with the explorer
    assert first.count("width: 226px; height: 112px") == 3
    assert first.count("<ins ") == first.count("<del ") == 10
    assert 'href="https://example.org/r/blob/HEAD/stages/stage0' in first
    assert 'class="address">https://example.org/r</span>' in texts["handout"]
    assert 'href="1_port.html"' in texts["index"]
