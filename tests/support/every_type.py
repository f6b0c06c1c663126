"""Columns of every type that Parquet can hold, and a comparison of values to the bit."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as t

N_ROWS = 4
"""The number of rows of each column."""

_NS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_MOST, _NANS = 2**63 - 1, {2: 0x7E01, 4: 0x7FC0BEEF, 8: 0x7FF8DEAD0000BEEF}


def columns() -> dict[str, pa.Array]:
    """Columns of four values, among them the extremes of the type, and a null."""
    return {
        **_numbers(),
        **_times(),
        **_texts(),
        **_nested(),
        **_extensions(),
        "null": pa.nulls(N_ROWS),
        "bool": pa.array([True, None, False, True]),
    }


def as_read() -> dict[str, pa.Array]:
    """The same columns in the types that Arrow reads from Parquet: days for date64, milliseconds for seconds."""
    columns_read = {}
    for name, column in columns().items():
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table([column], [name]), sink)
        columns_read[name] = pq.read_table(pa.BufferReader(sink.getvalue()))[name].combine_chunks()
    return columns_read


def _numbers() -> dict[str, pa.Array]:
    whole = {
        str(kind): pa.array([_least(kind), None, _greatest(kind), 1], kind)
        for kind in map(pa.type_for_alias, ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"))
    }
    floats = {str(kind): _floats(kind) for kind in (pa.float16(), pa.float32(), pa.float64())}
    long, negative = (Decimal(f"{sign}{'9' * 74}.99") for sign in ("", "-"))
    decimals = {
        "decimal32": pa.array(
            [Decimal("-1234567.89"), None, Decimal("0.10"), Decimal(1)], pa.decimal32(9, 2)
        ),
        "decimal64": pa.array([Decimal("1.234567"), None, Decimal("-0.1"), Decimal(1)], pa.decimal64(18, 6)),
        "decimal128": pa.array(
            [Decimal("9" * 36 + ".99"), None, Decimal(0), Decimal(1)], pa.decimal128(38, 2)
        ),
        "decimal256": pa.array([long, None, negative, Decimal(1)], pa.decimal256(76, 2)),
        "short decimal256": pa.array([Decimal("1.5"), None, Decimal(0), Decimal(1)], pa.decimal256(20, 1)),
    }
    return whole | floats | decimals


def _least(kind: pa.DataType) -> int:
    return -(2 ** (kind.bit_width - 1)) if t.is_signed_integer(kind) else 0


def _greatest(kind: pa.DataType) -> int:
    return 2 ** (kind.bit_width - int(t.is_signed_integer(kind))) - 1


def _floats(kind: pa.DataType) -> pa.Array:
    """A NaN with a payload, minus zero and the smallest positive number."""
    width = kind.bit_width // 8
    bits = (_NANS[width], 0, 1 << (8 * width - 1), 1)
    values = b"".join(value.to_bytes(width, "little") for value in bits)
    return pa.Array.from_buffers(kind, N_ROWS, [pa.py_buffer(b"\x0d"), pa.py_buffer(values)])


def _times() -> dict[str, pa.Array]:
    found = {}
    for unit, second in (("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)):
        far = _MOST if unit == "ns" else 253_402_300_799 * second + second - 1  # the end of the year 9999
        moments = pa.array([far, None, -1, 1], pa.int64())
        for zone in (None, "UTC", "Europe/Berlin", "+02:00"):
            found[f"timestamp {unit} {zone}"] = moments.cast(pa.timestamp(unit, zone))
        found[f"duration {unit}"] = moments.cast(pa.duration(unit))
        of_day = pa.array([86_400 * second - 1, None, 0, 1], pa.int64())
        found[f"time {unit}"] = (
            of_day.cast(pa.time64(unit)) if second > 1000 else of_day.cast(pa.int32()).cast(pa.time32(unit))
        )
    days = pa.array([2**31 - 1, None, -(2**31), 1], pa.int32()).cast(pa.date32())
    return found | {
        "date32": days,
        "date64": pa.array([86_400_000 * 10**6, None, -86_400_000, 0], pa.date64()),
    }


def _texts() -> dict[str, pa.Array]:
    texts, blobs = ["ü" * 40, None, "", "a\0b"], [b"\xff" * 40, None, b"", b"a\0b"]
    found = {str(kind): pa.array(texts, kind) for kind in (pa.string(), pa.large_string(), pa.string_view())}
    found |= {str(kind): pa.array(blobs, kind) for kind in (pa.binary(), pa.large_binary(), pa.binary_view())}
    found["binary of 2"] = pa.array([b"\xff\0", None, b"ab", b"\0\0"], pa.binary(2))
    plain = {
        "strings": pa.array(texts),
        "large strings": pa.array(texts, pa.large_string()),
        "binary": pa.array(blobs),
        "int64": pa.array([_MOST, None, 2**53 + 1, 1]),
        "nanoseconds": pa.array([_MOST, None, -1, 1], pa.timestamp("ns")),
        "decimals": pa.array([Decimal("1.1"), None, Decimal("2.2"), Decimal("1.1")]),
        "days": pa.array([1, None, 2, 1], pa.date32()),
    }
    found |= {f"dictionary of {name}": values.dictionary_encode() for name, values in plain.items()}
    codes = pa.array([1, None, 0, 1], pa.int8())
    found["ordered dictionary"] = pa.DictionaryArray.from_arrays(codes, ["b", "a"], ordered=True)
    found["dictionary of int8"] = pa.DictionaryArray.from_arrays(codes, ["b", "a"])
    found["dictionary of uint16"] = pa.DictionaryArray.from_arrays(codes.cast(pa.uint16()), ["b", "a"])
    return found


def _nested() -> dict[str, pa.Array]:
    exact, lists = 2**53 + 1, [[2**53 + 1, None], None, [], [1]]
    kinds: dict[str, tuple[list[Any], pa.DataType]] = {
        "list": (lists, pa.list_(pa.int64())),
        "large list": (lists, pa.large_list(pa.int64())),
        "list view": (lists, pa.list_view(pa.int64())),
        "large list view": (lists, pa.large_list_view(pa.int64())),
        "fixed list": ([[exact, None], [2, 3], [4, 5], [6, 7]], pa.list_(pa.int64(), 2)),
        "list of int8": ([[1, None], None, [], [-128]], pa.list_(pa.int8())),
        "list of floats": ([[1.5], None, [], [None]], pa.list_(pa.float16())),
        "list of nanoseconds": ([[_MOST], None, [], [1]], pa.list_(pa.timestamp("ns"))),
        "list of labels": ([["a"], None, [], [None]], pa.list_(pa.dictionary(pa.int8(), pa.string()))),
        "list of nulls": ([[None], None, [], []], pa.list_(pa.null())),
        "list of lists": ([[[exact], None], None, [], [[]]], pa.list_(pa.list_(pa.uint64()))),
        "struct": (
            [{"a": exact, "b": "x"}, None, {"a": None, "b": None}, {"a": 1, "b": ""}],
            pa.struct([("a", pa.int64()), ("b", pa.string())]),
        ),
        "struct of int8": ([{"a": 1, "b": "x"}, None] * 2, pa.struct([("a", pa.int8()), ("b", pa.string())])),
        "struct of lists": ([{"a": [{"b": exact}]}, None, {"a": None}, {"a": []}], pa.struct([("a", pa.list_(
            pa.struct([("b", pa.uint64())])))])),
        "struct of decimal256": ([{"a": Decimal("9" * 70)}, None] * 2, pa.struct([("a", pa.decimal256(70, 0))])),
        "map": ([[("k", exact)], None, [], [("l", None)]], pa.map_(pa.string(), pa.int64())),
        "map of lists": ([[(1, [exact])], None, [], [(2, None)]], pa.map_(pa.int8(), pa.list_(pa.uint64()))),
    }  # fmt: skip
    return {name: pa.array(values, kind) for name, (values, kind) in kinds.items()}


class Unregistered(pa.ExtensionType):
    """An extension type that readers do not know."""

    def __init__(self) -> None:
        super().__init__(pa.int64(), "tests.unregistered")

    def __arrow_ext_serialize__(self) -> bytes:
        return b"of no consequence"

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: pa.DataType, serialized: bytes) -> Unregistered:
        del storage, serialized
        return cls()


def _extensions() -> dict[str, pa.Array]:
    pairs = pa.array([[1, 2], [3, 4], [5, 6], [2**53 + 1, 8]], pa.list_(pa.int64(), 2))
    ids = [uuid.UUID(int=1).bytes, None, uuid.UUID(int=2**128 - 1).bytes, bytes(16)]
    stored: dict[str, tuple[Any, pa.Array]] = {
        "uuid": (pa.uuid(), pa.array(ids, pa.binary(16))),
        "json": (pa.json_(), pa.array(['{"a": 1}', None, "[9007199254740993]", "1"])),
        "tensor": (pa.fixed_shape_tensor(pa.int64(), (1, 2)), pairs),
        "opaque": (pa.opaque(pa.int64(), "t", "v"), pa.array([_MOST, None, 3, 4])),
        "bool8": (pa.bool8(), pa.array([1, None, 0, 1], pa.int8())),
        "unregistered": (Unregistered(), pa.array([_MOST, None, 3, 4])),
    }
    return {name: pa.ExtensionArray.from_storage(kind, storage) for name, (kind, storage) in stored.items()}


def exact(value: pa.Scalar) -> Any:  # noqa: ANN401 - of any kind
    """A form of a value that is equal for two values only if they are the same to the bit, whatever their types."""
    kind = value.type
    if not value.is_valid:
        return None
    if isinstance(kind, pa.BaseExtensionType) or t.is_dictionary(kind):
        return exact(value.value)
    if t.is_struct(kind):
        return {name: exact(value[name]) for name in value}
    if t.is_nested(kind):
        return [exact(part) for part in value.values]
    if t.is_floating(kind):
        return pa.repeat(value, 1).view(pa.type_for_alias(f"u{kind.bit_width // 8}"))[0].as_py()
    if t.is_date64(kind):
        return value.value // 86_400_000
    if t.is_date32(kind):
        return value.value
    if t.is_temporal(kind):
        return value.value * _NS[kind.unit]
    if t.is_string_view(kind) or t.is_string(kind) or t.is_large_string(kind):
        return value.as_buffer().to_pybytes()
    return value.as_py()


def all_exact(column: pa.ChunkedArray) -> list[Any]:
    """The exact form of every value of a column."""
    return [exact(value) for value in column]
