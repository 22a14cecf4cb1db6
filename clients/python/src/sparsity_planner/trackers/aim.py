"""
Aim: a repository, read by its own package, as its storage (RocksDB) has no other reader.

A run is not found by Aim before it is indexed, which runs that were closed are not always: where the index
has fewer than the storage, the command that makes it is named, rather than reading a part.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .._tracked import TrackedRun
from ._files import UnreadableError, flattened

READING = {"source": "mlflow"}


def read(root: Path, notes: list[str]) -> Iterator[TrackedRun]:
    """Yield the runs of a repository."""
    try:
        import aim
    except ImportError:
        raise UnreadableError(
            f"{root} is a repository of Aim, which needs its package: pip install aim"
        ) from None
    repo = aim.Repo(str(root))
    stored = set(repo.list_all_runs())
    indexed = {run.hash: run for run in repo.iter_runs()}
    if lost := sorted(stored - set(indexed)):
        raise UnreadableError(
            f"{root}: {len(lost)} of {len(stored)} runs are not in Aim's index, such as {lost[0]}: "
            f"aim storage --repo {root} reindex makes it"
        )
    for id, run in sorted(indexed.items()):
        origin = f"{root}, run {id}"
        row: dict[str, Any] = {"run_id": id, "run_name": run.name, "experiment": run.experiment}
        flattened(run[...], "params", row, origin)
        for metric in run.metrics():
            context = metric.context.to_dict()
            # A metric is one for each context: `loss` of {"subset": "val"} is `val_loss`.
            name = "_".join([*(str(part) for part in context.values()), metric.name])
            # `metric.values` is in the order of hashes of steps, whose last is any of them.
            steps, values = metric.data.view("val").items_list()
            if f"metrics.{name}" in row:
                raise UnreadableError(f"{origin}: two metrics are called {name} with their contexts")
            if steps:
                row[f"metrics.{name}"] = values[0][steps.index(max(steps))]
        status = "running" if run.active else "finished"
        unfinished = "it is active, or was killed" if run.active else None
        yield TrackedRun({**row, "status": status}, origin, unfinished)
    if not stored:
        notes.append(f"{root} has no runs")
