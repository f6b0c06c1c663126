"""How many bytes an Arrow IPC stream unpacks to.

The rule: told by the stream's metadata before anything is unpacked: 10 kB of zstd can hold gigabytes, and pyarrow has
no limit. Arrow unpacks a compressed buffer to the length that stands in its first eight bytes, or fails. Does not know
what the buffers hold.
"""

from __future__ import annotations

import struct
from struct import iter_unpack, unpack_from

import pyarrow as pa

_VERSION, _HEADER = 0, 2  # fields of Message, by their places in Arrow's Message.fbs
_BUFFERS, _COMPRESSION = 2, 3  # of RecordBatch
_DATA = 1  # of DictionaryBatch
_V5 = 4


def unpacked_bytes(body: bytes) -> int:
    """Return the bytes of all batches of a stream, unpacked.

    Raises ``pa.ArrowException`` or ``OSError`` where it is no stream, is cut, or was written by an Arrow before 1.0,
    which compressed in another way.
    """
    try:
        return sum(_unpacked(message) for message in pa.ipc.MessageReader.open_stream(pa.py_buffer(body)))
    except struct.error as error:
        raise pa.ArrowInvalid(f"its metadata lead nowhere: {error}") from error


def _unpacked(message: pa.Message) -> int:
    if message.type == "schema":
        return 0
    content = bytes(message.metadata)
    head = _followed(content, 0)
    version = _field(content, head, _VERSION)
    if version is None or unpack_from("<h", content, version)[0] < _V5:
        raise pa.ArrowInvalid("it was written by an Arrow before 1.0")
    batch = _part(content, head, _HEADER)
    if message.type == "dictionary":
        batch = _part(content, batch, _DATA)
    if _field(content, batch, _COMPRESSION) is None:
        return len(message.body)
    buffers = _part(content, batch, _BUFFERS)
    end = buffers + 4 + 16 * unpack_from("<I", content, buffers)[0]
    return sum(_length(message.body, *buffer) for buffer in iter_unpack("<qq", content[buffers + 4 : end]))


def _length(body: pa.Buffer, start: int, length: int) -> int:
    """Return a buffer's length unpacked; where packing would have made it longer, -1 stands in front of it as it is."""
    return max(length, *unpack_from("<q", body, start)) if length else 0


def _field(content: bytes, table: int, place: int) -> int | None:
    """Return where a field of a flatbuffer's table stands, or ``None`` where it is left out.

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
