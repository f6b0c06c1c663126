"""Ids and positions of any type as bytes that compare as the values do.

The rule: the bytes of two values of one type are equal if the values are, and their order is that of the values. Null
and NaN, which name nothing, are null.

A library that sorts then sees bytes alone, and no type of its own changes a value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as t

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TEXTS = (
    t.is_string,
    t.is_large_string,
    t.is_string_view,
    t.is_binary,
    t.is_large_binary,
    t.is_binary_view,
    t.is_fixed_size_binary,
)
_SIGN = 0x80  # of the first byte


def sort_keys(column: pa.ChunkedArray) -> pa.Array:
    """Return the keys of ids or positions, ``large_binary`` (n,), for types that are not nested.

    Texts are ordered by their bytes, which for UTF-8 is the order of code points; false comes before true.
    """
    column = _plain(column)
    kind = column.type
    if any(is_text(kind) for is_text in _TEXTS):
        return _whole(column.cast(pa.large_binary()))
    if t.is_null(kind):
        return pa.nulls(len(column), pa.large_binary())
    if t.is_floating(kind):
        column = column.cast(pa.float64())
        column = pc.if_else(pc.is_nan(column), None, column)
        return _keys(_float_bytes(_whole(column)), column)
    if t.is_decimal(kind):
        return _keys(_signed_bytes(_raw(_whole(column), kind.bit_width // 8)), column)
    return _keys(_whole_bytes(column), column)


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Decode dictionaries and extension types."""
    kind = column.type
    if t.is_dictionary(kind):
        return _plain(column.cast(kind.value_type))
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(column.cast(kind.storage_type))
    return column


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _whole_bytes(column: pa.ChunkedArray) -> NDArray[np.uint8]:
    """Return the bytes of whole numbers, times and truth values, (n, 8)."""
    kind = column.type
    if t.is_uint64(kind):
        return _raw(_whole(column), 8)[:, ::-1]
    if t.is_temporal(kind) and kind.bit_width == 32:  # noqa: PLR2004 - days, and times of a day
        column = column.cast(pa.int32())
    return _signed_bytes(_raw(_whole(column.cast(pa.int64())), 8))


def _float_bytes(values: pa.Array) -> NDArray[np.uint8]:
    """Return bytes of float64 that compare as the numbers: those below zero are inverted, others get a sign bit."""
    numbers = np.frombuffer(_raw(values, 8).tobytes(), np.float64) + 0.0  # -0.0 is 0.0
    bits = numbers.view(np.uint64)
    sign = np.uint64(1 << 63)
    ordered = np.where(bits & sign, ~bits, bits | sign)
    return ordered.astype(">u8").view(np.uint8).reshape(-1, 8)


def _signed_bytes(little_endian: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return two's complement with the most significant byte first, and below zero before above it."""
    big_endian = little_endian[:, ::-1].copy()
    big_endian[:, 0] ^= _SIGN
    return big_endian


def _raw(values: pa.Array, width: int) -> NDArray[np.uint8]:
    """Return the stored bytes of a flat array, (n, width); those of a null have no meaning."""
    buffer = values.buffers()[1]
    if buffer is None:
        return np.zeros((len(values), width), np.uint8)
    found = np.frombuffer(buffer, np.uint8, len(values) * width, values.offset * width)
    return found.reshape(len(values), width)


def _keys(values: NDArray[np.uint8], column: Any) -> pa.Array:  # noqa: ANN401 - an array of Arrow
    fixed = pa.Array.from_buffers(
        pa.binary(values.shape[1]), len(values), [None, pa.py_buffer(np.ascontiguousarray(values))]
    )
    valid = _whole(column.is_valid()) if isinstance(column, pa.ChunkedArray) else column.is_valid()
    return pc.if_else(valid, fixed.cast(pa.large_binary()), None)
