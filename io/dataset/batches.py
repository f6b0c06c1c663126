"""What a reader yields: contexts with everything else of their rows.

The rule: one batch row for each input row, in order, however bad the row is. A batch's arrays are reused: they are
valid until the next batch is read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lvm_batch.io.schema import Roles


@dataclass(frozen=True, slots=True)
class ContextPlaces:
    """Where the vectors of a batch's contexts stand: ``articles`` and ``positions`` of some rows of the file.

    ``index`` (n, length) are the rows of each context's vectors among them.
    """

    articles: pa.ChunkedArray
    positions: pa.ChunkedArray
    index: NDArray[np.int64]

    def of(self, chosen: NDArray[np.bool_]) -> ContextPlaces:
        """Return the places of the ``chosen`` contexts, bool (n,)."""
        return replace(self, index=self.index[chosen])


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows ``first_row`` … of a file, decoded.

    ``contexts`` is float32 (rows, length, dim). In rows that are not ok, bad vectors are zeros, and, in the sequences
    layout, vectors before the article's first are copies of the first.
    ``targets`` is float32 (rows, dim), NaN where a row has no usable target; ``None`` if the dataset has none.
    ``lanes`` holds strings and ``None``; ``context_tokens`` is float64, NaN if unknown. ``status`` holds codes of
    ``schema.STATUSES``, ``details`` the detail of each row that has one. ``carried`` has the output's names.
    ``places`` is there in the sequences layout, if there are positions.
    """

    first_row: int
    contexts: NDArray[np.float32]
    targets: NDArray[np.float32] | None
    lanes: NDArray[np.object_] | None
    context_tokens: NDArray[np.float64] | None
    status: NDArray[np.int8]
    details: dict[int, str]
    carried: pa.Table
    places: ContextPlaces | None = None

    @property
    def n_rows(self) -> int:
        """Rows of the batch."""
        return len(self.status)


def padding_detail(n_vectors: int) -> str:
    """Return the detail of a row whose context of ``n_vectors`` was padded."""
    return f"padded: {n_vectors}"


def text_values(column: pa.ChunkedArray) -> NDArray[np.object_]:
    """Return a column of strings, plain or dictionary, as an object array of ``str`` and ``None``.

    Bytes that are no UTF-8, which Parquet does not rule out, become U+FFFD. Each text of a dictionary is decoded once.
    """
    known = _Texts()
    parts = [known.of(chunk) for chunk in column.chunks]
    return np.concatenate(parts) if parts else np.empty(0, object)


class _Texts:
    """The texts of a column's chunks; a dictionary that several chunks share is decoded once."""

    def __init__(self) -> None:
        self._dictionary: pa.Array | None = None
        self._texts = np.empty(0, object)

    def of(self, array: pa.Array) -> NDArray[np.object_]:
        if not pa.types.is_dictionary(array.type):
            return _texts(array)
        if self._dictionary is None or not self._dictionary.equals(array.dictionary):
            self._dictionary = array.dictionary
            self._texts = np.concatenate([_texts(array.dictionary), np.full(1, None, object)])
        places = pc.fill_null(array.indices.cast("int64"), len(array.dictionary)).to_numpy()
        taken: NDArray[np.object_] = self._texts[places]
        return taken


def _texts(array: pa.Array) -> NDArray[np.object_]:
    values = np.empty(len(array), object)
    try:
        values[:] = array.to_pylist()
    except UnicodeDecodeError:
        texts = array.cast(pa.large_binary()).to_pylist()
        values[:] = [text if text is None else text.decode("utf-8", "replace") for text in texts]
    return values


def number_values(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """Return a column of numbers as float64, NaN for null (token counts are far below 2**53)."""
    values: NDArray[Any] = pc.cast(column, "float64", safe=False).to_numpy()
    return values


def carried_columns(table: pa.Table, roles: Roles) -> pa.Table:
    """Return the columns that go to the output, under the names they have there."""
    return table.select(list(roles.carried)).rename_columns(list(roles.carried.values()))
