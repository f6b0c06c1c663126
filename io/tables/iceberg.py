"""An Iceberg table that gets the files of an output, through ``pyiceberg`` and its own configuration of catalogs.

The rule: a commit is one snapshot, whatever it adds, replaces and removes. The table may hold files of other outputs;
of this one, it counts in a property how many it has, so that files that somebody has rewritten in the meantime are
noticed and no row comes in twice.
"""

from __future__ import annotations

import hashlib
from datetime import date
from typing import TYPE_CHECKING

from lvm_batch.io.errors import ColumnError, TableError
from lvm_batch.io.tables.catalogs import as_url, has_place, open_catalog, open_iceberg
from lvm_batch.io.tables.column_types import iceberg_type
from lvm_batch.io.tables.iceberg_schema import iceberg_schema, type_of
from lvm_batch.io.tables.registration import Change, Table, change_of, library_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pyarrow as pa
    from pyiceberg.catalog import Catalog
    from pyiceberg.manifest import DataFile as Entry
    from pyiceberg.table import Table as Opened
    from pyiceberg.table import Transaction

    from lvm_batch.io.storage.locations import Location
    from lvm_batch.io.tables.column_types import ColumnType
    from lvm_batch.io.tables.names import TableName
    from lvm_batch.io.tables.registration import DataFile, TableColumns, Value

_NAME_MAPPING = "schema.name-mapping.default"
_CHECK = "check the catalog, and the access to its store"
_NOT_IN_PATHS = ("?", "#")
"""pyiceberg takes what follows them for no part of the path."""

_EPOCH = date(1970, 1, 1)
_UNKNOWN = (-1, -1)


class IcebergRegister(Table):
    """The files of the output at ``place`` in the Iceberg table ``name``."""

    def __init__(self, name: TableName, place: Location) -> None:
        self.title = "Iceberg"
        self._name = name
        self._place = place
        self._root = f"file://{place.path}" if place.is_local else place.text
        self._property = f"lvm-batch.files.{hashlib.sha256(self._root.encode()).hexdigest()[:16]}"

    def column_type(self, kind: pa.DataType) -> ColumnType | None:
        """Return Iceberg's type for an Arrow type, or ``None``."""
        return iceberg_type(kind)

    @property
    def version(self) -> int | None:
        """The snapshot of the table."""
        table = self._table()
        found = None if table is None else table.current_snapshot()
        return None if found is None else found.snapshot_id

    def refusals(self, columns: TableColumns, names: Sequence[str]) -> list[TableError | ColumnError]:
        """Return which paths and columns the table cannot take."""
        paths = (f"{self._place.text}/{name}" for name in names)
        odd = next((path for path in paths if any(each in path for each in _NOT_IN_PATHS)), None)
        found: list[TableError | ColumnError] = []
        if odd is not None:
            found.append(
                TableError(
                    f"{odd} has a `?` or `#`, and pyiceberg reads no such path",
                    "rename the input or --output, or leave out --register",
                )
            )
        return [*found, *self._refused_by_table(columns)]

    def _refused_by_table(self, columns: TableColumns) -> Iterator[TableError]:
        table = self._table()
        if table is None:
            if not has_place(self._name):
                yield TableError(
                    f"the catalog `{self._name.catalog}` has no place for the metadata of {self._name.text}",
                    f"set its `warehouse`: PYICEBERG_CATALOG__{self._name.catalog.upper()}__WAREHOUSE, or a `location` "
                    "of the namespace",
                )
            return
        folders = _partitioned_by(table)
        if folders != [*columns.folders]:
            yield TableError(
                f"{self._name.text} is partitioned by {_spoken(folders)}, and the output by {[*columns.folders]}",
                "register in another table: its partitions must be the folders of the output",
            )
        known = {each.name: each for each in table.schema().fields}
        for name, kind in columns.all.items():
            if name in known and type_of(known[name].field_type) != kind:
                yield TableError(
                    f"column `{name}` is {known[name].field_type} in {self._name.text}, and {_brief(kind)} in files",
                    f"register in another table, or leave the column out: --drop {name}",
                )
        for name in known.keys() - columns.all.keys():
            if known[name].required:
                yield TableError(
                    f"{self._name.text} requires a column `{name}`, which the files do not have",
                    "register in another table, or make that column optional",
                )

    def change(self, files: Sequence[DataFile], present: Callable[[str], bool]) -> Change:
        """Return which entries are missing, wrong, or of files that are gone."""
        del present  # files of the output that no run has written are no business of this table
        table = self._table()
        if table is None:
            return change_of({}, files)
        entries = self._entries(table)
        counted = table.properties.get(self._property)
        if counted is None:  # somebody else has registered them, perhaps with more than sizes and rows
            return change_of(dict.fromkeys(entries, _UNKNOWN), files)
        if int(counted) != len(entries):
            raise TableError(
                f"{counted} files of {self._place.text} were registered in {self._name.text}, and {len(entries)} are "
                "there: the table was compacted or rolled back, or rows were deleted in it",
                "their rows may be in other files now, and would be there twice; register in another table, or drop "
                "this one, which leaves the output as it is",
            )
        before = {name: (entry.file_size_in_bytes, entry.record_count) for name, entry in entries.items()}
        return change_of(before, files)

    def commit(self, change: Change, columns: TableColumns, *, job_id: str, n_files: int) -> None:
        """Make one snapshot, and with it the table or the columns that it lacks."""
        with library_errors(f"{self._place.text} was not registered in {self._name.text}", _CHECK):
            table = self._table()
            transaction = self._created(columns) if table is None else table.transaction()
            entries = {} if table is None else self._entries(table)
            if table is not None:
                _add_columns(transaction, columns)
            self._set_properties(transaction, n_files)
            gone = [*change.removed, *(file.name for file in change.added)]
            old = [entries[name] for name in gone if name in entries]
            self._write(transaction, old, change.added, job_id)
            transaction.commit_transaction()

    def _created(self, columns: TableColumns) -> Transaction:
        from pyiceberg.partitioning import PartitionField, PartitionSpec  # noqa: PLC0415 - an extra
        from pyiceberg.transforms import IdentityTransform  # noqa: PLC0415

        catalog, schema = self._catalog(), iceberg_schema(columns.all)
        spec = PartitionSpec(
            *(
                PartitionField(schema.find_field(name).field_id, 1000 + number, IdentityTransform(), name)
                for number, name in enumerate(columns.folders)
            )
        )
        catalog.create_namespace_if_not_exists(self._name.identifier[:-1])
        return catalog.create_table_transaction(self._name.identifier, schema, partition_spec=spec)

    def _set_properties(self, transaction: Transaction, n_files: int) -> None:
        """Map names to ids, which the files do not have, and count the files."""
        metadata = transaction.table_metadata
        mapping = metadata.schema().name_mapping.model_dump_json()
        mapped = {} if metadata.name_mapping() is not None else {_NAME_MAPPING: mapping}
        transaction.set_properties({**mapped, self._property: str(n_files)})

    def _write(
        self, transaction: Transaction, old: Sequence[Entry], files: Sequence[DataFile], job_id: str
    ) -> None:
        snapshot = transaction.update_snapshot(snapshot_properties={"lvm-batch.job-id": job_id})
        spec = transaction.table_metadata.spec()
        names = [transaction.table_metadata.schema().find_column_name(each.source_id) for each in spec.fields]
        with snapshot.overwrite() if old else snapshot.fast_append() as producer:
            for entry in old:
                producer.delete_data_file(entry)
            for file in files:
                values = [file.values.get(str(name)) for name in names]
                producer.append_data_file(_entry(f"{self._root}/{file.name}", file, values, spec.spec_id))

    def _entries(self, table: Opened) -> dict[str, Entry]:
        """Return the files of this output in the table, by their names below it."""
        below = f"{self._root.rstrip('/')}/"
        files = (task.file for task in table.scan().plan_files())
        return {
            as_url(file.file_path).removeprefix(below): file
            for file in files
            if as_url(file.file_path).startswith(below)
        }

    def _catalog(self) -> Catalog:
        return open_catalog(self._name)

    def _table(self) -> Opened | None:
        return open_iceberg(self._name)


