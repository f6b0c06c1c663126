"""Rows of a Parquet file without a vector, counted from its footer.

The rule: the count is a lower bound, and no page is read. A footer tells nulls and the number of values, but nothing of
NaN, zeros or binary of a wrong length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from lvm_batch.io.errors import DataError
from lvm_batch.io.vectors.types import values_per_row

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from lvm_batch.io.formats.parquet import OpenParquet
    from lvm_batch.io.schema import Roles, WindowShape


@dataclass(frozen=True, slots=True)
class NullVectors:
    """How many rows of a file are null or hold a null where a vector belongs; ``row_group`` is the first with such."""

    rows: int
    row_group: int


class ChunkCounts(NamedTuple):
    """The rows, values and nulls of a column chunk; a null or empty list counts as one value, and as a null."""

    rows: int
    values: int
    nulls: int


def find_null_vectors(
    parquet: OpenParquet, *, schema: pa.Schema, roles: Roles, shape: WindowShape
) -> NullVectors | None:
    """Count the rows of an open file that are null or hold a null, by its footer; ``None`` if it tells of none.

    A damaged footer is ignored here; the reader of its rows reports it.
    """
    width = values_per_row(schema.field(roles.vectors).type)
    may_vary = width is None and roles.layout == "windows"
    width = width or (shape.width if may_vary else shape.dim)
    try:
        chunks = list(_chunks(parquet, roles.vectors))
    except DataError:
        return None
    counts = [count_null_rows(chunk, width=width, may_vary=may_vary) for chunk in chunks]
    first = next((index for index, count in enumerate(counts) if count), None)
    return None if first is None else NullVectors(sum(counts), first)


def count_null_rows(chunk: ChunkCounts, *, width: int, may_vary: bool) -> int:
    """Return how many rows must be bad if a good one has ``width`` values and no null.

    With ``may_vary`` a good row may also have other numbers of values. A footer may lie: no more rows are returned than
    there are.
    """
    count = _null_contexts(chunk, width) if may_vary else _null_vectors(chunk, width)
    return min(max(count, 0), chunk.rows)


def _chunks(parquet: OpenParquet, column: str) -> Iterator[ChunkCounts]:
    with parquet.naming_errors("the names of its columns"):
        leaf = next(index for index, path in enumerate(parquet.reader.column_paths) if path[0] == column)
    for index, n_rows in enumerate(parquet.row_group_rows):
        chunk = parquet.chunk(index, leaf)
        known = chunk.statistics
        nulls = known.null_count if known is not None and known.has_null_count else 0
        yield ChunkCounts(n_rows, chunk.num_values, nulls)


def _null_vectors(chunk: ChunkCounts, width: int) -> int:
    """A bad row has at least one value, so ``b`` bad rows lack at most ``b * (width - 1)`` values.

    They have ``b * width`` less those that are lacking, and all nulls are among these.
    """
    if width == 1:
        return chunk.nulls
    lacking = chunk.rows * width - chunk.values
    return max(_ceil(lacking, width - 1), _ceil(chunk.nulls + lacking, width), int(lacking < 0))


def _null_contexts(chunk: ChunkCounts, width: int) -> int:
    """If all other rows have ``width`` values, each null is a row; if not, all may lie in one."""
    lacking = chunk.rows * width - chunk.values
    return chunk.nulls if lacking == chunk.nulls * (width - 1) else min(chunk.nulls, 1)


def _ceil(number: int, divisor: int) -> int:
    return -(-number // divisor)
