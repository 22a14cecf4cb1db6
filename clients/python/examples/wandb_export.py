"""
Logs the finished runs of a Weights & Biases project to a sparsity planner.

    pip install wandb
    python wandb_export.py my-team/my-project --family my-models --map data:config.tokens

`SPARSITY_PLANNER_URL` and `SPARSITY_PLANNER_KEY` say where to. Run it again at any time: runs that are
known are only compared. What columns mean is said as for any other table (docs/uploads.md), and done by the
service. Runs that lie on this machine need no server: `sparsity-planner-runs wandb/` reads their files.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from typing import Any

from sparsity_planner import Planner


def rows(runs: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Return the runs of `wandb.Api().runs(...)` as rows, with nested `config` and `summary`."""
    for run in runs:
        # Each value is wrapped as the web API does it, so that a key of the configuration that is called
        # `value` is taken for no wrapper.
        config = {key: {"value": value} for key, value in run.config.items()}
        summary = dict(run.summary.items())
        # The id: names may be given twice.
        yield {"id": run.id, "Name": run.name, "State": run.state, "config": config, "summary": summary}


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Log runs of Weights & Biases to a sparsity planner.")
    parser.add_argument("project", help="ENTITY/PROJECT")
    parser.add_argument("--family", required=True)
    parser.add_argument("--map", action="append", default=[], metavar="FIELD:EXPRESSION")
    parser.add_argument("--tag-columns", default="Name", metavar="COLUMN,COLUMN")
    parser.add_argument("--dry-run", action="store_true")
    options = parser.parse_args(arguments)

    import wandb

    runs = wandb.Api().runs(options.project)
    with Planner() as planner:
        stored = planner.family(options.family).log_runs(
            rows(runs),
            source="wandb",
            map=options.map,
            tag_columns=options.tag_columns,
            on_error="skip",
            dry_run=options.dry_run,
        )
    print(stored)


if __name__ == "__main__":
    main()
