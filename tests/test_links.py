"""Outside links stand in one table, and can be asked whether they answer."""

import re
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from support import ROOT
from workplace import copy_workshop, run_script
from workshop.links import read_table

LINK = re.compile(r"https?://(?!(?:localhost|127\.0\.0\.1)\b)[\w.-]+\.\w+")
PAGES = [ROOT / name for name in ("README.md", "TEACHING.md", "LINKS.md")]
ADDRESSES = read_table()


def find_files():
    """Every file that git knows, or would."""
    command = ["git", "ls-files", "-co", "--exclude-standard"]
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, encoding="utf-8"
        )
    except FileNotFoundError:
        pytest.skip("git is not installed")
    if done.returncode:
        pytest.skip("this is not a clone")
    return [ROOT / name for name in done.stdout.splitlines()]


def test_every_row_of_the_table_is_read():
    text = (ROOT / "LINKS.md").read_text(encoding="utf-8")
    assert len(ADDRESSES) == len(LINK.findall(text)) > 20
    assert len(set(ADDRESSES.values())) == len(ADDRESSES)


def test_no_other_file_has_an_outside_link():
    allowed = {
        "LINKS.md",
        "requirements/pictures.txt",  # pip reads the address there
    }
    found = [
        path.relative_to(ROOT).as_posix()
        for path in find_files()
        if path.suffix not in (".png", ".ico")
        and path.is_file()
        and LINK.search(path.read_text(encoding="utf-8"))
    ]
    assert set(found) == allowed


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_link_within_the_repository_leads_somewhere(path):
    text = path.read_text(encoding="utf-8")
    inline = re.findall(r"\]\(([^)\s]+)\)", text)
    reference = re.findall(r"^\[[^]]+\]: (\S+)$", text, flags=re.M)
    for target in [*inline, *reference]:
        file, _, anchor = target.partition("#")
        if file == "LINKS.md":
            assert anchor == "" or anchor in ADDRESSES, target
        elif file and not LINK.match(target):
            assert (path.parent / file).exists(), target


class Answer(BaseHTTPRequestHandler):
    """Says 200 to /good, 404 to all else."""

    def do_GET(self):
        """Answer."""
        self.send_response(200 if self.path == "/good" else 404)
        self.end_headers()

    def log_message(self, *_):
        """Keep quiet."""


@pytest.fixture
def address():
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("page", ["good", "gone"])
def test_links_are_asked(page, address, tmp_path):
    workshop = copy_workshop(tmp_path)
    row = f'| <a id="{page}"></a>{page} | [a page]({address}/{page}) |\n'
    (workshop / "LINKS.md").write_text(row, encoding="utf-8")
    done = run_script(workshop, "links")
    assert done.stderr == ""
    if page == "good":
        assert done.stdout == "OK    good\nall answer\n"
        assert done.returncode == 0
    else:
        reason = f"      {address}/gone\n      status 404\n"
        assert done.stdout == f"FAIL  gone\n{reason}1 do not answer\n"
        assert done.returncode == 1


def test_a_site_that_is_not_there_is_named(address, tmp_path):
    workshop = copy_workshop(tmp_path)
    row = '| <a id="none"></a>none | [a page](http://127.0.0.1:9/) |\n'
    (workshop / "LINKS.md").write_text(row, encoding="utf-8")
    done = run_script(workshop, "links")
    assert done.stdout.startswith("FAIL  none\n      http://127.0.0.1:9/\n")
    assert done.returncode == 1
    assert done.stderr == ""
