"""What the API answers, as people want it: rows counted over all batches, and frames."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ._tables import is_missing, pandas_rows, plain
from .errors import ProblemError
from .models import (
    Extrapolation,
    FieldError,
    Interval,
    OptimalSparsityResult,
    PredictionResult,
    Recognised,
    Rejection,
    SubmissionResult,
    Trust,
)

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
    "pattern",
    "tags",
    "exclusion_reason",
)
NUMBERS = ("nonzero_params", "sparsity", "data", "loss", "pretraining_data")


def given(**fields: Any) -> dict[str, Any]:
    """Return the fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def encode(value: object) -> bytes:
    """JSON; infinities and NaN are refused with a ValueError."""
    text = json.dumps(value, allow_nan=False, default=plain, separators=(",", ":"))
    return text.encode()


# Says more of what is wrong with a field of a row: where the row comes from, and what would be right.
Explain = Callable[[int, str, str], str]


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


def shifted_points(error: ProblemError, first: int) -> ProblemError:
    """Return the error of a part of a frame with points counted over the whole frame."""

    def shift(found: FieldError) -> FieldError:
        match found.pointer.split("/"):
            case ["", "points", row, *rest] if row.isdecimal():
                pointer = "/".join(["", "points", str(int(row) + first), *rest])
                return FieldError(pointer=pointer, detail=found.detail)
        return found

    errors = tuple(shift(found) for found in error.errors)
    return ProblemError(error.kind, error.status, error.detail, errors)


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
    import pandas as pd

    rows = [json.loads(line) for line in ndjson.splitlines() if line]
    frame = pd.DataFrame(rows, columns=list(RUN_COLUMNS))
    return frame.astype(dict.fromkeys(NUMBERS, "float64"))


def points(frame: pd.DataFrame, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the points of a frame: of these columns those that it has, without missing values."""
    known = frame[[name for name in names if name in frame.columns]]
    return [
        {name: value for name, value in row.items() if not is_missing(value)} for row in pandas_rows(known)
    ]


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
        "dense_loss": result.dense.loss,
        "dense_data": result.dense.data,
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


def answers_frame(rows: list[dict[str, Any]], index: pd.Index[Any]) -> pd.DataFrame:
    """Return the answers as a frame with the index of the question."""
    import pandas as pd

    frame = pd.DataFrame(rows, index=index)
    numbers = [name for name in frame.columns if name not in _OTHERS]
    return frame.astype(dict.fromkeys(numbers, "float64"))


def has_arrow() -> bool:
    """Whether pyarrow is there."""
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        return False
    return True


def arrow_frame(stream: bytes, index: pd.Index[Any]) -> pd.DataFrame:
    """Return the answers of an Arrow stream as a frame with the index of the question."""
    import pyarrow as pa

    frame: pd.DataFrame = pa.ipc.open_stream(stream).read_all().to_pandas()
    return frame.set_index(index)


class Events:
    """Puts the lines of a stream of server-sent events together."""

    def __init__(self) -> None:
        """Begin at the begin of a stream."""
        self._data: list[str] = []

    def feed(self, line: str) -> str | None:
        """Take the next line; return the data of the event that it ends."""
        if line.startswith("data:"):
            self._data.append(line.removeprefix("data:").removeprefix(" "))
        elif not line and self._data:
            data, self._data = "\n".join(self._data), []
            return data
        return None
