"""The schema of a Delta table: columns in the JSON of its protocol, there and back.

The rule: every column may hold nulls, in whatever depth; a file that lacks a column has them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from lvm_batch.io.tables.column_types import ListType, MapType, StructType

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from deltalake import DeltaTable, Schema

    from lvm_batch.io.tables.column_types import ColumnType


def delta_schema(columns: Mapping[str, ColumnType]) -> Schema:
    """Return the schema with these columns."""
    from deltalake import Schema  # noqa: PLC0415 - an extra

    return Schema.from_json(json.dumps(_struct(columns.items())))


def columns_of(table: DeltaTable) -> dict[str, Any]:
    """Return the types of a table's columns, in JSON and without what does not matter to values."""
    return {field["name"]: _bare(field["type"]) for field in json.loads(table.schema().to_json())["fields"]}


def _bare(kind: Any) -> Any:  # noqa: ANN401 - JSON
    """Return a type that allows nulls everywhere and has no metadata, as those that are written here."""
    if not isinstance(kind, dict):
        return str(kind).replace(",", ", ").replace("  ", " ")
    if kind["type"] == "struct":
        return _struct_of({each["name"]: _bare(each["type"]) for each in kind["fields"]})
    if kind["type"] == "array":
        return _array(_bare(kind["elementType"]))
    return _map(_bare(kind["keyType"]), _bare(kind["valueType"]))


def as_json(kind: ColumnType) -> Any:  # noqa: ANN401 - JSON
    """Return a type in the protocol's JSON."""
    match kind:
        case ListType(element):
            return _array(as_json(element))
        case MapType(key, value):
            return _map(as_json(key), as_json(value))
        case StructType(fields):
            return _struct(fields)
    return kind


def _array(element: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {"type": "array", "elementType": element, "containsNull": True}


def _map(key: Any, value: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {"type": "map", "keyType": key, "valueType": value, "valueContainsNull": True}


def _struct(fields: Iterable[tuple[str, ColumnType]]) -> dict[str, Any]:
    return _struct_of({name: as_json(kind) for name, kind in fields})


def _struct_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    parts = [{"name": name, "type": kind, "nullable": True, "metadata": {}} for name, kind in fields.items()]
    return {"type": "struct", "fields": parts}
