"""What the API answers, as people want it: rows counted over all batches, and frames."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from pydantic import TypeAdapter

from ._tables import Explain, explained, is_missing, pandas_rows, plain, rows_of
from .errors import InputTypeError, InvalidInputError, MissingPackageError, ProblemError
from .models import (
    Extrapolation,
    FieldError,
    Interval,
    LawRef,
    OptimalSparsities,
    OptimalSparsityResult,
    PredictionResult,
    Predictions,
    Recognised,
    Rejection,
    Run,
    SubmissionResult,
    Trust,
)
from .models import Warning as Noted

if TYPE_CHECKING:
    import pandas as pd

# Fields of a run in an export, in the order of the service's own CSV.
RUN_COLUMNS = (
    "external_id",
    "nonzero_params",
    "sparsity",
    "data",
    "loss",
    "start",
    "pretraining_data",
    "unique_data",
    "pattern",
    "tags",
    "exclusion_reason",
)
NUMBERS = ("nonzero_params", "sparsity", "data", "loss", "pretraining_data", "unique_data")
# Errors of a frame that are named where all are raised; the others are counted.
NAMED_ERRORS = 100


def given(**fields: Any) -> dict[str, Any]:
    """Return the fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def encode(value: object) -> bytes:
    """JSON; infinities and NaN, and what JSON has no word for, are refused."""
    try:
        text = json.dumps(value, allow_nan=False, default=plain, separators=(",", ":"))
    except TypeError as error:
        raise InputTypeError(str(error)) from error
    except ValueError as error:
        wrong = next(_not_finite(value), None)
        raise InvalidInputError(f"{wrong}: a finite number is needed" if wrong else str(error)) from error
    return text.encode()


def _not_finite(value: object, path: str = "") -> Iterator[str]:
    """Yield which numbers are infinite or NaN."""
    if isinstance(value, float) and not math.isfinite(value):
        yield f"{path} is {value}"
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from _not_finite(one, f"{path}.{key}".removeprefix("."))
    elif isinstance(value, list | tuple):
        for place, one in enumerate(value):
            yield from _not_finite(one, f"{path}[{place}]")


class LoggedRun(Run):
    """A run as it is stored, and what came of sending it."""

    outcome: Literal["created", "updated", "unchanged"]
    """
    Whether it is new, or was there with other values, or with the same.
    """
    warnings: list[Noted]
    """
    What is odd about it, and no reason to refuse it.
    """


def logged(result: SubmissionResult, run: Run) -> LoggedRun:
    """Return a run with what came of sending it."""
    outcome = "created" if result.created else "updated" if result.updated else "unchanged"
    return LoggedRun.model_construct(**run.__dict__, outcome=outcome, warnings=result.warnings)


def shifted(error: ProblemError, first: int, explain: Explain | None) -> ProblemError:
    """Return the error of a batch with rows counted over all batches, explained by whoever made the rows."""

    def shift(found: FieldError) -> FieldError:
        _, row, *rest = found.pointer.split("/")
        if not row.isdecimal():
            return found
        number = int(row) + first
        detail = found.detail + (explain(number, "/".join(rest), found.detail) if explain else "")
        return FieldError(pointer="/".join(["", str(number), *rest]), detail=detail)

    errors = tuple(shift(found) if "/" in found.pointer else found for found in error.errors)
    detail = error.detail
    if first:
        detail += f" (the {first} rows before this batch are stored)"
    return ProblemError(error.kind, error.status, detail, errors)


def nothing_sent() -> SubmissionResult:
    """Return what becomes of no rows."""
    return SubmissionResult(
        created=0,
        updated=0,
        unchanged=0,
        errors=0,
        rejected=[],
        left_out={},
        recognised=Recognised(format="application/x-ndjson", columns={}),
        warnings=[],
    )


