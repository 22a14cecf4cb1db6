"""Reads the client that awaits, writes the one that blocks: one source for both."""

import re
import sys

HEADER = '"""The client that blocks. Made by `generate` from `_async.py`: change that."""\n'

# In this order; whole words only.
WORDS = {
    "AsyncPlanner": "Planner",
    "AsyncFamily": "Family",
    "AsyncPicture": "Picture",
    "AsyncDrawn": "Drawn",
    "AsyncGains": "Gains",
    "AsyncFitQuality": "FitQuality",
    "AsyncLossBySparsity": "LossBySparsity",
    "AsyncContours": "Contours",
    "AsyncOptimalSparsity": "OptimalSparsity",
    "AsyncLaw": "Law",
    "AsyncIterator": "Iterator",
    "AsyncGenerator": "Generator",
    "AsyncClient": "Client",
    "AsyncBaseTransport": "BaseTransport",
    "aiter_lines": "iter_lines",
    "aclose": "close",
    "aclosing": "closing",
    "aread": "read",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "asynccontextmanager": "contextmanager",
    "asyncio": "time",
}


def blocking(source: str) -> str:
    """The same without anything that waits for other tasks."""
    _docstring, rest = source.split('"""\n', 1)
    rest = re.sub(r"\basync (def|with|for)\b", r"\1", rest)
    rest = re.sub(r"\bawait\s+", "", rest)
    # A generator that blocks is sent something, too.
    rest = re.sub(r"(AsyncGenerator\[.*), None\](?=:\n)", r"\1, None, None]", rest)
    # What the one that awaits cannot do yet.
    rest = rest.replace("# Blocking: ", "")
    for word, replacement in WORDS.items():
        rest = re.sub(rf"\b{word}\b", replacement, rest)
    return HEADER + rest


if __name__ == "__main__":
    sys.stdout.write(blocking(sys.stdin.read()))
