"""The ids of a bank's vectors, by which neighbours are named.

The rule: there is an id for every vector, or the bank has none.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from lvm_batch.io.errors import UnreadableFile
from lvm_batch.io.formats.parquet import open_parquet

if TYPE_CHECKING:
    from pathlib import Path

_ID = "id"


@dataclass(frozen=True, slots=True)
class BankIds:
    """The ids of a bank's vectors, in their order, and the SHA-256 of the file that they were read from."""

    values: pa.Array
    digest: str


def read_ids(path: Path, *, n_vectors: int, bank: str) -> BankIds | None:
    """Return the ids of the ``n_vectors`` of ``bank`` from their file, ``None`` if there are none.

    Raises :class:`UnreadableFile`.
    """
    with open_parquet(str(path)) as file:
        if _ID not in file.schema_arrow.names:
            return None
        tables = file.tables(row_groups=range(file.metadata.num_row_groups), columns=[_ID], batch_rows=2**16)
        column = pa.chunked_array(
            [chunk for table in tables for chunk in table[_ID].chunks], file.schema_arrow.field(_ID).type
        )
    if len(column) != n_vectors:
        raise UnreadableFile(
            f"{bank} is a damaged bank: it has {len(column):,} ids for {n_vectors:,} vectors",
            "build it again",
        )
    return BankIds(_plain(column), digest_of_ids(path))


def digest_of_ids(path: Path) -> str:
    """Return the SHA-256 of a file of ids, as hexadecimal text."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _plain(column: pa.ChunkedArray) -> pa.Array:
    """Return ids as one array; those of a dictionary as the values that they stand for."""
    kind = column.type
    whole = column.cast(kind.value_type) if pa.types.is_dictionary(kind) else column
    return pa.concat_arrays(whole.chunks) if whole.num_chunks else pa.array([], whole.type)
