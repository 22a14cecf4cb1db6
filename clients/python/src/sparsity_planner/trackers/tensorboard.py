"""
TensorBoard: event files, as torch, tensorboardX, TensorFlow, Keras and JAX write them.

An event file is a TFRecord: length, CRC-32C of the length, a protobuf `Event`, its CRC-32C. Of each scalar
the value of the largest step is read. Scalars are 32-bit numbers: 2.6 was written as 2.5999999046325684.

A run is a folder with event files. Hyperparameters, which `add_hparams` writes into a folder of their own
below that of the run, belong to the run; so do the folders `train` and `validation` of Keras, whose scalars
get these names before their own.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .._tracked import TrackedRun
from ._files import UnreadableError, found, place, unnamed
from ._wire import WireError, fields, inner, real, signed, text

READING = {"source": "mlflow"}

FILES = "*.tfevents.*"
HALVES = ("train", "validation")
LENGTH = struct.Struct("<QI")
# TensorFlow's types of tensors that hold one number, with how that is packed.
TYPES = {1: "<f", 2: "<d", 3: "<i", 9: "<q"}
SESSION = {1: "finished", 2: "failed", 3: "running"}


@dataclass
class Folder:
    """What the event files of a folder say."""

    scalars: dict[str, tuple[int, float, float]] = field(default_factory=dict)
    hparams: dict[str, Any] = field(default_factory=dict)
    status: str | None = None

    def value(self, tag: str, step: int, time: float, value: float) -> None:
        """Take a scalar: that of the largest step stays, and of one step the latest."""
        if tag not in self.scalars or (step, time) >= self.scalars[tag][:2]:
            self.scalars[tag] = (step, time, value)


def read(root: Path, notes: list[str]) -> Iterator[TrackedRun]:
    """Yield the run of each folder."""
    folders: dict[Path, Folder] = {}
    for path in found(root, FILES):
        _read_file(path, folders.setdefault(path.parent, Folder()), notes)
    _join(folders)
    for path, folder in sorted(folders.items()):
        where = place(root, path)
        row: dict[str, Any] = {**where, "status": folder.status}
        row |= {f"metrics.{tag}": value for tag, (_, _, value) in folder.scalars.items()}
        row |= {f"params.{name}": value for name, value in folder.hparams.items()}
        row["step"] = max((step for step, _, _ in folder.scalars.values()), default=None)
        unfinished = f"status is {folder.status}" if folder.status in ("failed", "running") else None
        yield TrackedRun(row, str(path), unfinished, unnamed(where))


def _join(folders: dict[Path, Folder]) -> None:
    """Put hyperparameters and Keras's halves to the run that they are of."""
    for parent in sorted({path.parent for path in folders}):
        children = [path for path in folders if path.parent == parent]
        with_hparams = [path for path in children if folders[path].hparams]
        if parent in folders and len(with_hparams) == 1 and not folders[parent].hparams:
            (path,) = with_hparams
            below, run = folders.pop(path), folders[parent]
            run.hparams, run.status = below.hparams, below.status
            for tag, scalar in below.scalars.items():
                run.scalars.setdefault(tag, scalar)
        halves = [path for path in children if path.name in HALVES and path in folders]
        if len(halves) == len(HALVES):
            run = folders.setdefault(parent, Folder())
            for path in halves:
                for tag, scalar in folders.pop(path).scalars.items():
                    run.scalars[f"{path.name}/{tag}"] = scalar


def _read_file(path: Path, into: Folder, notes: list[str]) -> None:
    for at, message in _records(path, notes):
        try:
            _read_event(message, into)
        except WireError as error:
            raise UnreadableError(f"{path}: the record at byte {at} is no event: {error}") from None


def _read_event(message: bytes, into: Folder) -> None:
    time, step, summary = 0.0, 0, b""
    for number, value in fields(message):
        if number == 1:
            time = real(value)
        elif number == 2:
            step = signed(value)
        elif number == 5:
            summary = inner(value)
    for number, value in fields(summary):
        if number == 1:
            _read_value(inner(value), step, time, into)


