"""Columns in the names of folders: ``date=2026-01-01/lane=news/part.parquet``.

The rule: a column's type follows from all its values: whole numbers, dates, or else text, so that no two values become
one (``007`` and ``7`` are text).
"""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache
from itertools import takewhile
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Value = str | int | date | None

_NULL = "__HIVE_DEFAULT_PARTITION__"
_INTEGER = re.compile(r"-?[0-9]{1,18}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def folder_texts(path: str) -> Mapping[str, str | None]:
    """Return the columns that the folders of ``path``, with ``/`` between its parts, give, as texts."""
    return _texts(path.rpartition("/")[0])


@lru_cache(maxsize=1024)  # there may be very many files, one after the other, in the same folders
def _texts(folders: str) -> Mapping[str, str | None]:
    parts = (part.partition("=") for part in folders.split("/"))
    return MappingProxyType(
        {_decoded(name): _value_text(text) for name, equals, text in parts if name and equals}
    )


def _value_text(text: str) -> str | None:
    return None if text == _NULL else _decoded(text)


def _decoded(text: str) -> str:
    """Undo percent-encoding; a text that is no UTF-8 then stays encoded, or two values would become one."""
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        return text


@lru_cache(maxsize=1024)
def partitions_above(root: str) -> str:
    """Return the folders ``name=value`` directly above a dataset, each followed by ``/``."""
    above = [*takewhile(lambda name: "=" in name, reversed(root.split("/")[:-1]))]
    return "".join(f"{name}/" for name in reversed(above))


def folder_schema(paths: Iterable[str]) -> pa.Schema:
    """Return the columns that the folders of all ``paths`` give, with their types."""
    texts: dict[str, set[str]] = {}
    for folder in dict.fromkeys(path.rpartition("/")[0] for path in paths):
        for name, text in folder_texts(f"{folder}/").items():
            texts.setdefault(name, set()).update(() if text is None else (text,))
    return pa.schema([(name, _type(values)) for name, values in texts.items()])


def folder_values(path: str, schema: pa.Schema) -> Mapping[str, Value]:
    """Return the columns of ``schema`` that the folders of ``path`` give, as values."""
    texts = folder_texts(path)
    return {name: _value(texts[name], schema.field(name).type) for name in schema.names if name in texts}


def _type(values: set[str]) -> pa.DataType:
    if values and all(map(_INTEGER.fullmatch, values)) and len(set(map(int, values))) == len(values):
        return pa.int64()
    return pa.date32() if values and all(map(_is_date, values)) else pa.string()


def _is_date(text: str) -> bool:
    try:
        return bool(_DATE.fullmatch(text) and date.fromisoformat(text))
    except ValueError:
        return False


def _value(text: str | None, kind: pa.DataType) -> Value:
    if text is None or pa.types.is_string(kind):
        return text
    return int(text) if pa.types.is_integer(kind) else date.fromisoformat(text)
