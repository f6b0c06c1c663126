"""Parquet files as sources of rows: windows or single vectors of any encoding, and every other column unchanged.

The rule: a column that a folder gives is a column of the file; it is read, but not written where the output lies in the
same folders.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa

from lvm_batch.io.dataset.units import DatasetFormat
from lvm_batch.io.discovery.find_columns import find_columns
from lvm_batch.io.discovery.messages import found_notice
from lvm_batch.io.errors import UnreadableFile
from lvm_batch.io.formats.parquet import open_parquet
from lvm_batch.io.formats.parquet_sizes import largest_row
from lvm_batch.io.packing.decoded_rows import DecodedRows, vector_columns
from lvm_batch.io.packing.sources import Source
from lvm_batch.io.schema import WindowShape
from lvm_batch.io.vectors.types import vector_dtype

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lvm_batch.io.dataset.file_columns import FileColumns
    from lvm_batch.io.dataset.files import InputFile
    from lvm_batch.io.packing.sources import Reading
    from lvm_batch.io.schema import ColumnNames

_FLOAT32_BYTES = 4


@dataclass(frozen=True, slots=True)
class _ParquetTables:
    """The rows of a Parquet file."""

    path: str
    columns: FileColumns

    def read(self, names: Sequence[str], n_rows: int) -> Iterator[pa.Table]:
        """Read columns in order, ``n_rows`` rows at a time."""
        with open_parquet(self.path) as parquet:
            row_groups = range(parquet.metadata.num_row_groups)
            yield from self.columns.read(
                parquet, row_groups=row_groups, columns=list(names), batch_rows=n_rows
            )


def parquet_sources(files: Sequence[InputFile], reading: Reading) -> list[Source]:
    """Return the rows of each Parquet file; raises ``DataError``."""
    found = find_columns(files, reading.given, shape=reading.shape, parts=())
    shape = reading.shape or found.shape
    sources = [_parquet_source(file, reading, found.names, shape) for file in files]
    if sources and (notice := found_notice(found.taken)):
        sources[0] = replace(sources[0], notices=(notice,))
    return sources


def _parquet_source(file: InputFile, reading: Reading, names: ColumnNames, shape: WindowShape) -> Source:
    with open_parquet(file.path) as parquet:
        columns = DatasetFormat(names, shape).columns(parquet.schema_arrow, file)
        schema, n_rows = columns.schema, parquet.metadata.num_rows
        if n_rows < 0:
            raise UnreadableFile(f"{file.path} declares {n_rows} rows", "write the file again", file.path)
        lengths = vector_columns(schema, file.path, names, shape)
        apart = lengths.keys() | reading.leave_out | columns.kept
        others = pa.schema([field for field in schema if field.name not in apart])
        other_bytes = largest_row(
            parquet,
            row_groups=range(parquet.metadata.num_row_groups),
            columns=others.names,
            most=shape.dim * _FLOAT32_BYTES,
        )
    tables = _ParquetTables(file.path, columns).read
    return Source(
        file=file,
        part="",
        n_rows=n_rows,
        shape=WindowShape(next(iter(lengths.values())), shape.dim),
        vectors={
            column: vector_dtype(schema.field(column).type, width=length * shape.dim)
            for column, length in lengths.items()
        },
        others=others,
        notices=(),
        blocks=DecodedRows(tables, lengths, others.names, shape.dim, reading.pad).blocks,
        columns=tables,
        other_bytes=other_bytes,
    )
