"""Tables as they lie in temporary files: in types of which a few rows take a few bytes.

The rule: a table comes back with the same values in the same types.

A few rows of a dictionary or of a view hold on to the values of all; written to many files, these would be there many
times.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.types as t

if TYPE_CHECKING:
    from collections.abc import Iterator


def spilled_schema(schema: pa.Schema) -> pa.Schema:
    """Return the schema in which rows of ``schema`` lie in temporary files."""
    return pa.schema([field.with_type(_spilled(field.type)) for field in schema])


def spill(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table with the columns of a spilled ``schema``: nulls for a column that it lacks.

    Raises ``pa.ArrowInvalid`` if a value does not fit the schema's type.
    """
    there = set(table.column_names)
    columns = [
        cast(table[field.name], field.type) if field.name in there else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Return a column in another type; one that has it is not touched."""
    return column if column.type == kind else column.cast(kind)


def restore(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table of the spilled schema as one of ``schema``."""
    columns = [_restored(column, field.type) for column, field in zip(table.columns, schema, strict=True)]
    return pa.table(columns, schema=schema)


def immovable(schema: pa.Schema) -> pa.Field | None:
    """Return a column whose rows Arrow cannot move, if there is one: such as views of lists of views."""
    return next((field for field in schema if not _can_move(_spilled(field.type))), None)


def _can_move(kind: pa.DataType) -> bool:
    try:
        pa.nulls(1, kind).take(pa.array([0]))
    except pa.ArrowNotImplementedError:
        return False
    return True


def _spilled(kind: Any) -> pa.DataType:  # noqa: ANN401 - a type of Arrow
    if t.is_dictionary(kind):
        return _spilled(kind.value_type)
    if t.is_string_view(kind):
        return pa.large_string()
    if t.is_binary_view(kind):
        return pa.large_binary()
    return _spilled_inside(kind)


def _spilled_inside(kind: Any) -> pa.DataType:  # noqa: ANN401 - a type of Arrow
    """Return a nested type without views inside, which Arrow cannot move; dictionaries stay."""
    if t.is_struct(kind):
        return pa.struct([_spilled_field(field) for field in kind])
    if t.is_map(kind):
        return pa.map_(_spilled_field(kind.key_field), _spilled_field(kind.item_field), kind.keys_sorted)
    if t.is_fixed_size_list(kind):
        return pa.list_(_spilled_field(kind.value_field), kind.list_size)
    if t.is_list(kind):
        return pa.list_(_spilled_field(kind.value_field))
    return pa.large_list(_spilled_field(kind.value_field)) if t.is_large_list(kind) else kind


def _spilled_field(field: pa.Field) -> pa.Field:
    kind = field.type
    return field if t.is_dictionary(kind) else field.with_type(_spilled(kind))


def _restored(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if not t.is_dictionary(kind):
        return cast(column, kind)
    values = cast(column, kind.value_type)
    return pa.chunked_array([part for chunk in values.chunks for part in _encoded(chunk, kind)], kind)


def _encoded(values: pa.Array, kind: Any) -> Iterator[pa.Array]:  # noqa: ANN401 - a dictionary type
    """Encode values, in several arrays where the codes of one cannot tell them apart."""
    encoded = values.dictionary_encode()
    try:
        codes = encoded.indices.cast(kind.index_type)
    except pa.ArrowInvalid:
        half = len(values) // 2
        yield from _encoded(values[:half], kind)
        yield from _encoded(values[half:], kind)
        return
    yield pa.DictionaryArray.from_arrays(codes, encoded.dictionary, ordered=kind.ordered)
