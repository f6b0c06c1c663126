"""The data files of a Delta table at one version.

The rule: features that make rows differ from those of the files are refused if the version uses them, and so are
features of readers that are not known here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

import pyarrow as pa

from lvm_batch.io.errors import TableError
from lvm_batch.io.storage.locations import locate
from lvm_batch.io.tables.delta import open_delta
from lvm_batch.io.tables.versions import TableFile, TableVersion

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from deltalake import DeltaTable

    from lvm_batch.io.tables.names import TableName

_HARMLESS = frozenset(
    {"timestampNtz", "v2Checkpoint", "vacuumProtocolCheck", "deletionVectors", "columnMapping"}
)
"""Features of readers that leave files whole; the last two are looked for in the version that is read."""

_OLD_MAPPING = 2
"""The version of readers that came with the mapping of columns, before features had names."""


def read_delta(name: TableName) -> TableVersion:
    """Return the files of a Delta table; raises :class:`TableError`."""
    place = locate(name.place)
    table = open_delta(place, name.version)
    if table is None:
        raise TableError(
            f"{name.place} is no Delta table: it has no _delta_log", "name the folder that has it"
        )
    _refuse_features(table, name)
    files = [
        TableFile(place.child(file).text, file, size, values) for file, size, values in _files(table, name)
    ]
    if not files:
        raise TableError(
            f"{name.text} has no file at version {table.version()}", "name a version that has rows"
        )
    return TableVersion(
        f"{name.kind}:{place.text}", table.version(), tuple(sorted(files, key=lambda file: file.name))
    )


def _refuse_features(table: DeltaTable, name: TableName) -> None:
    protocol, configuration = table.protocol(), table.metadata().configuration
    unknown = sorted({*(protocol.reader_features or ())} - _HARMLESS)
    mapping = configuration.get("delta.columnMapping.mode", "none")
    if unknown or mapping != "none":
        what = f"the feature {unknown[0]}" if unknown else f"column mapping by {mapping}"
        raise TableError(
            f"{name.text} uses {what}: its rows are not what is in its files",
            "write the rows to be read into plain Parquet, or into a table without it",
        )
    deleted = (
        pa.table(table.deletion_vectors()) if "deletionVectors" in (protocol.reader_features or ()) else None
    )
    if deleted is not None and deleted.num_rows:
        raise TableError(
            f"{name.text} has deletion vectors at version {table.version()}: {deleted.num_rows} of its files hold rows"
            " that are deleted",
            "rewrite these files first: REORG TABLE … APPLY (PURGE), or write the rows into another table",
        )


def _files(table: DeltaTable, name: TableName) -> Iterator[tuple[str, int, Mapping[str, str | None]]]:
    found = pa.table(table.get_add_actions(flatten=True))
    partitions = table.metadata().partition_columns
    columns = [found[f"partition.{each}"].to_pylist() for each in partitions]
    for number, (path, size) in enumerate(
        zip(found["path"].to_pylist(), found["size_bytes"].to_pylist(), strict=True)
    ):
        if path.startswith("/") or "://" in path:
            raise TableError(
                f"{name.text} refers to {path}, a file elsewhere",
                "write the rows to be read into a table of their own",
            )
        values = {each: column[number] for each, column in zip(partitions, columns, strict=True)}
        yield (
            unquote(path),
            size,
            {each: None if value is None else str(value) for each, value in values.items()},
        )
