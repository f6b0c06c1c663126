"""The order of a dataset's rows, looked at before work begins: articles that are cut, and rows out of order.

The rule: only the columns of articles and positions are read, and neither if statistics or the file's folders give its
values. Memory is bounded: beyond :data:`MAX_RUNS` runs the counts are lower bounds, and say so.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from lvm_batch.io.articles.ids import comparable_ids
from lvm_batch.io.articles.order import Disorder, Fall, find_falls
from lvm_batch.io.articles.parts import Part
from lvm_batch.io.articles.runs import (
    KeptRuns,
    Runs,
    add_cuts,
    count_long,
    count_windows,
    find_cuts,
    in_order,
    merge,
    run_starts,
    shown_id,
)
from lvm_batch.io.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pyarrow.parquet as pq
    from numpy.typing import NDArray

    from lvm_batch.io.articles.runs import Cuts
    from lvm_batch.io.dataset.file_columns import FileColumns
    from lvm_batch.io.formats.parquet import OpenParquet
    from lvm_batch.io.schema import Roles

    Numbers = NDArray[np.int64]

MAX_RUNS = 2**22  # 0.3 GB of the longest common ids, uuids as texts
_ROWS_AT_ONCE = 2**16
_ROWS_TOGETHER = 2**18
_EXACT_BYTES = 32
"""Some writers cut texts in statistics at 64 bytes; shorter ones are whole."""


@dataclass(frozen=True, slots=True)
class RowOrder:
    """The order of the rows of a dataset of sequences.

    ``windows`` rows end a whole context. ``long_articles`` have such a row that another one follows, its target.
    ``is_complete`` is false if there are so many runs of articles that numbers are lower bounds.
    """

    articles: int = 0
    long_articles: int = 0
    windows: int = 0
    cuts: Cuts | None = None
    disorder: Disorder | None = None
    is_complete: bool = True


class ArticleRuns:
    """The runs of the files of a dataset, added by any thread as their footers are read.

    Small files are processed many at a time: one by one they take three times as long.
    """

    def __init__(self) -> None:
        self._paths: list[str] = []
        self._open: set[int] = set()
        self._waiting: list[Part] = []
        self._n_waiting = 0
        self._found, self._fallen = KeptRuns(MAX_RUNS), KeptRuns(MAX_RUNS)
        self._first: dict[int, Fall] = {}
        self._lock = Lock()

    def add(self, parquet: OpenParquet, columns: FileColumns, roles: Roles) -> None:
        """Find the runs of an open file. A damaged file is ignored here; the reader of its rows reports it."""
        if roles.article is None:
            return
        with self._lock:
            number = len(self._paths)
            self._paths.append(parquet.path)
            self._open.add(number)
        first_row = 0
        with suppress(DataError), parquet.naming_errors("its articles"):
            for ids, rows, positions in _parts(parquet, columns, roles.article, roles.position):
                part = Part(number, first_row, ids, rows, positions)
                first_row += part.n_rows
                self._take(part)
        self._open.discard(number)

    def order(self, files: Iterable[str], *, length: int) -> RowOrder:
        """Return the order of the rows of ``files``, in this order, for windows of ``length``."""
        with self._lock:
            self._settle()
        paths = list(files)
        order = {path: place for place, path in enumerate(paths)}
        places = np.array([order.get(path, -1) for path in self._paths], np.int64)
        runs = [in_order(found, places) for found in self._found.of_types.values()]
        articles = [found.of_articles for found in runs]
        cuts = [cut for found in articles if (cut := find_cuts(found, paths, length=length))]
        return RowOrder(
            articles=sum(len(found.ids.unique()) for found in articles),
            long_articles=sum(count_long(found, length=length) for found in articles),
            windows=sum(count_windows(found, length=length) for found in runs),
            cuts=add_cuts(cuts),
            disorder=self._disorder(places, len(paths)),
            is_complete=not self._found.is_full,
        )

    def _disorder(self, places: Numbers, n_files: int) -> Disorder | None:
        falls = [in_order(found, places) for found in self._fallen.of_types.values()]
        rows = sum(int(fallen.rows.sum()) for fallen in falls)
        if not rows:
            return None
        files = {place: number for number, place in enumerate(places.tolist()) if number in self._first}
        files.pop(-1, None)
        return Disorder(
            rows=rows,
            articles=sum(len(fallen.ids.unique()) for fallen in falls),
            files=len(files),
            n_files=n_files,
            example=self._first[files[min(files)]],
        )

    def _take(self, part: Part) -> None:
        with self._lock:
            if part.n_rows:
                self._waiting.append(part)
                self._n_waiting += max(len(part.ids), len(part.positions or ()))
            if self._n_waiting >= _ROWS_TOGETHER:
                self._settle()

    def _settle(self) -> None:
        """Make runs of the waiting rows; the last row of a file that is still read waits for the next one."""
        parts = sorted(self._waiting, key=lambda part: part.file)
        alike: dict[tuple[pa.DataType, pa.DataType | None], list[Part]] = {}
        for part in parts:
            alike.setdefault(part.kind, []).append(part)
        for same in alike.values():
            self._settle_alike(same)
        last = {part.file: part for part in parts}
        self._waiting = [part.last for file, part in last.items() if file in self._open]
        self._n_waiting = 0

    def _settle_alike(self, parts: Sequence[Part]) -> None:
        """Make runs of parts whose ids and positions have one type."""
        ids = comparable_ids(pa.chunked_array([part.ids for part in parts])).combine_chunks()
        files = np.repeat([part.file for part in parts], [len(part.ids) for part in parts])
        starts = run_starts(ids, files)
        rows = np.concatenate([np.where(part.is_known, 0, part.rows) for part in parts])
        self._found.add(merge(Runs(ids, rows, files), starts))
        if parts[0].positions is not None:
            self._fallen.add(self._falls(parts, ids, files, starts))

    def _falls(self, parts: Sequence[Part], ids: pa.Array, files: Numbers, starts: NDArray[np.bool_]) -> Runs:
        """Return the entries with rows out of order, with the number of these, and note each file's first."""
        positions = pa.chunked_array([part.positions for part in parts])
        ends, run = np.cumsum(np.concatenate([part.rows for part in parts])), np.cumsum(starts)  # (entries,)
        fallen = np.flatnonzero(find_falls(positions)) + 1
        entry = np.searchsorted(ends, fallen, side="right")
        within = run[entry] == run[np.searchsorted(ends, fallen - 1, side="right")]
        fallen, entry = fallen[within], entry[within]
        entries, firsts, counts = np.unique(entry, return_index=True, return_counts=True)
        self._note_first(parts, fallen[firsts], ids.take(pa.array(entries)), positions)
        return Runs(ids.take(pa.array(entries)), counts, files[entries])

    def _note_first(
        self, parts: Sequence[Part], rows: Numbers, ids: pa.Array, positions: pa.ChunkedArray
    ) -> None:
        """Note the first row out of order of each file; ``rows`` are counted from the first of ``parts``."""
        starts = np.cumsum([0, *(part.n_rows for part in parts)])
        for place, row in enumerate(rows.tolist()):
            number = int(np.searchsorted(starts, row, side="right")) - 1
            part = parts[number]
            if part.file not in self._first:
                at = part.first_row + row - int(starts[number])
                path, article = self._paths[part.file], shown_id(ids[place].as_py())
                self._first[part.file] = Fall(path, at, article, str(positions[row]), str(positions[row - 1]))


