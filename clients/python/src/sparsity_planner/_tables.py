"""Tables of runs, whatever library they are of, to the lines that are sent."""

from __future__ import annotations

import dataclasses
import json
import math
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from itertools import islice
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from pydantic import BaseModel

from .errors import InputTypeError, InvalidInputError, MissingPackageError

if TYPE_CHECKING:
    import pandas as pd

# Smaller bodies are not worth compressing.
COMPRESSED_FROM = 64 * 1024
# Rows of an Arrow table that are Python objects at once.
ARROW_ROWS = 10_000
# What names a run is a text, also where a table has a number.
NAME = "external_id"
# Whole numbers that readers of JSON keep.
SMALLEST, LARGEST = -(2**63), 2**64 - 1

# Says more of what is wrong with a field of a row: where the row comes from, and what would be right.
Explain = Callable[[int, str, str], str]


class ArrowStream(Protocol):
    """Whatever hands out Arrow data: tables of pyarrow, polars, DuckDB and others."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return the stream."""


def is_pandas(value: object) -> bool:
    """Whether it is a pandas frame; does not import pandas."""
    # In this order: polars warns whoever asks a lazy frame for its columns.
    return hasattr(value, "iloc") and hasattr(value, "columns")


def rows_of(table: Any) -> Iterator[Mapping[str, Any]]:
    """
    Yield the rows of a table: a frame of pandas or polars, Arrow data, or an iterable of rows.

    Raises `InvalidInputError` for two columns of one name, of which a row can have only one, and
    `InputTypeError` for what is no table.
    """
    if is_pandas(table):
        return pandas_rows(table)
    if _is_of(table, "polars") and hasattr(table, "collect"):
        table = table.collect()
    if _is_of(table, "polars") and hasattr(table, "iter_rows"):
        return iter(table.iter_rows(named=True))
    if hasattr(table, "__arrow_c_stream__") or _is_of(table, "pyarrow"):
        return _arrow_rows(table)
    if isinstance(table, str | bytes | PurePath | Mapping | BaseModel) or not isinstance(table, Iterable):
        raise InputTypeError(
            f"{type(table).__name__} is no table of runs: give a frame of pandas or polars, Arrow data, or "
            "an iterable of mappings. One run is for log_run, files of trackers are for trackers.read"
        )
    return map(_row, table)


def _is_of(value: object, package: str) -> bool:
    return type(value).__module__.split(".")[0] == package


def _row(value: Any) -> Mapping[str, Any]:
    """Return a row as a mapping: of a data class its fields, of a model of this package its own."""
    if isinstance(value, Mapping):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, BaseModel):
        return value.model_dump()
    if hasattr(value, "_asdict"):  # a named tuple
        fields: Mapping[str, Any] = value._asdict()
        return fields
    raise InputTypeError(f"a row is a mapping, a data class or a named tuple, not {type(value).__name__}")


def _check_names(names: Sequence[str]) -> None:
    twice = sorted(name for name, columns in Counter(names).items() if columns > 1)
    if twice:
        raise InvalidInputError(
            f"two columns have the same name, and a run has one value of each: {', '.join(twice)}"
        )


