"""Registers the committed files of an output in a table.

The rule: the table gets exactly the files that answer the job, each once, whatever was registered before: by a run that
was killed, by one before the dataset grew, or before files were predicted again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lvm_batch.io.dataset.partitions import folder_schema, folder_values
from lvm_batch.io.formats.parquet import open_parquet
from lvm_batch.io.storage.locations import locate
from lvm_batch.io.tables.delta import DeltaOutput
from lvm_batch.io.tables.iceberg import IcebergRegister
from lvm_batch.io.tables.names import DELTA, dataset_table
from lvm_batch.io.tables.registration import DataFile, table_columns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from lvm_batch.io.output.commit_record import CommitRecord
    from lvm_batch.io.output.job_documents import JobDocument
    from lvm_batch.io.output.unit_files import UnitFiles
    from lvm_batch.io.tables.registration import Table


class Registered(NamedTuple):
    """What a table holds of an output after a registration, and what that has changed."""

    table: str
    version: int | None
    files: int
    rows: int
    added: int
    removed: int


def open_table(name: str, output: str) -> Table:
    """Return the table ``name`` of ``--register`` for an output."""
    place, table = locate(output), dataset_table(name)
    return DeltaOutput(place) if name == DELTA or table is None else IcebergRegister(table, place)


def register(
    name: str, folder: UnitFiles, job: JobDocument, records: Mapping[str, CommitRecord]
) -> Registered:
    """Register the files of ``records``, which answer ``job``, in a table, unless it has them.

    Raises :class:`TableError` or :class:`ColumnError`, and then the table is as it was.
    """
    table = open_table(name, folder.text)
    files, folders = _files(job, records)
    published = folder.published()
    change = table.change(files, published.__contains__)
    if change:
        inputs = {records[file.name].place.input: file.name for file in reversed(change.added)}
        schemas = [(output, _schema(f"{folder.text}/{output}")) for output in inputs.values()]
        columns, errors = table_columns(table, schemas, folders)
        for error in (*errors, *table.refusals(columns, [file.name for file in change.added])):
            raise error
        table.commit(change, columns, job_id=job.job_id, n_files=len(files))
    n_rows = sum(file.n_rows for file in files)
    title = f"delta:{folder.text}" if name == DELTA else name
    return Registered(title, table.version, len(files), n_rows, len(change.added), len(change.removed))


def _files(job: JobDocument, records: Mapping[str, CommitRecord]) -> tuple[Sequence[DataFile], pa.Schema]:
    """Return the files to be in the table, and the columns that their folders give."""
    folders = folder_schema(unit.output for unit in job.units)
    return [
        DataFile(name, record.bytes, record.tally.rows_out, folder_values(name, folders))
        for name, record in records.items()
    ], folders


def _schema(path: str) -> pa.Schema:
    with open_parquet(path) as file:
        return file.schema_arrow.remove_metadata()
