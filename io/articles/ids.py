"""Article ids of any type, as values that compare exactly.

The rule: two ids are equal if they are equal in their own type, whatever row group, unit or file they are in and
however they are encoded; null and NaN name no article.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

_TEXTS = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_binary,
    pa.types.is_binary_view,
    pa.types.is_fixed_size_binary,
)


def comparable_ids(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return ids in one of the few types that Arrow compares and counts, the same for all encodings of the same ids.

    Texts, which may be no UTF-8, become bytes, whole numbers int64 if they fit, times nanoseconds, dates days. Accepts
    every type that ``column_checks.is_plain`` accepts.
    """
    column = _plain(column)
    kind = column.type
    if any(is_text(kind) for is_text in _TEXTS):
        return column.cast(pa.large_binary())
    if pa.types.is_floating(kind):
        return pc.if_else(pc.is_nan(column), None, column.cast(pa.float64()))
    if pa.types.is_temporal(kind):
        return _counted(column)
    if pa.types.is_decimal(kind) and kind.bit_width < pa.decimal128(1).bit_width:
        return column.cast(pa.decimal128(kind.precision, kind.scale))
    return _cast_if_fitting(column, pa.int64()) if pa.types.is_integer(kind) else column


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Decode dictionaries and extension types."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _plain(column.cast(kind.value_type))
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(column.cast(kind.storage_type))
    return column


def _counted(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return times as nanoseconds, or, if these do not fit, in their own unit, and dates as days."""
    kind = column.type
    if pa.types.is_date(kind):
        return column.cast(pa.date32()).cast(pa.int32()).cast(pa.int64())
    if pa.types.is_timestamp(kind):
        return _cast_if_fitting(column, pa.timestamp("ns", kind.tz)).cast(pa.int64())
    fine = pa.duration("ns") if pa.types.is_duration(kind) else pa.time64("ns")
    return _cast_if_fitting(column, fine).cast(pa.int64())


def _cast_if_fitting(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    try:
        return column.cast(kind)
    except pa.ArrowInvalid:
        return column
