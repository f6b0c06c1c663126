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


class _Chunk(NamedTuple):
    """The rows, values and nulls of one row group; a null or empty list counts as one value, and as a null."""

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
    try:
        chunks = list(_chunks(parquet, roles.vectors))
    except DataError:
        return None
    if width is None and roles.layout == "windows":
        counts = [_null_contexts(chunk, shape.width) for chunk in chunks]
    else:
        counts = [_null_rows(chunk, width or shape.dim) for chunk in chunks]
    first = next((index for index, count in enumerate(counts) if count), None)
    return None if first is None else NullVectors(sum(counts), first)


def _chunks(parquet: OpenParquet, column: str) -> Iterator[_Chunk]:
    with parquet.naming_errors("its footer"):
        leaf = next(index for index, path in enumerate(parquet.reader.column_paths) if path[0] == column)
        for index in range(parquet.metadata.num_row_groups):
            # A footer that contradicts its schema would end the process below; a reader checks that first and raises.
            next(parquet.reader.iter_batches(0, [index], column_indices=[leaf], use_threads=False), None)
            group = parquet.metadata.row_group(index)
            chunk = group.column(leaf)
            known = chunk.statistics
            nulls = known.null_count if known is not None and known.has_null_count else 0
            yield _Chunk(group.num_rows, chunk.num_values, nulls)


def _null_rows(chunk: _Chunk, width: int) -> int:
    """Return how many rows must be bad if a good one has ``width`` values and no null.

    A bad row has at least one value. So ``b`` bad rows lack at most ``b * (width - 1)`` values; they hold
    ``b * width`` less those that are lacking, and all nulls are among them.
    """
    if width == 1:
        return chunk.nulls
    lacking = chunk.rows * width - chunk.values
    return max(_ceil(lacking, width - 1), _ceil(chunk.nulls + lacking, width), int(lacking < 0))


def _null_contexts(chunk: _Chunk, width: int) -> int:
    """Return how many rows must be bad if a good one has any number of vectors, ``width`` values as a rule.

    If all other rows have ``width`` values, each null is a whole row; if not, all may lie in one.
    """
    lacking = chunk.rows * width - chunk.values
    return chunk.nulls if lacking == chunk.nulls * (width - 1) else min(chunk.nulls, 1)


def _ceil(number: int, divisor: int) -> int:
    return -(-number // divisor)
