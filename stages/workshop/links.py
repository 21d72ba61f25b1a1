"""Ask every outside link of our texts whether it answers."""

import http.client
import re
import urllib.request
from pathlib import Path

from workshop.stages import STAGES_FOLDER

TEXTS = ("*.md", "notebooks/[0-9]_*.py", "stages/**/*.py")
LINK = re.compile(r"https?://[\w-]+\.[^\s<>()\"'`]+[\w/]")


def find_links(root: Path = STAGES_FOLDER.parent) -> list[str]:
    """The addresses that our texts link to, each once, in order."""
    paths = [path for pattern in TEXTS for path in sorted(root.glob(pattern))]
    texts = [path.read_text(encoding="utf-8") for path in paths]
    return list(dict.fromkeys(LINK.findall("\n".join(texts))))


def ask(address: str, seconds: float) -> str | None:
    """What went wrong, None if it answers."""
    headers = {"User-Agent": "Mozilla/5.0 (link check)"}
    request = urllib.request.Request(address, headers=headers)
    try:
        urllib.request.urlopen(request, timeout=seconds).close()
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    return None


def links(seconds: float = 10) -> int:
    """Ask every outside link whether it answers.

    Needs the network. The exit status is 1 if any link does not answer.

    Args:
        seconds: How long to wait for each.
    """
    silent = 0
    for address in find_links():
        reason = ask(address, seconds)
        silent += reason is not None
        print(f"{'FAIL' if reason else 'OK':4}  {address}", flush=True)
        if reason:
            print(f"      {reason}")
    print(f"{silent} do not answer" if silent else "all answer")
    return 1 if silent else 0
