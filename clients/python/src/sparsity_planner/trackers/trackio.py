"""
Trackio: the SQLite file of a project.

Metrics and configurations are JSON, in which NaN and infinities are the texts `NaN`, `Infinity` and
`-Infinity`. Of each metric the last value counts. Whether a run finished is not written down.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .._tracked import TrackedRun
from ._files import columns, database, databases, flattened, parsed_object, tables

READING = {"source": "mlflow"}

NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def is_database(path: Path) -> bool:
    """Whether an SQLite file is Trackio's."""
    if not {"metrics", "configs"} <= tables(path):
        return False
    with database(path) as connection:
        return "run_name" in columns(connection, "metrics")


def read(root: Path, notes: list[str]) -> Iterator[TrackedRun]:
    """Yield the runs of each project."""
    paths = databases(root, "Trackio", is_database)
    for path in paths:
        yield from _runs(path)
    if paths:
        notes.append("Trackio's files do not say whether a run finished")


def _runs(path: Path) -> Iterator[TrackedRun]:
    with database(path) as connection:
        # In older versions runs have names only.
        key = "run_id" if "run_id" in columns(connection, "metrics") else "run_name"
        configs = {
            row[key]: row for row in connection.execute(f"SELECT {key}, run_name, config FROM configs")
        }
        reports = connection.execute(
            f"SELECT {key}, run_name, step, metrics FROM metrics ORDER BY step, rowid"
        )
        last: dict[str, dict[str, Any]] = {}
        steps: dict[str, int] = {}
        names = {row[key]: row["run_name"] for row in configs.values()}
        for id, name, step, metrics in reports:
            origin = f"{path}, run {id}, step {step}"
            flat: dict[str, Any] = {}
            flattened(parsed_object(metrics, origin), "metrics", flat, origin)
            last.setdefault(id, {}).update((key, _number(value)) for key, value in flat.items())
            steps[id], names[id] = step, name
    for id in names:
        row: dict[str, Any] = {"run_id": id, "run_name": names[id], "step": steps.get(id)}
        origin = f"{path}, run {id}"
        if id in configs:
            config: dict[str, Any] = {}
            flattened(parsed_object(configs[id]["config"], origin), "params", config, origin)
            row |= {key: _number(value) for key, value in config.items()}
        yield TrackedRun({**row, **last.get(id, {})}, origin)


def _number(value: Any) -> Any:
    return NUMBERS.get(value, value) if isinstance(value, str) else value
