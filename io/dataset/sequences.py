"""The sequences layout: one row is one vector, and windows slide over the rows of an article.

The rule: the window that ends at a row predicts the next row, and never leaves its article. Each batch is decoded
together with the few rows before it and the one after, so that only one batch is in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, pairwise
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lvm_batch.io.articles.ids import comparable_ids
from lvm_batch.io.articles.order import Fall, find_falls
from lvm_batch.io.dataset.batches import (
    Batch,
    ContextPlaces,
    carried_columns,
    number_values,
    padding_detail,
    text_values,
)
from lvm_batch.io.errors import DataError
from lvm_batch.io.schema import BAD_INPUT, OK, SHORT_CONTEXT, Pad
from lvm_batch.io.vectors.decoding import decode_column

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from lvm_batch.io.pages.vectors import VectorRows
    from lvm_batch.io.schema import Roles, WindowShape


@dataclass(frozen=True, slots=True)
class _Windows:
    """The rows of each window of a batch, as indices into the batch with its neighbours.

    ``index`` (n, length) points back no farther than the article's first row; ``inside`` is false for vectors that
    would be before it. ``following`` (n,) is the next row of the same article, or -1.
    """

    index: NDArray[np.int64]
    inside: NDArray[np.bool_]
    following: NDArray[np.int64]


class SequencesReader:
    """Turns tables of single vectors into batches of windows; the buffers are allocated once."""

    def __init__(
        self,
        roles: Roles,
        shape: WindowShape,
        *,
        batch_rows: int,
        pad: Pad | None,
        path: str,
        pages: VectorRows | None = None,
    ) -> None:
        """``pages`` gives the vectors that tables do not have, of all rows in order, those before the unit first."""
        self._roles = roles
        self._path = path  # what errors call the file
        self._length = shape.length
        self._pad = None if pad == "reject" else pad
        self._pages = pages
        self._vectors = np.empty((batch_rows + shape.length, 1, shape.dim), np.float32)
        self._contexts = np.empty((batch_rows, shape.length, shape.dim), np.float32)
        self._targets = np.empty((batch_rows, shape.dim), np.float32)

    def batches(
        self, tables: Iterator[pa.Table], first_row: int, *, before: pa.Table, after: pa.Table
    ) -> Iterator[Batch]:
        """Yield one batch for each table.

        ``before`` holds up to ``length - 1`` rows of the file before ``first_row``, ``after`` the row after the last
        table, if there is one, each with the columns for windows. Raises :class:`DataError` if positions decrease
        within an article.
        """
        columns = self._roles.window_columns_beside if self._pages else self._roles.window_columns
        n_known = 0  # rows whose vectors have been decoded: those before the batch, and its first
        bad: dict[int, str] = {}
        for table, following in pairwise(chain(tables, [after])):
            rows = pa.concat_tables(part.select(columns) for part in (before, table, following.slice(0, 1)))
            bad = self._decode(rows, n_known, bad)
            yield self._batch(table, rows, bad, before.num_rows, first_row)
            first_row += table.num_rows
            end = before.num_rows + table.num_rows
            start = max(0, end - self._length + 1)
            before = rows.slice(start, end - start)
            n_known = rows.num_rows - start
            self._vectors[:n_known] = self._vectors[start : rows.num_rows].copy()
            bad = {row - start: reason for row, reason in bad.items() if row >= start}

    def _decode(self, rows: pa.Table, n_known: int, bad: dict[int, str]) -> dict[int, str]:
        """Decode the vectors of ``rows`` but the first ``n_known``; return why vectors are bad, by row."""
        out = self._vectors[n_known : rows.num_rows]
        if self._pages is None:
            found = decode_column(rows[self._roles.vectors].slice(n_known), out)
        else:
            found = self._pages.read_into(out)
        return bad | {n_known + row: reason for row, reason in found.bad.items()}

    def _batch(
        self, table: pa.Table, rows: pa.Table, bad: dict[int, str], n_before: int, first_row: int
    ) -> Batch:
        roles, n_rows = self._roles, table.num_rows
        single = self._vectors[: rows.num_rows, 0]
        run_start = self._run_starts(rows, first_row - n_before)
        windows = _windows(run_start, n_before, n_rows, self._length)
        status, details = self._judge(rows, single, bad, windows, file_row=first_row - n_before)
        return Batch(
            first_row=first_row,
            contexts=self._gather_contexts(single, windows),
            targets=self._gather_targets(single, bad, windows),
            lanes=text_values(table[roles.lane]) if roles.lane else None,
            context_tokens=_window_sums(number_values(rows[roles.tokens]), windows) if roles.tokens else None,
            status=status,
            details=details,
            carried=carried_columns(table, roles),
            places=self._places(rows, windows),
        )

    def _places(self, rows: pa.Table, windows: _Windows) -> ContextPlaces | None:
        if self._roles.article is None or self._roles.position is None:
            return None
        return ContextPlaces(rows[self._roles.article], rows[self._roles.position], windows.index)

    def _run_starts(self, rows: pa.Table, file_row: int) -> NDArray[np.int64]:
        """Return for each row the first known row of its article; a row without an article is on its own."""
        article = comparable_ids(rows[self._roles.article])
        changed = pc.not_equal(article[1:], article[:-1]).fill_null(fill_value=True).to_numpy()
        first = np.concatenate(([True], changed.astype(np.bool_)))
        self._check_order(rows, first, file_row)
        return np.maximum.accumulate(np.arange(len(first)) * first)

    def _check_order(self, rows: pa.Table, first: NDArray[np.bool_], file_row: int) -> None:
        if self._roles.position is None:
            return
        positions = rows[self._roles.position]
        falling = np.flatnonzero(find_falls(positions) & ~first[1:])
        if len(falling):
            row = int(falling[0]) + 1
            article = _shown(rows[self._roles.article], row)
            fall = Fall(self._path, file_row + row, article, str(positions[row]), str(positions[row - 1]))
            raise DataError(
                str(fall),
                "`lvm-batch pack DATASET --sort --output DIR` writes the rows of all files in order",
            )

    def _judge(
        self,
        rows: pa.Table,
        vectors: NDArray[np.float32],
        bad: dict[int, str],
        windows: _Windows,
        *,
        file_row: int,
    ) -> tuple[NDArray[np.int8], dict[int, str]]:
        n_known = windows.inside.sum(axis=1)
        short = n_known < self._length
        status = np.where(short & (self._pad is None), SHORT_CONTEXT, OK).astype(np.int8)
        details = {}
        if self._pad is not None:
            details = {row: padding_detail(n_known[row]) for row in np.flatnonzero(short).tolist()}
        flawed = self._flawed_windows(vectors, bad, windows, lambda at: self._place(rows, at, file_row))
        for row, reason in flawed.items():
            if status[row] == OK:
                status[row], details[row] = BAD_INPUT, reason
        return status, details

    def _place(self, rows: pa.Table, at: int, file_row: int) -> str:
        """Return where a vector is: its position in the article, or its row in the file if that is its position."""
        if self._roles.position is None:
            return f"row {file_row + at}"
        return f"position {rows[self._roles.position][at].as_py()}"

    @staticmethod
    def _flawed_windows(
        vectors: NDArray[np.float32], bad: dict[int, str], windows: _Windows, place: Callable[[int], str]
    ) -> dict[int, str]:
        """Return why windows are bad: the first bad vector and its place, or only zeros."""
        zero = vectors[:, 0] == 0.0
        zero[zero] = ~vectors[zero].any(axis=1)
        flawed = dict.fromkeys(np.flatnonzero(zero[windows.index].all(axis=1)).tolist(), "zero_norm")
        is_bad = np.zeros(len(vectors), np.bool_)
        is_bad[list(bad)] = True
        for row in np.flatnonzero(is_bad[windows.index].any(axis=1)).tolist():
            at = next(index for index in windows.index[row].tolist() if is_bad[index])
            flawed[row] = f"{bad[at]}: {place(at)}"
        return flawed

    def _gather_contexts(self, vectors: NDArray[np.float32], windows: _Windows) -> NDArray[np.float32]:
        contexts = self._contexts[: len(windows.index)]
        np.take(vectors, windows.index, axis=0, out=contexts, mode="clip")  # "raise" would copy once more
        if self._pad == "zero":
            contexts[~windows.inside] = 0.0
        return contexts

    def _gather_targets(
        self, vectors: NDArray[np.float32], bad: dict[int, str], windows: _Windows
    ) -> NDArray[np.float32]:
        targets = self._targets[: len(windows.index)]
        np.take(vectors, windows.following, axis=0, out=targets, mode="clip")
        targets[np.isin(windows.following, [-1, *bad])] = np.nan
        return targets


def _shown(article: pa.ChunkedArray, row: int) -> str:
    try:
        return str(article[row].as_py())
    except UnicodeDecodeError:  # Parquet does not rule it out
        return f"of row {row}"


def _windows(run_start: NDArray[np.int64], n_before: int, n_rows: int, length: int) -> _Windows:
    last = np.arange(n_before, n_before + n_rows)
    wanted = last[:, None] + np.arange(1 - length, 1)  # (n, length)
    start = run_start[last, None]
    following = last + 1
    inside_article = run_start[np.minimum(following, len(run_start) - 1)] == run_start[last]
    known = (following < len(run_start)) & inside_article
    return _Windows(np.maximum(wanted, start), wanted >= start, np.where(known, following, -1))


def _window_sums(values: NDArray[np.float64], windows: _Windows) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):  # infinity minus infinity is NaN, which means unknown
        sums: NDArray[np.float64] = np.where(windows.inside, values[windows.index], 0.0).sum(axis=1)
    return sums
