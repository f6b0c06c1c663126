"""The columns of an input file: those it holds, and those that its folders tell (``lane=news/part.parquet``).

The rule: a column that plays a part does so wherever it comes from. One that the file holds wins over its folder's,
unless it is of type null, which says nothing. What a folder tells follows from the file's path alone, whatever other
files are read. This module does not know which part a column plays.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from lvm_batch.io.dataset.column_checks import is_absent
from lvm_batch.io.dataset.partitions import folder_texts

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from lvm_batch.io.dataset.files import InputFile
    from lvm_batch.io.formats.parquet import OpenParquet


_WHOLE = re.compile(r"-?[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class FileColumns:
    """All columns of a file: ``own`` are those it holds, ``told`` values of those that its folders tell.

    ``kept`` names those of the latter that stand in the path of the file's outputs, too, and need not be written there.
    ``overruled`` has what its folders tell of columns that it holds itself.
    """

    own: pa.Schema
    told: Mapping[str, pa.Scalar]
    kept: frozenset[str]
    overruled: Mapping[str, str | None]

    @property
    def key(self) -> tuple[object, ...]:
        """What files have in common whose columns have the same names and types."""
        return self.own.serialize().to_pybytes(), *((name, value.type) for name, value in self.told.items())

    @property
    def schema(self) -> pa.Schema:
        """Every column, the folders' behind the file's own."""
        if not self.told:
            return self.own
        held = (field for field in self.own if field.name not in self.told)
        told = (pa.field(name, value.type) for name, value in self.told.items())
        return pa.schema([*held, *told], self.own.metadata)

    def read(
        self, parquet: OpenParquet, *, row_groups: Iterable[int], columns: Sequence[str], batch_rows: int
    ) -> Iterator[pa.Table]:
        """Yield the rows of ``row_groups`` in tables of exactly ``batch_rows`` rows, the last one with what is left."""
        own = [name for name in columns if name not in self.told]
        if not own:
            return self._told_alone(parquet, row_groups, columns, batch_rows)
        tables = parquet.tables(row_groups=row_groups, columns=own, batch_rows=batch_rows)
        # A generator would hold a table while the next one is read.
        return tables if len(own) == len(columns) else map(partial(self._whole, columns), tables)

    def _told_alone(
        self, parquet: OpenParquet, row_groups: Iterable[int], columns: Sequence[str], batch_rows: int
    ) -> Iterator[pa.Table]:
        """Yield columns of which the file holds none."""
        n_rows = sum(parquet.metadata.row_group(index).num_rows for index in row_groups)
        for first in range(0, n_rows, batch_rows):
            n_here = min(batch_rows, n_rows - first)
            yield pa.table({name: pa.repeat(self.told[name], n_here) for name in columns})

    def _whole(self, columns: Sequence[str], table: pa.Table) -> pa.Table:
        """Add the folders' columns to a table of the file's own."""
        for name in columns:
            if name in self.told:
                table = table.append_column(name, pa.repeat(self.told[name], table.num_rows))
        return table.select(columns)


def file_columns(
    own: pa.Schema, file: InputFile, *, texts: Collection[str], numbers: Collection[str] = ()
) -> FileColumns:
    """Return the columns of ``file``, which holds those of ``own``.

    Of those that its folders tell these are the ones called like one of ``texts`` or ``numbers``. Values are text, so
    that none becomes another; of ``numbers`` whole numbers, where they are.
    """
    told = {name: text for name, text in file.folders.items() if name in texts or name in numbers}
    held = (
        {field.name for field in own if field.name in told and not is_absent(field.type)} if told else set()
    )
    overruled = {name: told.pop(name) for name in held}
    values = {
        name: _as_number(text) if name in numbers and name not in texts else pa.scalar(text, pa.string())
        for name, text in told.items()
    }
    kept = frozenset(told.keys() & folder_texts(file.name).keys())
    return FileColumns(own, values, kept, overruled)


def disagreement(parquet: OpenParquet, columns: FileColumns) -> str | None:
    """Say which column of an open file holds something else than its folder tells, as far as statistics show it."""
    for name, text in columns.overruled.items():
        for value in _bounds(parquet, name):
            if isinstance(value, str | int | float) and not _is_same(value, text):
                return f"`{name}` is {value!r} in {parquet.path}"
    return None


def _bounds(parquet: OpenParquet, name: str) -> Iterator[object]:
    metadata, leaf = parquet.metadata, parquet.leaf(name)
    for index in range(metadata.num_row_groups):
        statistics = metadata.row_group(index).column(leaf).statistics
        if statistics is not None and statistics.has_min_max:
            yield from (statistics.min, statistics.max)


def _is_same(value: object, text: str | None) -> bool:
    return str(value) == text or bool(text and _WHOLE.fullmatch(text) and value == int(text))


def _as_number(text: str | None) -> pa.Scalar:
    """Return a whole number, null for none; a text that is no number stays one, to be refused where it plays a part."""
    if text and not _WHOLE.fullmatch(text):
        return pa.scalar(text, pa.string())
    return pa.scalar(int(text) if text else None, pa.int64())
