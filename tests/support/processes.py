"""Processes for a test, and waiting for states."""

import socket
import subprocess
import time
from contextlib import contextmanager

PATIENCE_S = 120


def until(what, holds):
    """Waits until `holds` returns something true, and returns it."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        found = holds()
        if found:
            return found
        time.sleep(0.05)
    raise SystemExit(f"not within {PATIENCE_S} s: {what}")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def listens(process, log, port) -> bool:
    """Whether a process accepts connections on a port; fails if the process has ended."""
    if process.poll() is not None:
        raise SystemExit(f"it ended: {log.read_text()}")
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(command, log, **options):
    """Runs a process, which is stopped at the end of the context."""
    with open(log, "w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, **options)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=60)
