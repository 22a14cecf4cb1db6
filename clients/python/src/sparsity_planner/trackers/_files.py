"""What the readers share: finding files, reading JSON and SQLite, and columns out of nested values."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..errors import PlannerError

SQLITE = b"SQLite format 3\0"
SUFFIXES = (".db", ".sqlite", ".sqlite3")
DEEPEST = 64
MOST_COLUMNS = 100_000


class UnreadableError(PlannerError):
    """A file is not what it should be; the message names it, and what would be right."""


def found(root: Path, pattern: str) -> list[Path]:
    """Return the file itself, or the files of this name in a folder and below it, sorted."""
    if root.is_file():
        return [root]
    return sorted(path for path in root.rglob(pattern) if path.is_file())


def place(root: Path, folder: Path) -> dict[str, str]:
    """Return columns that say where a run lies: its folder, the one around that, the way from the root."""
    whole = folder.resolve()
    return {
        "folder": whole.name,
        "parent": whole.parent.name,
        "path": whole.relative_to(root.resolve() if root.is_dir() else whole).as_posix(),
    }


def unnamed(place: Mapping[str, str]) -> dict[str, str]:
    """Return what to say of a run that its tracker gives no name."""
    detail = (
        f"the files do not name the run: id=folder says {place['folder']}, id=parent,folder says "
        f"{place['parent']}:{place['folder']}, id=content makes a name of its values"
    )
    return {"external_id": detail}


def flattened(
    value: Mapping[str, Any], prefix: str, into: dict[str, Any], origin: str, depth: int = 0
) -> None:
    """
    Put nested values into columns, whose names are the keys joined by dots.

    Raises `UnreadableError` where two values would be one column, and where there are more levels or columns
    than any configuration has: YAML can say so many in few words.
    """
    if depth > DEEPEST or len(into) > MOST_COLUMNS:
        detail = f"{DEEPEST} levels or {MOST_COLUMNS} columns"
        raise UnreadableError(f"{origin}: what {prefix} has goes beyond {detail}")
    for key, inner in value.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(inner, Mapping):
            flattened(inner, name, into, origin, depth + 1)
        elif name in into:
            raise UnreadableError(f"{origin}: two values are called {name}, one of them nested: rename one")
        else:
            into[name] = inner


def parsed(text: str | bytes, origin: str) -> Any:
    """Read JSON as Python writes it, with NaN and infinities; whole numbers keep all digits."""
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise UnreadableError(f"{origin} is no JSON: {error}") from None


def parsed_object(text: str | bytes, origin: str) -> dict[str, Any]:
    """Read JSON that must be an object."""
    value = parsed(text, origin)
    if not isinstance(value, dict):
        raise UnreadableError(f"{origin} must be a JSON object, and is a {type(value).__name__}")
    return value


def read_bytes(path: Path) -> bytes:
    """Read a file, or say why not."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableError(f"{path} cannot be read: {error.strerror}") from None


def read_text(path: Path) -> str:
    """Read a file of text, or say why not."""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableError(f"{path} is no UTF-8: {error.reason} at byte {error.start}") from None


def read_yaml(path: Path) -> Any:
    """
    Read YAML with every value as the text that stands there, so that `2:4` and `1e-3` stay what they are.

    What is tagged as an object of Python is read as the plain text, list or mapping that it is; nothing runs.
    """
    try:
        import yaml
    except ImportError:
        raise UnreadableError(f"{path} is YAML, which needs PyYAML: pip install pyyaml") from None
    try:
        return yaml.load(read_text(path), Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise UnreadableError(f"{path} is no YAML: {error}") from None


@contextmanager
def database(path: Path) -> Iterator[sqlite3.Connection]:
    """Open an SQLite file for reading only; what SQLite says of it names the file."""
    connection = sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    try:
        yield connection
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise UnreadableError(f"{path} cannot be read as SQLite: {error}") from None
    finally:
        connection.close()


def tables(path: Path) -> set[str]:
    """Return the names of the tables of an SQLite file; of what is none, nothing."""
    with path.open("rb") as file:
        if file.read(len(SQLITE)) != SQLITE:
            return set()
    with database(path) as connection:
        rows = connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")
        return {row[0] for row in rows}


def databases(root: Path, tracker: str, is_kind: Callable[[Path], bool]) -> list[Path]:
    """
    Return the SQLite files of a tracker: the file itself, or those in a folder and below it.

    Raises `UnreadableError` where the file itself is none.
    """
    if root.is_file():
        if not is_kind(root):
            raise UnreadableError(f"{root} is no SQLite file of {tracker}")
        return [root]
    return [path for path in found(root, "*") if path.suffix in SUFFIXES and is_kind(path)]


def columns(connection: sqlite3.Connection, table: str) -> set[str]:
    """Return the names of the columns of a table."""
    return {row["name"] for row in connection.execute(f"PRAGMA table_info({table})")}


def grouped(rows: Iterable[sqlite3.Row], by: str) -> dict[Any, list[sqlite3.Row]]:
    """Return rows by the value of a column."""
    groups: dict[Any, list[sqlite3.Row]] = {}
    for row in rows:
        groups.setdefault(row[by], []).append(row)
    return groups
