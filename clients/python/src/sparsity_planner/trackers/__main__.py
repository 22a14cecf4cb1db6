"""
The command `sparsity-planner-runs`: runs out of the files of trackers into a family, or as lines of JSON.

    sparsity-planner-runs wandb/ --family my-models --map data:config.tokens --dry-run
    sparsity-planner-runs --from mlflow mlflow.db > runs.ndjson
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from .. import Planner, PlannerError, ProblemError, models
from .._tables import encode
from .._tracked import TrackedRuns
from . import SOURCES, read

# Options that are the service's: what columns mean. Their words are those of docs/uploads.md.
READING = {
    "id": "columns that name a run, joined by colons, or content",
    "where": "a condition for rows that are runs",
    "keep": "of several rows of one run: last:COLUMN, first:COLUMN, min:COLUMN or max:COLUMN",
    "scale": "factors of numbers: FIELD:FACTOR,FIELD:FACTOR",
    "sparsity_unit": "fraction or percent",
    "tag_columns": "columns that become tags: COLUMN,COLUMN",
    "null": "texts that mean no value: TEXT,TEXT",
}
# Runs of which the same is wrong are counted; so many are named.
SHOWN = 5


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="sparsity-planner-runs",
        description="Read runs out of the files of a tracker, and log them to a family of a sparsity "
        "planner; without --family, print them as lines of JSON.",
        epilog="What columns mean is said as in docs/uploads.md, and done by the service.",
    )
    add = made.add_argument
    add("path", help="a file of the tracker, or a folder with its files")
    add("--from", dest="source", choices=sorted(SOURCES), help="whose files; found unless said")
    add("--family", help="the family that gets the runs")
    add("--server", metavar="URL", help="the service's address; SPARSITY_PLANNER_URL unless said")
    mapping = "where a field comes from; may be given several times"
    add("--map", action="append", metavar="FIELD:EXPRESSION", help=mapping)
    for name, meaning in READING.items():
        add(f"--{name.replace('_', '-')}", help=meaning)
    add("--dry-run", action="store_true", help="store nothing, say what would be stored")
    add("--on-error", choices=["stop", "skip"], default="stop", help="skip stores the runs that are right")
    unfinished = "with runs that did not finish; --where decides that, too"
    add("--unfinished", action="store_true", help=unfinished)
    add(
        "--count",
        choices=["without-embeddings", "all", "prunable", "none"],
        default="without-embeddings",
        help="which parameters of weights beside trainer_state.json are counted; none measures nothing",
    )
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    options = parser().parse_args(arguments)
    reading = {name: value for name in ("map", *READING) if (value := getattr(options, name)) is not None}
    if not options.family and (reading or options.dry_run or options.server):
        say("--map and the like, --dry-run and --server are about an upload: give --family, too")
        return 2
    if options.unfinished:
        # The service leaves them out, too, unless a condition says which rows are runs.
        reading.setdefault("where", "true")
    try:
        runs = read(
            options.path,
            options.source,
            unfinished="where" in reading,
            count=None if options.count == "none" else options.count,
        )
        return _log(runs, options, reading) if options.family else _print(runs)
    except ProblemError as problem:
        say(f"refused: {problem.detail}")
        say_errors((_field(error.pointer), error.detail) for error in problem.errors)
    except (PlannerError, ValueError, TypeError) as error:
        say(str(error))
    return 1


def _log(runs: TrackedRuns, options: argparse.Namespace, reading: dict[str, Any]) -> int:
    with Planner(options.server) as planner:
        family = planner.family(options.family)
        result = family.log_runs(runs, on_error=options.on_error, dry_run=options.dry_run, **reading)
    say_result(result, options.dry_run)
    say_errors((one.field, one.detail) for one in result.rejected)
    return 1 if result.errors else 0


def _print(runs: TrackedRuns) -> int:
    written = 0
    for row in runs:
        sys.stdout.write(encode(row, keep_nan=True).decode() + "\n")
        written += 1
    say(f"{written} runs, to be sent with source={runs.reading['source']}")
    for reason, rows in runs.left_out.items():
        say(f"left out {rows}: {reason}")
    for note in runs.notes:
        say(f"note: {note}")
    for detail, rows in runs.absent().items():
        say(f"{rows} without {detail}")
    return 0


def say_result(result: models.SubmissionResult, dry_run: bool) -> None:
    """Say what became of the runs, and what was taken for what."""
    would = "would be " if dry_run else ""
    print(f"{would}created {result.created}, updated {result.updated}, unchanged {result.unchanged}")
    for reason, rows in result.left_out.items():
        print(f"left out {rows}: {reason}")
    for field, column in result.recognised.columns.items():
        print(f"{field} is {column}")
    for warning in result.warnings:
        say(f"warning: {warning.detail}")


def say_errors(errors: Iterable[tuple[str, str]]) -> None:
    """Say errors, one line a kind, with the first runs of each."""
    kinds: dict[tuple[str, str], list[str]] = {}
    for field, detail in errors:
        what, _, origin = detail.partition(" [")
        # The number of a line of what was sent says nothing to who has the tracker's files.
        kinds.setdefault((field, what.partition(" (line ")[0]), []).append(origin.removesuffix("]"))
    for (field, what), origins in kinds.items():
        say(f"{field}: {what}" + (f", in {len(origins)} runs" if len(origins) > 1 else ""))
        for origin in [one for one in origins if one][:SHOWN]:
            say(f"  {origin}")


def _field(pointer: str) -> str:
    _, row, *rest = pointer.split("/", 2)
    return rest[0] if row.isdecimal() and rest else pointer.removeprefix("/")


def say(text: str) -> None:
    """Write a line where it does not get between rows."""
    print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
