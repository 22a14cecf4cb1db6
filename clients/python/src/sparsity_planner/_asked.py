"""What can be asked, and how it is written; the same for both clients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict
from urllib.parse import quote, urlencode
from uuid import UUID

import httpx

from . import models
from ._rows import given
from .errors import InvalidInputError

# A lower and an upper bound; None leaves one open.
Bounds = tuple[float | None, float | None]

REPEATABLE = frozenset({"GET", "PUT", "PATCH", "DELETE"})
ARROW = "application/vnd.apache.arrow.stream"
# Where the program listens unless told otherwise.
DEFAULT_URL = "http://127.0.0.1:8080"
# How long a service that is there may take to say so.
GREETING_SECONDS = 5.0
# Points that the service takes in one request.
MAX_POINTS = 100_000
# And that are sent at once where some may be wrong: the rest of them is sent again.
POINTS_WITH_ERRORS = 10_000
PAGE = 1000
# The service sends something every 15 seconds, whether a refit has changed or not.
EVENT_SECONDS = 60.0


class RunFilters(TypedDict, total=False):
    """Which runs of a family; all bounds are inclusive."""

    min_nonzero_params: float
    max_nonzero_params: float
    min_sparsity: float
    max_sparsity: float
    min_data: float
    max_data: float
    min_loss: float
    max_loss: float
    pattern: str
    start: Literal["scratch", "pretrained"]
    excluded: bool
    external_id: str
    tags: Mapping[str, str]


class RefitOptions(TypedDict, total=False):
    """Options of a refit; docs/fit.md says what they do."""

    starts: int
    bootstrap: int
    seed: int
    confidence: float
    objective: Mapping[str, Any]
    delta: float | Literal["auto"]
    constraint: Literal["physical"]
    fixed: Mapping[str, float]
    holdout: Sequence[str]
    weights: Sequence[Mapping[str, Any]]
    without: Sequence[str]
    cluster: str
    form: Literal["sparse", "dense", "levels", "average_params", "experts"]
    levels: str
    forms: Literal["all"]
    gain: Mapping[str, Any]
    reproduces: int


class Reading(TypedDict, total=False):
    """
    What the columns of a table mean, where they are not the fields of a run; docs/uploads.md has them all.

    Texts are as the service takes them. Several names of columns may be a list, and mappings a dictionary:
    `map={"data": "steps * 1024", "sparsity": 0}`, `id=["run", "seed"]`.
    """

    source: str
    map: Mapping[str, object] | Sequence[str]
    id: str | Sequence[str]
    where: str
    keep: str
    scale: str | Mapping[str, float]
    sparsity_unit: Literal["fraction", "percent"]
    tag_columns: str | Sequence[str]
    null: str | Sequence[str]
    absent: Literal["keep", "clear"]
    mapping: str


def reading_query(reading: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a query that say what columns mean."""
    params: dict[str, Any] = {}
    for name, value in reading.items():
        if value is None:
            continue
        if name == "map":
            if isinstance(value, str):
                value = [value]
            params[name] = Repeated(
                [f"{field}:{text}" for field, text in value.items()] if isinstance(value, Mapping) else value
            )
        elif name in ("id", "tag_columns") and not isinstance(value, str):
            params[name] = ",".join(f"`{column}`" for column in value)
        else:
            params[name] = value
    return params


def naming_columns(reading: Mapping[str, Any]) -> frozenset[str]:
    """Return the columns that name runs."""
    id = reading.get("id") or ()
    columns = id.split(",") if isinstance(id, str) else id
    return frozenset(["external_id", *(column.strip().strip("`") for column in columns)])


class Repeated(list[str]):
    """A parameter that stands in the query once for each of its values."""


def query(fields: Mapping[str, Any]) -> dict[str, str | list[str]]:
    """Return the parameters of a query, without those that are None."""
    texts: dict[str, str | list[str]] = {}
    for name, value in fields.items():
        if value is None:
            continue
        if isinstance(value, Repeated):
            texts[name] = value
            continue
        if isinstance(value, bool):
            texts[name] = "true" if value else "false"
        elif isinstance(value, Mapping):
            texts[name] = ",".join(f"{key}:{one}" for key, one in value.items())
        elif isinstance(value, list | tuple):
            texts[name] = ",".join(str(one) for one in value)
        else:
            texts[name] = str(value)
    return texts


def bounds(pair: Bounds | None) -> dict[str, float] | None:
    """Return a pair of bounds as the API takes it."""
    return None if pair is None else given(min=pair[0], max=pair[1])


# A run: its submitter's name, its id here, or itself.
AnyRun = str | UUID | models.Run
PictureFormat = Literal["svg", "png"]
Theme = Literal["light", "dark"]


def run_path(run: AnyRun) -> str:
    """Return the path of a run below `runs`; a text is its `external_id`."""
    if isinstance(run, models.Run):
        run = run.id
    return str(run) if isinstance(run, UUID) else f"by-external-id/{quote(run, safe='')}"


def page(url: str, **params: object) -> str:
    """Return the address of a page of the dashboard."""
    return f"{url}/?{urlencode({name: value for name, value in params.items() if value is not None})}"


@dataclass(frozen=True)
class Question:
    """What was asked, and of whom: to draw the answer."""

    planner: Any
    path: str
    params: Mapping[str, Any]

    def __deepcopy__(self, memo: object) -> Question:
        """Return itself: a client with its connections is not copied with an answer."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave nothing in a pickle, which may be read where there is no such client."""
        return _forgotten, ()


def _forgotten() -> None:
    return None


def picture_format(path: Path) -> PictureFormat:
    """Return the format that a name of a file says."""
    match path.suffix.lower():
        case ".svg":
            return "svg"
        case ".png":
            return "png"
    raise InvalidInputError(f"pictures are SVG or PNG: end the name with .svg or .png, not {path.name}")


class RefusedStreamError(Exception):
    """A stream was answered with something else than a success."""

    def __init__(self, response: httpx.Response) -> None:
        """Keep the answer, read to its end."""
        self.response = response
