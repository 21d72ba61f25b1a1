"""Ask every outside link of our texts whether it answers: make links."""

import http.client
import re
import sys
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 10  # to wait for each
TEXTS = ("*.md", "notebooks/[0-9]_*.py", "stages/**/*.py")
LINK = re.compile(r"https?://[\w-]+\.[^\s<>()\"'`]+[\w/]")


def find_links(root: Path = ROOT) -> list[str]:
    """The addresses that our texts link to, each once, in order."""
    paths = [path for pattern in TEXTS for path in sorted(root.glob(pattern))]
    texts = [path.read_text(encoding="utf-8") for path in paths]
    return list(dict.fromkeys(LINK.findall("\n".join(texts))))


def ask(address: str) -> str | None:
    """What went wrong, None if it answers."""
    headers = {"User-Agent": "Mozilla/5.0 (link check)"}
    request = urllib.request.Request(address, headers=headers)
    try:
        urllib.request.urlopen(request, timeout=SECONDS).close()
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    return None


def main() -> int:
    """Print one line for each; the exit status is 1 if any is silent."""
    silent = 0
    for address in find_links():
        reason = ask(address)
        silent += reason is not None
        print(f"{'FAIL' if reason else 'OK':4}  {address}", flush=True)
        if reason:
            print(f"      {reason}")
    print(f"{silent} do not answer" if silent else "all answer")
    return 1 if silent else 0


if __name__ == "__main__":
    sys.exit(main())
