"""Reading one work unit, in either layout.

The rule: a unit's rows come in the same batches whatever else is read, so that the same unit gives the same numbers
everywhere.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa

from lvm_batch.io.dataset.carried import CarriedRows
from lvm_batch.io.dataset.files import check_unchanged
from lvm_batch.io.dataset.sequences import SequencesReader
from lvm_batch.io.dataset.windows import WindowsReader
from lvm_batch.io.errors import DataError
from lvm_batch.io.formats.parquet import open_parquet
from lvm_batch.io.pages.vectors import VectorRows

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from lvm_batch.io.dataset.batches import Batch
    from lvm_batch.io.dataset.file_columns import FileColumns
    from lvm_batch.io.dataset.files import InputFile
    from lvm_batch.io.dataset.units import DatasetFormat, Unit
    from lvm_batch.io.formats.parquet import OpenParquet
    from lvm_batch.io.schema import Pad, Roles, WindowShape


@dataclass(frozen=True, slots=True)
class UnitRows:
    """An open unit: its batches, and its carried columns under the output's names; each can be read once."""

    carried: CarriedRows
    batches: Iterator[Batch]

    @property
    def carried_schema(self) -> pa.Schema:
        """The schema of the carried columns, under the output's names."""
        return self.carried.schema


@contextmanager
def open_unit(
    unit: Unit,
    dataset_format: DatasetFormat,
    *,
    batch_rows: int,
    pad: Pad | None = None,
    along: Collection[str] | None = None,
) -> Iterator[UnitRows]:
    """Open ``unit`` for reading in batches of ``batch_rows`` rows.

    ``along`` names the columns, as the input calls them, that batches include, texts perhaps as dictionaries: carried
    ones, and the split, carried or not. ``None`` is all that are carried, unchanged.
    ``pad`` says how contexts with fewer vectors are padded; ``None`` repeats the first vector (windows) or leaves them
    without a prediction (sequences). Raises ``UnreadableFile``, also while batches are read, and if the file has
    changed since it was planned.
    """
    check_unchanged(unit.file)
    with open_parquet(unit.file.path) as parquet:
        columns = dataset_format.columns(parquet.schema_arrow, unit.file)
        roles = dataset_format.roles(columns.schema, parquet.path, has_rows=unit.n_rows > 0)
        carried = CarriedRows(parquet, columns, unit, roles)
        if along is None:
            rows = _Rows(parquet, columns, unit, roles)
        else:
            coded = parquet.coded(roles.coded_columns)
            rows = _Rows(coded, replace(columns, own=coded.schema_arrow), unit, _narrowed(roles, along))
        batches = _batches(rows, dataset_format, batch_rows=batch_rows, pad=pad)
        yield UnitRows(carried, _checked(batches, unit.file))


def _narrowed(roles: Roles, along: Collection[str]) -> Roles:
    names = ({roles.split: roles.split} if roles.split else {}) | dict(roles.carried)
    return replace(roles, carried={name: new for name, new in names.items() if name in along})


def _checked(batches: Iterator[Batch], file: InputFile) -> Iterator[Batch]:
    """Yield ``batches``; raise ``UnreadableFile`` if the file was changed meanwhile, which also explains an error."""
    try:
        yield from batches
    except DataError:
        check_unchanged(file)
        raise
    check_unchanged(file)


@dataclass(frozen=True, slots=True)
class _Rows:
    """An open file, as one of its units and the rows around it are read."""

    parquet: OpenParquet
    columns: FileColumns
    unit: Unit
    roles: Roles

    def within(self, batch_rows: int) -> Iterator[pa.Table]:
        """Yield the unit's rows, with all required columns but the vectors."""
        row_groups = range(self.unit.first_row_group, self.unit.last_row_group)
        return self._read(row_groups, self.roles.columns_beside, batch_rows)

    def vectors(self, column: str, shape: WindowShape, *, pad: Pad | None, n_before: int = 0) -> VectorRows:
        """Return a column of vectors, from the last ``n_before`` rows before the unit to the end of the file."""
        earlier, n_rows = self._groups_before(n_before)
        row_groups = range(self.unit.first_row_group - len(earlier), self.parquet.metadata.num_row_groups)
        ahead = row_groups[: self.unit.last_row_group - row_groups.start]
        rows = VectorRows(self.parquet, column, row_groups, shape=shape, pad=pad, ahead=ahead)
        rows.skip(n_rows - n_before)
        return rows

    def before(self, n_rows: int) -> pa.Table:
        """Read the last ``n_rows`` rows before the unit, or fewer at the file's start, with the columns for windows
        but the vectors.
        """
        rows = self._none()
        for table in self._read(self._groups_before(n_rows)[0], self.roles.window_columns_beside, 1024):
            joined = pa.concat_tables([rows, table])
            rows = joined.slice(max(0, joined.num_rows - n_rows))
        return rows

    def _groups_before(self, n_rows: int) -> tuple[list[int], int]:
        """Return the row groups that hold the last ``n_rows`` rows before the unit, and all their rows."""
        wanted: list[int] = []
        found = 0
        for row_group in reversed(range(self.unit.first_row_group)):
            if found >= n_rows:
                break
            wanted.insert(0, row_group)
            found += self.parquet.metadata.row_group(row_group).num_rows
        return wanted, found

    def after(self) -> pa.Table:
        """Read the row after the unit, none at the file's end, with the columns for windows."""
        later = range(self.unit.last_row_group, self.parquet.metadata.num_row_groups)
        return next(self._read(later, self.roles.window_columns_beside, 1), self._none())

    def _read(self, row_groups: Iterable[int], columns: Sequence[str], batch_rows: int) -> Iterator[pa.Table]:
        return self.columns.read(self.parquet, row_groups=row_groups, columns=columns, batch_rows=batch_rows)

    def _none(self) -> pa.Table:
        schema = self.columns.schema
        return pa.schema([schema.field(name) for name in self.roles.window_columns_beside]).empty_table()


def _batches(
    rows: _Rows, dataset_format: DatasetFormat, *, batch_rows: int, pad: Pad | None
) -> Iterator[Batch]:
    shape, roles, unit = dataset_format.shape, rows.roles, rows.unit
    if not unit.n_rows:
        return iter(())
    if roles.layout == "windows":
        pages = {roles.vectors: rows.vectors(roles.vectors, shape, pad=pad or "repeat")}
        if roles.target:
            pages[roles.target] = rows.vectors(roles.target, replace(shape, length=1), pad=None)
        windows = WindowsReader(roles, shape, batch_rows=batch_rows, pad=pad, pages=pages)
        return windows.batches(rows.within(batch_rows), unit.first_row)
    before, after = rows.before(shape.length - 1), rows.after()
    vectors = rows.vectors(roles.vectors, replace(shape, length=1), pad=None, n_before=before.num_rows)
    sequences = SequencesReader(
        roles, shape, batch_rows=batch_rows, pad=pad, path=unit.file.path, pages=vectors
    )
    return sequences.batches(rows.within(batch_rows), unit.first_row, before=before, after=after)
