"""Structs of Thrift's compact protocol, as Parquet writes the headers of its pages.

The rule: whatever the bytes are, reading ends, and raises :class:`Irregular` if they are no struct.
https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

Struct = dict[int, "int | bytes | Struct | None"]
"""Fields by their numbers; ``None`` for what no page header needs."""

_TRUE, _FALSE, _I8, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_MAX_DEPTH = 8
_MAX_VARINT_BYTES = 10


class Irregular(Exception):
    """Pages are not of the kind that is read here. Arrow reads them, or says what is wrong with them."""


def read_struct(content: bytes, at: int = 0, *, depth: int = 0) -> tuple[Struct, int]:
    """Return the struct at byte ``at`` of ``content``, and where it ends."""
    if depth > _MAX_DEPTH:
        raise Irregular
    fields: Struct = {}
    number = 0
    try:
        while head := content[at]:
            at += 1
            if head >> 4:
                number += head >> 4
            else:
                zigzag, at = read_varint(content, at)
                number = _unzigzag(zigzag)
            fields[number], at = _value(content, at, head & 15, depth)
    except IndexError as error:
        raise Irregular from error
    return fields, at + 1


def read_varint(content: bytes, at: int) -> tuple[int, int]:
    """Return the number at byte ``at`` of ``content``, seven bits a byte, and where it ends."""
    number = content[at]
    at += 1
    if number < 0x80:  # noqa: PLR2004 - the last byte of a number has no high bit
        return number, at
    number &= 0x7F
    for shift in range(7, 7 * _MAX_VARINT_BYTES, 7):
        byte = content[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004
            return number, at
    raise Irregular


def _unzigzag(number: int) -> int:
    return (number >> 1) ^ -(number & 1)


def _value(content: bytes, at: int, kind: int, depth: int) -> tuple[int | bytes | Struct | None, int]:
    if kind in {_TRUE, _FALSE}:
        return int(kind == _TRUE), at
    if kind in {_I16, _I32, _I64}:
        number, at = read_varint(content, at)
        return _unzigzag(number), at
    if kind == _BINARY:
        size, at = read_varint(content, at)
        return _taken(content, at, size), at + size
    if kind == _STRUCT:
        return read_struct(content, at, depth=depth + 1)
    if kind == _I8:
        return content[at], at + 1
    if kind == _DOUBLE:
        return _taken(content, at, 8), at + 8
    raise Irregular  # lists, sets and maps: no page header has any


def _taken(content: bytes, at: int, size: int) -> bytes:
    if at + size > len(content):
        raise Irregular
    return content[at : at + size]
