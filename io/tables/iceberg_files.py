"""The data files of an Iceberg table at one snapshot.

The rule: columns of files are known to the table by ids, and to us by names; a table in which a column was renamed or
dropped since some of its files were written is refused, and so are files with deletes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvm_batch.io.errors import TableError
from lvm_batch.io.tables.catalogs import as_url, open_iceberg
from lvm_batch.io.tables.versions import TableFile, TableVersion

if TYPE_CHECKING:
    from pyiceberg.schema import Schema
    from pyiceberg.table import FileScanTask, Table

    from lvm_batch.io.tables.names import TableName

_REWRITE = (
    "rewrite its data files first (rewrite_data_files), or write the rows to be read into another table"
)


def read_iceberg(name: TableName) -> TableVersion:
    """Return the files of an Iceberg table; raises :class:`TableError`."""
    table = open_iceberg(name)
    if table is None:
        raise TableError(f"{name.text} does not exist", f"check the name, and the catalog `{name.catalog}`")
    snapshot = _snapshot(table, name)
    _refuse_renamed(table, name)
    tasks = list(table.scan(snapshot_id=snapshot).plan_files())
    root = f"{as_url(table.location()).rstrip('/')}/"
    files = sorted((_file(task, root, name) for task in tasks), key=lambda file: file.name)
    if not files:
        raise TableError(f"{name.text} has no file at snapshot {snapshot}", "name a snapshot that has rows")
    return TableVersion(name.text, snapshot, tuple(files))


def _snapshot(table: Table, name: TableName) -> int:
    found = table.current_snapshot() if name.version is None else table.snapshot_by_id(name.version)
    if found is None:
        known = ", ".join(str(each.snapshot_id) for each in table.snapshots()[-3:]) or "none"
        raise TableError(
            f"{name.text} has no snapshot {'yet' if name.version is None else name.version}",
            f"its last snapshots are: {known}",
        )
    return found.snapshot_id


def _refuse_renamed(table: Table, name: TableName) -> None:
    current = _names(table.schema())
    for schema in table.schemas().values():
        for number, column in _names(schema).items():
            if current.get(number) != column:
                raise TableError(
                    f"column `{column}` of {name.text} was renamed or dropped: older files have it under that name",
                    _REWRITE.replace("rewrite its data files first (rewrite_data_files), or w", "w"),
                )


def _names(schema: Schema) -> dict[int, str]:
    return {number: str(schema.find_column_name(number)) for number in schema.field_ids}


def _file(task: FileScanTask, root: str, name: TableName) -> TableFile:
    path, file = as_url(task.file.file_path), task.file
    if task.delete_files:
        raise TableError(f"{name.text} has deletes: {path} holds rows that are deleted", _REWRITE)
    if str(file.file_format).rpartition(".")[2].upper() != "PARQUET":
        raise TableError(f"{name.text} has a file that is not Parquet: {path}", _REWRITE)
    below = path.removeprefix(root) if path.startswith(root) else path.partition("://")[2].lstrip("/")
    return TableFile(path.removeprefix("file://"), below, file.file_size_in_bytes, {})
