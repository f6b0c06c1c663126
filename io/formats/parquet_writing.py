"""How tables are written as Parquet: the encodings of each column, and row groups whose codes fit one dictionary.

The rule: a row group has one dictionary a column, so rows with more values than their codes can tell apart go into
several row groups.
"""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def leaf_options(schema: pa.Schema, *, vectors: Iterable[str]) -> dict[str, Any]:
    """Return a writer's encodings, leaf by leaf: random mantissas neither compress nor repeat nor sort.

    zstd would save 7 % of the columns ``vectors`` and halve the speed of reading them. Parquet has no integers of 8
    bits and takes four bytes for one; as places in a dictionary of 255 values they take one.
    """
    sink = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), sink)
    described = pq.ParquetFile(pa.BufferReader(sink.getvalue())).schema
    leaves = [described.column(i).path for i in range(len(described))]
    plain = [leaf for leaf in leaves if any(f"{leaf}.".startswith(f"{name}.") for name in vectors)]
    others = [leaf for leaf in leaves if leaf not in plain]
    coded = [leaf for leaf in plain if is_int8_list(schema.field(leaf.partition(".")[0]).type)]
    return {
        "compression": dict.fromkeys(others, "zstd") | dict.fromkeys(plain, "none"),
        "use_dictionary": [*others, *coded],
        "write_statistics": others,
    }


def is_int8_list(kind: pa.DataType) -> bool:
    """Whether a type is a list of a fixed size of integers of 8 bits."""
    return bool(pa.types.is_fixed_size_list(kind) and kind.value_type == pa.int8())


def row_groups(table: pa.Table) -> Iterator[pa.Table]:
    """Yield a table whole, or, if its chunks' dictionaries do not fit into one, in parts in which they do."""
    crowded = [column for column in table.columns if _is_crowded(column)]
    if not crowded:
        yield table
        return
    cuts = {0, *(end for column in crowded for end in accumulate(map(len, column.chunks)))}
    for first, end in pairwise(sorted(cuts)):
        yield table.slice(first, end - first)


def _is_crowded(column: pa.ChunkedArray) -> bool:
    """Whether the chunks of a column together have more values, at any depth, than its codes can tell apart."""
    try:
        column.unify_dictionaries()
    except pa.ArrowInvalid:
        return True
    return False
