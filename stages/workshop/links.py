"""Ask every outside link whether it answers. Needs the network.

python stages/workshop/links.py
"""

import dataclasses
import http.client
import re
import sys
import urllib.error
import urllib.request
from pathlib import Path

if not __package__:  # run as a script
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from workshop.catalog import STAGES_FOLDER
from workshop.command_line import parse
from workshop.terminal import reader_may_leave

TABLE = STAGES_FOLDER.parent / "LINKS.md"


@dataclasses.dataclass(frozen=True)
class Arguments:
    """The command line."""

    seconds: float = 10
    """How long to wait for each."""


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


def main() -> int:
    """One line for each link; status 1 if any does not answer."""
    arguments = parse(Arguments, "Ask every outside link if it answers.")
    silent = 0
    with reader_may_leave():
        for name, address in read_table().items():
            reason = ask(address, arguments.seconds)
            silent += reason is not None
            print(f"{'FAIL' if reason else 'OK':4}  {name}", flush=True)
            if reason:
                print(f"      {address}\n      {reason}")
        print("all answer" if not silent else f"{silent} do not answer")
    return 1 if silent else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
