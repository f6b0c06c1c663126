"""The windows layout: one row is one context.

The rule: a row's prediction depends on that row alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lvm_batch.io.dataset.batches import Batch, carried_columns, number_values, padding_detail, text_values
from lvm_batch.io.schema import BAD_INPUT, OK, Pad
from lvm_batch.io.vectors.decoding import decode_column

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pyarrow as pa
    from numpy.typing import NDArray

    from lvm_batch.io.pages.vectors import VectorRows
    from lvm_batch.io.schema import Roles, WindowShape
    from lvm_batch.io.vectors.flaws import Flaws


class WindowsReader:
    """Turns tables of windows into batches; the buffers are allocated once."""

    def __init__(
        self,
        roles: Roles,
        shape: WindowShape,
        *,
        batch_rows: int,
        pad: Pad | None,
        pages: Mapping[str, VectorRows] | None = None,
    ) -> None:
        """``pages`` gives the columns of vectors that tables do not have."""
        self._roles = roles
        self._pad: Pad = pad or "repeat"
        self._pages = pages or {}
        self._contexts = np.empty((batch_rows, shape.length, shape.dim), np.float32)
        self._targets = np.empty((batch_rows, 1, shape.dim), np.float32) if roles.target else None

    def batches(self, tables: Iterator[pa.Table], first_row: int) -> Iterator[Batch]:
        """Yield one batch for each table; ``first_row`` is the file's row at which the first table begins."""
        for table in tables:
            batch = self._batch(table, first_row)
            first_row += table.num_rows
            del table  # or it would stay in memory while the next one is read
            yield batch

    def _batch(self, table: pa.Table, first_row: int) -> Batch:
        roles, n_rows = self._roles, table.num_rows
        contexts = self._contexts[:n_rows]
        flaws = self._decode(table, roles.vectors, contexts)
        status = np.full(n_rows, OK, np.int8)
        status[list(flaws.bad)] = BAD_INPUT
        return Batch(
            first_row=first_row,
            contexts=contexts,
            targets=self._decode_targets(table),
            lanes=text_values(table[roles.lane]) if roles.lane else None,
            context_tokens=number_values(table[roles.tokens]) if roles.tokens else None,
            status=status,
            details={row: padding_detail(k) for row, k in flaws.short.items()} | flaws.bad,
            carried=carried_columns(table, roles),
        )

    def _decode_targets(self, table: pa.Table) -> NDArray[np.float32] | None:
        if self._targets is None:
            return None
        assert self._roles.target is not None  # noqa: S101 - else there would be no array for it
        targets = self._targets[: table.num_rows]
        flaws = self._decode(table, self._roles.target, targets)
        targets[list(flaws.bad)] = np.nan
        return targets[:, 0]

    def _decode(self, table: pa.Table, column: str, out: NDArray[np.float32]) -> Flaws:
        if column in self._pages:
            return self._pages[column].read_into(out)
        return decode_column(table[column], out, pad=self._pad if column == self._roles.vectors else None)
