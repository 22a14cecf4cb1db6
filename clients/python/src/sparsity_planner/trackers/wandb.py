"""
Weights & Biases: the `run-ID.wandb` file of a run, which offline runs and those of a server have alike.

The file is a log of LevelDB's kind: after the 7 bytes `:W&B`, 0xbee1 and a version, blocks of 32 KiB with
fragments of records, each with CRC-32, length and type. A record is a protobuf message of
`wandb_internal.proto`; of interest are the run, its configuration, the summary and the exit.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .._tracked import TrackedRun
from ._files import UnreadableError, flattened, found, parsed
from ._wire import WireError, fields, inner, real, signed, text

READING = {"source": "wandb"}

MAGIC = b":W&B\xe1\xbe\x00"
BLOCK = 32 * 1024
FRAGMENT = struct.Struct("<IHB")
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4
# Fields of Record.
HISTORY, SUMMARY, CONFIG, RUN, EXIT = 2, 3, 5, 17, 18
# Fields of RunRecord that are texts, and what the table of the web page calls them.
TEXTS = {1: "id", 2: "Entity", 3: "Project", 6: "Group", 7: "JobType", 8: "Name", 9: "Notes", 12: "Sweep"}


def read(root: Path, notes: list[str]) -> Iterator[TrackedRun]:
    """Yield the run of each file."""
    for path in found(root, "*.wandb"):
        try:
            yield _run(path, notes)
        except WireError as error:
            raise UnreadableError(f"{path} has a record that is none of W&B's: {error}") from None


def _run(path: Path, notes: list[str]) -> TrackedRun:
    about: dict[str, Any] = {}
    labels: list[str] = []
    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    history: dict[str, Any] = {}
    summarised = False
    exit_code: int | None = None
    for record in _records(path, notes):
        for number, value in fields(record):
            if number == RUN:
                for part, content in fields(inner(value)):
                    if part in TEXTS:
                        about[TEXTS[part]] = text(content)
                    elif part == 4:
                        _update(config, inner(content), path)
                    elif part == 5:
                        _update(summary, inner(content), path)
                    elif part == 10:
                        labels.append(text(content))
            elif number == CONFIG:
                _update(config, inner(value), path)
            elif number == SUMMARY:
                _update(summary, inner(value), path)
                # What W&B notes of its own begins with an underscore.
                summarised = summarised or any(not key.startswith("_") for key in summary)
            elif number == HISTORY and not summarised:
                _update(history, inner(value), path)
            elif number == EXIT:
                exit_code = 0
                for part, content in fields(inner(value)):
                    if part == 1:
                        exit_code = signed(content)
    if "id" not in about:
        # What is written waits in memory first: of a run that was killed early there may be nothing.
        return TrackedRun({"State": "crashed"}, str(path), "nothing of it was written: it was killed early")
    if not summarised and history:
        # Older versions leave the summary of an offline run to the server, which takes the last values.
        summary = {**history, **summary}
    state = "running or crashed" if exit_code is None else "finished" if exit_code == 0 else "failed"
    row: dict[str, Any] = {**about, "State": state, "Tags": ", ".join(labels) or None}
    if exit_code is not None:
        row["exit_code"] = exit_code
    origin = f"{path}, run {about['id']}"
    config.pop("_wandb", None)
    flattened(config, "config", row, origin)
    flattened(summary, "summary", row, origin)
    unfinished = {
        "running or crashed": "no exit is recorded: it runs, crashed or was killed",
        "failed": "exit code is not 0",
    }
    return TrackedRun(row, origin, unfinished.get(state))


def _update(into: dict[str, Any], message: bytes, path: Path) -> None:
    """Apply a ConfigRecord, SummaryRecord or HistoryRecord: 1 sets values, 2 removes them."""
    for number, item in fields(message):
        if number > 2 or isinstance(item, int):
            continue
        keys: list[str] = []
        value: Any = None
        # Of a number its step, where the message is a HistoryRecord.
        for part, content in fields(item):
            if part in (1, 2) and isinstance(content, bytes):
                keys.append(text(content))
            elif part in (8, 16):
                value = parsed(inner(content), f"{path}: the value of {'.'.join(keys)}")
            elif part == 4:
                value = bool(content)
            elif part == 5:
                value = signed(content)
            elif part == 6:
                value = real(content)
            elif part == 7:
                value = text(content)
        if not keys:
            continue
        *outer, last = keys
        at = into
        for key in outer:
            deeper = at.get(key)
            if not isinstance(deeper, dict):
                deeper = at[key] = {}
            at = deeper
        if number == 1:
            at[last] = value
        else:
            at.pop(last, None)


def _records(path: Path, notes: list[str]) -> Iterator[bytes]:
    """Yield the records of a file; where it breaks off, as that of a run that was killed does, they end."""
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise UnreadableError(f"{path} is no file of W&B: it does not begin with {MAGIC!r}")
        at, record = len(MAGIC), b""
        while True:
            left = BLOCK - at % BLOCK
            if left < FRAGMENT.size:
                file.seek(left, 1)
                at += left
                continue
            header = file.read(FRAGMENT.size)
            if not header.strip(b"\0"):
                return
            if len(header) < FRAGMENT.size:
                break
            checksum, size, kind = FRAGMENT.unpack(header)
            data = file.read(size)
            if len(data) < size:
                break
            if zlib.crc32(data, zlib.crc32(header[6:])) != checksum or not FULL <= kind <= LAST:
                raise UnreadableError(f"{path} is damaged at byte {at}: a checksum does not match")
            at += FRAGMENT.size + size
            record = data if kind in (FULL, FIRST) else record + data
            if kind in (FULL, LAST):
                yield record
                record = b""
    notes.append(f"{path} breaks off in the middle of a record: what stands before it is read")
