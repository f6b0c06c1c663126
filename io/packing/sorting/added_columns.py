"""Columns that a source has not in its file: those of its folders, its name as an article, its rows as positions.

The rule: where rows of several files come together, nothing of what the files' places said of them is lost.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from lvm_batch.io.dataset.partitions import folder_schema, folder_values
from lvm_batch.io.errors import ColumnError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from lvm_batch.io.packing.sources import Block, Source

    Values = Callable[[int, int], pa.Array]
    """Returns the values of so many rows from a row on."""


def with_folder_columns(
    sources: Sequence[Source], *, texts: Collection[str], leave_out: Collection[str] = ()
) -> list[Source]:
    """Add to each source the columns of its folders that it does not have; those called as in ``texts`` stay texts."""
    kinds = folder_schema(source.file.folder_path for source in sources)
    kinds = pa.schema([(field.name, pa.string() if field.name in texts else field.type) for field in kinds])
    return [_with_folders(source, kinds, leave_out) for source in sources]


def with_file_as_article(source: Source, name: str) -> Source:
    """Add the source's own name as a column."""
    return _with_columns(source, {name: _constant(source.file.name, pa.string())})


def with_row_as_position(source: Source, name: str) -> Source:
    """Add the places of the rows in the source, from 0, as a column."""
    return _with_columns(source, {name: lambda first, n_rows: pa.array(np.arange(first, first + n_rows))})


def _with_folders(source: Source, kinds: pa.Schema, leave_out: Collection[str]) -> Source:
    there = {*source.vectors, *source.others.names, *leave_out}
    path = source.file.folder_path
    values = folder_values(path, kinds)
    return _with_columns(
        source,
        {name: _constant(values[name], kinds.field(name).type) for name in values if name not in there},
    )


def _constant(value: object, kind: pa.DataType) -> Values:
    scalar = pa.scalar(value, kind)
    return lambda _, n_rows: pa.repeat(scalar, n_rows)


def _with_columns(source: Source, added: Mapping[str, Values]) -> Source:
    taken = added.keys() & {*source.vectors, *source.others.names}
    if taken:
        name = min(taken)
        raise ColumnError(f"{source.path} already has a column `{name}`", f"leave it out: --leave-out {name}")
    if not added:
        return source
    return replace(
        source,
        others=pa.schema([*source.others, *((name, make(0, 0).type) for name, make in added.items())]),
        blocks=_AddedRows(source, added).blocks,
        columns=_AddedRows(source, added).columns,
    )


@dataclass(frozen=True, slots=True)
class _AddedRows:
    """The rows of a source with columns of values that are made."""

    source: Source
    added: Mapping[str, Values]

    def blocks(self, n_rows: int) -> Iterator[Block]:
        """Read the rows, with all columns."""
        first = 0
        for block in self.source.blocks(n_rows):
            n_here = len(next(iter(block.vectors.values())))
            yield replace(
                block,
                others=self._joined(block.others, [*block.others.column_names, *self.added], first, n_here),
            )
            first += n_here

    def columns(self, names: Sequence[str], n_rows: int) -> Iterator[pa.Table]:
        """Read some of the other columns; where all of them are made, the source is not read."""
        own = [name for name in names if name not in self.added]
        if own:
            first = 0
            for table in self.source.columns(own, n_rows):
                yield self._joined(table, names, first, table.num_rows)
                first += table.num_rows
            return
        empty = pa.table({})
        for first in range(0, self.source.n_rows, n_rows):
            yield self._joined(empty, names, first, min(n_rows, self.source.n_rows - first))

    def _joined(self, table: pa.Table, names: Sequence[str], first: int, n_rows: int) -> pa.Table:
        columns = [self.added[name](first, n_rows) if name in self.added else table[name] for name in names]
        return pa.table(columns, names=list(names))
