"""Which article each row is of, as numbers.

The rule: rows of one article get one number, whatever files they lie in. A row that does not say its article is not one
by itself. This module does not know vectors.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lvm_batch.io.dataset.article_ids import comparable_ids

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


UNKNOWN = -1
"""The number of a row that does not say which article it is of."""


class Articles:
    """Gives each value of a column its number, from 0 in the order they come, and what is none that of ``UNKNOWN``."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}
        self._codes: list[NDArray[np.int64]] = []

    @property
    def codes(self) -> NDArray[np.int64]:
        """The number of every row added, in order."""
        return np.concatenate([np.empty(0, np.int64), *self._codes])

    def add(self, column: pa.ChunkedArray) -> NDArray[np.int64]:
        """Return the numbers of a column's rows, int64 (n,)."""
        codes = np.concatenate([np.empty(0, np.int64), *map(self._numbers_of, column.chunks)])
        self._codes.append(codes)
        return codes

    def _numbers_of(self, array: pa.Array) -> NDArray[np.int64]:
        """Return the numbers of an array's rows; an id of a dictionary is looked at once."""
        encoded = array if pa.types.is_dictionary(array.type) else _comparable(array).dictionary_encode()
        used = encoded.indices.drop_null().unique()
        numbers = np.full(len(encoded.dictionary) + 1, UNKNOWN, np.int64)
        values = _comparable(encoded.dictionary.take(used)).to_pylist()
        numbers[used.to_numpy()] = [self._number(value) for value in values]
        found: NDArray[np.int64] = numbers[
            encoded.indices.cast("int64").fill_null(len(numbers) - 1).to_numpy()
        ]
        return found

    def _number(self, value: object) -> int:
        return UNKNOWN if value is None else self._numbers.setdefault(value, len(self._numbers))


def _comparable(ids: pa.Array) -> pa.Array:
    return comparable_ids(pa.chunked_array([ids])).combine_chunks()


def chains(windows: NDArray[np.int64], articles: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number windows by their article, int64 (n,), those that say none by what they share with others.

    ``windows`` is int64 (n, length + 1), the places of a context's vectors and of its target, ``articles`` the number
    of each one's article or ``UNKNOWN``. A window that says none is of one article with every other that has two of its
    vectors in the same succession. One vector alone does not join windows, nor one that padding repeats: a heading
    such as "References" stands in many articles, and first in some.
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
