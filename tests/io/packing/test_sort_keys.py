"""Tests that keys compare as the values do that they stand for."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvm_batch.io.packing.sorting.sort_keys import sort_keys

INT64 = st.integers(-(2**63), 2**63 - 1)
VALUES: dict[str, tuple[st.SearchStrategy[Any], pa.DataType]] = {
    "int64": (INT64, pa.int64()),
    "uint64": (st.integers(0, 2**64 - 1), pa.uint64()),
    "int8": (st.integers(-128, 127), pa.int8()),
    "double": (st.floats(allow_nan=False), pa.float64()),
    "float": (st.floats(width=32, allow_nan=False), pa.float32()),
    "bool": (st.booleans(), pa.bool_()),
    "timestamp": (INT64, pa.timestamp("us", "Europe/Berlin")),
    "duration": (INT64, pa.duration("s")),
    "date32": (st.integers(-(2**31), 2**31 - 1), pa.date32()),
    "time32": (st.integers(0, 86_399), pa.time32("s")),
    "decimal64": (st.decimals(-(10**6), 10**6, places=2), pa.decimal64(18, 2)),
    "decimal256": (st.decimals(-(10**40), 10**40, places=3), pa.decimal256(60, 3)),
    "binary": (st.binary(max_size=4), pa.binary()),
    "string view": (st.text(max_size=4).map(str.encode), pa.string_view()),
    "dictionary": (st.text(max_size=4).map(str.encode), pa.dictionary(pa.int16(), pa.large_string())),
}


def column(values: list[Any], kind: pa.DataType) -> pa.ChunkedArray:
    """Values in one chunk and, behind another one, in a slice."""
    if pa.types.is_temporal(kind):
        array = pa.array(values, pa.int32() if kind.bit_width == 32 else pa.int64()).cast(kind)
    elif pa.types.is_dictionary(kind) or pa.types.is_string_view(kind):
        array = pa.array([value if value is None else value.decode() for value in values], pa.string()).cast(
            kind
        )
    else:
        array = pa.array(values, kind)
    return pa.chunked_array([array, array.slice(1)])


@pytest.mark.parametrize("kind", VALUES)
@given(data=st.data())
def test_keys_compare_as_values_do(kind: str, data: st.DataObject) -> None:
    """Of any two values the keys are equal, less or greater as the values are; a null has no key."""
    strategy, arrow = VALUES[kind]
    values = data.draw(st.lists(st.none() | strategy, max_size=8))
    doubled = values + values[1:]
    keys = sort_keys(column(values, arrow)).to_pylist()
    assert [key is None for key in keys] == [value is None for value in doubled]
    known = [(value, key) for value, key in zip(doubled, keys, strict=True) if value is not None]
    for value, key in known:
        for other, other_key in known:
            assert (value < other, value == other) == (key < other_key, key == other_key)


def test_not_a_number_has_no_key() -> None:
    """NaN names no article and no position; minus zero is zero."""
    keys = sort_keys(pa.chunked_array([[math.nan, -0.0, 0.0]])).to_pylist()
    assert keys[0] is None
    assert keys[1] == keys[2] is not None
    assert sort_keys(pa.chunked_array([pa.nulls(2)])).to_pylist() == [None, None]
    assert sort_keys(pa.chunked_array([], pa.decimal128(5, 1))).to_pylist() == []
    assert sort_keys(pa.chunked_array([[Decimal("1.5"), None]])).to_pylist()[1] is None
