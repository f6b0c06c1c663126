"""The types of a table's columns, for the Arrow types of its files.

The rule: a column is registered under a type that holds each of its values as it is, in a Parquet file as it lies
there; where a format has no such type, there is none here. Names of types are those of the format; nested ones are
built of them. Which pairs are right was found by reading registered files back (``tests/stories/test_type_matrix.py``).

    uint8, uint16, uint32    the next larger signed type: both formats have signed integers only
    uint64, float16, decimals of more than 38 digits, nanoseconds, durations, null: none
    dictionaries             the type of their values; fixed-size lists: lists; extensions, in Delta: what stores them
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.types as t

_MOST_DIGITS = 38
_MICROSECONDS = ("s", "ms", "us")
_UTC = ("UTC", "+00:00", "Etc/UTC", "Z")


@dataclass(frozen=True, slots=True)
class ListType:
    """A list of values of one type."""

    element: ColumnType


@dataclass(frozen=True, slots=True)
class MapType:
    """Pairs of a key and a value."""

    key: ColumnType
    value: ColumnType


@dataclass(frozen=True, slots=True)
class StructType:
    """Fields, by name."""

    fields: tuple[tuple[str, ColumnType], ...]


ColumnType = str | ListType | MapType | StructType

Primitive = Callable[[pa.DataType], str | None]


def delta_type(kind: pa.DataType) -> ColumnType | None:
    """Return the type of Delta Lake for an Arrow type; ``None`` if it has none."""
    return _column_type(kind, _delta)


def iceberg_type(kind: pa.DataType) -> ColumnType | None:
    """Return the type of Iceberg for an Arrow type; ``None`` if it has none, or pyiceberg does not read it."""
    return None if _is_beyond_pyiceberg(kind) else _column_type(kind, _iceberg)


def _is_beyond_pyiceberg(kind: pa.DataType) -> bool:
    """Whether pyiceberg (0.12) cannot read files with a type, or one within it, though Iceberg could have it."""
    if isinstance(kind, pa.BaseExtensionType):
        return bool(kind != pa.uuid())
    if t.is_dictionary(kind):
        return _is_beyond_pyiceberg(kind.value_type)
    if t.is_decimal32(kind) or t.is_decimal64(kind) or t.is_list_view(kind) or t.is_large_list_view(kind):
        return True
    return any(_is_beyond_pyiceberg(kind.field(index).type) for index in range(kind.num_fields))


def _column_type(kind: pa.DataType, primitive: Primitive) -> ColumnType | None:
    if (found := primitive(kind)) is not None:
        return found
    if isinstance(kind, pa.BaseExtensionType):
        return _column_type(kind.storage_type, primitive)
    if t.is_dictionary(kind):
        return _column_type(kind.value_type, primitive)
    if t.is_map(kind):
        key, value = (_column_type(each, primitive) for each in (kind.key_type, kind.item_type))
        return None if key is None or value is None else MapType(key, value)
    if t.is_struct(kind):
        return _struct(kind, primitive)
    return _list(kind, primitive)


def _struct(kind: pa.DataType, primitive: Primitive) -> ColumnType | None:
    fields = [(field.name, _column_type(field.type, primitive)) for field in kind]
    whole = tuple((name, found) for name, found in fields if found is not None)
    return StructType(whole) if fields and len(whole) == len(fields) else None


def _list(kind: pa.DataType, primitive: Primitive) -> ColumnType | None:
    if any(is_list(kind) for is_list in _LISTS):
        element = _column_type(kind.value_type, primitive)
        return None if element is None else ListType(element)
    return None


_LISTS = (t.is_list, t.is_large_list, t.is_fixed_size_list, t.is_list_view, t.is_large_list_view)


def _delta(kind: pa.DataType) -> str | None:
    if t.is_timestamp(kind) and kind.unit in _MICROSECONDS:
        return "timestamp" if kind.tz else "timestamp_ntz"
    if t.is_fixed_size_binary(kind):
        return "binary"
    return _DELTA_NUMBERS.get(kind) or _common(kind)


def _iceberg(kind: pa.DataType) -> str | None:
    if t.is_timestamp(kind) and kind.unit in _MICROSECONDS and kind.tz in (None, *_UTC):
        return "timestamptz" if kind.tz else "timestamp"
    if kind == pa.uuid():
        return "uuid"
    if kind == pa.time64("us"):
        return "time"
    if t.is_fixed_size_binary(kind):
        return f"fixed[{kind.byte_width}]"
    return _ICEBERG_NUMBERS.get(kind) or _common(kind)


def _common(kind: pa.DataType) -> str | None:
    """Return the types that both formats have under one name."""
    if t.is_string(kind) or t.is_large_string(kind) or t.is_string_view(kind):
        return "string"
    if t.is_binary(kind) or t.is_large_binary(kind) or t.is_binary_view(kind):
        return "binary"
    if t.is_decimal(kind) and not t.is_decimal256(kind) and 0 <= kind.scale <= kind.precision <= _MOST_DIGITS:
        return f"decimal({kind.precision}, {kind.scale})"
    return _PLAIN.get(kind)


_PLAIN = {
    pa.bool_(): "boolean",
    pa.int64(): "long",
    pa.uint32(): "long",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.date32(): "date",
    pa.date64(): "date",
}
_DELTA_NUMBERS = {
    pa.int8(): "byte",
    pa.int16(): "short",
    pa.uint8(): "short",
    pa.int32(): "integer",
    pa.uint16(): "integer",
}
_ICEBERG_NUMBERS = dict.fromkeys((pa.int8(), pa.int16(), pa.uint8(), pa.int32(), pa.uint16()), "int")
