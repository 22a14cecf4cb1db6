"""Tables of all libraries go in through one door, and what comes out goes in again unchanged."""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Callable, Iterator
from datetime import time
from decimal import Decimal
from typing import Any, NamedTuple

import httpx
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sparsity_planner import Family, Planner, ProblemError, _tables

RUN = {"nonzero_params": 2e7, "sparsity": 0.5, "data": 2e10, "loss": 2.5}
ROWS: list[dict[str, Any]] = [
    {**RUN, "external_id": "a", "pattern": None, "tags": {"seed": "1"}, "pretraining_data": None},
    {**RUN, "external_id": "b", "pattern": "2:4", "tags": {}, "pretraining_data": 1e9, "start": "pretrained"},
]
SCHEMA = pa.schema(
    [
        ("external_id", pa.string()),
        ("nonzero_params", pa.float64()),
        ("sparsity", pa.float64()),
        ("data", pa.float64()),
        ("loss", pa.float64()),
        ("start", pa.string()),
        ("pretraining_data", pa.float64()),
        ("pattern", pa.string()),
        ("tags", pa.map_(pa.string(), pa.string())),
    ]
)


def arrow_rows() -> list[dict[str, Any]]:
    return [{**row, "tags": list(row["tags"].items())} for row in ROWS]


def arrow_table() -> pa.Table:
    return pa.Table.from_pylist(arrow_rows(), schema=SCHEMA)


def structs() -> list[dict[str, Any]]:
    return [{**row, "tags": {"seed": row["tags"].get("seed")}} for row in ROWS]


class Run(NamedTuple):
    external_id: str
    nonzero_params: float
    sparsity: float
    data: float
    loss: float
    pretraining_data: float | None
    start: str | None
    pattern: str | None
    tags: dict[str, str]


RunClass = dataclasses.make_dataclass("RunClass", Run._fields)


def tuples() -> list[Run]:
    return [Run(**{"start": None, **row}) for row in ROWS]


