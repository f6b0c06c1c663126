"""Parses and rewrites Parquet footers, so that a test can change single numbers in them.

A struct is a dict of field number to (type, value), a list is (type of its elements, values), in Thrift's compact
protocol. https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TRUE, FALSE, I8, I16, I32, I64, DOUBLE, BINARY, LIST, SET, _, STRUCT = range(1, 13)
_WHOLE = {I16, I32, I64}

Struct = dict[int, tuple[int, Any]]


def read_footer(path: Path) -> Struct:
    """The footer of a Parquet file."""
    content = path.read_bytes()
    (length,) = struct.unpack("<I", content[-8:-4])
    return _Reader(content[-8 - length : -8]).struct()


def with_footer(path: Path, footer: Struct) -> bytes:
    """The bytes of the file at ``path`` with another footer."""
    content = path.read_bytes()
    (length,) = struct.unpack("<I", content[-8:-4])
    written = _struct(footer)
    return content[: -8 - length] + written + struct.pack("<I", len(written)) + b"PAR1"


def numbers(value: Any) -> Iterator[tuple[Any, Any]]:  # noqa: ANN401 - struct or list
    """Every integer of a footer, with its container and key."""
    if isinstance(value, dict):
        for key, (kind, inner) in value.items():
            if kind in _WHOLE:
                yield value, key
            else:
                yield from numbers(inner)
    elif isinstance(value, tuple):
        kind, items = value
        for index, inner in enumerate(items):
            if kind in _WHOLE:
                yield items, index
            else:
                yield from numbers(inner)


def texts(value: Any) -> Iterator[tuple[Any, Any]]:  # noqa: ANN401 - struct or list
    """Every text of a footer, with its container and key."""
    if isinstance(value, dict):
        for key, (kind, inner) in value.items():
            if kind == BINARY:
                yield value, key
            else:
                yield from texts(inner)
    elif isinstance(value, tuple):
        kind, items = value
        for index, inner in enumerate(items):
            if kind == BINARY:
                yield items, index
            else:
                yield from texts(inner)


def put(container: Any, key: int, number: int) -> None:  # noqa: ANN401
    """Replace one of :func:`numbers`."""
    container[key] = (container[key][0], number) if isinstance(container, dict) else number


class _Reader:
    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def struct(self) -> Struct:
        fields: Struct = {}
        number = 0
        while head := self._byte():
            kind = head & 15
            number = number + (head >> 4) if head >> 4 else _unzigzag(self._varint())
            fields[number] = (kind, kind == TRUE if kind in {TRUE, FALSE} else self._value(kind))
        return fields

    def _value(self, kind: int) -> Any:  # noqa: ANN401
        if kind in _WHOLE:
            return _unzigzag(self._varint())
        if kind in {TRUE, FALSE, I8}:
            return self._byte()
        if kind == DOUBLE:
            return self._bytes(8)
        if kind == BINARY:
            return self._bytes(self._varint())
        if kind in {LIST, SET}:
            head = self._byte()
            length = head >> 4 if head >> 4 < 15 else self._varint()
            return head & 15, [self._value(head & 15) for _ in range(length)]
        return self.struct()

    def _byte(self) -> int:
        return self._bytes(1)[0]

    def _bytes(self, count: int) -> bytes:
        self._at += count
        return self._content[self._at - count : self._at]

    def _varint(self) -> int:
        shift = number = 0
        while (byte := self._byte()) & 128:
            number |= (byte & 127) << shift
            shift += 7
        return number | byte << shift


def _struct(fields: Struct) -> bytes:
    written, last = b"", 0
    for number, (kind, value) in sorted(fields.items()):
        kind = (TRUE if value else FALSE) if kind in {TRUE, FALSE} else kind  # noqa: PLW2901
        step = number - last
        written += bytes([step << 4 | kind]) if 0 < step < 16 else bytes([kind]) + _varint(_zigzag(number))
        written += b"" if kind in {TRUE, FALSE} else _written(kind, value)
        last = number
    return written + b"\0"


def _written(kind: int, value: Any) -> bytes:  # noqa: ANN401
    if kind in _WHOLE:
        return _varint(_zigzag(value))
    if kind in {TRUE, FALSE, I8}:
        return bytes([value])
    if kind == DOUBLE:
        return bytes(value)
    if kind == BINARY:
        return _varint(len(value)) + value
    if kind in {LIST, SET}:
        of, items = value
        head = bytes([min(len(items), 15) << 4 | of]) + (_varint(len(items)) if len(items) >= 15 else b"")
        return head + b"".join(_written(of, item) for item in items)
    return _struct(value)


def _varint(number: int) -> bytes:
    written = b""
    while number > 127:
        written += bytes([number & 127 | 128])
        number >>= 7
    return written + bytes([number])


def _zigzag(number: int) -> int:
    return (number << 1) ^ (number >> 63) if number < 0 else number << 1


def _unzigzag(number: int) -> int:
    return (number >> 1) ^ -(number & 1)
