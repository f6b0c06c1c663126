"""A column of vectors, read in order over row groups: from its pages where these are regular, else through Arrow.

The rule: rows and flaws are the same on both ways. A row group in which something irregular turns up goes on through
Arrow from that row on, and so do the row groups after it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lvm_batch.io.errors import DataError
from lvm_batch.io.formats.parquet import ROWS_AT_ONCE, OpenParquet
from lvm_batch.io.pages.chunk import VectorChunk, chunk_range
from lvm_batch.io.pages.levels import MIN_WIDTH, Lists
from lvm_batch.io.pages.thrift import Irregular
from lvm_batch.io.pages.values import Leaf
from lvm_batch.io.vectors.decoding import decode_column
from lvm_batch.io.vectors.flaws import Flaws, checked_values
from lvm_batch.io.vectors.types import BINARY_FLOATS, FLOATS, list_levels

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow.parquet as pq
    from numpy.typing import NDArray

    from lvm_batch.io.schema import Pad, WindowShape

_OF_VALUES = {"nan", "inf", "zero_norm"}
"""Flaws that full rows can have."""
_PHYSICAL: dict[str, np.dtype[Any]] = {"FLOAT": np.dtype("<f4"), "DOUBLE": np.dtype("<f8")}


class VectorRows:
    """The rows of ``column`` in ``row_groups``: contexts of ``shape``, or single vectors if its length is 1."""

    def __init__(
        self,
        parquet: OpenParquet,
        column: str,
        row_groups: Sequence[int],
        *,
        shape: WindowShape,
        pad: Pad | None = None,
        ahead: Sequence[int] | None = None,
    ) -> None:
        """Of a file in a store, the row groups ``ahead``, by default all, are fetched before they are asked for."""
        self._parquet = parquet.apart()
        self._column = column
        self._pad = pad
        self._shape = shape.length, shape.dim
        self._leaf = find_leaf(parquet, column, shape)
        self._n_rows = parquet.row_group_rows
        self._groups = iter(row_groups)
        self._source = self._parquet.ahead(
            chunk_ranges(self._parquet, row_groups if ahead is None else ahead, self._leaf)
        )
        self._group = -1
        self._left = 0  # rows of the current row group that have not been read
        self._chunk: VectorChunk | None = None
        self._n_coded = 0  # rows that go through Arrow before pages are read
        self._tables: Iterator[pa.Table] = iter(())
        self._table: pa.Table | None = None

    @property
    def is_regular(self) -> bool:
        """Whether all rows so far came from pages."""
        return self._leaf is not None

    def read_into(self, out: NDArray[np.float32]) -> Flaws:
        """Fill ``out``, (rows, length, dim) float32, with the next rows, as :func:`decode_column` does.

        Raises ``UnreadableFile`` if the file is damaged or has fewer rows.
        """
        flaws = Flaws()
        done = 0
        while done < len(out):
            while not self._left:
                self._open(next(self._groups, None))
            n_rows, found = self._read(out[done : done + self._left])
            flaws.bad.update({done + row: reason for row, reason in found.bad.items()})
            flaws.short.update({done + row: k for row, k in found.short.items()})
            self._left -= n_rows
            done += n_rows
        return flaws

    def _open(self, group: int | None) -> None:
        if group is None:
            with self._parquet.naming_errors(f"column `{self._column}`"):
                raise pa.ArrowInvalid("it has fewer rows than other columns")
        self._group, self._chunk, self._table = group, None, None
        self._left = self._n_rows[group]
        if self._leaf is not None and self._left:
            _check_footer(self._parquet, group)
            try:
                with self._parquet.naming_errors(f"row group {group}"):
                    self._chunk = VectorChunk(self._parquet, group, self._leaf, source=self._source)
            except Irregular:
                self._leaf = None
        self._n_coded = self._chunk.n_coded_rows if self._chunk else 0
        if self._chunk is None or self._n_coded:
            self._tables = self._by_arrow(skipped=0, batch_rows=self._n_coded or ROWS_AT_ONCE)

    def _read(self, out: NDArray[np.float32]) -> tuple[int, Flaws]:
        """Read some rows, at least one and at most those of ``out``; return how many, and their flaws."""
        if self._chunk is not None and not self._n_coded:
            try:
                with self._parquet.naming_errors(f"row group {self._group}"):
                    self._chunk.read_into(out)
            except Irregular:
                self._go_on_by_arrow(skipped=self._n_done)
            else:
                return len(out), checked_values(out)
        n_rows, flaws = self._read_tables(out[: self._n_coded] if self._n_coded else out)
        if self._chunk is not None:
            self._n_coded -= n_rows
            if (
                flaws.short or not set(flaws.bad.values()) <= _OF_VALUES
            ):  # the pages after such rows begin elsewhere
                self._go_on_by_arrow(skipped=self._n_done + n_rows)
        return n_rows, flaws

    def _go_on_by_arrow(self, *, skipped: int) -> None:
        """Read the current row group after its first ``skipped`` rows, and those after it, without pages."""
        self._chunk = self._leaf = self._table = None
        self._n_coded = 0
        self._tables = self._by_arrow(skipped=skipped)

    @property
    def _n_done(self) -> int:
        return self._n_rows[self._group] - self._left

    def _read_tables(self, out: NDArray[np.float32]) -> tuple[int, Flaws]:
        table = self._table if self._table is not None else self._next_table()
        n_rows = min(len(out), table.num_rows)
        self._table = (
            table.slice(n_rows) if n_rows < table.num_rows else None
        )  # an empty slice would hold it all
        return n_rows, decode_column(table[self._column].slice(0, n_rows), out[:n_rows], pad=self._pad)

    def skip(self, n_rows: int) -> None:
        """Pass over the next rows."""
        for first in range(0, n_rows, ROWS_AT_ONCE):
            self.read_into(np.empty((min(ROWS_AT_ONCE, n_rows - first), *self._shape), np.float32))

    def _by_arrow(self, *, skipped: int, batch_rows: int = ROWS_AT_ONCE) -> Iterator[pa.Table]:
        return _tables_after(self._parquet, self._column, self._group, skipped=skipped, batch_rows=batch_rows)

    def _next_table(self) -> pa.Table:
        table = next(self._tables, None)
        if table is None:
            with self._parquet.naming_errors(f"row group {self._group}"):
                raise pa.ArrowInvalid(f"column `{self._column}` has fewer rows than the footer declares")
        return table


def _tables_after(
    parquet: OpenParquet, column: str, row_group: int, *, skipped: int, batch_rows: int
) -> Iterator[pa.Table]:
    """Yield the rows of a row group after the first ``skipped``.

    A generator that held the reader which holds it would keep both, and their buffers, until a collection of cycles.
    """
    tables = parquet.tables(
        row_groups=[row_group], columns=[column], batch_rows=min(batch_rows, ROWS_AT_ONCE)
    )
    for table in tables:
        if skipped < table.num_rows:
            yield table.slice(skipped)
        skipped = max(0, skipped - table.num_rows)


def chunk_ranges(
    parquet: OpenParquet, row_groups: Sequence[int], leaf: Leaf | None
) -> Iterator[tuple[int, int]]:
    """Yield where the chunks of a leaf are in the file, up to the first that the footer describes wrongly."""
    if leaf is None:
        return
    for group in row_groups:
        with suppress(DataError):
            _check_footer(parquet, group)
            start, end = chunk_range(parquet, group, leaf)
            if 0 < start < end:
                yield start, end
                continue
        return


def _check_footer(parquet: OpenParquet, group: int) -> None:
    """Raise ``UnreadableFile`` where asking the footer would end the process: it contradicts its schema."""
    with parquet.naming_errors(f"row group {group}"):
        next(parquet.reader.iter_batches(0, [group], use_threads=False), None)


def find_leaf(parquet: OpenParquet, column: str, shape: WindowShape) -> Leaf | None:
    """Return how a column of vectors of ``shape`` lies in the file; ``None`` if it is of no kind that is read here."""
    kind = parquet.schema_arrow.field(column).type
    places = [index for index, path in enumerate(parquet.reader.column_paths) if path[0] == column]
    if len(places) != 1:
        return None
    described = parquet.metadata.schema.column(places[0])
    bytes_a_value = described.length if described.physical_type == "FIXED_LEN_BYTE_ARRAY" else None
    if pa.types.is_fixed_size_binary(kind):
        return _leaf_of_bytes(places[0], described, shape)
    *lists, leaf = list_levels(kind)
    halves = bytes_a_value == 2  # noqa: PLR2004
    stored: np.dtype[Any] | None = FLOATS[pa.float16()] if halves else _PHYSICAL.get(described.physical_type)
    depth = described.max_repetition_level
    inner = shape.dim if len(lists) > 1 else shape.width
    is_known = (
        stored is not None and stored == FLOATS.get(leaf) and depth == len(lists) and inner >= MIN_WIDTH
    )
    if not is_known or depth not in {1, 2} or stored is None:
        return None
    if depth == 2 and shape.length == 1:  # noqa: PLR2004 - a list of one vector
        return None
    lists_of = Lists(shape.width, inner, depth)
    return Leaf(places[0], stored, lists_of, described.max_definition_level)


def _leaf_of_bytes(place: int, described: pq.ColumnSchema, shape: WindowShape) -> Leaf | None:
    """Return how rows lie that are one value of bytes each."""
    dtype = BINARY_FLOATS.get(described.length // shape.width)
    if dtype is None or described.length % shape.width or described.max_repetition_level:
        return None
    return Leaf(place, dtype, Lists(1, 1, 0), described.max_definition_level, numbers=shape.width)
