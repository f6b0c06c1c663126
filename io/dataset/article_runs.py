"""Articles whose rows are not contiguous: cut by the end of a file, or by other rows in between.

The rule: windows slide within a run of rows of one article, so each cut costs predictions, and a notice says so before
work begins. Only the article column of a file is read, and not even that if statistics or the file's folders give its
value. A row without an article is no run.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lvm_batch.io.dataset.article_ids import comparable_ids
from lvm_batch.io.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pyarrow.parquet as pq
    from numpy.typing import NDArray

    from lvm_batch.io.dataset.file_columns import FileColumns
    from lvm_batch.io.formats.parquet import OpenParquet
    from lvm_batch.io.schema import Roles

    Numbers = NDArray[np.int64]

_ROWS_AT_ONCE = 2**16
_ROWS_TOGETHER = 2**20
_EXACT_BYTES = 32
"""Some writers cut texts in statistics at 64 bytes; shorter ones are whole."""


@dataclass(frozen=True, slots=True)
class Cuts:
    """``articles`` are in several runs each, with ``cuts`` between them.

    ``rows`` is how many more rows have a short context than if each article were contiguous; ``cuts`` rows have no
    target. ``example`` is the first such article, ``files`` the files of its first two runs.
    """

    articles: int
    cuts: int
    rows: int
    example: str
    files: tuple[str, str]


class _Runs(NamedTuple):
    """Runs of articles: ids of one type, the rows of each run, and the number of its file."""

    ids: pa.Array
    rows: Numbers
    files: Numbers


class ArticleRuns:
    """The runs of the files of a dataset, added by any thread as their footers are read.

    Small files are processed many at a time: one by one they take three times as long.
    """

    def __init__(self) -> None:
        self._paths: list[str] = []
        self._waiting: list[tuple[int, pa.Array, Numbers]] = []
        self._n_waiting = 0
        self._found: dict[pa.DataType, list[_Runs]] = {}
        self._lock = Lock()

    def add(self, parquet: OpenParquet, columns: FileColumns, roles: Roles) -> None:
        """Find the runs of an open file. A damaged file is ignored here; the reader of its rows reports it."""
        if roles.article is None:
            return
        with self._lock:
            number = len(self._paths)
            self._paths.append(parquet.path)
        try:
            with parquet.naming_errors("its articles"):
                for ids, rows in _parts(parquet, columns, roles.article):
                    self._take(number, ids, rows)
        except DataError:
            return

    def cuts(self, files: Iterable[str], *, length: int) -> Cuts | None:
        """Return the cuts between the runs of ``files``, in this order, for windows of ``length``; None if none."""
        with self._lock:
            self._settle()
        paths = list(files)
        order = {path: place for place, path in enumerate(paths)}
        places = np.array([order.get(path, -1) for path in self._paths], np.int64)
        of_types = (_cuts(_ordered(runs, places), paths, n_short=length - 1) for runs in self._found.values())
        found = [cuts for cuts in of_types if cuts]
        if not found:
            return None
        articles, n_cuts, rows = (
            sum(getattr(cuts, name) for cuts in found) for name in ("articles", "cuts", "rows")
        )
        return Cuts(articles, n_cuts, rows, found[0].example, found[0].files)

    def _take(self, number: int, ids: pa.Array, rows: Numbers) -> None:
        with self._lock:
            self._waiting.append((number, ids, rows))
            self._n_waiting += len(ids)
            if self._n_waiting >= _ROWS_TOGETHER:
                self._settle()

    def _settle(self) -> None:
        """Make runs of the waiting rows."""
        by_type: dict[pa.DataType, list[tuple[int, pa.Array, Numbers]]] = {}
        for part in self._waiting:
            by_type.setdefault(part[1].type, []).append(part)
        for parts in by_type.values():
            ids = comparable_ids(pa.chunked_array([ids for _, ids, _ in parts])).combine_chunks()
            files = np.repeat([number for number, _, _ in parts], [len(ids) for _, ids, _ in parts])
            runs = _merged(_Runs(ids, np.concatenate([rows for _, _, rows in parts]), files))
            self._found.setdefault(ids.type, []).append(runs)
        self._waiting, self._n_waiting = [], 0


def _parts(parquet: OpenParquet, columns: FileColumns, article: str) -> Iterator[tuple[pa.Array, Numbers]]:
    """Yield ids in the file's type, each with the number of consecutive rows that have it."""
    metadata = parquet.metadata
    if article in columns.of_folders:
        yield _repeated(columns.of_folders[article], metadata.num_rows)
        return
    leaf, kind = parquet.leaf(article), columns.own.field(article).type
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        only = _only_value(parquet.chunk(index, leaf).statistics, kind)
        if only is not None:
            yield _repeated(pa.scalar(only, kind), group.num_rows)
            continue
        batches = parquet.iter_batches(
            _ROWS_AT_ONCE, row_groups=[index], columns=[article], use_threads=False
        )
        for batch in batches:
            yield batch.column(0), np.ones(batch.num_rows, np.int64)


def _repeated(value: pa.Scalar, n_rows: int) -> tuple[pa.Array, Numbers]:
    return pa.repeat(value, min(1, n_rows)), np.full(min(1, n_rows), n_rows, np.int64)


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


def _ordered(found: Sequence[_Runs], places: Numbers) -> _Runs:
    """Sort runs by their files; ``places`` gives the place of each file, -1 for files that are left out."""
    runs = _Runs(
        pa.concat_arrays(runs.ids for runs in found),
        np.concatenate([runs.rows for runs in found]),
        places[np.concatenate([runs.files for runs in found])],
    )
    order = np.argsort(runs.files, kind="stable")
    runs = _merged(_taken(runs, order[runs.files[order] >= 0]))
    return _taken(runs, np.flatnonzero(runs.ids.is_valid().to_numpy(zero_copy_only=False)))


def _taken(runs: _Runs, places: Numbers) -> _Runs:
    return _Runs(runs.ids.take(pa.array(places)), runs.rows[places], runs.files[places])


def _merged(runs: _Runs) -> _Runs:
    """Merge neighbouring runs of one file that have the same id."""
    ids, rows, files = runs
    same = pc.equal(ids[1:], ids[:-1]).fill_null(fill_value=False).to_numpy(zero_copy_only=False)
    starts = np.flatnonzero(np.concatenate([[True], ~same | (files[1:] != files[:-1])])[: len(ids)])
    merged = _taken(runs, starts)
    return merged._replace(rows=np.add.reduceat(rows, starts)) if len(starts) else merged


def _cuts(runs: _Runs, paths: Sequence[str], *, n_short: int) -> Cuts | None:
    """Return the cuts of articles whose ids have one type; a run begins with ``n_short`` rows of short context."""
    encoded = runs.ids.dictionary_encode()
    codes = encoded.indices.to_numpy()  # (runs,)
    counts = np.bincount(codes, minlength=len(encoded.dictionary))
    of_cut = counts[codes] > 1
    if not of_cut.any():
        return None
    whole = np.bincount(codes, runs.rows, minlength=len(counts))[counts > 1]
    first = codes[np.argmax(of_cut)]
    one, other = runs.files[np.flatnonzero(codes == first)[:2]]
    return Cuts(
        articles=int((counts > 1).sum()),
        cuts=int((counts[counts > 1] - 1).sum()),
        rows=int(np.minimum(runs.rows[of_cut], n_short).sum() - np.minimum(whole, n_short).sum()),
        example=_shown(encoded.dictionary[first].as_py()),
        files=(paths[one], paths[other]),
    )


def _shown(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
