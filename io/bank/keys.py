"""Where a bank's vectors stand in their articles, as numbers that rows of a dataset are compared by.

The rule: two rows have the same number if their articles and their positions are equal, however each is encoded. A row
that lacks either, or that the bank does not hold, has the number -1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lvm_batch.io.articles.ids import comparable_ids

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lvm_batch.io.dataset.batches import ContextPlaces

    Numbers = NDArray[np.int64]

NO_NUMBER = -1


class BankKeys:
    """The numbers of a bank's vectors, ``numbers`` int64 (m,), and those of rows of a dataset.

    ``digest`` is the SHA-256 of the file that the articles and positions were read from.
    """

    def __init__(self, articles: pa.Array, positions: pa.Array, *, digest: str) -> None:
        """Take the article and the position of each vector, (m,)."""
        self.digest = digest
        self._articles: dict[Any, int] = {}
        self._positions: dict[Any, int] = {}
        for codes, column in ((self._articles, articles), (self._positions, positions)):
            codes.update((value, code) for code, value in enumerate(_encoded(column)[0]))
        self.numbers = self._numbers(articles, positions)

    @property
    def nbytes(self) -> int:
        """The memory that they take, in bytes; an entry of a table of Python's takes about 150."""
        return int(self.numbers.nbytes) + 150 * (len(self._articles) + len(self._positions))

    def of_contexts(self, places: ContextPlaces) -> Numbers:
        """Return the number of each vector of contexts, int64 (n, length)."""
        return self._numbers(places.articles, places.positions)[places.index]

    def _numbers(
        self, articles: pa.Array | pa.ChunkedArray, positions: pa.Array | pa.ChunkedArray
    ) -> Numbers:
        article, position = _codes(self._articles, articles), _codes(self._positions, positions)
        is_known = (article >= 0) & (position >= 0)
        return np.where(is_known, article * len(self._positions) + position, NO_NUMBER)


def _codes(known: dict[Any, int], column: pa.Array | pa.ChunkedArray) -> Numbers:
    """Return the code of each value, -1 for null and for a value without one."""
    values, indices = _encoded(column)
    codes = np.array([*(known.get(value, NO_NUMBER) for value in values), NO_NUMBER], np.int64)
    found: Numbers = codes[indices]
    return found


def _encoded(column: pa.Array | pa.ChunkedArray) -> tuple[list[Any], Numbers]:
    """Return the distinct values of a column, and the place among them of each row's, -1 for null."""
    chunks = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
    comparable = comparable_ids(chunks).combine_chunks()
    whole = comparable if isinstance(comparable, pa.Array) else pa.concat_arrays(comparable.chunks)
    encoded = whole.dictionary_encode()
    indices: Numbers = encoded.indices.cast(pa.int64()).fill_null(NO_NUMBER).to_numpy(zero_copy_only=False)
    return encoded.dictionary.to_pylist(), indices
