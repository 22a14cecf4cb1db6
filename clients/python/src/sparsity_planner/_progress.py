"""Bars for what takes long, and links to it: for whoever sits in front of it, and nobody else."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, TypeVar

T = TypeVar("T")
# What is done before that shows no bar.
DELAY_SECONDS = 0.5


def in_notebook() -> bool:
    """Whether this is a notebook's kernel."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


def is_wanted(asked: bool | None) -> bool:
    """Whether to show bars and links: as asked, else in notebooks and terminals."""
    return asked if asked is not None else in_notebook() or sys.stderr.isatty()


def say(shown: bool, text: str) -> None:
    """Write a line for people."""
    if shown:
        # What notebooks show of the stream for errors looks like one.
        print(text, file=sys.stdout if in_notebook() else sys.stderr)


class Bar:
    """A bar of tqdm, or nothing."""

    def __init__(self, bar: Any = None) -> None:
        """Wrap a bar."""
        self._bar = bar

    def reach(self, share: float, what: str) -> None:
        """Show how much is done, and what is being done."""
        if self._bar is not None:
            self._bar.set_description_str(what, refresh=False)
            self._bar.update(share - self._bar.n)

    def over(self, rows: Iterable[T]) -> Iterator[T]:
        """Yield the rows, and count them."""
        for row in rows:
            yield row
            if self._bar is not None:
                self._bar.update()


@contextmanager
def bar(shown: bool, what: str, **options: Any) -> Iterator[Bar]:
    """Open a bar, where one is wanted and tqdm is installed."""
    if not shown or find_spec("tqdm") is None:
        yield Bar()
        return
    with warnings.catch_warnings():
        # Without ipywidgets it is a bar of characters, and need not warn of that.
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm
    with tqdm(desc=what, delay=DELAY_SECONDS, **options) as opened:
        yield Bar(opened)
