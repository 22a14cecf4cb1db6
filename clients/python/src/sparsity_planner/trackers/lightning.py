"""
Lightning: the `metrics.csv` of a `CSVLogger`, with `hparams.yaml` beside it.

Each row of the table is one call of `log`, so most of its cells are empty: of each column the last cell
with a value counts.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .._tracked import TrackedRun
from ._files import UnreadableError, flattened, found, place, read_text, read_yaml, unnamed

READING = {"source": "mlflow"}

TABLE, PARAMS = "metrics.csv", "hparams.yaml"


def read(root: Path, notes: list[str]) -> Iterator[TrackedRun]:
    """Yield the run of each table."""
    paths = found(root, TABLE)
    for path in paths:
        where = place(root, path.parent)
        row: dict[str, Any] = dict(where)
        last, steps = _last_cells(path)
        row |= {f"metrics.{name}": cell for name, cell in last.items()}
        end = last.get("step")
        for name, step in steps.items():
            # What may be a validation loss, by its name.
            if end and step and step != end and "val" in name and "loss" in name:
                notes.append(f"{path}: the last {name} is of step {step} of {end}")
        params = path.parent / PARAMS
        if params.is_file():
            hparams = read_yaml(params)
            # No hyperparameters are written as `{}`, and by old versions as nothing.
            if isinstance(hparams, dict):
                flattened(hparams, "params", row, str(params))
            elif hparams:
                raise UnreadableError(f"{params} must be a mapping of names to values")
        yield TrackedRun(row, str(path), absent=unnamed(where))
    if paths:
        notes.append("Lightning's files do not say whether a run finished")


def _last_cells(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Return the last cell with a value of each column, and the step of its row."""
    table = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    last: dict[str, str] = {}
    steps: dict[str, str] = {}
    try:
        header = next(table, [])
        if len(set(header)) < len(header):
            twice = sorted({name for name in header if header.count(name) > 1})
            raise UnreadableError(f"{path} has two columns of one name: {', '.join(twice)}")
        for cells in table:
            if not cells:
                continue
            if len(cells) != len(header):
                detail = f"{path}, line {table.line_num} has {len(cells)} cells under {len(header)} columns"
                raise UnreadableError(detail)
            row = {name: cell for name, cell in zip(header, cells, strict=True) if cell}
            last |= row
            steps |= dict.fromkeys(row, row.get("step", ""))
    except csv.Error as error:
        raise UnreadableError(f"{path}, line {table.line_num}: {error}") from None
    return last, steps
