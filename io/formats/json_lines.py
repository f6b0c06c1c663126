"""JSON lines: a JSON object a line, plain or compressed, read a block of whole lines at a time.

The rule: a value keeps the kind that it is written in. Texts stay texts, also those that look like times; whole numbers
and others in one column are floats; any other mixture is refused by file and line.
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.json as pj
import pyarrow.types as t

from lvm_batch.io.errors import ColumnError, InputNotFound, UnreadableFile
from lvm_batch.io.storage.locations import locate

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK_BYTES = 4 * 2**20
_PEEK_BYTES = 4096
_BOM = b"\xef\xbb\xbf"
_COMPRESSIONS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2"}
_ROW = re.compile(r" in row (\d+)$")
_COLUMN = re.compile(r"Column\(/([^/)]*)")
_AS_LINES = "write one object a line; `jq -c '.[]'` makes lines of an array"


class Lines(NamedTuple):
    """Whole lines of a file, and the number of the first, from 1."""

    content: bytes
    first: int


def begins_as_json_lines(path: str) -> bool:
    """Whether a file, unpacked if it is compressed, begins with an object; raises for one that begins an array."""
    try:
        with _open(path) as stream:
            start = bytes(stream.read(_PEEK_BYTES)).removeprefix(_BOM).lstrip()
    except UnreadableFile:
        return False
    if start.startswith(b"["):
        raise UnreadableFile(f"{path} holds one JSON array, not JSON lines", _AS_LINES, path)
    return start.startswith(b"{")


def read_lines(path: str) -> Iterator[Lines]:
    """Yield the lines of a file in blocks of some MiB; raises :class:`UnreadableFile`."""
    first, rest = 1, b""
    with _open(path) as stream:
        while content := bytes(stream.read(_BLOCK_BYTES)):
            if first == 1 and not rest:
                content = content.removeprefix(_BOM)
            whole, newline, after = content.rpartition(b"\n")
            if newline:
                lines = Lines(rest + whole + newline, first)
                first += lines.content.count(b"\n")
                rest = after
                yield lines
            else:
                rest += content
    if rest.strip():
        yield Lines(rest, first)


def parse(lines: Lines, path: str, schema: pa.Schema | None = None) -> pa.Table:
    """Return the rows of some lines: all columns, or those of ``schema``, in its types.

    Raises :class:`ColumnError` for values of two kinds in one column, :class:`UnreadableFile` for what is no JSON.
    """
    if not lines.content.strip():
        return (schema or pa.schema([])).empty_table()
    parsing = pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore") if schema else None
    try:
        table = pj.read_json(
            pa.BufferReader(lines.content),
            read_options=pj.ReadOptions(use_threads=False, block_size=len(lines.content) + 1),
            parse_options=parsing,
        )
    except pa.ArrowInvalid as error:
        raise _error(str(error), lines, path) from error
    if table.num_rows != len(_numbered(lines)):
        raise UnreadableFile(
            f"{path}: from line {lines.first} on, some line is not one JSON object", _AS_LINES, path
        )
    return table


def common_json_type(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Return the type of a column that has values of both types, ``None`` if these are of different kinds."""
    if one == other or t.is_null(other):
        return one
    if t.is_null(one):
        return other
    if {one, other} == {pa.int64(), pa.float64()}:
        return pa.float64()
    if t.is_list(one) and t.is_list(other):
        value = common_json_type(one.value_type, other.value_type)
        return None if value is None else pa.list_(value)
    return _common_struct(one, other) if t.is_struct(one) and t.is_struct(other) else None


def plain_type(kind: Any) -> pa.DataType:  # noqa: ANN401 - a type of Arrow
    """Return a type that Arrow has found in JSON with texts where it has taken them for times."""
    if t.is_timestamp(kind):
        return pa.string()
    if t.is_list(kind):
        return pa.list_(plain_type(kind.value_type))
    return pa.struct([(field.name, plain_type(field.type)) for field in kind]) if t.is_struct(kind) else kind


def line_of(lines: Lines, column: str) -> int:
    """Return the number of the first of some lines that has a value in a column."""
    for number, line in _numbered(lines).items():
        value = json.loads(line)
        if isinstance(value, dict) and value.get(column) is not None:
            return number
    return lines.first


def mixed_kinds(path: str, column: str, line: int, *, kinds: str) -> ColumnError:
    """Return the error of a column with values of two kinds."""
    return ColumnError(
        f"{path}, line {line}: `{column}` changes its type: {kinds}",
        "write all values of the column with one type, for example all ids as strings",
    )


def _common_struct(one: Any, other: Any) -> pa.DataType | None:  # noqa: ANN401 - types of Arrow
    fields = {field.name: field.type for field in one}
    for field in other:
        kind = common_json_type(fields.get(field.name, pa.null()), field.type)
        if kind is None:
            return None
        fields[field.name] = kind
    return pa.struct(list(fields.items()))


def _numbered(lines: Lines) -> dict[int, bytes]:
    """Return the lines that are not empty by their numbers."""
    found = enumerate(lines.content.split(b"\n"), lines.first)
    return {number: line for number, line in found if line.strip()}


def _error(message: str, lines: Lines, path: str) -> ColumnError | UnreadableFile:
    row, column = _ROW.search(message), _COLUMN.search(message)
    numbers = list(_numbered(lines))
    line = numbers[min(int(row[1]), len(numbers) - 1)] if row else lines.first
    reason = _ROW.sub("", message).removeprefix("JSON parse error: ").rstrip(".")
    if column and column[1] and "changed from" in reason:
        kinds = reason.rpartition("changed ")[2]
        return mixed_kinds(path, column[1], line, kinds=kinds)
    where = f"line {line}" if row else f"from line {line} on"
    return UnreadableFile(f"{path}, {where}: {reason}", _AS_LINES, path)


@contextmanager
def _open(path: str) -> Iterator[pa.NativeFile]:
    place = locate(path)
    try:
        with place.filesystem.open_input_file(place.path) as file:
            start = file.read(4)
        compression = next((name for magic, name in _COMPRESSIONS.items() if start.startswith(magic)), None)
        with place.filesystem.open_input_stream(place.path, compression=compression) as stream:
            yield stream
    except FileNotFoundError as error:
        raise InputNotFound(f"{path} no longer exists", "restore it, then run again") from error
    except (pa.ArrowException, OSError) as error:
        raise UnreadableFile(
            f"{path} cannot be read: {error}", "copy it again, or write it again", path
        ) from error