def _parts(
    parquet: OpenParquet, columns: FileColumns, article: str, position: str | None
) -> Iterator[tuple[pa.Array, Numbers, pa.Array | None]]:
    """Yield ids in the file's type, each with the number of consecutive rows that have it, and these rows' positions.

    Positions that do not stand in the file itself are not yielded.
    """
    own = [] if position is None or position not in columns.own.names else [position]
    own = [name for name in own if name not in columns.of_folders]
    for index in range(parquet.metadata.num_row_groups):
        only = _only_id(parquet, columns, article, row_group=index)
        wanted = own if only is not None else [article, *own]
        if not wanted:
            n_rows = parquet.metadata.row_group(index).num_rows
            yield pa.repeat(only, min(1, n_rows)), np.full(min(1, n_rows), n_rows, np.int64), None
            continue
        batches = parquet.iter_batches(_ROWS_AT_ONCE, row_groups=[index], columns=wanted, use_threads=False)
        for batch in batches:
            positions = batch.column(own[0]) if own else None
            if only is not None:
                yield pa.repeat(only, 1), np.full(1, batch.num_rows, np.int64), positions
            else:
                yield batch.column(article), np.ones(batch.num_rows, np.int64), positions


def _only_id(parquet: OpenParquet, columns: FileColumns, article: str, *, row_group: int) -> pa.Scalar | None:
    """Return the id of all rows of a row group, if the file's folders or statistics prove that there is only one."""
    if article in columns.of_folders:
        return columns.of_folders[article]
    kind = columns.own.field(article).type
    only = _only_value(parquet.chunk(row_group, parquet.leaf(article)).statistics, kind)
    return None if only is None else pa.scalar(only, kind)


def _only_value(statistics: pq.Statistics | None, kind: pa.DataType) -> int | str | None:
    """Return the one value of all rows of a row group, if its statistics prove that there is only one."""
    if statistics is None or not statistics.has_min_max or not statistics.has_null_count:
        return None
    least, most = statistics.min, statistics.max
    if least != most or statistics.null_count:
        return None
    if pa.types.is_signed_integer(kind) and isinstance(least, int):
        return least
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return least if is_text and isinstance(least, str) and len(least.encode()) <= _EXACT_BYTES else None
