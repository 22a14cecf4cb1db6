"""Answers as tables that are read from the top, for notebooks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any

# Fields that are read before all others, in this order. Documents have them by the alphabet.
FIRST = (
    "external_id",
    "name",
    "version",
    "outcome",
    "state",
    "phase",
    "progress",
    "optimum",
    "sparsity",
    "min",
    "max",
    "low",
    "value",
    "high",
    "level",
    "pattern",
    "loss",
    "prediction_interval",
    "gain",
    "chinchilla_ratio",
    "nonzero_params",
    "total_params",
    "dense_params",
    "data",
    "compute",
    "dense",
    "intervals",
    "created",
    "updated",
    "unchanged",
    "errors",
    "coefficient",
    "coefficients",
    "a_s",
    "b_s",
    "c_s",
    "b_n",
    "a_d",
    "b_d",
    "c",
)
# And those that are read after all others.
LAST = ("error", "trust", "law", "active_law", "extrapolation", "warnings")
# What is for those who look closer.
ASIDE = frozenset(["diagnostics", "options", "pruning", "objective", "recognised", "information", "assumed"])
# What only programs want: `repr` and `model_dump()` have it.
UNSHOWN = frozenset(["id", "run_id", "data_digest", "next_cursor", "request_id"])
# Rows of a list that are shown; the others are counted.
SHOWN_ROWS = 12
RANKS = {
    **{name: place for place, name in enumerate(FIRST, -len(FIRST))},
    **{name: place for place, name in enumerate(LAST, 1)},
}


def in_reading_order(fields: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return fields as they are read: the answer, its interval, the rest, trust, the law, warnings."""
    ranks = {**RANKS, "interval": RANKS.get(_about(fields), 0) + 0.5}
    return sorted(fields.items(), key=lambda field: ranks.get(field[0], 0))


def _about(fields: Mapping[str, Any]) -> str:
    """Return the number that a field `interval` is of."""
    if "value" in fields:
        return "value"
    if "best_measured_level" in fields or "loss_interval" in fields:
        return "sparsity"
    if "loss" in fields:
        return "loss"
    return "gain" if "gain" in fields else "chinchilla_ratio"


def table(title: str, fields: Mapping[str, Any], page: str | None) -> str:
    """Return an object of the API as a table with a row for each field."""
    words = " ".join(re.findall(r"[A-Z][a-z]*", title)).capitalize()
    link = f' · <a href="{escape(page)}" target="_blank" rel="noopener">dashboard</a>' if page else ""
    caption = f'<caption style="text-align:left"><b>{escape(words)}</b>{link}</caption>'
    return f"<table>{caption}{_rows(fields)}</table>"


def number(value: float) -> str:
    """Return a number to six digits."""
    return f"{value:.6g}"


def _rows(fields: Mapping[str, Any]) -> str:
    aside = {name: value for name, value in fields.items() if _is_aside(name, value)}
    shown = "".join(
        f'<tr><th style="text-align:left">{escape(name.replace("_", " "))}</th>'
        f'<td style="text-align:left">{text}</td></tr>'
        for name, text in _cells({name: value for name, value in fields.items() if name not in aside})
    )
    for name, value in aside.items():
        inner = _value(name, value)
        shown += (
            f'<tr><td colspan="2" style="text-align:left"><details><summary>{escape(name)}</summary>'
            f"{inner}</details></td></tr>"
        )
    return shown


def _is_aside(name: str, value: object) -> bool:
    # Two laws that are compared are `a` and `b`, and so are their numbers.
    return not _is_empty(value) and (name in ASIDE or (name in ("a", "b") and _is_model(value)))


def _is_empty(value: object) -> bool:
    return value is None or value == [] or value == {}


