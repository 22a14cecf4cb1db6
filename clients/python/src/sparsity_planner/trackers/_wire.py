"""
The wire format of protocol buffers: fields by their number.

Both W&B and TensorBoard write it. Their messages are read by the numbers of the fields, so that neither
package nor generated code is needed: https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

# Bytes of a varint at most.
LONGEST_VARINT = 10


class WireError(ValueError):
    """Bytes that are no message."""


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield number and value of each field: a varint as a number, everything else as its bytes."""
    at, end = 0, len(message)
    while at < end:
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        value: int | bytes
        if kind == 0:
            value, at = _varint(message, at)
        else:
            if kind == 2:
                size, at = _varint(message, at)
            elif kind in (1, 5):
                size = 8 if kind == 1 else 4
            else:
                raise WireError(f"field {number} has the unknown type {kind}")
            if at + size > end:
                raise WireError(f"field {number} ends behind its message")
            value, at = message[at : at + size], at + size
        yield number, value


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(LONGEST_VARINT):
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at
    raise WireError("a number does not end")


def inner(value: int | bytes) -> bytes:
    """Return the bytes of a field that is a text or a message."""
    if isinstance(value, int):
        raise WireError("a number stands where a text or message should")
    return value


def text(value: int | bytes) -> str:
    """Return the text of a field."""
    return inner(value).decode("utf-8", "replace")


def signed(value: int | bytes) -> int:
    """Return the whole number of a field, which may be negative."""
    if isinstance(value, bytes):
        raise WireError("a text or message stands where a number should")
    return value - (1 << 64) if value >= 1 << 63 else value


def real(value: int | bytes) -> float:
    """Return the number of a field of 4 or 8 bytes."""
    data = inner(value)
    if len(data) not in (4, 8):
        raise WireError("a number has 4 or 8 bytes")
    number: float = struct.unpack("<f" if len(data) == 4 else "<d", data)[0]
    return number
