"""Sorts rows whose ranks are known, on disk where they do not fit into memory.

The rule: rows are only moved, by Arrow, in its own format, so that no value changes; and no more is held at a time than
a few blocks of the size that is given, however large the rows are.

A rank says at once in which part of the result a row lies: rows are laid into files of consecutive ranks, each small
enough to be sorted in memory, and a file that is not is laid out once more.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
from pyarrow import ipc

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    Ranks = NDArray[np.int64]

_FULL = 0.7  # of a block that a file should fill: rows differ in size


class RankedRows(NamedTuple):
    """Some rows in any order, and the rank of each, int64 (n,)."""

    table: pa.Table
    ranks: Any


@dataclass(frozen=True, slots=True)
class Span:
    """Rows of ``n_rows`` consecutive ranks from ``first``, which take about ``n_bytes``."""

    first: int
    n_rows: int
    n_bytes: int


def sort_by_rank(
    parts: Iterable[RankedRows], span: Span, *, folder: Path, block_bytes: int
) -> Iterator[pa.Table]:
    """Yield the rows of ``parts``, which together are a span, in the order of their ranks.

    Raises ``OSError`` if a temporary file in ``folder`` cannot be written.
    """
    blocks = _blocks(parts, block_bytes)
    first, second = next(blocks, None), next(blocks, None)
    if first is None:
        return
    if second is None:
        table = _ordered(first).table
        del first, second
        yield table
        return
    buckets = _make_buckets(span, folder, block_bytes)
    start = [first, second]
    del first, second
    _fill(buckets, chain(_drained(start), blocks))
    for bucket in buckets:
        yield from sort_by_rank(bucket.drain(), bucket.span, folder=folder, block_bytes=block_bytes)


def _drained(items: list[RankedRows]) -> Iterator[RankedRows]:
    """Yield the items without holding on to them."""
    while items:
        yield items.pop()


def _blocks(parts: Iterable[RankedRows], most: int) -> Iterator[RankedRows]:
    """Join parts into blocks of at least ``most`` bytes, the last with what is left."""
    waiting: list[RankedRows] = []
    n_bytes = 0
    for part in parts:
        waiting.append(part)
        n_bytes += part.table.nbytes
        del part
        if n_bytes >= most:
            block = _joined(waiting)
            waiting, n_bytes = [], 0
            yield block
            del block  # or it would stay in memory while the next one is read
    if waiting:
        yield _joined(waiting)


def _joined(parts: list[RankedRows]) -> RankedRows:
    return RankedRows(
        pa.concat_tables([part.table for part in parts]), np.concatenate([part.ranks for part in parts])
    )


def _ordered(block: RankedRows) -> RankedRows:
    order = np.argsort(block.ranks)
    return RankedRows(block.table.take(pa.array(order)), block.ranks[order])


@dataclass(slots=True)
class _Bucket:
    """Rows of a span in a temporary file: streams in Arrow's format, one after the other.

    The file is open only while rows are added: there may be more buckets than files can be open.
    """

    path: Path
    first: int
    n_rows: int
    n_bytes: int = field(default=0)

    @property
    def span(self) -> Span:
        """The ranks of its rows, and the bytes written."""
        return Span(self.first, self.n_rows, self.n_bytes)

    def add(self, rows: pa.Table, ranks: Ranks) -> None:
        """Append rows, with their ranks as the last column."""
        table = rows.append_column("", pa.array(ranks))
        with self.path.open("ab") as file, ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table.combine_chunks())
        self.n_bytes += table.nbytes

    def drain(self) -> Iterator[RankedRows]:
        """Yield the rows in the order in which they were added, then remove the file."""
        if self.n_bytes:
            with pa.OSFile(str(self.path)) as file:
                while file.tell() < file.size():
                    table = ipc.open_stream(file).read_all()
                    n_columns = table.num_columns - 1
                    ranks = table.column(n_columns).to_numpy()
                    yield RankedRows(table.remove_column(n_columns), ranks)
            self.path.unlink()


def _make_buckets(span: Span, folder: Path, block_bytes: int) -> list[_Bucket]:
    n_buckets = min(span.n_rows, max(2, int(span.n_bytes / (_FULL * block_bytes)) + 1))
    edges = np.linspace(0, span.n_rows, n_buckets + 1).astype(np.int64) + span.first
    name = uuid.uuid4().hex
    return [
        _Bucket(folder / f"{name}-{number}", int(edges[number]), int(edges[number + 1] - edges[number]))
        for number in range(n_buckets)
    ]


def _fill(buckets: list[_Bucket], blocks: Iterable[RankedRows]) -> None:
    edges = [bucket.first for bucket in buckets[1:]]
    for block in blocks:
        table, ranks = _ordered(block)
        del block
        cuts = [0, *np.searchsorted(ranks, edges).tolist(), len(ranks)]
        for bucket, first, end in zip(buckets, cuts[:-1], cuts[1:], strict=True):
            if end > first:
                bucket.add(table.slice(first, end - first), ranks[first:end])
        del table  # or it would stay in memory while the next block is sorted
