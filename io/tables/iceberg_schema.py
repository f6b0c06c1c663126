"""The schema of an Iceberg table: columns in the JSON of its specification, there and back.

The rule: every column is optional, in whatever depth; a file that lacks a column has nulls. Ids are given anew when a
table is made; names lead to them.
"""

from __future__ import annotations

import json
from itertools import count
from typing import TYPE_CHECKING, Any

from lvm_batch.io.tables.column_types import ListType, MapType, StructType

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pyiceberg.schema import Schema

    from lvm_batch.io.tables.column_types import ColumnType


def iceberg_schema(columns: Mapping[str, ColumnType]) -> Schema:
    """Return the schema with these columns."""
    from pyiceberg.schema import Schema  # noqa: PLC0415 - an extra

    fields = _fields(columns.items(), count(1))
    return Schema.model_validate_json(json.dumps({"type": "struct", "schema-id": 0, "fields": fields}))


def _fields(columns: Iterable[tuple[str, ColumnType]], ids: Iterator[int]) -> list[dict[str, Any]]:
    return [
        {"id": next(ids), "name": name, "required": False, "type": _as_json(kind, ids)}
        for name, kind in columns
    ]


def _as_json(kind: ColumnType, ids: Iterator[int]) -> Any:  # noqa: ANN401 - JSON
    match kind:
        case ListType(element):
            number, inner = next(ids), _as_json(element, ids)
            return {"type": "list", "element-id": number, "element-required": False, "element": inner}
        case MapType(key, value):
            numbers = {"key-id": next(ids), "value-id": next(ids), "value-required": False}
            return {"type": "map", **numbers, "key": _as_json(key, ids), "value": _as_json(value, ids)}
        case StructType(fields):
            return {"type": "struct", "fields": _fields(fields, ids)}
    return kind


def type_of(kind: Any) -> ColumnType:  # noqa: ANN401 - pyiceberg's classes are told apart by what they have
    """Return a type of pyiceberg as one of ours."""
    if kind.is_primitive:
        return str(kind)
    if hasattr(kind, "element_type"):
        return ListType(type_of(kind.element_type))
    if hasattr(kind, "key_type"):
        return MapType(type_of(kind.key_type), type_of(kind.value_type))
    return StructType(tuple((each.name, type_of(each.field_type)) for each in kind.fields))