def _read_value(message: bytes, step: int, time: float, into: Folder) -> None:
    tag, scalar, plugin, content = "", None, "", b""
    for number, value in fields(message):
        if number == 1:
            tag = text(value)
        elif number == 2:
            scalar = real(value)
        elif number == 8:
            scalar = _of_tensor(inner(value))
        elif number == 9:
            for part, data in fields(inner(value)):
                if part == 1:
                    for of_plugin, inside in fields(inner(data)):
                        if of_plugin == 1:
                            plugin = text(inside)
                        elif of_plugin == 2:
                            content = inner(inside)
    if plugin == "hparams":
        _read_hparams(content, into)
    elif scalar is not None and tag:
        into.value(tag, step, time, scalar)


def _of_tensor(message: bytes) -> float | None:
    """Return the number of a tensor of one number; of any other, None."""
    type, packed, values = 0, b"", b""
    for number, value in fields(message):
        if number == 1:
            type = signed(value)
        elif number == 2 and any(part == 2 for part, _ in fields(inner(value))):
            return None
        elif number == 4:
            packed = inner(value)
        elif number in (5, 6) and isinstance(value, bytes):
            values = value
        elif number in (7, 10):
            return float(signed(value)) if isinstance(value, int) else None
    form = TYPES.get(type)
    data = packed or values
    if form is None or len(data) != struct.calcsize(form):
        return None
    return float(struct.unpack(form, data)[0])


def _read_hparams(content: bytes, into: Folder) -> None:
    """Read HParamsPluginData: 3 is the begin of a session with its hyperparameters, 4 its end."""
    for number, value in fields(content):
        if number == 3:
            for part, entry in fields(inner(value)):
                if part == 1:
                    pair = dict(fields(inner(entry)))
                    into.hparams[text(pair.get(1, b""))] = _of_value(inner(pair.get(2, b"")))
            into.status = into.status or "running"
        elif number == 4:
            status = dict(fields(inner(value))).get(1, 0)
            into.status = SESSION.get(signed(status))


def _of_value(message: bytes) -> Any:
    """Read a google.protobuf.Value, where it is no list and no object."""
    for number, value in fields(message):
        if number == 2:
            return real(value)
        if number == 3:
            return text(value)
        if number == 4:
            return bool(value)
    return None


def _records(path: Path, notes: list[str]) -> Iterator[tuple[int, bytes]]:
    """Yield place and bytes of each record; where the file breaks off, they end."""
    at, end = 0, path.stat().st_size
    with path.open("rb") as file:
        while header := file.read(LENGTH.size):
            if len(header) < LENGTH.size:
                break
            size, checksum = LENGTH.unpack(header)
            if _masked(header[:8]) != checksum:
                raise UnreadableError(
                    f"{path} is no event file, or damaged at byte {at}: a checksum is wrong"
                )
            # A length that goes beyond the file is not asked of the memory.
            if at + LENGTH.size + size + 4 > end:
                break
            data = file.read(size + 4)
            # Larger ones hold graphs and pictures, which are not read and would take long.
            if size <= CHECKED_BYTES and _masked(data[:-4]) != int.from_bytes(data[-4:], "little"):
                raise UnreadableError(f"{path} is damaged at byte {at}: a checksum is wrong")
            yield at, data[:-4]
            at += LENGTH.size + size + 4
        else:
            return
    notes.append(f"{path} breaks off in the middle of a record: what stands before it is read")


CHECKED_BYTES = 4096


def _table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ 0x82F63B78 if byte & 1 else byte >> 1
        table.append(byte)
    return table


CRC32C = _table()


def _masked(data: bytes) -> int:
    """Return the CRC-32C (Castagnoli) of bytes, masked as TFRecord has it."""
    checksum = 0xFFFFFFFF
    for byte in data:
        checksum = CRC32C[(checksum ^ byte) & 0xFF] ^ (checksum >> 8)
    checksum ^= 0xFFFFFFFF
    return (((checksum >> 15) | (checksum << 17)) + 0xA282EAD8) & 0xFFFFFFFF
