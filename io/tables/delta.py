"""An output as a Delta Lake table: its log lies in the output, its data files are the output's own.

The rule: the log is written by the ``deltalake`` library alone, in one commit with an application transaction for the
job, so that of two runs that register at a time one loses. Paths in a log are relative to it; therefore the table of an
output is the output.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from lvm_batch.io.errors import ColumnError, MissingExtra, TableError
from lvm_batch.io.storage.bucket_access import EXTRAS, aws_access, plain_aws_options
from lvm_batch.io.tables.column_types import delta_type
from lvm_batch.io.tables.delta_schema import as_json, columns_of, delta_schema
from lvm_batch.io.tables.registration import Change, Table, change_of, library_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import pyarrow as pa
    from deltalake import DeltaTable
    from deltalake.transaction import AddAction, CommitProperties

    from lvm_batch.io.storage.locations import Location
    from lvm_batch.io.tables.column_types import ColumnType
    from lvm_batch.io.tables.registration import DataFile, TableColumns, Value

_NOT_IN_NAMES = frozenset(" ,;{}()\n\t=")
"""Characters that the protocol allows in no column name (without a mapping of columns)."""

_CHECK = "check the access to it"
_NEW_TABLE = "remove _delta_log from it, and run the same command again: it begins the table anew"


class DeltaOutput(Table):
    """The Delta table of the output at ``place``."""

    def __init__(self, place: Location) -> None:
        self.title = "Delta Lake"
        self._place = place

    def column_type(self, kind: pa.DataType) -> ColumnType | None:
        """Return Delta Lake's type for an Arrow type, or ``None``."""
        return delta_type(kind)

    @property
    def version(self) -> int | None:
        """The version of the table."""
        table = self._table()
        return None if table is None else table.version()

    def refusals(self, columns: TableColumns, names: Sequence[str]) -> list[TableError | ColumnError]:
        """Return which folders and columns a Delta table, or the one that is there, cannot have."""
        empty = next((name for name in names if any(part.endswith("=") for part in name.split("/"))), None)
        found: list[TableError | ColumnError] = []
        if empty is not None:
            found.append(
                TableError(
                    f"{self._place.text}/{empty} has a folder without a value, which Delta Lake takes for null",
                    "rename the folder of the input, or leave out --register",
                )
            )
        return [*found, *_refused_names(columns), *self._refused_by_table(columns)]

    def _refused_by_table(self, columns: TableColumns) -> Iterator[TableError]:
        table = self._table()
        if table is None:
            return
        if table.metadata().configuration.get("delta.columnMapping.mode", "none") != "none":
            yield TableError(
                f"the Delta table in {self._place.text} maps its columns to other names", _NEW_TABLE
            )
            return
        if [*table.metadata().partition_columns] != [*columns.folders]:
            yield TableError(
                f"the Delta table in {self._place.text} has {_listed(table.metadata().partition_columns)} in folders,"
                f" and the job has {_listed(columns.folders)}",
                _NEW_TABLE,
            )
        known = columns_of(table)
        for name, kind in columns.all.items():
            if name in known and known[name] != as_json(kind):
                yield TableError(
                    f"column `{name}` is {json.dumps(known[name])} in the Delta table of {self._place.text}, and"
                    f" {json.dumps(as_json(kind))} in the files to come",
                    f"write the inputs with the type that it had, or leave it out: --drop {name}",
                )

    def change(self, files: Sequence[DataFile], present: Callable[[str], bool]) -> Change:
        """Return which entries of the log are missing, wrong, or of files that are gone."""
        table = self._table()
        change = change_of({} if table is None else _entries(table), files)
        if strangers := sorted(name for name in change.removed if present(name)):
            raise TableError(
                f"the Delta table in {self._place.text} holds {strangers[0]}, which no run has written"
                f" ({len(strangers)} such files): the table was compacted, or rows were changed in it",
                "a commit of this job would double rows or bring back old ones; to have the table as the job wrote it, "
                f"{_NEW_TABLE}",
            )
        return change

    def commit(self, change: Change, columns: TableColumns, *, job_id: str, n_files: int) -> None:
        """Add and remove entries in one commit of the log; it is made once, with all columns of the job."""
        with library_errors(f"{self._place.text} was not registered as a Delta table", _CHECK):
            table = self._table()
            actions = [_added(file) for file in change.added]
            if table is None:
                self._create(actions, columns, _properties(job_id, 1, n_files))
                return
            self._add_columns(table, columns)
            number = (table.transaction_version(_application(job_id)) or 0) + 1
            table.create_write_transaction(
                [*actions, *map(_removed, change.removed)],
                "append",
                table.schema(),
                [*columns.folders] or None,
                commit_properties=_properties(job_id, number, n_files),
            )

    def _create(self, actions: list[AddAction], columns: TableColumns, properties: CommitProperties) -> None:
        from deltalake.transaction import create_table_with_add_actions  # noqa: PLC0415 - an extra

        create_table_with_add_actions(
            self._place.text,
            delta_schema(columns.all),
            actions,
            mode="error",
            partition_by=[*columns.folders],
            storage_options=storage_options(self._place),
            commit_properties=properties,
        )

    def _add_columns(self, table: DeltaTable, columns: TableColumns) -> None:
        """Add the columns that new files have; until their commit they hold nulls, so that this may happen alone."""
        known = columns_of(table)
        if new := {name: kind for name, kind in columns.own.items() if name not in known}:
            table.alter.add_columns(delta_schema(new).fields)
            table.update_incremental()

    def _table(self) -> DeltaTable | None:
        return open_delta(self._place)


