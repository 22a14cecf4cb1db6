"""What all generated models have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, PrivateAttr

from . import _html

# Longer lists are shown by their length.
SHOWN_ITEMS = 4


class _Plain:
    """A text that shows itself without quotes."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


class Model(BaseModel):
    """
    An object of the API: frozen, compared by value.

    Fields of a newer service are ignored. `repr`, and the table that a notebook shows, have what matters in
    the order in which it is read: numbers to six digits, no empty fields, long lists by their length.
    `model_dump()` gives everything.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    # Set by the client that got the answer: what was asked, and the address of the dashboard's page about it.
    _question: Any = PrivateAttr(default=None)
    _page: str | None = PrivateAttr(default=None)

    @property
    def dashboard_url(self) -> str | None:
        """Address of the dashboard's page about it; None where there is none, or nobody asked for it."""
        return self._page

    @classmethod
    def _schema(cls) -> type[Model]:
        """Return the class that the document describes, which clients may have added to."""
        return next(one for one in cls.__mro__ if one.__module__.endswith(".models") or one is Model)

    def __eq__(self, other: object) -> bool:
        """Whether all fields are equal, whoever asked."""
        if not isinstance(other, Model):
            return NotImplemented
        return self._schema() is other._schema() and self.__dict__ == other.__dict__

    def __repr_name__(self) -> str:
        """Return the name that the API has for it."""
        return self._schema().__name__

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """What `repr` shows."""
        for name, value in _html.in_reading_order(self.__dict__):
            if value is None or value == [] or value == {}:
                continue
            if isinstance(value, float):
                yield name, _Plain(f"{value:.6g}")
            elif isinstance(value, list) and len(value) > SHOWN_ITEMS:
                yield name, _Plain(f"<{len(value)} items>")
            else:
                yield name, value

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return _html.table(self.__repr_name__(), self.__dict__, self._page)
