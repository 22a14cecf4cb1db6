"""
Logs the finished runs of an MLflow experiment to a sparsity planner.

    pip install mlflow pandas
    MLFLOW_TRACKING_URI=... python mlflow_export.py my-experiment --family my-models

`SPARSITY_PLANNER_URL` and `SPARSITY_PLANNER_KEY` say where to. Run it again at any time: runs that are
known are only compared. Adapt `COLUMNS` to what your training scripts log.
"""

from __future__ import annotations

import argparse

import pandas as pd

from sparsity_planner import Planner

# Column of `mlflow.search_runs()`: field of the planner.
COLUMNS = {
    "run_id": "external_id",
    "params.nonzero_params": "nonzero_params",
    "params.sparsity": "sparsity",
    "params.tokens": "data",
    "metrics.val_loss": "loss",
}
NUMBERS = ["nonzero_params", "sparsity", "data", "loss"]


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """Return what the planner wants of the frame of `mlflow.search_runs()`, where nothing is missing."""
    absent = [column for column in COLUMNS if column not in runs.columns]
    if absent:
        raise SystemExit(f"no run has {', '.join(absent)}")
    # MLflow's own tags describe its client; those of people do not begin with `tags.mlflow.`.
    tags = [name for name in runs.columns if name.startswith("tags.") and not name.startswith("tags.mlflow.")]
    wanted = runs[[*COLUMNS, *tags]].rename(columns=COLUMNS)
    # Parameters are texts in MLflow.
    wanted[NUMBERS] = wanted[NUMBERS].apply(pd.to_numeric, errors="coerce")
    complete = wanted.dropna(subset=NUMBERS)
    print(f"{len(wanted) - len(complete)} runs left out, for want of a number")
    return complete


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Log runs of MLflow to a sparsity planner.")
    parser.add_argument("experiment", help="name of the experiment")
    parser.add_argument("--family", required=True)
    options = parser.parse_args(arguments)

    import mlflow

    finished = mlflow.search_runs(
        experiment_names=[options.experiment], filter_string="attributes.status = 'FINISHED'"
    )
    with Planner() as planner:
        stored = planner.family(options.family).log_runs(table(finished), on_error="skip")
    print(stored)


if __name__ == "__main__":
    main()
