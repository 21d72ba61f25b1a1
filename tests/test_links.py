"""No link is dead: inside ones are looked up, outside ones can be asked."""

import io
import re
import subprocess
import urllib.error

import pytest

import links
from links import LINK, find_links
from support import ROOT

PAGES = [*ROOT.glob("*.md"), *ROOT.glob("notebooks/[0-9]_*.py")]
NOT_OURS = re.compile(r"tests/|requirements/|.*\.(png|svg|ipynb)$")


def test_every_outside_link_is_asked():
    if not (ROOT / ".git").exists():
        pytest.skip("this is not a clone")
    command = ["git", "ls-files", "-co", "--exclude-standard"]
    listed = subprocess.check_output(command, cwd=ROOT, encoding="utf-8")
    found = set()
    for name in listed.splitlines():
        if not NOT_OURS.match(name) and (ROOT / name).is_file():
            found |= set(LINK.findall((ROOT / name).read_text("utf-8")))
    assert found == set(find_links())
    assert len(found) > 20


def find_anchors(path):
    """What a link may name in that page: its headings, as GitHub does."""
    headings = re.findall(r"^(?:# )?#+ (.+)$", path.read_text("utf-8"), re.M)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_link_within_the_repository_leads_somewhere(path):
    text = path.read_text(encoding="utf-8")
    inline = re.findall(r"\]\(([^)\s]+)\)", text)
    defined = re.findall(r"^(?:# )?\[[^]]+\]: (\S+)$", text, flags=re.M)
    pictures = re.findall(r' src(?:set)?="(.+?)"', text)
    for target in [*inline, *defined, *pictures]:
        if not LINK.match(target):
            file, _, anchor = target.partition("#")
            page = path.parent / file if file else path
            assert page.exists(), target
            assert not anchor or anchor in find_anchors(page), target


def test_links_are_asked_and_those_that_do_not_answer_are_named(
    tmp_path, monkeypatch, capsys
):
    good, gone = (f"https://here.org/{name}" for name in ("there", "gone"))
    text = f"[one]({good}), <{gone}>; [the first again]({good})"
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    found = find_links(tmp_path)
    monkeypatch.setattr(links, "find_links", lambda: found)

    def answer(request, timeout):
        if request.full_url == gone:
            raise urllib.error.HTTPError(gone, 404, "Not Found", {}, None)
        return io.BytesIO()

    monkeypatch.setattr("urllib.request.urlopen", answer)
    assert links.main() == 1
    told = f"OK    {good}\nFAIL  {gone}\n      HTTP Error 404: Not Found\n"
    assert capsys.readouterr().out == f"{told}1 do not answer\n"
    del found[1]
    assert links.main() == 0
    assert capsys.readouterr().out == f"OK    {good}\nall answer\n"
