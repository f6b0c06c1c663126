"""Numbers the articles of rows.

The rule: the rows of one article get one number, whatever files they are in.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lvm_batch.io.articles.ids import comparable_ids

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


UNKNOWN = -1
"""The number of a row without an article."""


class Articles:
    """Numbers the values of a column from 0 in order of appearance; a null gets ``UNKNOWN``."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}
        self._codes: list[NDArray[np.int64]] = []

    @property
    def codes(self) -> NDArray[np.int64]:
        """The numbers of all rows added, in order, int64 (n,)."""
        return np.concatenate([np.empty(0, np.int64), *self._codes])

    def add(self, column: pa.ChunkedArray) -> NDArray[np.int64]:
        """Return the numbers of a column's rows, int64 (n,)."""
        codes = np.concatenate([np.empty(0, np.int64), *map(self._numbers_of, column.chunks)])
        self._codes.append(codes)
        return codes

    def _numbers_of(self, array: pa.Array) -> NDArray[np.int64]:
        """Return the numbers of an array's rows; each id of a dictionary is converted once."""
        encoded = array if pa.types.is_dictionary(array.type) else _comparable(array).dictionary_encode()
        used = encoded.indices.drop_null().unique()
        numbers = np.full(len(encoded.dictionary) + 1, UNKNOWN, np.int64)
        values = _comparable(encoded.dictionary.take(used)).to_pylist()
        numbers[used.to_numpy()] = [self._number(value) for value in values]
        indices = encoded.indices.cast("int64").fill_null(len(numbers) - 1).to_numpy()
        return np.asarray(numbers[indices])

    def _number(self, value: object) -> int:
        return UNKNOWN if value is None else self._numbers.setdefault(value, len(self._numbers))


def _comparable(ids: pa.Array) -> pa.Array:
    return comparable_ids(pa.chunked_array([ids])).combine_chunks()


def group_windows(windows: NDArray[np.int64], articles: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a number for the article of each window, int64 (n,); windows without an article are grouped by vectors.

    ``windows`` holds the places of each context's vectors and of its target, int64 (n, length + 1), and ``articles``
    the article of each window or ``UNKNOWN``. A window without an article belongs to the article of every window that
    has two of its vectors in the same order, one directly after the other. One shared vector is not enough, nor one
    that padding repeats: headings such as "References" occur in many articles, in some at the start.
    """
    lost = np.flatnonzero(articles == UNKNOWN)
    if not len(lost):
        return articles
    above = np.arange(len(windows))

    def top(row: int) -> int:
        while above[row] != row:
            above[row] = above[above[row]]
            row = int(above[row])
        return row

    joining = {pair: row for row in lost[::-1].tolist() for pair in _successions(windows[row])}
    first_of: dict[int, int] = {}
    for row, article in enumerate(articles.tolist()):
        if article != UNKNOWN:
            above[top(row)] = top(first_of.setdefault(article, row))
        for pair in _successions(windows[row]):
            if pair in joining:
                above[top(row)] = top(joining[pair])
    return np.array([top(row) for row in range(len(windows))], np.int64)


def _successions(window: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    return ((one, other) for one, other in pairwise(window.tolist()) if one != other)
