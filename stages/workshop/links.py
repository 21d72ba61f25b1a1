"""Ask every outside link whether it answers. Needs the network."""

import http.client
import re
import urllib.error
import urllib.request
from pathlib import Path

from workshop.stages import STAGES_FOLDER

TABLE = STAGES_FOLDER.parent / "LINKS.md"


def read_table(path: Path = TABLE) -> dict[str, str]:
    """Name to address, of every row."""
    rows = re.findall(
        r'^\| <a id="([^"]+)"></a>\1 \| \[.+\]\((\S+)\) \|$',
        path.read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    return dict(rows)


def ask(address: str, seconds: float) -> str | None:
    """What went wrong, None if it answers."""
    request = urllib.request.Request(
        address, headers={"User-Agent": "Mozilla/5.0 (link check)"}
    )
    try:
        with urllib.request.urlopen(request, timeout=seconds):
            return None
    except urllib.error.HTTPError as error:
        return f"status {error.code}"
    except urllib.error.URLError as error:
        return str(error.reason)
    except (OSError, ValueError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__


def links(seconds: float = 10) -> int:
    """Ask every outside link whether it answers.

    Exit status 1 if any does not.

    Args:
        seconds: How long to wait for each.
    """
    silent = 0
    for name, address in read_table().items():
        reason = ask(address, seconds)
        silent += reason is not None
        print(f"{'FAIL' if reason else 'OK':4}  {name}", flush=True)
        if reason:
            print(f"      {address}\n      {reason}")
    print("all answer" if not silent else f"{silent} do not answer")
    return 1 if silent else 0
