"""Timestamps of 96 bits, as Spark, Hive and Impala write them.

The rule: a timestamp that does not fit Arrow's 64 bits of nanoseconds is refused, since Arrow would return another
one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow.parquet as pq

UNIT = "ms"
"""A unit in which every such timestamp fits 64 bits, since they count days in 32."""

# Milliseconds before and after 1970 that fit 64 bits as nanoseconds: 1677 to 2262.
_MOST = 2**63 // 10**6


def int96_columns(file: pq.ParquetFile, columns: Sequence[str]) -> list[str]:
    """Return those of ``columns`` that hold such timestamps, at any depth."""
    leaves = map(file.schema.column, range(len(file.schema)))
    paths = [f"{leaf.path}." for leaf in leaves if leaf.physical_type == "INT96"]
    return [name for name in columns if any(path.startswith(f"{name}.") for path in paths)]


def check_int96(file: pq.ParquetFile, row_group: int, columns: Sequence[str]) -> None:
    """Raise ``ArrowInvalid`` if a row group holds a timestamp that does not fit nanoseconds.

    ``file`` was opened so that it returns such timestamps in ``UNIT``.
    """
    for batch in file.iter_batches(row_groups=[row_group], columns=list(columns), use_threads=False):
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            for times in _timestamps(column):
                least, most = (value.value for value in pc.min_max(times).values())
                if most is not None and not -_MOST <= least <= most <= _MOST:
                    raise pa.ArrowInvalid(
                        f"column `{name}` holds INT96 timestamps before 1677-09-21 or after 2262-04-11, which do not "
                        "fit in 64-bit nanoseconds; write it as microsecond timestamps"
                    )


def _timestamps(column: pa.Array) -> Iterator[pa.Array]:
    """Yield the arrays of timestamps within a column, at any depth."""
    if pa.types.is_timestamp(column.type):
        yield column
    elif pa.types.is_struct(column.type):
        for part in column.flatten():
            yield from _timestamps(part)
    elif pa.types.is_map(column.type):
        yield from _timestamps(column.keys)
        yield from _timestamps(column.items)
    elif pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        yield from _timestamps(column.flatten())