def _cells(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each field; an interval stands beside what it is of."""
    intervals = dict(_intervals(fields))
    for name, value in in_reading_order(fields):
        if _is_empty(value) or name in UNSHOWN or name in intervals.values():
            continue
        if name == "intervals" and _is_model(value):
            # Each stands beside its number, but for those of numbers that are not there.
            rest = {part: one for part, one in _fields(value).items() if _is_empty(fields.get(part))}
            rest = {} if "coefficients" in fields else rest
            yield from (
                (part.replace("dense_loss", "loss of the dense model"), _value(part, one))
                for part, one in rest.items()
                if not _is_empty(one)
            )
            continue
        if name == "coefficients" and _is_model(value):
            yield name, _coefficients(value, fields.get("intervals"))
            continue
        text = _value(name, value)
        if name in intervals and not _is_empty(fields[intervals[name]]):
            text += f" {_interval(fields[intervals[name]])}"
        elif _is_model(fields.get("intervals")) and isinstance(value, float):
            inner = _fields(fields["intervals"]).get(name)
            text += f" {_interval(inner)}" if inner is not None else ""
        yield name, text


def _intervals(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield names of numbers, and of the fields with their intervals."""
    for name, value in fields.items():
        if not _is_interval(value):
            continue
        of = name.removesuffix("_interval")
        if name == "interval":
            of = _about(fields)
        if isinstance(fields.get(of), float):
            yield of, name


def _is_model(value: object) -> bool:
    return hasattr(type(value), "model_fields")


def _fields(value: Any) -> dict[str, Any]:
    fields: dict[str, Any] = value.__dict__
    return fields


def _is_interval(value: object) -> bool:
    return _is_model(value) and {"low", "high", "level"} <= _fields(value).keys()


def _interval(value: Any) -> str:
    return f"({number(value.low)} to {number(value.high)}, {100 * value.level:g} %)"


def _coefficients(value: Any, intervals: Any) -> str:
    inside = _fields(intervals) if intervals is not None else {}
    rows = [
        {
            "": name,
            "value": one,
            "low": getattr(inside.get(name), "low", None),
            "high": getattr(inside.get(name), "high", None),
        }
        for name, one in in_reading_order(_fields(value))
    ]
    return _list(rows)


def _value(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if _is_interval(value):
        return _interval(value)
    if _is_model(value):
        return _model(name, value)
    if isinstance(value, Mapping):
        return escape(", ".join(f"{key}: {_plain(one)}" for key, one in value.items()))
    if isinstance(value, list | tuple):
        return _items(name, value)
    return escape(str(value))


def _plain(value: object) -> str:
    return number(value) if isinstance(value, float) else str(value)


def _model(name: str, value: Any) -> str:
    fields = _fields(value)
    if {"level", "because"} <= fields.keys():
        because = f": {', '.join(value.because)}" if value.because else ""
        return escape(f"{value.level}{because}")
    if name in ("law", "active_law") and "source" in fields:
        how = "fitted" if value.source == "fit" else "published"
        return escape(f"version {value.version}, {how} {value.fitted_at:%Y-%m-%d %H:%M}")
    if "value" in fields:
        return number(value.value) + (f" {_interval(value.interval)}" if value.interval else "")
    parts = [(part, one) for part, one in _cells(fields) if one]
    if any("<table" in one for _, one in parts):
        return f"<table>{_rows(fields)}</table>"
    return ", ".join(f"{escape(part.replace('_', ' '))} {one}" for part, one in parts)


def _items(name: str, values: Sequence[Any]) -> str:
    if name == "warnings":
        lines = (f"<li><b>{escape(one.code)}</b> {escape(one.detail)}</li>" for one in values)
        return f'<ul style="margin:0;padding-left:1em">{"".join(lines)}</ul>'
    if name == "extrapolation":
        return "<br/>".join(
            escape(f"{one.variable} is {number(one.factor)} times {one.side} the runs ({number(one.limit)})")
            for one in values
        )
    if all(_is_model(one) for one in values):
        return _list([dict(in_reading_order(_fields(one))) for one in values])
    if all(isinstance(one, list | tuple) for one in values):
        return f"{len(values)} rows" if name == "matrix" else f"{len(values)} points"
    texts = [_plain(one) for one in values]
    more = f" and {len(texts) - SHOWN_ROWS} more" if len(texts) > SHOWN_ROWS else ""
    return escape(", ".join(texts[:SHOWN_ROWS]) + more)


def _list(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a table with a row for each of the first, and with the columns in which one has something."""
    names = [
        name for name in rows[0] if name not in UNSHOWN and any(not _is_empty(row.get(name)) for row in rows)
    ]
    head = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in names)
    body = "".join(_line(_shown(name, row.get(name)) for name in names) for row in rows[:SHOWN_ROWS])
    left = len(rows) - SHOWN_ROWS
    more = f'<tr><td colspan="{len(names)}">… and {left} more</td></tr>' if left > 0 else ""
    return f"<table><tr>{head}</tr>{body}{more}</table>"


def _line(cells: Iterable[str]) -> str:
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _shown(name: str, value: Any) -> str:
    if _is_empty(value):
        return ""
    if isinstance(value, list) and len(value) > SHOWN_ROWS:
        return f"{len(value)} items"
    return _value(name, value)
