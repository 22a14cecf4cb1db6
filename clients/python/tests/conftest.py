"""The real service, once for all tests; each test takes a family of its own."""

from __future__ import annotations

import os
import queue
import re
import subprocess
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sparsity_planner import Family, Planner

TARGET = os.environ.get("CARGO_TARGET_DIR", Path(__file__).parents[3] / "target")
PROGRAM = Path(TARGET) / "debug" / "sparsity-planner"
# To start a private PostgreSQL, and fit the demo's runs, on a busy machine.
START_SECONDS = 180


@contextmanager
def service(*arguments: str, ready: str) -> Iterator[str]:
    """Start the program, and wait for the line that `ready` matches: its first group is the address."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SPARSITY_PLANNER")}
    environment.pop("DATABASE_URL", None)
    process = subprocess.Popen(
        [PROGRAM, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        text=True,
    )
    assert process.stdout
    output = process.stdout
    lines: queue.Queue[str] = queue.Queue()

    # Reads on to the end: a full pipe would stop the service.
    def read() -> None:
        for line in output:
            lines.put(line)
        lines.put("")

    reader = threading.Thread(target=read)
    reader.start()
    try:
        seen = ""
        while True:
            line = lines.get(timeout=START_SECONDS)
            seen += line
            assert line, seen
            if found := re.search(ready, line):
                break
        yield found[1]
    finally:
        process.terminate()
        process.wait()
        reader.join()
        output.close()


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the demo's service, whose law is fitted."""
    data = tmp_path_factory.mktemp("demo")
    demo = ["demo", "--bind", "127.0.0.1:0", "--data-dir", str(data)]
    with service(*demo, ready=r"documentation: (http://\S+)/docs/") as address:
        yield address


@pytest.fixture(autouse=True)
def no_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what the caller has in the environment out."""
    monkeypatch.delenv("SPARSITY_PLANNER_URL", raising=False)
    monkeypatch.delenv("SPARSITY_PLANNER_KEY", raising=False)


@pytest.fixture
def planner(url: str) -> Iterator[Planner]:
    """Ask the demo's service."""
    with Planner(url) as planner:
        yield planner


@pytest.fixture
def family(planner: Planner) -> Family:
    """Return an empty family of its own."""
    return planner.create_family(f"test-{uuid.uuid4().hex[:12]}", data_unit="tokens")
