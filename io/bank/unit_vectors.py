"""Vectors of Parquet files as a bank takes them: of unit norm, with the columns that it keeps.

The rule: every file is checked before any row is read for the bank, and a row keeps its number in the source, whatever
is left out before it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from lvm_batch.io.bank.kept_columns import ARTICLE, FLAGS, ID, NOUNS, POSITION, KeptColumns, take_kept
from lvm_batch.io.dataset.column_checks import listed, refuse_repeated
from lvm_batch.io.dataset.file_columns import file_columns
from lvm_batch.io.discovery.bank_columns import find_bank_columns
from lvm_batch.io.discovery.widths import row_width
from lvm_batch.io.errors import ColumnError
from lvm_batch.io.formats.parquet import open_parquet
from lvm_batch.io.pages.vectors import VectorRows
from lvm_batch.io.schema import NO_COLUMN, WindowShape
from lvm_batch.io.vectors.types import check_vector_type, vector_width

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from lvm_batch.io.bank.kept_columns import Types
    from lvm_batch.io.dataset.file_columns import FileColumns
    from lvm_batch.io.dataset.files import InputFile
    from lvm_batch.io.formats.parquet import OpenParquet

_BATCH_ROWS = 4096
_USUAL_DIM = WindowShape().dim
_PARTS = {ARTICLE: "article", POSITION: "position"}


@dataclass(frozen=True, slots=True)
class VectorSource:
    """Files whose columns have been checked: ``n_rows`` rows of vectors of ``dim`` components.

    ``types`` are those of the kept columns that any file has, by what a bank calls them.
    """

    files: tuple[InputFile, ...]
    vectors: str
    kept: KeptColumns
    types: Types
    dim: int
    n_rows: int

    @property
    def columns(self) -> dict[str, str]:
        """What the files call the columns that the bank keeps, by what it calls them."""
        return {part: self.kept.names[part] for part in self.types}


def find_source(
    files: Sequence[InputFile], given: Mapping[str, str | None], id_column: str | None
) -> VectorSource:
    """Find the columns of the vectors and those that are kept, and check them in every file.

    ``given`` maps the parts ``vector``, ``article`` and ``position`` to the user's columns. Raises
    :class:`ColumnError` or ``UnreadableFile``.
    """
    known = {part: name for part, name in given.items() if name is not None}
    found = find_bank_columns(files, known, ids=id_column or ID)
    places = {kept: found[part] for kept, part in _PARTS.items() if part in found}
    named = {kept for kept, part in _PARTS.items() if known.get(part, NO_COLUMN) != NO_COLUMN}
    if len(places) < len(_PARTS):
        for lacks in (_PARTS.keys() - places.keys()) if named else ():
            raise ColumnError(
                f"no column is sure to be the {_PARTS[lacks]}, and a bank keeps articles and positions together",
                f"name it: {FLAGS[lacks]} NAME",
            )
        places = {}
    required = named | ({ID} if id_column else set())
    return _survey(files, found["vector"], KeptColumns({ID: id_column or ID, **places}, frozenset(required)))


def _survey(files: Sequence[InputFile], vectors: str, kept: KeptColumns) -> VectorSource:
    """Check the columns of every file."""
    for part, name in kept.names.items():
        if name == vectors and part in kept.required:
            raise ColumnError(
                f"`{name}` is given for both the {NOUNS[part]} and the vectors",
                f"name another column: {FLAGS[part]} NAME",
            )
    kept = replace(kept, names={part: name for part, name in kept.names.items() if name != vectors})
    dim, n_rows = 0, 0
    types: Types = {}
    with_rows: list[InputFile] = []
    for file in files:
        with open_parquet(file.path) as parquet:
            if not parquet.metadata.num_rows and len(files) > 1:
                continue  # writers give the columns of an empty shard the type null
            with_rows.append(file)
            dim = _check_vectors(parquet, file, vectors, kept, dim)
            n_rows += parquet.metadata.num_rows
            types = kept.join_types(types, _columns(parquet, file, kept).schema, file)
    return VectorSource(tuple(with_rows), vectors, kept, types, dim, n_rows)


def _check_vectors(parquet: OpenParquet, file: InputFile, vectors: str, kept: KeptColumns, dim: int) -> int:
    """Return the components of a vector: ``dim``, or, if that is 0, those of this file."""
    refuse_repeated(parquet.schema_arrow, file.path)
    schema = _columns(parquet, file, kept).schema
    if vectors not in schema.names:
        raise ColumnError(
            f"{file.path} has no `{vectors}` column; it has {listed(schema)}", "name it: --vector-column NAME"
        )
    kind = schema.field(vectors).type
    dim = dim or vector_width(kind, usual=_USUAL_DIM) or _usual_width(parquet, file, vectors)
    if problem := check_vector_type(kind, length=1, dim=dim):
        raise ColumnError(
            f"{file.path}: column `{vectors}` {problem}", "all vectors of a bank must have one width"
        )
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
    """Yield blocks of usable vectors, of unit norm, each with a table of their row numbers and kept columns.

    Vectors that are null, not finite, of another width or without a norm are left out.
    """
    out = np.empty((_BATCH_ROWS, 1, source.dim), np.float32)
    first_row = 0
    for file in source.files:
        with open_parquet(file.path) as parquet:
            columns = _columns(parquet, file, source.kept)
            kept = source.kept.of(columns.schema)
            row_groups = range(parquet.metadata.num_row_groups)
            vectors = VectorRows(parquet, source.vectors, row_groups, shape=WindowShape(1, source.dim))
            names = list(dict.fromkeys(kept.values()))
            tables = columns.read(parquet, row_groups=row_groups, columns=names, batch_rows=_BATCH_ROWS)
            for table in tables:
                block, rows = _unit_rows(vectors, out[: table.num_rows])
                with parquet.naming_errors("its ids"):
                    named = dict(take_kept(table, kept, rows, source.types))
                yield block, pa.table({"row": pa.array(first_row + rows), **named})
                first_row += table.num_rows


def _columns(parquet: OpenParquet, file: InputFile, kept: KeptColumns) -> FileColumns:
    """Return the columns of a file; those that are kept may come from its folders."""
    names = kept.names
    texts = {names[part] for part in (ID, ARTICLE) if part in names}
    numbers = {names[POSITION]} if POSITION in names else set()
    return file_columns(parquet.schema_arrow, file, texts=texts, numbers=numbers)


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