def added(
    total: SubmissionResult, batch: SubmissionResult, first: int, explain: Explain | None
) -> SubmissionResult:
    """Add a batch that starts at row `first`."""
    rejected = []
    for one in batch.rejected:
        row = one.row + first
        more = explain(row, one.field, one.detail) if explain else ""
        rejected.append(Rejection(row=row, field=one.field, detail=one.detail + more))
    return SubmissionResult(
        created=total.created + batch.created,
        updated=total.updated + batch.updated,
        unchanged=total.unchanged + batch.unchanged,
        errors=total.errors + batch.errors,
        rejected=[*total.rejected, *rejected],
        left_out=counts(total.left_out, batch.left_out),
        preview=batch.preview,
        # All batches are made alike.
        recognised=total.recognised if total.recognised.columns else batch.recognised,
        warnings=[*total.warnings, *batch.warnings],
    )


def counts(left: Mapping[str, int], right: Mapping[str, int]) -> dict[str, int]:
    """Add counts by their reasons."""
    return {reason: left.get(reason, 0) + right.get(reason, 0) for reason in {**left, **right}}


def runs_frame(ndjson: bytes) -> pd.DataFrame:
    """Return a frame of an export."""
    try:
        import pandas as pd
    except ImportError as error:
        raise MissingPackageError("frames need pandas: install it, or `sparsity-planner[pandas]`") from error

    rows = [json.loads(line) for line in ndjson.splitlines() if line]
    frame = pd.DataFrame(rows, columns=list(RUN_COLUMNS))
    return frame.astype(dict.fromkeys(NUMBERS, "float64"))


def listed(points: Any) -> list[dict[str, Any]]:
    """Return the points of a table or an iterable, without what is None."""
    return [{str(name): one for name, one in row.items() if one is not None} for row in rows_of(points)]


def budget_columns(frame: Any) -> tuple[list[str], list[str]]:
    """Return the columns of budgets that each row needs, and the others that it may have."""
    budgets = ["compute", "device_hours", "days", "cost"]
    given = [name for name in budgets if name in frame.columns]
    # That of the only column there is, and compute where there is none; of several each row says which.
    needed = given if len(given) == 1 else ["compute"][len(given) :]
    return needed, [name for name in budgets if name not in needed]


