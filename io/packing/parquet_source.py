"""Parquet files as sources of rows: windows or single vectors of any encoding, and every other column unchanged.

The rule: a row that a run would find bad is still bad after packing. NaN, infinity and zeros stay; a row without
vectors, or with a wrong number of floats, which no fixed size can hold, counts as null.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from lvm_batch.io.dataset.column_checks import is_absent, listed, nearest, refuse_repeated
from lvm_batch.io.dataset.units import DatasetFormat
from lvm_batch.io.errors import ColumnError, UnreadableFile
from lvm_batch.io.formats.parquet import open_parquet
from lvm_batch.io.formats.parquet_sizes import largest_row
from lvm_batch.io.packing.sources import Block, Source, stem_of
from lvm_batch.io.vectors.decoding import decode_column
from lvm_batch.io.vectors.types import check_vector_type, vector_dtype

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from lvm_batch.io.dataset.file_columns import FileColumns
    from lvm_batch.io.dataset.files import InputFile
    from lvm_batch.io.packing.sources import Reading

_FLOAT32_BYTES = 4


@dataclass(frozen=True, slots=True)
class _ParquetRows:
    """A Parquet file to pack: ``lengths`` says how many vectors a row of each column of vectors holds."""

    path: str
    columns: FileColumns
    lengths: Mapping[str, int]
    others: pa.Schema
    reading: Reading

    def blocks(self, n_rows: int) -> Iterator[Block]:
        """Read the rows in order, ``n_rows`` at a time."""
        wanted = [*self.lengths, *self.others.names]
        with open_parquet(self.path) as parquet:
            row_groups = range(parquet.metadata.num_row_groups)
            tables = self.columns.read(parquet, row_groups=row_groups, columns=wanted, batch_rows=n_rows)
            yield from map(self._decoded, tables)

    def _decoded(self, table: pa.Table) -> Block:
        vectors, null, padded = {}, {}, 0
        for column, length in self.lengths.items():
            rows = np.empty((table.num_rows, length, self.reading.shape.dim), np.float32)
            flaws = decode_column(table[column], rows, pad=self.reading.pad if length > 1 else None)
            null[column] = _restore(rows, flaws.bad)
            padded += len(flaws.short)
            vectors[column] = rows.reshape(len(rows), -1)
        return Block(vectors, null, table.select(self.others.names), padded)


def parquet_source(file: InputFile, reading: Reading) -> Source:
    """Return the rows of a Parquet file; raises ``DataError``."""
    with open_parquet(file.path) as parquet:
        columns = DatasetFormat(reading.names, reading.shape).columns(parquet.schema_arrow, file)
        schema, n_rows = columns.schema, parquet.metadata.num_rows
        if n_rows < 0:
            raise UnreadableFile(f"{file.path} promises {n_rows} rows", "write the file again", file.path)
        lengths = _vector_columns(schema, file.path, reading)
        apart = lengths.keys() | reading.leave_out | columns.kept
        others = pa.schema([field for field in schema if field.name not in apart])
        other_bytes = largest_row(
            parquet,
            row_groups=range(parquet.metadata.num_row_groups),
            columns=others.names,
            most=reading.shape.dim * _FLOAT32_BYTES,
        )
    widths = {column: length * reading.shape.dim for column, length in lengths.items()}
    return Source(
        path=file.path,
        part="",
        stem=stem_of(file),
        n_rows=n_rows,
        length=next(iter(lengths.values())),
        vectors={
            column: vector_dtype(schema.field(column).type, width=width) for column, width in widths.items()
        },
        others=others,
        notices=(),
        blocks=_ParquetRows(file.path, columns, lengths, others, reading).blocks,
        other_bytes=other_bytes,
    )


def _vector_columns(schema: pa.Schema, path: str, reading: Reading) -> dict[str, int]:
    """Return the columns of vectors, each with its vectors a row; raises :class:`ColumnError`."""
    refuse_repeated(schema, path)
    names, shape = reading.names, reading.shape
    there = [field.name for field in schema if not is_absent(field.type)]
    windows = {names.context: shape.length, names.target: 1}
    lengths = windows if names.context in there else {names.vector: 1}
    lengths = {column: length for column, length in lengths.items() if column in there}
    if not lengths:
        near = nearest(names.context, there)
        flag = f"--context-column {near}" if near else "--context-column NAME or --vector-column NAME"
        raise ColumnError(
            f"{path} has neither a `{names.context}` nor a `{names.vector}` column; it has {listed(schema)}",
            f"name it: {flag}",
        )
    for column, length in lengths.items():
        problem = check_vector_type(schema.field(column).type, length=length, dim=shape.dim)
        if problem:
            raise ColumnError(
                f"{path}: column `{column}` {problem}", f"give each row {length} of {shape.dim} floats"
            )
    return lengths


def _restore(rows: NDArray[np.float32], bad: dict[int, str]) -> list[int]:
    """Restore in bad rows what makes them bad; return the rows without vectors of the right length."""
    values = {"nan": np.nan, "inf": np.inf, "zero_norm": 0.0}
    for row, reason in bad.items():
        rows[row] = values.get(reason, np.nan)
    return [row for row, reason in bad.items() if reason not in values]
