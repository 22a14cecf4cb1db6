"""
Optuna: the SQLite file of a storage, or the frame of `study.trials_dataframe()` as CSV.

A trial that was pruned has a value, its last intermediate one, so the state decides. What an objective is
only the study knows: `map=loss:value` says that it is the validation loss. Attributes that trials set are
metrics here.
"""

from __future__ import annotations

import csv
import io
import math
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .._tracked import TrackedRun
from ._files import (
    UnreadableError,
    columns,
    database,
    databases,
    grouped,
    parsed,
    parsed_object,
    read_text,
    tables,
)

READING = {"source": "mlflow"}

INFINITE = {"INF_POS": math.inf, "INF_NEG": -math.inf}
NO_LOSS = "what the objective is only the study knows: map=loss:value says that it is the validation loss"


def is_database(path: Path) -> bool:
    """Whether an SQLite file is Optuna's."""
    return {"studies", "trials", "trial_params", "trial_values"} <= tables(path)


def read(root: Path, notes: list[str]) -> Iterator[TrackedRun]:
    """Yield the trials of all studies."""
    if root.suffix.lower() == ".csv":
        yield from _of_csv(root)
        notes.append("a frame of Optuna does not name its study: numbers of trials repeat in the next")
        return
    for path in databases(root, "Optuna", is_database):
        yield from _of_database(path)


def _run(row: dict[str, Any], state: str, origin: str, absent: dict[str, str]) -> TrackedRun:
    unfinished = None if state == "COMPLETE" else f"state is {state.lower()}"
    if not any(key in row for key in ("metrics.val_loss", "metrics.eval_loss")):
        absent = {**absent, "loss": NO_LOSS}
    return TrackedRun({**row, "state": state}, origin, unfinished, absent)


def _of_database(path: Path) -> Iterator[TrackedRun]:
    with database(path) as connection:
        # Before version 3 there were finite values only.
        typed = "value_type" if "value_type" in columns(connection, "trial_values") else "NULL"
        trials = connection.execute(
            "SELECT trial_id, number, state, datetime_start, datetime_complete, study_id, study_name "
            "FROM trials JOIN studies USING (study_id) ORDER BY study_id, number"
        ).fetchall()
        names = {
            row["study_id"]: parsed(row["value_json"], f"{path}: the names of the objectives")
            for row in connection.execute(
                "SELECT study_id, value_json FROM study_system_attributes WHERE key = 'study:metric_names'"
            )
        }

        def of_trials(table: str, names: str) -> dict[Any, list[sqlite3.Row]]:
            return grouped(connection.execute(f"SELECT trial_id, {names} FROM {table}"), "trial_id")

        values = of_trials("trial_values", f"objective, value, {typed} AS type")
        params = of_trials("trial_params", "param_name, param_value, distribution_json")
        attributes = of_trials("trial_user_attributes", "key, value_json")
    for trial in trials:
        study, id = trial["study_name"], trial["trial_id"]
        origin = f"{path}, study {study}, trial {trial['number']}"
        row: dict[str, Any] = {
            "run_id": f"{study}:{trial['number']}",
            "study": study,
            "number": trial["number"],
            "datetime_start": trial["datetime_start"],
            "datetime_complete": trial["datetime_complete"],
        }
        found_values = values.get(id, ())
        several = any(value["objective"] for value in found_values)
        for value in found_values:
            named, place = names.get(trial["study_id"]), value["objective"]
            if isinstance(named, list) and isinstance(place, int) and 0 <= place < len(named):
                place = named[place]
            row[f"values_{place}" if several else "value"] = INFINITE.get(value["type"], value["value"])
        for param in params.get(id, ()):
            row[f"params.{param['param_name']}"] = _param(
                param["param_value"], param["distribution_json"], origin
            )
        for attribute in attributes.get(id, ()):
            key = attribute["key"]
            row[f"metrics.{key}"] = parsed(attribute["value_json"], f"{origin}: the attribute {key}")
        yield _run(row, str(trial["state"]), origin, {})


def _param(value: float, distribution: str, origin: str) -> Any:
    """Return a parameter as the trial saw it: of choices only the place is stored."""
    described = parsed_object(distribution, f"{origin}: the distribution of a parameter")
    attributes, name = described.get("attributes"), str(described.get("name"))
    if not isinstance(attributes, dict) or not isinstance(value, int | float) or math.isnan(value):
        raise UnreadableError(f"{origin}: a parameter has no number or no attributes")
    if "choices" in attributes:
        choices = attributes["choices"]
        if not 0 <= int(value) < len(choices):
            raise UnreadableError(f"{origin}: a parameter has choice {value:g} of {len(choices)}")
        return choices[int(value)]
    return int(value) if name.startswith("Int") else value


def _cells(table: csv.DictReader[str], path: Path) -> Iterator[dict[str | Any, Any]]:
    try:
        yield from table
    except csv.Error as error:
        raise UnreadableError(f"{path}, line {table.line_num}: {error}") from None


def _of_csv(path: Path) -> Iterator[TrackedRun]:
    table = csv.DictReader(io.StringIO(read_text(path), newline=""), strict=True)
    names = list(table.fieldnames or ())
    if not {"number", "state"} <= set(names):
        raise UnreadableError(f"{path} is no frame of Optuna: it has no columns number and state")
    prefixes = {"params_": "params.", "user_attrs_": "metrics."}
    for cells in _cells(table, path):
        row: dict[str, Any] = {}
        for name, cell in cells.items():
            if name is None:
                raise UnreadableError(f"{path}, line {table.line_num} has more cells than columns")
            for written, meant in prefixes.items():
                if name.startswith(written):
                    name = meant + name.removeprefix(written)
            row[name or "index"] = cell
        absent = {
            "external_id": "the frame does not name its study: id=number names trials of one study only"
        }
        yield _run(row, str(row.pop("state")), f"{path}, trial {row['number']}", absent)
