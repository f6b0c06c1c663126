"""The columns of a unit that are carried to its output, read when they are written.

The rule: the bytes held of them, decoded, are bounded, whatever they take in the file and however many rows of
predictions wait to be written with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from lvm_batch.io.dataset.files import check_unchanged
from lvm_batch.io.errors import DataError, UnreadableFile
from lvm_batch.io.formats.parquet import ROWS_AT_ONCE
from lvm_batch.io.formats.parquet_sizes import HELD_BYTES, largest_row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvm_batch.io.dataset.file_columns import FileColumns
    from lvm_batch.io.dataset.units import Unit
    from lvm_batch.io.formats.parquet import OpenParquet
    from lvm_batch.io.schema import Roles


class CarriedRows:
    """The carried columns of an open unit, read once and in order; ``schema`` has the output's names."""

    def __init__(self, file: OpenParquet, columns: FileColumns, unit: Unit, roles: Roles) -> None:
        self._file = file
        self._file_columns = columns
        self._unit = unit
        written = written_columns(columns, roles)
        self._columns = list(written)
        self.schema = pa.schema([columns.schema.field(name).with_name(new) for name, new in written.items()])
        self._n_taken = 0
        self._tables = self._read()

    def take(self, n_rows: int) -> Iterator[pa.Table]:
        """Yield the next rows in tables of at most :data:`HELD_BYTES`, or of one row; nothing if there is no column.

        Raises ``UnreadableFile`` if the file is damaged, ends early, or was changed while it was read. ``n_rows`` is a
        multiple of ``ROWS_AT_ONCE``, except for the last rows of a unit.
        """
        end = self._n_taken + n_rows
        if not self._columns:
            self._n_taken = end
        while self._n_taken < end:
            table = self._next().slice(0, end - self._n_taken)  # a cut unit ends within a table
            self._n_taken += table.num_rows
            yield table
            del table  # or it would stay in memory while the next one is read
        if self._n_taken == self._unit.n_rows:
            check_unchanged(self._unit.file)

    def _next(self) -> pa.Table:
        try:
            table = next(self._tables, None)
        except DataError:
            check_unchanged(self._unit.file)  # a change of the file explains the error
            raise
        if table is None:
            raise UnreadableFile(
                f"{self._unit.file.path} has {self._n_taken} rows of its carried columns from row "
                f"{self._unit.first_row} on, but its footer declares {self._unit.n_rows}",
                "write the file again",
            )
        return table

    def _read(self) -> Iterator[pa.Table]:
        row_groups = range(self._unit.first_row_group, self._unit.last_row_group)
        row = largest_row(
            self._file, row_groups=row_groups, columns=self._columns, most=HELD_BYTES // ROWS_AT_ONCE
        )
        tables = self._file_columns.read(
            self._file, row_groups=row_groups, columns=self._columns, batch_rows=rows_within(row)
        )
        names = (
            self.schema.names
        )  # a generator that held these rows, which hold it, would keep what both have read
        return (table.rename_columns(names) for table in tables)


def written_columns(columns: FileColumns, roles: Roles) -> dict[str, str]:
    """Return the carried columns that are written, each with its name in the output.

    A column that the output's folders give is written only under another name.
    """
    return {name: new for name, new in roles.carried.items() if name != new or name not in columns.kept}


def rows_within(row_bytes: int) -> int:
    """Return how many rows of ``row_bytes`` are read at a time: a power of two, so that a block is whole tables."""
    n_rows = ROWS_AT_ONCE
    while n_rows > 1 and n_rows * row_bytes > HELD_BYTES:
        n_rows //= 2
    return n_rows


def carried_bytes(row_bytes: int, n_rows: int) -> int:
    """Return the bytes held at a time of ``n_rows`` rows of at most ``row_bytes``."""
    return min(n_rows * row_bytes, max(row_bytes, HELD_BYTES))