def _entry(path: str, file: DataFile, values: Sequence[Value], spec_id: int) -> Entry:
    from pyiceberg.manifest import DataFile as Entry  # noqa: PLC0415 - an extra
    from pyiceberg.manifest import DataFileContent, FileFormat  # noqa: PLC0415
    from pyiceberg.typedef import Record  # noqa: PLC0415

    return Entry.from_args(
        content=DataFileContent.DATA,
        file_path=path,
        file_format=FileFormat.PARQUET,
        partition=Record(*((each - _EPOCH).days if isinstance(each, date) else each for each in values)),
        record_count=file.n_rows,
        file_size_in_bytes=file.n_bytes,
        spec_id=spec_id,
        sort_order_id=None,
        equality_ids=None,
        key_metadata=None,
    )


def _add_columns(transaction: Transaction, columns: TableColumns) -> None:
    known = {each.name for each in transaction.table_metadata.schema().fields}
    new = {name: kind for name, kind in columns.own.items() if name not in known}
    if new:
        with transaction.update_schema() as update:
            for column in iceberg_schema(new).fields:
                update.add_column((column.name,), column.field_type)


def _partitioned_by(table: Opened) -> list[str]:
    """Return the columns whose values a table is partitioned by; one with a transform is shown with it."""
    schema = table.schema()
    return [
        str(schema.find_column_name(each.source_id))
        + ("" if str(each.transform) == "identity" else f" ({each.transform})")
        for each in table.spec().fields
    ]


def _brief(kind: ColumnType) -> str:
    return kind if isinstance(kind, str) else type(kind).__name__.removesuffix("Type").lower()


def _spoken(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "nothing"
