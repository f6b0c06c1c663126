"""Rows that come in tables of any size, taken in any number.

The rule: every row is taken once, in order, and what a source promises is what it has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from lvm_batch.io.errors import UnreadableFile

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator


class RowStream:
    """The rows of ``tables`` of one schema, whose columns ``vectors`` hold vectors; errors call them ``name``."""

    def __init__(
        self, tables: Iterator[pa.Table], schema: pa.Schema, *, vectors: Collection[str], name: str
    ) -> None:
        self.schema = schema
        self.vectors = vectors
        self._tables = tables
        self._rest = schema.empty_table()
        self._name = name

    def take(self, n_rows: int) -> pa.Table:
        """Return the next ``n_rows`` rows; raises :class:`UnreadableFile` if there are fewer."""
        parts = [self._rest]
        missing = n_rows - self._rest.num_rows
        while missing > 0:
            table = next(self._tables, None)
            if table is None:
                raise UnreadableFile(
                    f"{self._name} has {missing:,} rows fewer than it declares",
                    "write the file again",
                    self._name,
                )
            parts.append(table)
            missing -= table.num_rows
        table = pa.concat_tables(parts)
        self._rest = table.slice(n_rows)
        return table.slice(0, n_rows)

    def finish(self) -> None:
        """Read to the end; raises :class:`UnreadableFile` if rows are left."""
        n_left = self._rest.num_rows + sum(table.num_rows for table in self._tables)
        if n_left:
            raise UnreadableFile(
                f"{self._name} has {n_left:,} rows more than it declares", "write the file again", self._name
            )


def cut(n_rows: int, most: int) -> Iterator[int]:
    """Yield ``n_rows`` in parts of at most ``most``, lazily: a footer may promise any number; no rows are one part."""
    yield min(n_rows, most)
    for first in range(most, n_rows, most):
        yield min(most, n_rows - first)
