"""Tables as datasets: the data files that a table has at one version.

The rule: only whole Parquet files are read. A table whose rows are not exactly those of its files, column by column
under the names that they have there, is refused by name; there is no table engine here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvm_batch.io.errors import TableError
from lvm_batch.io.tables.names import DELTA, TableName, is_whole_name

if TYPE_CHECKING:
    from lvm_batch.io.tables.versions import TableVersion


def read_table(name: TableName) -> TableVersion:
    """Return the files of a table at its version, or at the latest.

    Raises :class:`TableError` if there is no such table or version, or its rows are not those of whole files, and
    ``MissingExtra`` without the table's library.
    """
    if name.kind == DELTA:
        from lvm_batch.io.tables.delta_files import read_delta  # noqa: PLC0415 - only what is needed

        return read_delta(name)
    if not is_whole_name(name):
        raise TableError(
            f"{name.text} names no table",
            "write iceberg:CATALOG.NAMESPACE.TABLE, or with @SNAPSHOT at its end",
        )
    from lvm_batch.io.tables.iceberg_files import read_iceberg  # noqa: PLC0415 - only what is needed

    return read_iceberg(name)
