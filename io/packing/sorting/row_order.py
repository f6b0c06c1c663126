"""The order of rows by article and position, found by DuckDB, which sorts on disk what does not fit into memory.

The rule: rows are in the order of their article's id, then of their position, then of their place in the input; rows
without an article come last, and within an article those without a position. No file begins within an article.

Only keys are sorted here: a row of vectors has some hundred times their bytes.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lvm_batch.io.errors import DataError, OutputError
from lvm_batch.io.packing.sorting.sort_keys import sort_keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import duckdb
    from numpy.typing import NDArray

    Ranks = NDArray[np.int64]

_FETCHED_ROWS = 2**16
# With less for each thread DuckDB 2.0 gives up where 1 GB of keys is sorted in 96 MiB (2026-11-29).
_THREAD_BYTES = 256 * 2**20
_LEAST_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class RowOrder:
    """Where each row goes: its ``ranks`` lie in a file of int64, in the order of the input.

    ``file_rows`` are the rows of each file to write, in order.
    """

    n_rows: int
    n_articles: int
    file_rows: tuple[int, ...]
    ranks: Path

    def read_ranks(self, n_rows: int, first: int) -> Ranks:
        """Return the ranks of ``n_rows`` rows of the input from row ``first``, int64 (n,)."""
        return np.fromfile(self.ranks, np.int64, n_rows, offset=8 * first)


def order_rows(
    keys: Iterable[tuple[pa.ChunkedArray, pa.ChunkedArray]], folder: Path, *, file_rows: int, memory: int
) -> RowOrder:
    """Sort rows, given as tables of their articles and positions, with temporary files in ``folder``.

    A file has at most ``file_rows`` rows, or one article. ``memory`` is what DuckDB may hold, in bytes. Raises
    :class:`OutputError` if the disk is full, and whatever reading the keys raises.
    """
    with _database(folder, memory) as database:
        n_rows = _load(database, keys)
        database.execute(
            "CREATE TABLE ordered AS SELECT article, row FROM keys "
            "ORDER BY article NULLS LAST, position NULLS LAST, row"
        )
        database.execute("DROP TABLE keys")
        cutter = _FileCutter(file_rows)
        for (articles,) in _batches(database, "SELECT article FROM ordered ORDER BY rowid"):
            cutter.add(articles)
        with (folder / "ranks").open("wb") as ranks:
            for (ranked,) in _batches(database, "SELECT rowid FROM ordered ORDER BY row"):
                ranks.write(ranked.to_numpy().astype(np.int64, copy=False).data)
    return RowOrder(n_rows, cutter.n_articles, cutter.cut(), folder / "ranks")


@contextmanager
def _database(folder: Path, memory: int) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an empty database whose tables move to ``folder`` where memory is short."""
    import duckdb  # noqa: PLC0415 - only sorting needs it

    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": f"{max(memory, _LEAST_BYTES)}B",
        "threads": max(1, min(4, memory // _THREAD_BYTES)),
        "temp_directory": str(folder),
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    try:
        with duckdb.connect(":memory:", config=settings) as database:
            yield database
    except duckdb.OutOfMemoryException as error:
        raise DataError(
            f"the keys of the rows cannot be sorted in {memory / 2**20:,.0f} MiB",
            "give a larger --memory-limit",
        ) from error
    except duckdb.IOException as error:
        first = str(error).splitlines()[0]
        raise OutputError(
            f"temporary files in {folder} cannot be written: {first}",
            "make room, or choose another --output; nothing is left there",
        ) from error


def _load(
    database: duckdb.DuckDBPyConnection, keys: Iterable[tuple[pa.ChunkedArray, pa.ChunkedArray]]
) -> int:
    database.execute("CREATE TABLE keys (article BLOB, position BLOB, row BIGINT)")
    n_rows = 0
    for articles, positions in keys:
        rows = np.arange(n_rows, n_rows + len(articles))
        n_rows += len(articles)
        database.register(
            "batch",
            pa.table([sort_keys(articles), sort_keys(positions), rows], ["article", "position", "row"]),
        )
        database.execute("INSERT INTO keys SELECT * FROM batch")
        database.unregister("batch")
    return n_rows


def _batches(database: duckdb.DuckDBPyConnection, query: str) -> Iterator[list[pa.Array]]:
    """Yield the columns of a result, some rows at a time."""
    for batch in database.sql(query).to_arrow_reader(_FETCHED_ROWS):
        yield batch.columns


class _FileCutter:
    """Cuts rows in order into files, between articles; rows without an article are cut anywhere."""

    def __init__(self, file_rows: int) -> None:
        self._most = file_rows
        self._cuts = [0]  # the rows at which files begin
        self._edge = 0  # the last row so far at which a file may begin
        self._n_rows = 0
        self._last: pa.Scalar | None = None  # the article of the last row, in an array of one
        self.n_articles = 0

    def add(self, articles: pa.Array) -> None:
        """Add the articles of the next rows."""
        if not len(articles):
            return
        before = self._last if self._last is not None else pa.nulls(1, articles.type)
        shifted = pa.concat_arrays([before, articles[:-1]])
        begins = pc.not_equal(articles, shifted).fill_null(fill_value=True)
        named = pc.and_(begins, articles.is_valid())
        self.n_articles += int(pc.sum(named, min_count=0).as_py())
        self._pass(np.flatnonzero(begins.to_numpy(zero_copy_only=False)) + self._n_rows)
        self._n_rows += len(articles)
        self._last = articles[-1:]

    def cut(self) -> tuple[int, ...]:
        """Return the rows of each file; there is at least one file, perhaps without rows."""
        self._pass(np.array([self._n_rows]))
        if self._cuts[-1] == self._n_rows and len(self._cuts) > 1:
            self._cuts.pop()
        return tuple(np.diff([*self._cuts, self._n_rows]).tolist())

    def _pass(self, edges: NDArray[np.int64]) -> None:
        """Note the next rows at which a file may begin."""
        place = 0
        while place < len(edges):
            end = int(np.searchsorted(edges, self._cuts[-1] + self._most, side="right"))
            if end > place:  # these fit into the present file
                self._edge, place = int(edges[end - 1]), end
            elif self._edge > self._cuts[-1]:
                self._cuts.append(self._edge)
            else:  # an article alone is larger than a file
                self._cuts.append(int(edges[place]))
                self._edge, place = int(edges[place]), place + 1
