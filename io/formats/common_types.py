"""The type that holds the values of two Arrow types unchanged.

The rule: no value changes: whole numbers go together with floats only if the float type can hold each of them. Two
types without such a common type have none here.

Timestamps and durations of different units get the finer unit; the reader refuses values that do not fit it.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.types as t

_UNITS = ("s", "ms", "us", "ns")
_SIGNED = (pa.int8(), pa.int16(), pa.int32(), pa.int64())
_FLOATS: dict[Any, int] = {pa.float16(): 11, pa.float32(): 24, pa.float64(): 53}
"""How many bits of a whole number each float type holds exactly (IEEE 754)."""
_DECIMALS = ((38, pa.decimal128), (76, pa.decimal256))
_TEXT = (t.is_string, t.is_large_string, t.is_string_view)
_BINARY = (t.is_binary, t.is_large_binary, t.is_binary_view, t.is_fixed_size_binary)
_LISTS = (t.is_list, t.is_large_list, t.is_fixed_size_list)


def common_type(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Return the type that holds the values of both unchanged, or ``None``."""
    if one == other:
        return one
    if any(t.is_list_view(each) or t.is_large_list_view(each) for each in (one, other)):
        return None  # Arrow's cast from views of lists reads past their offsets (pyarrow 26), and none leads to them
    if t.is_null(one) or t.is_null(other):
        return other if t.is_null(one) else one
    return next((found for rule in _RULES if (found := rule(one, other)) is not None), None)


def _numbers(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    if not all(t.is_integer(each) or t.is_floating(each) for each in (one, other)):
        return None
    if t.is_integer(one) and t.is_integer(other):
        return _integers(one, other)
    bits = max(_whole_bits(one), _whole_bits(other))
    return next((kind for kind, room in _FLOATS.items() if room >= bits), None)


def _whole_bits(kind: pa.DataType) -> int:
    if t.is_floating(kind):
        return _FLOATS[kind]
    return int(kind.bit_width) - int(t.is_signed_integer(kind))


def _integers(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    if t.is_unsigned_integer(one) == t.is_unsigned_integer(other):
        return max(one, other, key=lambda kind: kind.bit_width)
    bits = max(_whole_bits(one), _whole_bits(other))
    return next((kind for kind in _SIGNED if kind.bit_width > bits), None)


def _decimals(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    if not (t.is_decimal(one) and t.is_decimal(other)):
        return None
    scale = max(one.scale, other.scale)
    digits = scale + max(one.precision - one.scale, other.precision - other.scale)
    return next((make(digits, scale) for most, make in _DECIMALS if digits <= most), None)


def _times(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    if t.is_timestamp(one) and t.is_timestamp(other) and one.tz == other.tz:
        return pa.timestamp(_finer(one, other), one.tz)
    if t.is_duration(one) and t.is_duration(other):
        return pa.duration(_finer(one, other))
    if t.is_time(one) and t.is_time(other):
        unit = _finer(one, other)
        return pa.time64(unit) if unit in {"us", "ns"} else pa.time32(unit)
    return None


def _finer(one: pa.DataType, other: pa.DataType) -> str:
    return _UNITS[max(_UNITS.index(one.unit), _UNITS.index(other.unit))]


def _texts(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    for kinds, wide in ((_TEXT, pa.large_string()), (_BINARY, pa.large_binary())):
        if all(any(is_kind(each) for is_kind in kinds) for each in (one, other)):
            return wide
    return None


def _dictionaries(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Return a dictionary type if both are dictionaries without order; else the type of the values."""
    encoded = [each for each in (one, other) if t.is_dictionary(each)]
    if not encoded:
        return None
    value = common_type(*(each.value_type if t.is_dictionary(each) else each for each in (one, other)))
    if value is None or len(encoded) == 1 or one.ordered or other.ordered:
        return value
    index = _integers(one.index_type, other.index_type)
    return value if index is None else pa.dictionary(index, value)


def _lists(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    if not all(any(is_kind(each) for is_kind in _LISTS) for each in (one, other)):
        return None
    value = _field(one.value_field, other.value_field)
    if value is None:
        return None
    if t.is_fixed_size_list(one) and t.is_fixed_size_list(other) and one.list_size == other.list_size:
        return pa.list_(value, one.list_size)
    return pa.large_list(value)


def _structs(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    if not (t.is_struct(one) and t.is_struct(other)):
        return None
    if [field.name for field in one] != [field.name for field in other]:
        return None
    fields = [_field(*pair) for pair in zip(one, other, strict=True)]
    return None if any(field is None for field in fields) else pa.struct(fields)


def _field(one: pa.Field, other: pa.Field) -> pa.Field | None:
    kind = common_type(one.type, other.type)
    return None if kind is None else pa.field(one.name, kind, nullable=one.nullable or other.nullable)


_RULES = (_numbers, _decimals, _times, _texts, _dictionaries, _lists, _structs)