def pandas_rows(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Return the rows of a frame; an index named `external_id` is a column too."""
    names = [str(name) for name in frame.columns]
    if frame.index.name == NAME:
        _check_names([NAME, *names])
        frame = frame.reset_index()
        names = [NAME, *names]
    _check_names(names)
    columns = frame.itertuples(index=False, name=None)
    return (dict(zip(names, row, strict=True)) for row in columns)


def explained(table: Any) -> Explain | None:
    """Return what says where a row of a frame is, by its index, and that a value of it is NaN."""
    if not is_pandas(table):
        return None
    index = table.index
    counts = type(index).__name__ == "RangeIndex" and (index.start, index.step) == (0, 1)

    def explain(row: int, name: str, detail: str) -> str:
        if row >= len(table):
            return ""
        label = index[row]
        parts = [] if counts else [f"index {label!r}" if isinstance(label, str) else f"index {label}"]
        if name in table.columns and detail.startswith("must be given"):
            value = table[name].iloc[row]
            missing = "NaN" if isinstance(value, float) else value
            parts += [f"the frame has {missing}"] if is_missing(value) else []
        return f" ({', '.join(parts)})" if parts else ""

    return explain


def _arrow_rows(table: Any) -> Iterator[dict[str, Any]]:
    try:
        import pyarrow as pa
    except ImportError as error:
        needed = f"{type(table).__name__} is Arrow data, which needs pyarrow: install it"
        raise MissingPackageError(needed) from error
    if hasattr(table, "__arrow_c_stream__"):
        reader = pa.RecordBatchReader.from_stream(table)
        schema, batches = reader.schema, reader
    else:
        schema, batches = table.schema, [table]
    _check_names(schema.names)

    def rows() -> Iterator[dict[str, Any]]:
        for batch in batches:
            for start in range(0, batch.num_rows, ARROW_ROWS):
                yield from batch.slice(start, ARROW_ROWS).to_pylist()

    return rows()


def is_missing(value: object) -> bool:
    """Whether it stands for no value: None, NaN, and what pandas has for them."""
    # NaN and NaT differ from themselves; NA answers neither yes nor no.
    return (
        value is None
        or (isinstance(value, float) and math.isnan(value))
        or (isinstance(value, Decimal) and value.is_nan())
        or type(value).__name__ in ("NAType", "NaTType")
    )


def plain(value: Any) -> Any:
    """Turn what JSON does not know into what it knows, without a change of value."""
    if isinstance(value, Decimal):
        whole = value.is_finite() and value == value.to_integral_value()
        return int(value) if whole else float(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, UUID | PurePath):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, set | frozenset):
        return list(value)
    if hasattr(value, "keys") and hasattr(value, "items"):
        return dict(value.items())
    if isinstance(value, BaseModel) or dataclasses.is_dataclass(value):
        return _row(value)
    if hasattr(value, "tolist"):  # NumPy's scalars and arrays
        return value.tolist()
    raise TypeError(f"a value of type {type(value).__name__} cannot be sent")


def text(value: Any) -> str:
    """Write the name of a run, or a tag: of whole numbers every digit."""
    if isinstance(value, str):
        return value
    if isinstance(value, Decimal):
        return f"{value:f}"
    value = value if isinstance(value, int | float | bool) else plain(value)
    return value if isinstance(value, str) else str(value)


def tags_of(value: Any) -> Any:
    """
    Return tags as an object of texts: of a mapping, of an Arrow map, or of the object as JSON in a text.

    The last is how CSV and Parquet have them. What is none of these goes as it is, to be refused by row.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return value
    if hasattr(value, "tolist") and not isinstance(value, Mapping):
        value = value.tolist()
    if isinstance(value, list):
        # An Arrow map is a list of pairs; polars reads it as a list of structs.
        pairs = [(one.get("key"), one.get("value")) if isinstance(one, Mapping) else one for one in value]
        if not all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
            return value
        if len({key for key, _ in pairs}) < len(pairs):
            return value
        value = dict(pairs)
    if not isinstance(value, Mapping):
        return value
    return {str(key): text(tag) for key, tag in value.items() if not is_missing(tag)}


def submitted(
    run: Mapping[str, Any], *, keep_nan: bool = False, names: Collection[str] = (NAME,)
) -> dict[str, Any]:
    """Return a run as it is sent: names and tags as texts, missing values as null, all else as it is."""
    # Frames write NaN where they have nothing; of a tracker it is what the run came to.
    row: dict[str, Any] = {}
    for key, value in run.items():
        name = str(key)
        try:
            if name in names and isinstance(value, date | time) and not is_missing(value):
                raise TypeError(
                    f"{value} is a {type(value).__name__}, and names runs: texts such as 3-7-11 and 16:32 "
                    "become that where a table is read without types; read the column as text"
                )
            if is_missing(value) and not (keep_nan and isinstance(value, float)):
                row[name] = None
            elif name == "tags":
                row[name] = tags_of(value)
            elif name.startswith("tags.") or (name == NAME and not isinstance(value, bool | float)):
                row[name] = text(value)
            else:
                row[name] = _kept(value)
        except (TypeError, UnicodeDecodeError) as error:
            raise TypeError(f"{name}: {error}") from None
    return row


def _kept(value: Any) -> Any:
    """Return a value, and as a text a whole number that would lose digits as a number."""
    if not isinstance(value, str | int | float | list | dict):
        value = plain(value)
    large = isinstance(value, int) and not SMALLEST <= value <= LARGEST
    return str(value) if large else value


def encode(run: Mapping[str, Any], *, keep_nan: bool = False, names: Collection[str] = (NAME,)) -> bytes:
    """JSON, with infinities as Python writes them: the service says which field of which row has one."""
    return json.dumps(
        submitted(run, keep_nan=keep_nan, names=names), default=plain, separators=(",", ":")
    ).encode()


def bodies(
    rows: Iterable[Mapping[str, Any]],
    size: int | None,
    *,
    keep_nan: bool = False,
    names: Collection[str] = (NAME,),
) -> Iterator[tuple[int, bytes, dict[str, str]]]:
    """
    Yield NDJSON of so many rows each, or of all: the number of the first row, the body, its headers.

    What is not small is compressed while the rows come, so that they are nowhere in memory as a whole.
    """
    if size is not None and size < 1:
        raise InvalidInputError("a batch has at least one row")
    first, left = 0, iter(rows)
    while True:
        body, following = _Body(), first
        for following, run in enumerate(islice(left, size), first + 1):
            try:
                body.add(encode(run, keep_nan=keep_nan, names=names))
            except TypeError as error:
                raise InputTypeError(f"row {following - 1}: {error}") from error
            except ValueError as error:
                raise InvalidInputError(f"row {following - 1}: {error}") from error
        if following == first:
            return
        yield first, *body.finished()
        first = following


class _Body:
    """Lines on their way into a body, compressed from some size on."""

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._packed = bytearray()
        # 31: with the header and the checksum of gzip.
        self._compressor = zlib.compressobj(level=1, wbits=31)
        self._is_large = False

    def add(self, line: bytes) -> None:
        self._waiting += line
        self._waiting += b"\n"
        if len(self._waiting) >= COMPRESSED_FROM:
            self._is_large = True
            self._packed += self._compressor.compress(self._waiting)
            self._waiting.clear()

    def finished(self) -> tuple[bytes, dict[str, str]]:
        headers = {"content-type": "application/x-ndjson"}
        if not self._is_large:
            return bytes(self._waiting), headers
        self._packed += self._compressor.compress(self._waiting) + self._compressor.flush()
        return bytes(self._packed), {**headers, "content-encoding": "gzip"}
