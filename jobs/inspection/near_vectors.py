"""Columns whose vectors or articles are in a form that is not read: structs, texts, whole numbers, a column each.

The rule: a column is judged by its name and type alone.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pyarrow as pa

from lvm_batch.io.dataset.column_checks import is_plain
from lvm_batch.io.discovery.part_names import ARTICLE, any_group, is_like_vector
from lvm_batch.io.vectors.types import holds_vectors, list_levels

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_NUMBERED = re.compile(r"(.*?)[_.]?\d+")
_MANY = 8  # components


def near_vectors(schemas: Iterable[pa.Schema]) -> list[str]:
    """Return what seems to hold vectors, each with the reason why it cannot be read."""
    found: dict[str, None] = {}
    for schema in schemas:
        found |= dict.fromkeys(text for field in schema for text in _near(field))
        found |= dict.fromkeys(_one_each(schema))
    return list(found)


def nested_articles(schemas: Iterable[pa.Schema]) -> tuple[str, ...]:
    """Return the fields of structs that are named as articles are, such as `metadata.doc_id`."""
    inner = (
        (f"{field.name}.{each.name}", each)
        for schema in schemas
        for field in schema
        if pa.types.is_struct(field.type)
        for each in field.type
    )
    return tuple(
        dict.fromkeys(
            name for name, each in inner if any_group([each.name], ARTICLE[:2]) and is_plain(each.type)
        )
    )


def _near(field: pa.Field) -> Iterator[str]:
    kind = field.type
    if pa.types.is_struct(kind):
        yield from (
            f"`{field.name}` is a struct, whose `{inner.name}` is not read"
            for inner in kind
            if holds_vectors(inner.type)
        )
    elif _leaf_is_integer(kind):
        yield f"`{field.name}` is {kind}, whole numbers"
    elif is_like_vector(field.name) and _is_text(kind):
        yield f"`{field.name}` is {kind}, a text"


def _leaf_is_integer(kind: pa.DataType) -> bool:
    *lists, leaf = list_levels(kind)
    return bool(lists) and bool(pa.types.is_integer(leaf))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _one_each(schema: pa.Schema) -> Iterator[str]:
    """Yield columns of floats whose names differ by a number only, such as `dim_0` and `dim_1`."""
    groups: dict[str, list[str]] = {}
    for field in schema:
        if pa.types.is_floating(field.type) and (match := _NUMBERED.fullmatch(field.name)):
            groups.setdefault(match[1], []).append(field.name)
    for names in groups.values():
        if len(names) >= _MANY:
            yield f"`{names[0]}` to `{names[-1]}` are {len(names):,} columns, one for each number"