class Asked:
    """The questions of a frame, what is wrong with them, and the answers so far; rows count from 0."""

    def __init__(self, frame: Any, required: Sequence[str], optional: Sequence[str]) -> None:
        """Take a frame whose questions have these columns, and find what is no number."""
        if not len(frame):
            raise InvalidInputError("the frame has no rows")
        if absent := [name for name in required if name not in frame.columns]:
            columns = ", ".join(map(str, frame.columns))
            raise InvalidInputError(
                f"the frame has no column {' and no column '.join(absent)}, but {columns}"
            )
        self._names = (*required, *optional)
        self._frame: pd.DataFrame = frame
        self._explain = explained(frame)
        known = frame[[name for name in self._names if name in frame.columns]]
        self.points = [
            {name: value for name, value in row.items() if not is_missing(value)}
            for row in pandas_rows(known.reset_index(drop=True))
        ]
        self.errors: dict[int, list[FieldError]] = {}
        for row, point in enumerate(self.points):
            for name in required:
                if name not in point:
                    self._refuse(row, name, "must be given")
            for name, value in point.items():
                if name not in ("flop_mode", "level") and not _is_number(value):
                    self._refuse(row, name, f"must be a finite number, not {value!r}")
        self._left = [row for row in range(len(self.points)) if row not in self.errors]
        self._part: list[int] = []
        self._answers: list[pd.DataFrame] = []

    def _refuse(self, row: int, name: str, detail: str) -> None:
        detail += self._explain(row, name, detail) if self._explain else ""
        self.errors.setdefault(row, []).append(FieldError(pointer=f"/points/{row}/{name}", detail=detail))

    def refused(self) -> ProblemError:
        """Return what is wrong as the service would say it."""
        errors = [error for found in self.errors.values() for error in found]
        detail = f"{len(errors)} fields are wrong"
        if len(errors) == 1:
            detail = f"{errors[0].pointer.removeprefix('/')}: {errors[0].detail}"
        return ProblemError("invalid", 422, detail, tuple(errors[:NAMED_ERRORS]))

    def next_part(self, most: int) -> list[dict[str, Any]]:
        """Return the next questions that have no answer."""
        self._part = self._left[:most]
        return [self.points[row] for row in self._part]

    def answered(self, answers: pd.DataFrame) -> None:
        """Take the answers of the last part."""
        self._answers.append(answers.set_axis(self._part, axis=0))
        self._left = self._left[len(self._part) :]

    def shifted(self, problem: ProblemError) -> ProblemError:
        """Return what is wrong with a part by the rows of the whole frame, and their index."""

        def shift(found: FieldError) -> FieldError:
            match found.pointer.split("/"):
                case ["", "points", place, *rest] if place.isdecimal():
                    row, name = self._part[int(place)], "/".join(rest)
                    more = self._explain(row, name, found.detail) if self._explain else ""
                    return FieldError(
                        pointer="/".join(["", "points", str(row), *rest]), detail=found.detail + more
                    )
            return found

        errors = tuple(shift(found) for found in problem.errors)
        detail = problem.detail
        if len(errors) == 1:
            detail = f"{errors[0].pointer.removeprefix('/')}: {errors[0].detail}"
        return ProblemError(
            problem.kind, problem.status, detail, errors, problem.missing, problem.suggestions
        )

    def left_out(self, problem: ProblemError) -> bool:
        """Leave out the rows that are wrong; whether there were some."""
        named = [(error, error.pointer.split("/")) for error in problem.errors]
        rows = {int(parts[2]) for _, parts in named if len(parts) > 2 and parts[2].isdecimal()}
        for error, parts in named:
            if len(parts) > 2 and parts[2].isdecimal():
                self.errors.setdefault(int(parts[2]), []).append(error)
        self._left = [row for row in self._left if row not in rows]
        return bool(rows)

    def frame(self, *, with_errors: bool) -> pd.DataFrame:
        """Return the frame that was asked with the answers: its index, its columns, and theirs."""
        import pandas as pd

        answers = pd.concat(self._answers) if self._answers else pd.DataFrame()
        attrs = self._answers[0].attrs if self._answers else {}
        warnings = [one for part in self._answers for one in part.attrs["warnings"]]
        if len(answers) < len(self._frame):
            answers = answers.reindex(range(len(self._frame)))
        asked = self._frame.reset_index(drop=True)
        columns: dict[Any, pd.Series[Any]] = {}
        for place, name in enumerate(asked.columns):
            if name not in answers.columns:
                columns[name] = asked.iloc[:, place]
            elif name in self._names:
                columns[name] = answers[name]
                if (wrong := answers[name].isna()).any():
                    columns[name] = asked.iloc[:, place].where(wrong, answers[name])
            else:
                columns[f"{name}_asked"] = asked.iloc[:, place]
        columns |= {name: answers[name] for name in answers.columns if name not in columns}
        if with_errors:
            texts = {
                row: "; ".join(f"{error.pointer.split('/', 3)[-1]}: {error.detail}" for error in found)
                for row, found in self.errors.items()
            }
            columns["error"] = pd.Series([texts.get(row) for row in range(len(asked))], dtype=object)
        joined = pd.DataFrame(columns).set_axis(self._frame.index, axis=0)
        unique = {(one["code"], one["detail"]): one for one in warnings}
        joined.attrs = {**self._frame.attrs, **attrs, "warnings": list(unique.values())}
        return joined


def _is_number(value: object) -> bool:
    if isinstance(value, str | bytes | bool):
        return False
    try:
        return math.isfinite(value if isinstance(value, int | float | Decimal) else float(value))  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        # What else is no number is for whoever reads it to say.
        return isinstance(value, int)


def _ends(name: str, interval: Interval | None) -> dict[str, float | None]:
    low, high = (interval.low, interval.high) if interval else (None, None)
    return {f"{name}_low": low, f"{name}_high": high}


