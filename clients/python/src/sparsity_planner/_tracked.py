"""Runs that a reader of a tracker's files found, and what it knows of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import models
from ._rows import counts

# Fields that every run has, which a column may be named for.
FIELDS = ("nonzero_params", "sparsity", "data", "loss")
# Columns of what runs logged and were given.
NAMED = ("metrics.", "summary.", "params.", "config.", "value")
SHOWN = 8


@dataclass(frozen=True)
class TrackedRun:
    """A run of a tracker."""

    # Columns by the tracker's own names; those of fields of the planner only where they surely are that.
    row: dict[str, Any]
    # The file, and which run in it.
    origin: str
    # What the tracker says of a run that did not finish; None where it did, or nobody knows.
    unfinished: str | None = None
    # Of a field that the files do not have: why, and what would be right.
    absent: Mapping[str, str] = field(default_factory=dict)


class TrackedRuns(Iterable[dict[str, Any]]):
    """
    Rows of runs that `log_runs` takes, and that say what was left out.

    Each iteration reads the files again. Runs that did not finish are left out and counted in `left_out`,
    unless `unfinished` asks for them. `notes` says what is odd, and `reading` how `log_runs` asks the service
    to read the columns.
    """

    def __init__(
        self,
        read: Callable[[list[str]], Iterable[TrackedRun]],
        reading: Mapping[str, Any],
        *,
        unfinished: bool = False,
    ) -> None:
        """`read` yields the runs, and puts what is odd into the list that it is given."""
        self._read = read
        self._unfinished = unfinished
        self._yielded: list[TrackedRun] = []
        self.reading = dict(reading)
        self.left_out: dict[str, int] = {}
        self.notes: list[str] = []

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the rows."""
        self._yielded, self.left_out, self.notes = [], {}, []
        for run in self._read(self.notes):
            if run.unfinished and not self._unfinished:
                self.left_out[run.unfinished] = self.left_out.get(run.unfinished, 0) + 1
                continue
            # Its values are not needed any more, and may be many.
            self._yielded.append(TrackedRun(dict.fromkeys(run.row), run.origin, absent=run.absent))
            yield run.row

    def explain(self, row: int, name: str, detail: str) -> str:
        """Say where a row comes from, and of a field that is not given why, and what would be right."""
        if row >= len(self._yielded):
            return ""
        run = self._yielded[row]
        not_given = detail.startswith("must be given")
        hints = [run.absent[key] for key in _names(name) if key in run.absent] if not_given else []
        if not hints and not_given and name in FIELDS:
            measured = [column for column in run.row if column.startswith(NAMED) and "._" not in column]
            more = f" and {len(measured) - SHOWN} more" if len(measured) > SHOWN else ""
            hints = [f"it has {', '.join(measured[:SHOWN])}{more}: map={name}:COLUMN says which is meant"]
        return f" [{'; '.join([run.origin, *hints])}]"

    def absent(self) -> dict[str, int]:
        """Count what the files do not have, of the rows yielded so far, by what would be right."""
        found: dict[str, int] = {}
        for run in self._yielded:
            for name, detail in run.absent.items():
                text = f"{name}: {detail}"
                found[text] = found.get(text, 0) + 1
        return found

    def reported(self, result: models.SubmissionResult) -> models.SubmissionResult:
        """Return the answer of the service with what was left out and noticed here."""
        noticed = (models.Warning(code="tracker", detail=note, of="answer") for note in self.notes)
        warnings = [*result.warnings, *noticed]
        return result.model_copy(
            update={"left_out": counts(result.left_out, self.left_out), "warnings": warnings}
        )


def _names(name: str) -> tuple[str, ...]:
    # The service asks for a size by the first of its two names.
    sizes = ("nonzero_params", "total_params")
    return sizes if name in sizes else (name,)
