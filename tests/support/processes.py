"""Processes beside a test, and states that it waits for."""

import socket
import subprocess
import time
from contextlib import contextmanager

PATIENCE_S = 120


def until(what, holds):
    """Waits for a state, and gives what `holds` found."""
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
    """Whether a process takes connections; one that has ended is an error."""
    if process.poll() is not None:
        raise SystemExit(f"it ended: {log.read_text()}")
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(command, log, **options):
    """A process that is stopped at the end."""
    with open(log, "w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, **options)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=60)
