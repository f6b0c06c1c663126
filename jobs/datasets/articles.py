"""Which article each row is of, as numbers.

The rule: rows of one article get one number, whatever files they lie in. This module does not know vectors.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Articles:
    """Gives each value of a column its number, in the order they come; every null is an article of its own."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}
        self._n_numbers = 0
        self._codes: list[NDArray[np.int64]] = []

    @property
    def codes(self) -> NDArray[np.int64]:
        """The number of every row added, in order."""
        return np.concatenate([np.empty(0, np.int64), *self._codes])

    def add(self, column: pa.ChunkedArray) -> NDArray[np.int64]:
        """Return the numbers of a column's rows, int64 (n,)."""
        encoded = _plain(column).combine_chunks().dictionary_encode()
        numbers = np.array([self._number(value) for value in encoded.dictionary.to_pylist()], np.int64)
        places = encoded.indices.fill_null(-1).to_numpy()
        codes = np.where(places >= 0, numbers[places] if len(numbers) else -1, -1)
        nulls = places < 0
        codes[nulls] = self._n_numbers + np.arange(nulls.sum())
        self._n_numbers += int(nulls.sum())
        self._codes.append(codes)
        return codes

    def _number(self, value: object) -> int:
        if value not in self._numbers:
            self._numbers[value] = self._n_numbers
            self._n_numbers += 1
        return self._numbers[value]


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return ids in a type that Arrow encodes: text may be no UTF-8, and an extension type is its storage."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    if isinstance(column.type, pa.BaseExtensionType):
        column = column.cast(column.type.storage_type)
    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    return column.cast(pa.large_binary()) if is_text else column


def chains(windows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number windows by what they share: two that have two vectors in the same succession are of one article.

    ``windows`` is int64 (n, length + 1), the places of a context's vectors and of its target. One vector alone does not
    join windows: a heading such as "References" stands in many articles.
    """
    above = np.arange(len(windows))
    first_with: dict[tuple[int, int], int] = {}

    def top(row: int) -> int:
        while above[row] != row:
            above[row] = above[above[row]]
            row = int(above[row])
        return row

    for row, places in enumerate(windows.tolist()):
        for pair in pairwise(places):
            above[top(row)] = top(first_with.setdefault(pair, row))
    return np.array([top(row) for row in range(len(windows))], np.int64)
