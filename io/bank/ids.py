"""The ids of a bank's vectors, by which neighbours are named.

The rule: there is an id for every vector. It is the vector's own, else its article and position, else its row number
in the files that the bank was built of: a bank of any version has one of these.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from lvm_batch.io.bank.kept_columns import ARTICLE, ID, POSITION
from lvm_batch.io.errors import UnreadableFile
from lvm_batch.io.formats.parquet import open_parquet

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

ROW = "row"

NamedBy = Literal["id", "article and position", "row number"]
"""What the ids of a bank are."""

_COLUMNS: dict[NamedBy, tuple[str, ...]] = {
    "id": (ID,),
    "article and position": (ARTICLE, POSITION),
    "row number": (ROW,),
}


@dataclass(frozen=True, slots=True)
class BankIds:
    """The ids of a bank's vectors, in their order, what they are, and the SHA-256 of the file that has them.

    Articles and positions are structs of ``article_id`` and ``position``, row numbers int64.
    """

    values: pa.Array
    digest: str
    named_by: NamedBy = "id"


def named_by(columns: Collection[str]) -> NamedBy | None:
    """Return by what vectors are named whose bank keeps these columns; ``None`` if by nothing."""
    return next((kind for kind, needed in _COLUMNS.items() if set(needed) <= set(columns)), None)


def read_ids(path: Path, *, n_vectors: int, bank: str) -> BankIds | None:
    """Return the ids of the ``n_vectors`` of ``bank`` from their file, ``None`` if there are none.

    Raises :class:`UnreadableFile`.
    """
    with open_parquet(str(path)) as file:
        kind = named_by(file.schema_arrow.names)
    if kind is None:
        return None
    columns = read_columns(path, _COLUMNS[kind], n_vectors=n_vectors, bank=bank)
    values = columns[0] if len(columns) == 1 else pa.StructArray.from_arrays(columns, _COLUMNS[kind])
    return BankIds(values, digest_of_ids(path), kind)


def knows_places(path: Path) -> bool:
    """Whether a file of ids has articles and positions; raises :class:`UnreadableFile`."""
    with open_parquet(str(path)) as file:
        return {ARTICLE, POSITION} <= set(file.schema_arrow.names)


def read_columns(path: Path, names: Sequence[str], *, n_vectors: int, bank: str) -> list[pa.Array]:
    """Return columns of the file of ids, each as one array without a dictionary; raises :class:`UnreadableFile`."""
    with open_parquet(str(path)) as file:
        row_groups = range(file.metadata.num_row_groups)
        tables = list(file.tables(row_groups=row_groups, columns=list(names), batch_rows=2**16))
        table = pa.concat_tables([file.schema_arrow.empty_table().select(list(names)), *tables])
    if table.num_rows != n_vectors:
        raise UnreadableFile(
            f"{bank} is a damaged bank: it has {table.num_rows:,} ids for {n_vectors:,} vectors",
            "build it again",
        )
    return [_plain(column) for column in table.columns]


def digest_of_ids(path: Path) -> str:
    """Return the SHA-256 of a file of ids, as hexadecimal text."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _plain(column: pa.ChunkedArray) -> pa.Array:
    """Return ids as one array; those of a dictionary as the values that they stand for."""
    kind = column.type
    whole = column.cast(kind.value_type) if pa.types.is_dictionary(kind) else column
    return pa.concat_arrays(whole.chunks) if whole.num_chunks else pa.array([], whole.type)
