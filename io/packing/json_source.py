"""JSON lines as a source of rows: embeddings as lists of numbers, and every other value as a column.

The rule: the file is read once before anything is written, so that the type of every column, its width and the number
of rows are known; a row without an embedding, or with one of another length, keeps its place as null.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from lvm_batch.io.discovery.find_columns import find_among
from lvm_batch.io.formats.json_lines import parse, read_lines
from lvm_batch.io.packing.decoded_rows import DecodedRows, vector_columns
from lvm_batch.io.packing.json_columns import JsonColumns, as_floats
from lvm_batch.io.packing.row_stream import RowStream, cut
from lvm_batch.io.packing.sources import Source
from lvm_batch.io.schema import WindowShape

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lvm_batch.io.dataset.files import InputFile
    from lvm_batch.io.packing.sources import Reading

_FLOAT64 = np.dtype("<f8")


@dataclass(frozen=True, slots=True)
class _JsonTables:
    """The rows of a file of JSON lines, in the types of ``schema``."""

    path: str
    schema: pa.Schema
    n_rows: int

    def read(self, names: Sequence[str], n_rows: int) -> Iterator[pa.Table]:
        """Read columns in order, ``n_rows`` rows at a time; the values of others are not converted."""
        schema = pa.schema([self.schema.field(name) for name in names])
        tables = (parse(lines, self.path, schema).select(schema.names) for lines in read_lines(self.path))
        rows = RowStream(tables, schema, vectors=(), name=self.path)
        for size in cut(self.n_rows, n_rows):
            yield rows.take(size)
        rows.finish()


def json_source(file: InputFile, reading: Reading) -> Source:
    """Return the rows of a file of JSON lines; raises ``DataError``."""
    there = JsonColumns.of(file.path)
    found = find_among(there, reading.given, parts=(), shape=reading.shape)
    vectors = {found.names.context, found.names.target} if found.layout == "windows" else {found.names.vector}
    schema = pa.schema(
        [(name, as_floats(kind) if name in vectors else kind) for name, kind in there.schema_types.items()]
    )
    lengths = vector_columns(schema, file.path, found.names, found.shape)
    left_out = {name: reason for name, reason in there.unwritable.items() if name not in reading.leave_out}
    apart = lengths.keys() | reading.leave_out | left_out.keys()
    others = pa.schema([field for field in schema if field.name not in apart])
    tables = _JsonTables(file.path, schema, there.n_rows).read
    return Source(
        file=file,
        part="",
        n_rows=there.n_rows,
        shape=WindowShape(next(iter(lengths.values())), found.shape.dim),
        vectors=dict.fromkeys(lengths, _FLOAT64),
        others=others,
        notices=tuple(f"{file.path}: `{name}` {what}" for name, what in (left_out | there.rounded).items()),
        blocks=DecodedRows(tables, lengths, others.names, found.shape.dim, reading.pad).blocks,
        columns=tables,
        other_bytes=there.largest_line,
    )
