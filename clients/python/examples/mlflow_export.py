"""
Logs the finished runs of an MLflow experiment to a sparsity planner.

    pip install mlflow pandas
    MLFLOW_TRACKING_URI=... python mlflow_export.py my-experiment --family my-models --map data:params.tokens

`SPARSITY_PLANNER_URL` and `SPARSITY_PLANNER_KEY` say where to. Run it again at any time: runs that are
known are only compared. What columns mean is said as for any other table (docs/uploads.md), and done by the
service. The files of a local store need no MLflow: `sparsity-planner-runs mlflow.db` reads them.
"""

from __future__ import annotations

import argparse

from sparsity_planner import Planner


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Log runs of MLflow to a sparsity planner.")
    parser.add_argument("experiment", help="name of the experiment")
    parser.add_argument("--family", required=True)
    parser.add_argument("--map", action="append", default=[], metavar="FIELD:EXPRESSION")
    parser.add_argument("--tag-columns", metavar="COLUMN,COLUMN")
    parser.add_argument("--dry-run", action="store_true")
    options = parser.parse_args(arguments)

    import mlflow

    runs = mlflow.search_runs(experiment_names=[options.experiment])
    with Planner() as planner:
        stored = planner.family(options.family).log_runs(
            runs,
            source="mlflow",
            map=options.map,
            tag_columns=options.tag_columns,
            on_error="skip",
            dry_run=options.dry_run,
        )
    print(stored)


if __name__ == "__main__":
    main()
