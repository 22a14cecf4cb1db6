"""
Logs the finished runs of a Weights & Biases project to a sparsity planner.

    pip install wandb
    python wandb_export.py my-team/my-project --family my-models

`SPARSITY_PLANNER_URL` and `SPARSITY_PLANNER_KEY` say where to. Run it again at any time: runs that are
known are only compared. Adapt `COLUMNS` to what your training scripts log.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from typing import Any

from sparsity_planner import Planner

# Field of the planner: where it is in `config` or `summary`.
COLUMNS = {
    "total_params": ("config", "params"),
    "sparsity": ("config", "sparsity"),
    "data": ("config", "tokens"),
    "loss": ("summary", "eval/loss"),
}


def rows(runs: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Return what the planner wants of the runs of `wandb.Api().runs(...)`, where nothing is missing."""
    for run in runs:
        # `summary` and `config` are read by `get`; a summary's values may be nested, a loss is not.
        found = {field: getattr(run, place).get(key) for field, (place, key) in COLUMNS.items()}
        missing = [field for field, value in found.items() if value is None]
        if missing:
            print(f"left out {run.id} ({run.name}): no {', '.join(missing)}")
            continue
        # The id: names may be given twice.
        yield {**found, "external_id": run.id, "tags": {"wandb": run.name}}


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Log runs of Weights & Biases to a sparsity planner.")
    parser.add_argument("project", help="ENTITY/PROJECT")
    parser.add_argument("--family", required=True)
    options = parser.parse_args(arguments)

    import wandb

    finished = wandb.Api().runs(options.project, filters={"state": "finished"})
    with Planner() as planner:
        stored = planner.family(options.family).log_runs(rows(finished), on_error="skip")
    print(stored)


if __name__ == "__main__":
    main()
