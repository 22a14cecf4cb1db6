"""
Ray Tune: the `result.json` of a trial, a line for each report, of which the last counts.

`done` is true at the end of a trial, also where a scheduler such as ASHA ended it early: only the number of
iterations tells these apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .._tracked import TrackedRun
from ._files import UnreadableError, flattened, found, parsed_object, place, read_bytes, unnamed

READING = {"source": "mlflow"}

RESULTS, ERROR = "result.json", "error.txt"


def read(root: Path, notes: list[str]) -> Iterator[TrackedRun]:
    """Yield the last report of each trial."""
    for path in found(root, RESULTS):
        where = place(root, path.parent)
        lines = read_bytes(path).split(b"\n")
        # What stands behind the last end of a line was not written to its end.
        if lines.pop().strip():
            notes.append(f"{path} breaks off in the middle of a report: what stands before it is read")
        lines = [line for line in lines if line.strip()]
        if not lines:
            yield TrackedRun({**where, "status": "error"}, str(path), "no report was written")
            continue
        report = parsed_object(lines[-1], f"{path}, report {len(lines)}")
        config = report.pop("config", None)
        id = report.get("trial_id")
        origin = f"{path}, trial {id}" if id else str(path)
        row: dict[str, Any] = {**where, "run_id": id}
        if isinstance(config, dict):
            flattened(config, "params", row, origin)
        elif config is not None:
            raise UnreadableError(f"{origin}: config must be an object")
        flattened(report, "metrics", row, origin)
        row["training_iteration"] = report.get("training_iteration")
        status, unfinished = "finished", None
        if (path.parent / ERROR).exists():
            status, unfinished = "error", f"{ERROR} says that it failed"
        elif not report.get("done"):
            status, unfinished = "running", "done is not true"
        yield TrackedRun({**row, "status": status}, origin, unfinished, {} if id else unnamed(where))
