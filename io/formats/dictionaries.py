"""Columns of codes and the values they stand for, as a writer of Parquet takes them.

The rule: a row group gets one dictionary, so rows with more values than their codes can tell apart go into several.
This module does not know what the columns mean.
"""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterator


def row_groups(table: pa.Table) -> Iterator[pa.Table]:
    """Yield a table whole, or, where its chunks' dictionaries do not fit into one, in parts in which they do."""
    crowded = [column for column in table.columns if _is_crowded(column)]
    if not crowded:
        yield table
        return
    cuts = {0, *(end for column in crowded for end in accumulate(map(len, column.chunks)))}
    for first, end in pairwise(sorted(cuts)):
        yield table.slice(first, end - first)


def _is_crowded(column: pa.ChunkedArray) -> bool:
    """Whether the chunks of a column have more values together, at any depth, than its codes can tell apart."""
    try:
        column.unify_dictionaries()
    except pa.ArrowInvalid:
        return True
    return False
