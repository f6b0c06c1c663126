"""Finds a few rows of an output: the first ones, or those with the lowest cosines, all or of a route or a status.

The rule: no more is read than is needed. Files without such a row are known by their commit records, row groups without
a cosine low enough by their statistics; of the others only the columns that decide are read, and then the rows.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lvm_batch.io.dataset.partitions import folder_texts
from lvm_batch.io.errors import UnreadableFile
from lvm_batch.io.formats.parquet import ROWS_AT_ONCE, open_parquet

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from lvm_batch.io.formats.parquet import OpenParquet
    from lvm_batch.io.output.committed import Committed, CommittedFile

_COSINE = "cosine"


@dataclass(frozen=True, slots=True)
class RowQuery:
    """The rows to find: at most ``n_rows``, of this ``route`` and this ``status``.

    They are the first ones, or with ``worst`` those with the lowest cosines, the lowest first; rows without a cosine
    are not among them.
    """

    n_rows: int
    route: str | None = None
    status: str | None = None
    worst: bool = False

    @property
    def wanted(self) -> dict[str, str]:
        """The values that rows must have, by their columns."""
        named = {"route": self.route, "status": self.status}
        return {name: value for name, value in named.items() if value is not None}


@dataclass(frozen=True, slots=True)
class FoundRow:
    """A row of an output: the path of its input, its number there, and its values by column."""

    input: str
    row: int
    values: dict[str, pa.Scalar]


class _Place(NamedTuple):
    """Where a row stands: the number of its file among the committed ones, its row group, and its number in that."""

    file: int
    row_group: int
    row: int


def find_rows(found: Committed, query: RowQuery) -> list[FoundRow]:
    """Return the rows of an output that ``query`` asks for, in its order.

    Raises ``UnreadableFile`` if a file is damaged.
    """
    places = _lowest(found, query) if query.worst else list(islice(_places(found, query), query.n_rows))
    rows = dict(_read(found, places))
    return [rows[place] for place in places]


def n_matching(found: Committed, query: RowQuery) -> int | None:
    """Return how many committed rows have the route and the status, as the records say; ``None`` if they do not."""
    counts = [_counts(file, query) for file in found.files]
    if len(query.wanted) > 1:
        return None
    return sum(
        next(iter(count), file.record.tally.rows_out) for count, file in zip(counts, found.files, strict=True)
    )


def _counts(file: CommittedFile, query: RowQuery) -> list[int]:
    """Return how many rows of a file have each of the wanted values; where its record does not say, all may."""
    tally = file.record.tally
    by_column = {"route": tally.rows_by_route, "status": tally.rows_by_status}
    return [by_column[name].get(value, tally.rows_out) for name, value in query.wanted.items()]


def _candidates(found: Committed, query: RowQuery) -> Iterator[tuple[int, OpenParquet]]:
    """Open, one after another, the files that may have rows to find."""
    for number, file in enumerate(found.files):
        if all(_counts(file, query)):
            with _opened(found, file) as parquet:
                yield number, parquet


def _places(found: Committed, query: RowQuery) -> Iterator[_Place]:
    for number, parquet in _candidates(found, query):
        for row_group, n_rows in enumerate(parquet.row_group_rows):
            rows = np.flatnonzero(_matches(parquet, row_group, query)) if query.wanted else range(n_rows)
            yield from (_Place(number, row_group, int(row)) for row in rows)


def _lowest(found: Committed, query: RowQuery) -> list[_Place]:
    lowest: list[tuple[float, _Place]] = []
    for number, parquet in _candidates(found, query):
        for row_group in range(parquet.num_row_groups):
            bound = lowest[-1][0] if len(lowest) == query.n_rows else np.inf
            if _least(parquet, row_group) < bound:
                new = _lowest_of(parquet, row_group, query, number)
                lowest = sorted([*lowest, *new], key=lambda each: each[0])[: query.n_rows]
    return [place for _, place in lowest]


def _lowest_of(
    parquet: OpenParquet, row_group: int, query: RowQuery, number: int
) -> list[tuple[float, _Place]]:
    cosines = _column(parquet, row_group, _COSINE).to_numpy().copy()  # NaN for null
    if query.wanted:
        cosines[~_matches(parquet, row_group, query)] = np.nan
    order = np.argsort(cosines, kind="stable")[: query.n_rows]  # NaN comes last
    known = order[~np.isnan(cosines[order])]
    return [(float(cosines[row]), _Place(number, row_group, int(row))) for row in known]


def _least(parquet: OpenParquet, row_group: int) -> float:
    """Return the least cosine of a row group, as far as its statistics know."""
    statistics = parquet.metadata.row_group(row_group).column(parquet.leaf(_COSINE)).statistics
    return float(statistics.min) if statistics is not None and statistics.has_min_max else -np.inf


def _matches(parquet: OpenParquet, row_group: int, query: RowQuery) -> NDArray[np.bool_]:
    """Return which rows of a row group have the wanted values, bool (n,)."""
    matches: NDArray[np.bool_] = np.ones(parquet.row_group_rows[row_group], np.bool_)
    for name, value in query.wanted.items():
        equal = pc.equal(_column(parquet, row_group, name).cast(pa.string()), value)
        matches &= equal.fill_null(fill_value=False).to_numpy()
    return matches


def _column(parquet: OpenParquet, row_group: int, name: str) -> pa.ChunkedArray:
    tables = parquet.tables(row_groups=[row_group], columns=[name], batch_rows=ROWS_AT_ONCE)
    return pa.concat_tables([parquet.schema_arrow.empty_table().select([name]), *tables])[name]


def _read(found: Committed, places: Iterable[_Place]) -> Iterator[tuple[_Place, FoundRow]]:
    """Yield the row at each of ``places``, in their order in the output."""
    by_file: dict[int, dict[int, list[int]]] = {}
    for place in sorted(places):
        by_file.setdefault(place.file, {}).setdefault(place.row_group, []).append(place.row)
    for number, groups in by_file.items():
        file = found.files[number]
        with _opened(found, file) as parquet:
            for row_group, rows in groups.items():
                first = (file.record.place.first_row or 0) + sum(parquet.row_group_rows[:row_group])
                for row, values in _values(parquet, row_group, rows):
                    place = _Place(number, row_group, row)
                    yield place, FoundRow(file.input, first + row, _of_folders(file) | values)


def _of_folders(file: CommittedFile) -> dict[str, pa.Scalar]:
    """Return the values in the names of a file's folders, as texts."""
    return {name: pa.scalar(text, pa.string()) for name, text in folder_texts(file.name).items()}


def _values(
    parquet: OpenParquet, row_group: int, rows: Sequence[int]
) -> Iterator[tuple[int, dict[str, pa.Scalar]]]:
    """Yield the values of ``rows``, which ascend, of a row group; nothing behind the last one is read."""
    names = parquet.schema_arrow.names
    tables = parquet.tables(row_groups=[row_group], columns=names, batch_rows=min(ROWS_AT_ONCE, rows[-1] + 1))
    first, wanted = 0, list(rows)
    while wanted:
        table = next(tables)
        while wanted and wanted[0] < first + table.num_rows:
            row = wanted.pop(0)
            yield row, {name: table[name][row - first] for name in names}
        first += table.num_rows


@contextmanager
def _opened(found: Committed, file: CommittedFile) -> Iterator[OpenParquet]:
    """Open a file of predictions; an error while it is read says who can judge it."""
    path = found.root.child(file.name).text
    try:
        with open_parquet(path) as parquet:
            yield parquet
    except UnreadableFile as error:
        raise UnreadableFile(error.args[0], "check it with `lvm-batch verify`", path) from error
