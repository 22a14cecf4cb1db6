"""
MLflow: the SQLite file of a tracking server or `mlflow.db`, and the folder `mlruns` of older versions.

Columns are those of `mlflow.search_runs()`. The latest value of a metric is that of its largest step, as in
MLflow. The database writes infinities as the largest numbers and NaN as 0 with a flag; both are read as what
they were.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .._tracked import TrackedRun
from ._files import UnreadableError, database, databases, found, grouped, read_text, read_yaml, tables

READING = {"source": "mlflow"}

STATUSES = {"1": "RUNNING", "2": "SCHEDULED", "3": "FINISHED", "4": "FAILED", "5": "KILLED"}


def is_database(path: Path) -> bool:
    """Whether an SQLite file is MLflow's."""
    return {"experiments", "runs", "latest_metrics"} <= tables(path)


def read(root: Path, _notes: list[str]) -> Iterator[TrackedRun]:
    """Yield the runs of a database or a folder."""
    for path in databases(root, "MLflow", is_database):
        yield from _of_database(path)
    if root.is_dir():
        yield from _of_folder(root)


def _run(about: dict[str, Any], row: dict[str, Any], origin: str, deleted: bool) -> TrackedRun:
    unfinished = None
    if about["status"] != "FINISHED":
        unfinished = f"status is {str(about['status']).lower()}"
    if deleted:
        unfinished = "lifecycle_stage is deleted"
    return TrackedRun({**about, **row}, origin, unfinished)


def _of_database(path: Path) -> Iterator[TrackedRun]:
    with database(path) as connection:
        runs = connection.execute(
            "SELECT run_uuid, runs.name, status, runs.lifecycle_stage, runs.experiment_id, "
            "start_time, end_time, experiments.name AS experiment, "
            "experiments.lifecycle_stage AS experiment_stage "
            "FROM runs JOIN experiments USING (experiment_id) ORDER BY start_time, run_uuid"
        ).fetchall()
        parts = {
            kind: grouped(connection.execute(f"SELECT run_uuid, key, {values} FROM {table}"), "run_uuid")
            for kind, table, values in (
                ("metrics", "latest_metrics", "value, is_nan"),
                ("params", "params", "value"),
                ("tags", "tags", "value"),
            )
        }
    for run in runs:
        id = run["run_uuid"]
        about = {
            "run_id": id,
            "run_name": run["name"],
            "experiment_id": str(run["experiment_id"]),
            "experiment": run["experiment"],
            "status": run["status"],
            "lifecycle_stage": run["lifecycle_stage"],
            "start_time": run["start_time"],
            "end_time": run["end_time"],
        }
        row: dict[str, Any] = {}
        for metric in parts["metrics"].get(id, ()):
            value = metric["value"]
            if not isinstance(value, int | float):
                raise UnreadableError(f"{path}, run {id}: the metric {metric['key']} is no number")
            row[f"metrics.{metric['key']}"] = _unclamped(value, metric["is_nan"])
        for kind in ("params", "tags"):
            row |= {f"{kind}.{part['key']}": part["value"] for part in parts[kind].get(id, ())}
        deleted = "deleted" in (run["lifecycle_stage"], run["experiment_stage"])
        yield _run(about, row, f"{path}, run {id}", deleted)


def _unclamped(value: float, is_nan: bool) -> float:
    if is_nan:
        return math.nan
    return math.copysign(math.inf, value) if abs(value) >= sys.float_info.max else value


def _of_folder(root: Path) -> Iterator[TrackedRun]:
    experiments: dict[Path, tuple[str, bool]] = {}
    # Experiments lie above their runs.
    for meta in sorted(found(root, "meta.yaml"), key=lambda path: len(path.parts)):
        about = read_yaml(meta)
        if not isinstance(about, dict):
            raise UnreadableError(f"{meta} is no description of a run or an experiment")
        # An experiment that was deleted lies in a folder of this name.
        in_trash = ".trash" in meta.relative_to(root).parts
        if "run_id" not in about and "run_uuid" not in about:
            deleted = in_trash or about.get("lifecycle_stage") == "deleted"
            experiments[meta.parent] = (str(about.get("name", meta.parent.name)), deleted)
            continue
        id = about.get("run_id") or about.get("run_uuid")
        if not id:
            raise UnreadableError(f"{meta} has an empty name of its run")
        folder = meta.parent
        status = str(about.get("status"))
        experiment, deleted = experiments.get(folder.parent, (None, in_trash))
        known = {
            "run_id": id,
            "run_name": about.get("run_name"),
            "experiment_id": about.get("experiment_id"),
            "experiment": experiment,
            "status": STATUSES.get(status, status),
            "lifecycle_stage": about.get("lifecycle_stage"),
            "start_time": about.get("start_time"),
            "end_time": about.get("end_time"),
        }
        row: dict[str, Any] = {f"metrics.{key}": _latest(path) for key, path in _keys(folder / "metrics")}
        for kind in ("params", "tags"):
            row |= {f"{kind}.{key}": read_text(path) for key, path in _keys(folder / kind)}
        yield _run(known, row, f"{folder}, run {id}", deleted or known["lifecycle_stage"] == "deleted")


def _keys(folder: Path) -> list[tuple[str, Path]]:
    """Return names and files of metrics, parameters or tags; a slash in a name is a folder."""
    if not folder.is_dir():
        return []
    return [(path.relative_to(folder).as_posix(), path) for path in found(folder, "*")]


def _latest(path: Path) -> float:
    """Return the last value of a file of lines with time, value and step."""
    values = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        parts = line.split()
        try:
            # Old versions have no step.
            time, value, step = int(parts[0]), float(parts[1]), int(parts[2]) if len(parts) > 2 else 0
        except (ValueError, IndexError):
            detail = f"{path}, line {number} must be time, value and step, and is {line[:80]!r}"
            raise UnreadableError(detail) from None
        values.append((step, time, value))
    if not values:
        raise UnreadableError(f"{path} has no value")
    # Of values of one step and time the one that was written last.
    return sorted(values, key=lambda one: one[:2])[-1][2]
