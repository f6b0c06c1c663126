"""Vectors of Parquet files as a bank takes them: of unit norm, with their ids.

The rule: every file is checked before any row is read for the bank, and a row keeps its number in the source, whatever
is left out before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from lvm_batch.io.dataset.column_checks import listed, refuse_repeated
from lvm_batch.io.dataset.file_columns import file_columns
from lvm_batch.io.discovery.widths import row_width
from lvm_batch.io.errors import ColumnError
from lvm_batch.io.formats.common_types import common_type
from lvm_batch.io.formats.parquet import open_parquet
from lvm_batch.io.pages.vectors import VectorRows
from lvm_batch.io.schema import WindowShape
from lvm_batch.io.vectors.types import check_vector_type, vector_width

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from lvm_batch.io.dataset.file_columns import FileColumns
    from lvm_batch.io.dataset.files import InputFile
    from lvm_batch.io.formats.parquet import OpenParquet

_BATCH_ROWS = 4096
_USUAL_DIM = WindowShape().dim
_USUAL_IDS = "id"


@dataclass(frozen=True, slots=True)
class VectorSource:
    """Files whose columns have been checked: ``n_rows`` rows of vectors of ``dim`` components.

    Ids are read from the column ``ids``, or, if that is ``None``, from ``id`` in files that have it. ``id_type`` is
    their common type, ``None`` if there are no ids.
    """

    files: tuple[InputFile, ...]
    vectors: str
    ids: str | None
    id_type: pa.DataType | None
    dim: int
    n_rows: int


def survey(files: Sequence[InputFile], vectors: str, ids: str | None) -> VectorSource:
    """Check the columns ``vectors`` and ``ids`` of every file; raises :class:`ColumnError` or ``UnreadableFile``."""
    if ids == vectors:
        raise ColumnError(
            f"`{ids}` is named for the ids and for the vectors", "name the ids' own: --id-column NAME"
        )
    dim, n_rows, id_type = 0, 0, None
    with_rows: list[InputFile] = []
    for file in files:
        with open_parquet(file.path) as parquet:
            if not parquet.metadata.num_rows and len(files) > 1:
                continue  # writers give the columns of an empty shard the type null
            with_rows.append(file)
            dim = _check_columns(parquet, file, vectors, ids, dim)
            n_rows += parquet.metadata.num_rows
            schema = _columns(parquet, file, vectors, ids).schema
            id_type = _with_ids(schema, file, ids or _ids_of(schema, vectors), id_type)
    return VectorSource(tuple(with_rows), vectors, ids, id_type, dim, n_rows)


def _with_ids(
    schema: pa.Schema, file: InputFile, ids: str | None, known: pa.DataType | None
) -> pa.DataType | None:
    """Return the common type of the ids of this file and of those before it, whose type is ``known``."""
    if ids is None:
        return known
    kind = schema.field(ids).type
    together = kind if known is None else common_type(known, kind)
    if together is None:
        raise ColumnError(
            f"{file.path}: column `{ids}` is {kind}, and the ids of the files before it are {known}: no type holds "
            "both as they are",
            "write them again with one type",
        )
    return together


def _check_columns(parquet: OpenParquet, file: InputFile, vectors: str, ids: str | None, dim: int) -> int:
    """Return the components of a vector: ``dim``, or, if that is 0, those of this file."""
    refuse_repeated(parquet.schema_arrow, file.path)
    schema = _columns(parquet, file, vectors, ids).schema
    for name, flag in ((vectors, "--vector-column"), (ids, "--id-column")):
        if name is not None and name not in schema.names:
            raise ColumnError(
                f"{file.path} has no `{name}` column; it has {listed(schema)}", f"name it: {flag} NAME"
            )
    kind = schema.field(vectors).type
    dim = dim or vector_width(kind, usual=_USUAL_DIM) or _usual_width(parquet, file, vectors)
    if problem := check_vector_type(kind, length=1, dim=dim):
        raise ColumnError(f"{file.path}: column `{vectors}` {problem}", "a bank has one dimension")
    return dim


def _usual_width(parquet: OpenParquet, file: InputFile, column: str) -> int:
    """Return the most common width of the first vectors of a column whose type does not say it."""
    if problem := check_vector_type(parquet.schema_arrow.field(column).type, length=1, dim=_USUAL_DIM):
        raise ColumnError(
            f"{file.path}: column `{column}` {problem}", "name a column of vectors: --vector-column"
        )
    if (measured := row_width(parquet, column, most_tables=None)) is None:
        raise ColumnError(f"{file.path}: column `{column}` holds no vector", "name a file with vectors")
    return measured.width


def unit_vectors(source: VectorSource) -> Iterator[tuple[NDArray[np.float32], pa.Table]]:
    """Yield blocks of usable vectors, of unit norm, each with a table of their row numbers and ids.

    Vectors that are null, not finite, of another width or without a norm are left out.
    """
    out = np.empty((_BATCH_ROWS, 1, source.dim), np.float32)
    first_row = 0
    for file in source.files:
        with open_parquet(file.path) as parquet:
            columns = _columns(parquet, file, source.vectors, source.ids)
            ids = source.ids or _ids_of(columns.schema, source.vectors)
            row_groups = range(parquet.metadata.num_row_groups)
            vectors = VectorRows(parquet, source.vectors, row_groups, shape=WindowShape(1, source.dim))
            tables = columns.read(
                parquet, row_groups=row_groups, columns=[ids] if ids else [], batch_rows=_BATCH_ROWS
            )
            for table in tables:
                block, kept = _unit_rows(vectors, out[: table.num_rows])
                with parquet.naming_errors("its ids"):
                    named = _taken(table, ids, kept, source.id_type)
                yield block, pa.table({"row": pa.array(first_row + kept), **named})
                first_row += table.num_rows


def _columns(parquet: OpenParquet, file: InputFile, vectors: str, ids: str | None) -> FileColumns:
    """Return the columns of a file; the ids may come from its folders."""
    return file_columns(parquet.schema_arrow, file, texts={ids or _USUAL_IDS} - {vectors})


def _ids_of(schema: pa.Schema, vectors: str) -> str | None:
    return _USUAL_IDS if _USUAL_IDS in schema.names and vectors != _USUAL_IDS else None


def _taken(
    table: pa.Table, ids: str | None, kept: NDArray[np.int64], kind: pa.DataType | None
) -> dict[str, pa.ChunkedArray]:
    """Return the ids of the rows that are kept, in the common type; null if the file has none."""
    if kind is None:
        return {}
    if ids is None:
        return {"id": pa.chunked_array([pa.nulls(len(kept), kind)])}
    runs = np.split(
        kept, np.flatnonzero(np.diff(kept) != 1) + 1
    )  # Arrow cannot take single rows of list views
    slices = [table[ids].slice(run[0], len(run)) for run in runs if len(run)]
    column = pa.chunked_array([chunk for part in slices for chunk in part.chunks], table[ids].type)
    return {"id": column if column.type == kind else column.cast(kind)}


def _unit_rows(
    vectors: VectorRows, out: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    bad = vectors.read_into(out).bad
    rows = out[:, 0].astype(np.float64)  # norms of tiny and huge vectors stay inside float64
    norms = np.linalg.norm(rows, axis=1)
    usable = norms > 0
    usable[list(bad)] = False
    kept = np.flatnonzero(usable)
    return (rows[kept] / norms[kept, None]).astype(np.float32), kept
