"""Reading one work unit, whichever layout its file has.

The rule: a unit's rows come in the same batches whatever else is read, so that the same unit gives the same
numbers everywhere. This module joins files to layouts; it knows neither encodings nor models.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from lvm_batch.io.dataset import check_unchanged
from lvm_batch.io.errors import DataError
from lvm_batch.io.parquet import open_parquet, read_tables
from lvm_batch.io.sequences import SequencesReader
from lvm_batch.io.windows import WindowsReader

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow.parquet as pq

    from lvm_batch.io.batches import Batch
    from lvm_batch.io.columns import Roles
    from lvm_batch.io.dataset import InputFile
    from lvm_batch.io.units import DatasetFormat, Unit
    from lvm_batch.io.vectors import Pad


@dataclass(frozen=True, slots=True)
class UnitRows:
    """An open unit: the schema of its carried columns, under the output's names, and its batches, to be read once."""

    carried_schema: pa.Schema
    batches: Iterator[Batch]


@contextmanager
def open_unit(
    unit: Unit, dataset_format: DatasetFormat, *, batch_rows: int, pad: Pad | None = None
) -> Iterator[UnitRows]:
    """Open ``unit`` for reading in batches of ``batch_rows`` rows.

    ``pad`` says what becomes of contexts with fewer vectors; ``None`` repeats the first one (windows) or leaves them
    without a prediction (sequences). Raises ``UnreadableFile``, also while the batches are drawn, and where the file
    is not the one that was planned for.
    """
    check_unchanged(unit.file)
    with open_parquet(unit.file.path) as file:
        roles = dataset_format.roles(file.schema_arrow, unit.file.path)
        batches = _batches(file, unit, roles, dataset_format, batch_rows=batch_rows, pad=pad)
        yield UnitRows(_carried_schema(file.schema_arrow, roles), _watched(batches, unit.file))


def _watched(batches: Iterator[Batch], file: InputFile) -> Iterator[Batch]:
    """Yield ``batches``, and raise ``UnreadableFile`` where the file was changed under them: what was read is not to
    be trusted, and what broke broke for that reason.
    """
    try:
        yield from batches
    except DataError:
        check_unchanged(file)
        raise
    check_unchanged(file)


def _carried_schema(schema: pa.Schema, roles: Roles) -> pa.Schema:
    return pa.schema([schema.field(name).with_name(new) for name, new in roles.carried.items()])


def _batches(
    file: pq.ParquetFile,
    unit: Unit,
    roles: Roles,
    dataset_format: DatasetFormat,
    *,
    batch_rows: int,
    pad: Pad | None,
) -> Iterator[Batch]:
    shape = dataset_format.shape
    row_groups = range(unit.first_row_group, unit.last_row_group)
    tables = read_tables(
        file, unit.file.path, row_groups=row_groups, columns=roles.read_columns, batch_rows=batch_rows
    )
    if roles.layout == "windows":
        windows = WindowsReader(roles, shape, batch_rows=batch_rows, pad=pad)
        return windows.batches(tables, unit.first_row)
    before = _rows_before(file, unit, roles, shape.length - 1)
    after = _row_after(file, unit, roles)
    sequences = SequencesReader(roles, shape, batch_rows=batch_rows, pad=pad, path=unit.file.path)
    return sequences.batches(tables, unit.first_row, before=before, after=after)


def _rows_before(file: pq.ParquetFile, unit: Unit, roles: Roles, n_rows: int) -> pa.Table:
    """Read the last ``n_rows`` rows ahead of the unit, the columns that windows need; a file begins with fewer."""
    wanted: list[int] = []
    found = 0
    for row_group in reversed(range(unit.first_row_group)):
        if found >= n_rows:
            break
        wanted.insert(0, row_group)
        found += file.metadata.row_group(row_group).num_rows
    rows = _no_rows(file, roles)
    for table in read_tables(
        file, unit.file.path, row_groups=wanted, columns=roles.window_columns, batch_rows=1024
    ):
        joined = pa.concat_tables([rows, table])
        rows = joined.slice(max(0, joined.num_rows - n_rows))
    return rows


def _row_after(file: pq.ParquetFile, unit: Unit, roles: Roles) -> pa.Table:
    later = range(unit.last_row_group, file.metadata.num_row_groups)
    tables = read_tables(file, unit.file.path, row_groups=later, columns=roles.window_columns, batch_rows=1)
    return next(tables, _no_rows(file, roles))


def _no_rows(file: pq.ParquetFile, roles: Roles) -> pa.Table:
    schema = file.schema_arrow
    return pa.schema([schema.field(name) for name in roles.window_columns]).empty_table()
