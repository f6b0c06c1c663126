"""How many floats, and how many vectors, a row of a column holds: by its type, or else by its first rows.

The rule: few rows of one file are read, and only where the type does not say the width.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lvm_batch.io.schema import WindowShape
from lvm_batch.io.vectors.types import is_fixed, is_variable_binary, list_levels

if TYPE_CHECKING:
    from lvm_batch.io.formats.parquet import OpenParquet

_FIRST_ROWS = 64
_MOST_TABLES = 16
_USUAL = WindowShape()
_FLOAT32_BYTES = 4


@dataclass(frozen=True, slots=True)
class RowWidth:
    """What a row holds: ``width`` floats, in the innermost list; and ``n_vectors`` such lists.

    ``n_vectors`` is ``None`` if the floats are in one list, which does not say where a vector ends. ``by_type`` says
    that this holds for every row.
    """

    width: int
    n_vectors: int | None = None
    by_type: bool = False


def row_width(
    parquet: OpenParquet, column: str, *, most_tables: int | None = _MOST_TABLES
) -> RowWidth | None:
    """Return what most of the first rows of a column of vectors hold, or ``None`` if it holds nothing there.

    Of a column that begins with empty rows, ``most_tables`` times 64 rows are looked at, ``None`` for all.
    """
    kind = parquet.schema_arrow.field(column).type
    return _by_type(kind) or _by_rows(parquet, column, most_tables)


def _by_type(kind: pa.DataType) -> RowWidth | None:
    if pa.types.is_fixed_size_binary(kind):
        halves = {2 * _USUAL.dim, 2 * _USUAL.width}
        return RowWidth(kind.byte_width // (2 if kind.byte_width in halves else _FLOAT32_BYTES), by_type=True)
    *lists, _ = list_levels(kind)
    sizes = [level.list_size for level in lists if is_fixed(level)]
    if not lists or len(sizes) < len(lists):
        return None
    if isinstance(kind, pa.FixedShapeTensorType):
        *outer, width = kind.shape
        return RowWidth(width, int(np.prod(outer)) if outer else None, by_type=True)
    return RowWidth(sizes[-1], sizes[0] if len(sizes) > 1 else None, by_type=True)


def _by_rows(parquet: OpenParquet, column: str, most_tables: int | None) -> RowWidth | None:
    row_groups = range(parquet.metadata.num_row_groups)
    tables = parquet.tables(row_groups=row_groups, columns=[column], batch_rows=_FIRST_ROWS)
    for table in islice(tables, most_tables):
        counts: Counter[RowWidth] = Counter()
        for chunk in table[column].chunks:
            counts.update(_widths(chunk))
        if counts:
            return counts.most_common(1)[0][0]
    return None


def _widths(array: pa.Array) -> list[RowWidth]:
    """Return the width of each row that holds something."""
    array = array.storage if isinstance(array, pa.ExtensionArray) else array
    if is_variable_binary(array.type):
        sizes = pc.binary_length(array).drop_null().to_pylist()
        return [RowWidth(size // _FLOAT32_BYTES) for size in sizes if size >= _FLOAT32_BYTES]
    rows = [row for row in array.to_pylist() if row]
    if pa.types.is_floating(array.type.value_type):
        return [RowWidth(len(row)) for row in rows]
    return [RowWidth(len(row[0]), len(row)) for row in rows if row[0]]
