"""The columns of an input file: its own, and those that its folders give (``lane=news/part.parquet``).

The rule: a column plays its part whether the file or a folder has it. The file's own wins over its folder's, unless it
is of type null. What the folders give follows from the file's path alone, whatever other files are read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from lvm_batch.io.dataset.column_checks import is_absent
from lvm_batch.io.dataset.partitions import folder_texts
from lvm_batch.io.schema import FILE_ARTICLE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from lvm_batch.io.dataset.files import InputFile
    from lvm_batch.io.formats.parquet import OpenParquet


_WHOLE = re.compile(r"-?[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class FileColumns:
    """All columns of a file: the schema of its ``own``, and the values ``of_folders``.

    ``kept`` names those of the latter that are in the path of the file's outputs, too, and need not be written there;
    the file's own name, as an article, is one of them.
    ``overruled`` has the texts that its folders give for columns of its own.
    """

    own: pa.Schema
    of_folders: Mapping[str, pa.Scalar]
    kept: frozenset[str]
    overruled: Mapping[str, str | None]

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for files whose columns have the same names and types."""
        return self.own.serialize().to_pybytes(), *(
            (name, value.type) for name, value in self.of_folders.items()
        )

    @property
    def schema(self) -> pa.Schema:
        """Every column, first the file's own, then its folders'."""
        if not self.of_folders:
            return self.own
        held = (field for field in self.own if field.name not in self.of_folders)
        others = (pa.field(name, value.type) for name, value in self.of_folders.items())
        return pa.schema([*held, *others], self.own.metadata)

    def read(
        self, parquet: OpenParquet, *, row_groups: Iterable[int], columns: Sequence[str], batch_rows: int
    ) -> Iterator[pa.Table]:
        """Yield the rows of ``row_groups`` in tables of exactly ``batch_rows`` rows, the last one with the rest."""
        own = [name for name in columns if name not in self.of_folders]
        if not own:
            return self._folders_alone(parquet, row_groups, columns, batch_rows)
        tables = parquet.tables(row_groups=row_groups, columns=own, batch_rows=batch_rows)
        # A generator would keep a table in memory while the next one is read.
        return tables if len(own) == len(columns) else map(partial(self._whole, columns), tables)

    def _folders_alone(
        self, parquet: OpenParquet, row_groups: Iterable[int], columns: Sequence[str], batch_rows: int
    ) -> Iterator[pa.Table]:
        """Yield columns that are all the folders', if there are any; a table of no column would have no rows."""
        n_rows = sum(parquet.metadata.row_group(index).num_rows for index in row_groups)
        for first in range(0, n_rows, batch_rows):
            n_here = min(batch_rows, n_rows - first)
            held = {name: pa.repeat(self.of_folders[name], n_here) for name in columns}
            yield pa.table(held or {"": pa.nulls(n_here)})

    def _whole(self, columns: Sequence[str], table: pa.Table) -> pa.Table:
        """Add the folders' columns to a table of the file's own."""
        for name in columns:
            if name in self.of_folders:
                table = table.append_column(name, pa.repeat(self.of_folders[name], table.num_rows))
        return table.select(columns)


def file_columns(
    own: pa.Schema, file: InputFile, *, texts: Collection[str], numbers: Collection[str] = ()
) -> FileColumns:
    """Return the columns of ``file``, whose own schema is ``own``.

    Of its folders' columns those are taken whose name is in ``texts`` or ``numbers``. Values are texts, so that none
    changes; those of ``numbers`` are whole numbers if they look like such.
    """
    given = {name: text for name, text in file.folders.items() if name in texts or name in numbers}
    if FILE_ARTICLE in texts:
        given[FILE_ARTICLE] = file.name
    held = (
        {field.name for field in own if field.name in given and not is_absent(field.type)} if given else set()
    )
    overruled = {name: given.pop(name) for name in held}
    values = {
        name: _as_number(text) if name in numbers and name not in texts else pa.scalar(text, pa.string())
        for name, text in given.items()
    }
    kept = frozenset(given.keys() & {FILE_ARTICLE, *folder_texts(file.name)})
    return FileColumns(own, values, kept, overruled)


def disagreement(parquet: OpenParquet, columns: FileColumns) -> str | None:
    """Return which column of an open file differs from its folder's value, as far as statistics show it."""
    for name, text in columns.overruled.items():
        for value in _bounds(parquet, name):
            if isinstance(value, str | int | float) and not _is_same(value, text):
                return f"`{name}` is {value!r} in {parquet.path}"
    return None


def _bounds(parquet: OpenParquet, name: str) -> Iterator[object]:
    leaf = parquet.leaf(name)
    for index in range(parquet.metadata.num_row_groups):
        statistics = parquet.chunk(index, leaf).statistics
        if statistics is not None and statistics.has_min_max:
            yield from (statistics.min, statistics.max)


def _is_same(value: object, text: str | None) -> bool:
    return str(value) == text or bool(text and _WHOLE.fullmatch(text) and value == int(text))


def _as_number(text: str | None) -> pa.Scalar:
    """Return a whole number, null for no text; another text stays text, and is refused when its part is checked."""
    if text and not _WHOLE.fullmatch(text):
        return pa.scalar(text, pa.string())
    return pa.scalar(int(text) if text else None, pa.int64())
