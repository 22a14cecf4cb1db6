"""What all generated models have in common."""

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict

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

    Fields of a newer service are ignored. `repr` shows what matters: numbers to six digits, no empty
    fields, long lists by their length. `model_dump()` gives everything.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """What `repr` shows."""
        for name, value in super().__repr_args__():
            if value is None or value == [] or value == {}:
                continue
            if isinstance(value, float):
                yield name, _Plain(f"{value:.6g}")
            elif isinstance(value, list) and len(value) > SHOWN_ITEMS:
                yield name, _Plain(f"<{len(value)} items>")
            else:
                yield name, value