def open_delta(place: Location, version: int | None = None) -> DeltaTable | None:
    """Open the Delta table at ``place``, ``None`` if there is none; raises :class:`TableError`, ``MissingExtra``."""
    try:
        from deltalake import DeltaTable  # noqa: PLC0415 - an extra
        from deltalake.exceptions import TableNotFoundError  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtra(
            f"{place.text} is a Delta table, and deltalake is not installed", 'pip install "lvm-batch[delta]"'
        ) from error
    options = storage_options(place)
    with library_errors(
        f"the Delta table in {place.text} cannot be read", "check its _delta_log, and the access to it"
    ):
        try:  # is_deltatable would hold the interpreter's lock while it waits, and with it the lease's heartbeat
            return DeltaTable(place.text, version=version, storage_options=options)
        except TableNotFoundError:
            return None


def storage_options(place: Location) -> dict[str, str] | None:
    """Return how deltalake gets at a place: in S3 as the rest of this room does, elsewhere as it does by itself."""
    if place.is_local or EXTRAS[place.text.partition("://")[0]] != "s3":
        return None
    return plain_aws_options(aws_access())


def _entries(table: DeltaTable) -> dict[str, tuple[int, int]]:
    """Return bytes and rows of every file of a table by its name; -1 rows where the log does not count them."""
    import pyarrow as pa  # noqa: PLC0415 - loaded long since

    found = pa.table(table.get_add_actions(flatten=True)).select(["path", "size_bytes", "num_records"])
    return {
        unquote(path): (size, -1 if rows is None else rows)
        for path, size, rows in zip(*(column.to_pylist() for column in found.columns), strict=True)
    }


def _refused_names(columns: TableColumns) -> Iterator[ColumnError]:
    seen: dict[str, str] = {}
    for name in columns.all:
        first = seen.setdefault(name.lower(), name)
        if _NOT_IN_NAMES & set(name):
            yield ColumnError(
                f"column `{name}` has a character that Delta Lake allows in no name: a space or one of , ; {{ }} ( ) =",
                f"--rename '{name}={''.join('_' if each in _NOT_IN_NAMES else each for each in name)}'",
            )
        elif first != name:
            yield ColumnError(
                f"columns `{first}` and `{name}` are one to Delta Lake, which ignores the case of letters",
                f"--rename {name}={name}_2",
            )


def _application(job_id: str) -> str:
    return f"lvm-batch/{job_id}"


def _properties(job_id: str, number: int, n_files: int) -> CommitProperties:
    from deltalake.transaction import CommitProperties, Transaction  # noqa: PLC0415 - an extra

    return CommitProperties(
        custom_metadata={"lvm_batch.job_id": job_id, "lvm_batch.files": str(n_files)},
        app_transactions=[Transaction(_application(job_id), number)],
    )


def _added(file: DataFile) -> AddAction:
    from deltalake.transaction import AddAction  # noqa: PLC0415 - an extra

    values = {name: _partition_text(value) for name, value in file.values.items()}
    return AddAction(
        path=file.name,
        size=file.n_bytes,
        partition_values=values,
        modification_time=_now_ms(),
        data_change=True,
        stats=json.dumps({"numRecords": file.n_rows}),
    )


def _removed(name: str) -> Any:  # noqa: ANN401 - deltalake publishes no type of it
    from deltalake.transaction import RemoveAction  # noqa: PLC0415 - an extra

    return RemoveAction(name, True, _now_ms())  # noqa: FBT003 - deltalake's


def _now_ms() -> int:
    return time.time_ns() // 10**6


def _partition_text(value: Value) -> str | None:
    return None if value is None else str(value)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "no columns"