def _beyond(extrapolation: Sequence[Extrapolation]) -> dict[str, float | None]:
    factors = {found.variable: found.factor for found in extrapolation}
    quantities = ("nonzero_params", "sparsity", "data", "compute")
    return {f"{name}_beyond": factors.get(name) for name in quantities}


def _trust(trust: Trust) -> dict[str, str]:
    return {"trust": trust.level, "trust_because": ",".join(trust.because)}


#: Columns that hold no numbers.
_OTHERS = ("interpolated", "binding", "trust", "trust_because")


def optimum_row(result: OptimalSparsityResult, intervals: bool) -> dict[str, Any]:
    """Return a result by the columns that the service's Arrow stream has."""
    return {
        "nonzero_params": result.nonzero_params,
        "compute": result.compute,
        "device_hours": result.budget.device_hours,
        "days": result.budget.days,
        "cost": result.budget.cost,
        "sparsity": result.sparsity,
        **(_ends("sparsity", result.interval) if intervals else {}),
        "loss": result.loss,
        **(_ends("loss", result.loss_interval) if intervals else {}),
        "data": result.data,
        "total_params": result.total_params,
        "dense_loss": None if result.dense is None else result.dense.loss,
        "dense_data": None if result.dense is None else result.dense.data,
        "gain": result.gain,
        "chinchilla_ratio": result.chinchilla_ratio,
        **_beyond(result.extrapolation),
        "interpolated": result.interpolated,
        "binding": ",".join(result.binding),
        **_trust(result.trust),
    }


def prediction_row(result: PredictionResult, intervals: bool) -> dict[str, Any]:
    """Return a result by the columns that the service's Arrow stream has."""
    return {
        "nonzero_params": result.nonzero_params,
        "sparsity": result.sparsity,
        "data": result.data,
        "loss": result.loss,
        **(_ends("loss", result.interval) if intervals else {}),
        **(_ends("new_run", result.prediction_interval) if intervals else {}),
        **_beyond(result.extrapolation),
        "interpolated": result.interpolated,
        **_trust(result.trust),
    }


def answers_frame(rows: list[dict[str, Any]], answer: Predictions | OptimalSparsities) -> pd.DataFrame:
    """Return the answers as a frame, with their law and warnings."""
    import pandas as pd

    frame = pd.DataFrame(rows)
    numbers = [name for name in frame.columns if name not in _OTHERS]
    frame = frame.astype(dict.fromkeys(numbers, "float64"))
    frame.attrs = _attrs(answer.law, answer.warnings)
    return frame


def _attrs(law: LawRef, warnings: Sequence[Noted]) -> dict[Any, Any]:
    # Plain values: pandas compares, copies and writes them, to Parquet as JSON.
    return {"law": law.model_dump(mode="json"), "warnings": [one.model_dump(mode="json") for one in warnings]}


def has_arrow() -> bool:
    """Whether pyarrow is there."""
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        return False
    return True


def arrow_frame(stream: bytes) -> pd.DataFrame:
    """Return the answers of an Arrow stream as a frame, with their law and warnings."""
    import pyarrow as pa

    table = pa.ipc.open_stream(stream).read_all()
    frame: pd.DataFrame = table.to_pandas()
    metadata = table.schema.metadata
    warnings = TypeAdapter(list[Noted]).validate_json(metadata[b"warnings"])
    frame.attrs = _attrs(LawRef.model_validate_json(metadata[b"law"]), warnings)
    return frame


class Events:
    """Puts the lines of a stream of server-sent events together."""

    def __init__(self) -> None:
        """Begin at the begin of a stream."""
        self._kind = ""
        self._data: list[str] = []

    def feed(self, line: str) -> tuple[str, str] | None:
        """Take the next line; return the type and the data of the event that it ends."""
        if line.startswith("event:"):
            self._kind = line.removeprefix("event:").removeprefix(" ")
        elif line.startswith("data:"):
            self._data.append(line.removeprefix("data:").removeprefix(" "))
        elif not line:
            event = (self._kind, "\n".join(self._data)) if self._data else None
            self._kind, self._data = "", []
            return event
        return None
