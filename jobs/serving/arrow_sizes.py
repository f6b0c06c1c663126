"""How many bytes an Arrow IPC stream unpacks to.

The rule: the size is read from the stream's metadata before anything is unpacked, because 10 kB of zstd can hold
gigabytes and pyarrow has no limit. Arrow unpacks a compressed buffer to the length in its first eight bytes, or fails.
A delta of a dictionary counts with the whole dictionary, which Arrow builds anew.
"""

from __future__ import annotations

import struct
from collections import Counter
from struct import iter_unpack, unpack_from
from typing import NamedTuple

import pyarrow as pa

_VERSION, _HEADER = 0, 2  # fields of Message, by their places in Arrow's Message.fbs
_LENGTH, _BUFFERS, _COMPRESSION = 0, 2, 3  # of RecordBatch
_ID, _DATA, _IS_DELTA = 0, 1, 2  # of DictionaryBatch
_V5 = 4


class StreamSize(NamedTuple):
    """The unpacked bytes of all batches of a stream, and its rows."""

    n_bytes: int
    n_rows: int


def stream_size(body: bytes) -> StreamSize:
    """Return the unpacked size of a stream.

    Raises ``pa.ArrowException`` or ``OSError`` if it is no stream, is cut short, or was written by an Arrow before 1.0,
    which compressed in another way.
    """
    n_bytes = n_rows = 0
    dictionaries: Counter[int] = Counter()
    try:
        for message in pa.ipc.MessageReader.open_stream(pa.py_buffer(body)):
            if message.type == "record batch":
                content, batch = _batch(message)
                n_bytes += _unpacked(content, batch, message.body)
                n_rows += _number(content, batch, _LENGTH)
            elif message.type == "dictionary":
                n_bytes += _grown(message, dictionaries)
    except struct.error as error:
        raise pa.ArrowInvalid(f"its metadata lead nowhere: {error}") from error
    return StreamSize(n_bytes, n_rows)


def _grown(message: pa.Message, dictionaries: Counter[int]) -> int:
    """Return the bytes of a dictionary up to this part of it; ``dictionaries`` holds those of earlier parts."""
    content, head = _batch(message)
    n_bytes = _unpacked(content, _part(content, head, _DATA), message.body)
    number = _number(content, head, _ID)
    is_delta = _field(content, head, _IS_DELTA)
    if is_delta is not None and content[is_delta]:
        n_bytes += dictionaries[number]
    dictionaries[number] = n_bytes
    return n_bytes


def _batch(message: pa.Message) -> tuple[bytes, int]:
    """Return a message's metadata, and where the table of its batch begins in them."""
    content = bytes(message.metadata)
    head = _followed(content, 0)
    version = _field(content, head, _VERSION)
    if version is None or unpack_from("<h", content, version)[0] < _V5:
        raise pa.ArrowInvalid("it was written by an Arrow before 1.0")
    return content, _part(content, head, _HEADER)


def _unpacked(content: bytes, batch: int, body: pa.Buffer) -> int:
    """Add up the buffers of a batch; buffers that overlap count separately, as they are unpacked separately."""
    buffers = _part(content, batch, _BUFFERS)
    end = buffers + 4 + 16 * unpack_from("<I", content, buffers)[0]
    found = iter_unpack("<qq", content[buffers + 4 : end])
    if _field(content, batch, _COMPRESSION) is None:
        return sum(max(0, length) for _, length in found)
    return sum(_length(body, *buffer) for buffer in found)


def _number(content: bytes, table: int, place: int) -> int:
    """Return a number of 64 bits, 0 if it is left out."""
    field = _field(content, table, place)
    return 0 if field is None else int(unpack_from("<q", content, field)[0])


def _length(body: pa.Buffer, start: int, length: int) -> int:
    """Return a buffer's unpacked length; a buffer that was left as it is begins with -1."""
    return max(length, *unpack_from("<q", body, start)) if length else 0


def _field(content: bytes, table: int, place: int) -> int | None:
    """Return where a field of a flatbuffer's table is, or ``None`` if it is left out.

    A table begins with the distance back to its vtable: that one's size, the table's, and each field's offset in it.
    """
    vtable = table - unpack_from("<i", content, table)[0]
    at = 4 + 2 * place
    offset = unpack_from("<H", content, vtable + at)[0] if at < unpack_from("<H", content, vtable)[0] else 0
    return table + offset if offset else None


def _part(content: bytes, table: int, place: int) -> int:
    """Return where the table or vector begins that a field refers to."""
    field = _field(content, table, place)
    if field is None:
        raise struct.error(f"field {place} is left out")
    return _followed(content, field)


def _followed(content: bytes, at: int) -> int:
    return at + int(unpack_from("<I", content, at)[0])
