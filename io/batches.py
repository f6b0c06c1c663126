"""What a reader hands on: contexts with everything that belongs to their rows.

The rule: one batch row for each input row, in order, whatever is wrong with it. A batch's arrays are reused: they
hold until the next batch is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lvm_batch.io.columns import Roles

STATUSES = ("ok", "short_context", "bad_input")
OK, SHORT_CONTEXT, BAD_INPUT = range(3)


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows ``first_row`` … of a file, decoded.

    ``contexts`` is float32 (rows, length, dim). In rows that are not ok zeros stand for what is bad, and, in the
    sequences layout, the article's first vector for those that would lie before it.
    ``targets`` is float32 (rows, dim), NaN where a row has no usable target; ``None`` if the dataset has none.
    ``lanes`` holds strings and ``None``; ``context_tokens`` is float64, NaN where unknown. ``status`` holds the
    codes of :data:`STATUSES`, ``details`` the rows with something to say. ``carried`` has the output's names.
    """

    first_row: int
    contexts: NDArray[np.float32]
    targets: NDArray[np.float32] | None
    lanes: NDArray[np.object_] | None
    context_tokens: NDArray[np.float64] | None
    status: NDArray[np.int8]
    details: dict[int, str]
    carried: pa.Table

    @property
    def n_rows(self) -> int:
        """Rows of the batch."""
        return len(self.status)


def text_values(column: pa.ChunkedArray) -> NDArray[np.object_]:
    """Return a column of strings, plain or dictionary, as an object array of ``str`` and ``None``.

    What is no UTF-8 in it, which Parquet does not rule out, becomes U+FFFD.
    """
    values = np.empty(len(column), object)
    try:
        values[:] = column.to_pylist()
    except UnicodeDecodeError:
        values[:] = [text if text is None else text.decode("utf-8", "replace") for text in _bytes(column)]
    return values


def _bytes(column: pa.ChunkedArray) -> list[bytes | None]:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    texts: list[bytes | None] = column.cast(pa.large_binary()).to_pylist()
    return texts


def number_values(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """Return a column of numbers as float64, NaN for null (token counts are far below 2**53)."""
    values: NDArray[Any] = pc.cast(column, "float64", safe=False).to_numpy()
    return values


def carried_columns(table: pa.Table, roles: Roles) -> pa.Table:
    """Return the columns that go to the output, under the names they have there."""
    return table.select(list(roles.carried)).rename_columns(list(roles.carried.values()))
