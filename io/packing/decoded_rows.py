"""Rows of tables, whose columns of vectors are decoded and whose other columns stay as they are.

The rule: a row that a run would find bad is still bad after packing. NaN, infinity and zeros stay; a row without
vectors, or with a wrong number of floats, which no fixed size can hold, counts as null.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lvm_batch.io.dataset.column_checks import is_absent, listed, nearest, refuse_repeated
from lvm_batch.io.errors import ColumnError
from lvm_batch.io.packing.sources import Block
from lvm_batch.io.vectors.decoding import decode_column
from lvm_batch.io.vectors.types import check_vector_type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from lvm_batch.io.schema import ColumnNames, Pad, WindowShape


@dataclass(frozen=True, slots=True)
class DecodedRows:
    """Rows that ``tables(names, n_rows)`` reads, ``n_rows`` at a time.

    ``lengths`` says how many vectors of ``dim`` floats a row of each column of vectors holds, ``others`` names the
    columns that stay.
    """

    tables: Callable[[Sequence[str], int], Iterator[pa.Table]]
    lengths: Mapping[str, int]
    others: Sequence[str]
    dim: int
    pad: Pad

    def blocks(self, n_rows: int) -> Iterator[Block]:
        """Read the rows in order, ``n_rows`` at a time."""
        return map(self._decoded, self.tables([*self.lengths, *self.others], n_rows))

    def _decoded(self, table: pa.Table) -> Block:
        vectors, null, padded = {}, {}, 0
        for column, length in self.lengths.items():
            rows = np.empty((table.num_rows, length, self.dim), np.float32)
            flaws = decode_column(table[column], rows, pad=self.pad if length > 1 else None)
            null[column] = _restore(rows, flaws.bad)
            padded += len(flaws.short)
            vectors[column] = rows.reshape(len(rows), -1)
        return Block(vectors, null, table.select(self.others), padded)


def vector_columns(schema: pa.Schema, path: str, names: ColumnNames, shape: WindowShape) -> dict[str, int]:
    """Return the columns of vectors, each with its vectors a row; raises :class:`ColumnError`."""
    refuse_repeated(schema, path)
    there = [field.name for field in schema if not is_absent(field.type)]
    windows = {names.context: shape.length, names.target: 1}
    lengths = windows if names.context in there else {names.vector: 1}
    lengths = {column: length for column, length in lengths.items() if column in there}
    if not lengths:
        near = nearest(names.context, there)
        flag = f"--context-column {near}" if near else "--context-column NAME or --vector-column NAME"
        raise ColumnError(
            f"{path} has neither a `{names.context}` nor a `{names.vector}` column; it has {listed(schema)}",
            f"name it: {flag}",
        )
    for column, length in lengths.items():
        problem = check_vector_type(schema.field(column).type, length=length, dim=shape.dim)
        if problem:
            raise ColumnError(
                f"{path}: column `{column}` {problem}",
                f"give each row {length} vectors of {shape.dim} floats",
            )
    return lengths


def _restore(rows: NDArray[np.float32], bad: dict[int, str]) -> list[int]:
    """Restore in bad rows what makes them bad; return the rows without vectors of the right length."""
    values = {"nan": np.nan, "inf": np.inf, "zero_norm": 0.0}
    for row, reason in bad.items():
        rows[row] = values.get(reason, np.nan)
    return [row for row, reason in bad.items() if reason not in values]