class Capsule:
    """What DuckDB's relations and others are: something that hands out Arrow data."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return arrow_table().__arrow_c_stream__(requested_schema)


TABLES: dict[str, Callable[[], Any]] = {
    "pandas": lambda: pd.DataFrame(ROWS),
    "pandas with its own types": lambda: pd.DataFrame(ROWS).convert_dtypes(),
    "pandas of Arrow": lambda: arrow_table().to_pandas(types_mapper=pd.ArrowDtype),
    "pandas of Arrow by NumPy": lambda: arrow_table().to_pandas(),
    "polars": lambda: pl.DataFrame(arrow_table()),
    "polars, lazy": lambda: pl.DataFrame(arrow_table()).lazy(),
    "polars with structs": lambda: pl.DataFrame(structs()),
    "an Arrow table": arrow_table,
    "an Arrow batch": lambda: pa.RecordBatch.from_pylist(arrow_rows(), schema=SCHEMA),
    "an Arrow reader": lambda: arrow_table().to_reader(),
    "an Arrow capsule": Capsule,
    "mappings": lambda: ROWS,
    "a generator": lambda: (row for row in ROWS),
    "named tuples": tuples,
    "data classes": lambda: [RunClass(*one) for one in tuples()],
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())
def test_every_table_gives_the_same_runs(family: Family, table: Callable[[], Any]) -> None:
    assert family.log_runs(ROWS).created == 2
    again = family.log_runs(table())
    assert (again.unchanged, again.updated, again.errors) == (2, 0, 0), again


# pandas 2 rounds the last bit of many numbers unless told not to, and pandas 3 cannot be told.
EXACT: dict[str, Any] = {"float_precision": "round_trip"} if pd.__version__ < "3" else {}
EXPORTS: dict[str, tuple[str, Callable[[bytes], Any]]] = {
    "pandas of CSV": (
        "text/csv",
        lambda body: pd.read_csv(io.BytesIO(body), dtype={"external_id": str}, **EXACT),
    ),
    "polars of CSV": (
        "text/csv",
        lambda body: pl.read_csv(body, schema_overrides={"external_id": pl.String, "pattern": pl.String}),
    ),
    "pandas of Parquet": ("application/vnd.apache.parquet", lambda body: pd.read_parquet(io.BytesIO(body))),
    "polars of Parquet": ("application/vnd.apache.parquet", pl.read_parquet),
    "pyarrow of Parquet": (
        "application/vnd.apache.parquet",
        lambda body: pq.read_table(pa.BufferReader(body)),
    ),
    "pandas of NDJSON": (
        "application/x-ndjson",
        lambda body: pd.read_json(
            io.BytesIO(body), lines=True, dtype={"external_id": str}, precise_float=True
        ),
    ),
    "polars of NDJSON": ("application/x-ndjson", lambda body: pl.read_ndjson(body, infer_schema_length=None)),
}


@pytest.mark.parametrize(("accept", "read"), EXPORTS.values(), ids=EXPORTS.keys())
def test_what_the_service_exports_goes_in_unchanged(
    family: Family, url: str, accept: str, read: Callable[[bytes], Any]
) -> None:
    runs = [
        {**RUN, "external_id": "3-7-11", "pattern": "16:32", "loss": 0.1 + 0.2, "tags": {"seed": "01"}},
        {**RUN, "external_id": "007", "exclusion_reason": "diverged", "loss": 2.3456789012345678},
        {**RUN, "external_id": "9007199254740993", "start": "pretrained", "pretraining_data": 1e9},
    ]
    assert family.log_runs(runs).created == 3
    response = httpx.get(f"{url}/v1/families/{family.name}/runs", headers={"accept": accept})
    again = family.log_runs(read(response.read()))
    assert (again.unchanged, again.updated, again.created) == (3, 0, 0), again


def test_runs_of_another_family_go_in_as_they_are(planner: Planner, family: Family) -> None:
    demo = planner.family("demo")
    assert family.log_runs(demo.runs()).created == 48
    assert family.log_runs(demo.runs_frame()).unchanged == 48


def test_two_columns_of_one_name_are_refused(family: Family) -> None:
    frame = pd.DataFrame([[1.0, 2.0]], columns=["loss", "loss"])
    schema = pa.schema([("loss", pa.float64()), ("loss", pa.float64())])
    table = pa.Table.from_arrays([pa.array([1.0]), pa.array([2.0])], schema=schema)
    named = pd.DataFrame({"external_id": ["a"]}, index=pd.Index(["a"], name="external_id"))
    for twice in (frame, table, table.to_batches()[0]):
        with pytest.raises(ValueError, match=r"two columns have the same name.*: loss"):
            family.log_runs(twice)
    with pytest.raises(ValueError, match=r"two columns have the same name.*: external_id"):
        family.log_runs(named)


IDS: dict[str, Callable[[], Any]] = {
    "Python": lambda: 9007199254740993,
    "NumPy": lambda: np.uint64(9007199254740993),
    "Decimal": lambda: Decimal("9007199254740993"),
}


@pytest.mark.parametrize("number", IDS.values(), ids=IDS.keys())
def test_whole_numbers_keep_their_digits(family: Family, number: Callable[[], Any]) -> None:
    stored = family.log_runs(
        [{**RUN, "external_id": number(), "tags": {"id": number()}, "tags.other": number()}]
    )
    assert stored.created == 1
    (run,) = family.runs()
    assert (run.external_id, run.tags) == (
        "9007199254740993",
        dict.fromkeys(("id", "other"), "9007199254740993"),
    )


def test_larger_numbers_than_json_readers_keep_stay_apart(family: Family) -> None:
    ids = pa.array([Decimal(2**70), Decimal(2**70 + 1)], pa.decimal128(38, 0))
    columns = {name: pa.array([value, value]) for name, value in RUN.items()}
    stored = family.log_runs(pa.table({"hash": ids, **columns}), id=["hash"], tag_columns=["hash"])
    assert stored.created == 2
    found = {run.external_id: run.tags for run in family.runs()}
    assert found == {str(2**70 + one): {"hash": str(2**70 + one)} for one in (0, 1)}


def test_decimals_are_numbers(family: Family) -> None:
    run = {name: Decimal(str(value)) for name, value in RUN.items()}
    assert family.log_runs([{**run, "external_id": "a"}]).created == 1
    assert family.log_runs([{**RUN, "external_id": "a"}]).unchanged == 1


def test_questions_come_as_any_table(planner: Planner) -> None:
    demo = planner.family("demo")
    points = [
        {"nonzero_params": 1e8, "sparsity": 0.5, "data": 1e10, "compute": None},
        {"nonzero_params": 1e7, "sparsity": 0.5, "data": None, "compute": 1e19},
    ]
    asked = demo.predictions(points, flop_mode="sparse")
    frame = pl.DataFrame(points)
    tables: list[Any] = [frame, frame.lazy(), frame.to_arrow(), iter(points)]
    for same in tables:
        assert demo.predictions(same, flop_mode="sparse") == asked
    assert demo.predictions(pd.DataFrame(points), flop_mode="sparse")["loss"].tolist() == [
        one.loss for one in asked.results
    ]
    with pytest.raises(ValueError, match=r"points\[1\]\.data is nan"):
        demo.predictions(frame.with_columns(data=pl.Series([1e10, math.nan])))
    with pytest.raises(TypeError, match="is no table"):
        demo.optimal_sparsities(3)  # type: ignore[call-overload]


WRONG = [math.inf, -math.inf, math.nan, None, pd.NA, Decimal("NaN"), np.float32("inf"), "high"]


@pytest.mark.parametrize("loss", WRONG, ids=str)
def test_a_row_without_a_loss_is_that_row_s_fault(family: Family, loss: Any) -> None:
    rows = [{**RUN, "external_id": "a"}, {**RUN, "external_id": "b", "loss": loss}]
    with pytest.raises(ProblemError) as caught:
        family.log_runs(rows)
    assert [error.pointer for error in caught.value.errors] == ["/1/loss"]
    skipped = family.log_runs(rows, on_error="skip")
    assert (skipped.created, [one.row for one in skipped.rejected]) == (1, [1])


def test_nan_is_no_value_in_every_library(family: Family) -> None:
    frame = pl.DataFrame(
        {
            **{name: [value] * 3 for name, value in RUN.items()},
            "external_id": ["a", "b", "c"],
            "pretraining_data": [None, math.nan, None],
            "unique_data": [1e10, None, math.nan],
        }
    )
    assert family.log_runs(frame).created == 3
    for again in (frame.to_arrow(), frame.to_pandas(), frame.to_dicts()):
        assert family.log_runs(again).unchanged == 3


def test_what_no_json_knows_is_named_by_row_and_column(family: Family) -> None:
    with pytest.raises(TypeError, match="row 1: loss: a value of type object cannot be sent"):
        family.log_runs([{**RUN, "external_id": "a"}, {**RUN, "external_id": "b", "loss": object()}])
    with pytest.raises(TypeError, match="a row is a mapping"):
        family.log_runs([3])
    for wrong in (RUN, "runs.csv", 3):
        with pytest.raises(TypeError, match="is no table of runs"):
            family.log_runs(wrong)  # type: ignore[arg-type]


def test_a_name_that_became_a_date_is_refused(family: Family) -> None:
    table = pd.DataFrame({**RUN, "external_id": pd.to_datetime(["2011-03-07"]), "at": [time(16, 32)]})
    with pytest.raises(TypeError, match=r"row 0: external_id: 2011-03-07 .* is a Timestamp, and names runs"):
        family.log_runs(table)
    with pytest.raises(TypeError, match=r"row 0: at: 16:32:00 is a time, and names runs"):
        family.log_runs(table.drop(columns="external_id"), id=["at"])
    # As a tag it is a text like others.
    assert family.log_runs(table.assign(external_id="a"), tag_columns=["at"]).created == 1
    assert [run.tags for run in family.runs()] == [{"at": "16:32:00"}]


def test_what_columns_mean_is_said_to_the_service(family: Family) -> None:
    table = pd.DataFrame(
        {
            "run": ["x", "x", "y"],
            "seed": [1, 1, 2],
            "step": [1, 2, 2],
            "State": ["ok", "ok", "crashed"],
            "dense": [1e7, 1e7, 1e7],
            "eval/loss": [3.0, 2.5, 2.6],
            "team, all": ["a", "a", "b"],
        }
    )
    reading: dict[str, Any] = {
        "map": {"nonzero_params": "dense", "sparsity": 0, "data": "step*1e9", "loss": "`eval/loss`"},
        "id": ["run", "seed"],
        "keep": "last:step",
        "where": 'State == "ok"',
        "tag_columns": ["team, all"],
    }
    tried = family.log_runs(table, dry_run=True, batch_size=1, **reading)
    assert tried.preview
    assert (tried.created, list(family.runs())) == (1, [])
    stored = family.log_runs(table, batch_size=1, **reading)
    assert stored.left_out["where"] == 1
    (run,) = family.runs()
    assert (run.external_id, run.loss, run.data, run.tags) == ("x:1", 2.5, 2e9, {"team, all": "a"})
    with pytest.raises(ProblemError, match="there is no column lost"):
        family.log_runs(table, map=["loss:lost"])


def test_a_column_that_only_later_rows_have_is_there(family: Family) -> None:
    rows: Iterator[dict[str, Any]] = (
        {**RUN, "external_id": str(i), **({"team": "b"} if i > 5 else {})} for i in range(9)
    )
    assert family.log_runs(rows, batch_size=2, tag_columns=["team"]).created == 9


def test_a_large_table_is_compressed_as_it_is_read() -> None:
    rows = [{**RUN, "external_id": f"{i:040}"} for i in range(3000)]
    ((first, body, headers),) = _tables.bodies(rows, None)
    assert (first, headers["content-encoding"]) == (0, "gzip")
    small = [number for number, _, headers in _tables.bodies(rows, 100) if "content-encoding" not in headers]
    assert small == list(range(0, 3000, 100))
    assert len(body) < _tables.COMPRESSED_FROM
