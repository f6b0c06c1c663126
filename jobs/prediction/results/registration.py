"""Registers a successful output in the tables of ``--register``.

The rule: a table gets exactly the files that answer the job, each once, whatever was registered before: by a run that
was killed, by one before the dataset grew, or before files were predicted again. The output is complete before, and
stays so: a table that does not take it is an error of its own, and the same command tries again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lvm_batch.io.dataset.partitions import folder_schema, folder_values
from lvm_batch.io.errors import DataError
from lvm_batch.io.formats.parquet import open_parquet
from lvm_batch.io.tables.names import DELTA
from lvm_batch.io.tables.registration import DataFile, Registered, table_columns
from lvm_batch.jobs.console.text import plural
from lvm_batch.jobs.errors import NotRegistered, TryAgain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from lvm_batch.io.output.commit import OutputFolder
    from lvm_batch.io.output.commit_record import CommitRecord
    from lvm_batch.io.output.job_documents import JobDocument
    from lvm_batch.jobs.prediction.results.summary import Summary
    from lvm_batch.jobs.settings.run import RunSettings


def registered(
    summary: Summary,
    settings: RunSettings,
    folder: OutputFolder,
    job: JobDocument,
    records: Mapping[str, CommitRecord],
) -> tuple[Summary, NotRegistered | TryAgain | None]:
    """Register the committed files in every table; return the summary that says so, and the error of one that failed.

    A table that fails keeps none of the others from being tried.
    """
    if not settings.register:
        return summary, None
    done: list[Registered] = []
    failed: list[NotRegistered | TryAgain] = []
    for name in settings.register:
        try:
            done.append(register(name, folder, job, records))
        except DataError as error:
            failed.append(_not_registered(name, folder.text, error))
    summary = replace(summary, registered=tuple(done))
    folder.write_summary(summary.to_json())
    return summary, failed[0] if failed else None


def register(
    name: str, folder: OutputFolder, job: JobDocument, records: Mapping[str, CommitRecord]
) -> Registered:
    """Register the files of ``records``, which answer ``job``, in a table, unless it has them.

    Raises :class:`TableError` or :class:`ColumnError`, and then the table is as it was.
    """
    from lvm_batch.io.tables.opening import open_table  # few runs need it

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


def _not_registered(name: str, output: str, error: DataError) -> NotRegistered | TryAgain:
    """Return the error of a run; what a library raised, since all went well before work, may pass by itself."""
    kind = TryAgain if error.__cause__ is not None else NotRegistered
    return kind(
        f"{output} is complete and has _SUCCESS, but --register {name} failed: {error.args[0]}",
        f"{error.args[1] if len(error.args) > 1 else 'see what it says'}; the same command registers it, and predicts "
        "nothing again",
    )


def registered_text(tables: Sequence[Registered]) -> str:
    """Return what tables hold now, in words."""
    return "; ".join(_text(each) for each in tables)


def _text(table: Registered) -> str:
    changes = {"added": table.added, "removed": table.removed}
    changed = ", ".join(f"{number:,} {what}" for what, number in changes.items() if number) or "as before"
    holds = f"{plural(table.files, 'file')}, {plural(table.rows, 'row')}"
    return f"{table.table} at version {table.version}: {holds}; {changed}"
