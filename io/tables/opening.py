"""The table that a name of ``--register`` means for an output.

The rule: a third kind of table is one more line here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvm_batch.io.storage.locations import locate
from lvm_batch.io.tables.delta import DeltaOutput
from lvm_batch.io.tables.iceberg import IcebergRegister
from lvm_batch.io.tables.names import DELTA, dataset_table

if TYPE_CHECKING:
    from lvm_batch.io.tables.registration import Table


def open_table(name: str, output: str) -> Table:
    """Return the table ``name`` of ``--register`` for an output."""
    place, table = locate(output), dataset_table(name)
    return DeltaOutput(place) if name == DELTA or table is None else IcebergRegister(table, place)
