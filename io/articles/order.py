"""Rows of an article that come before a row with a lower position.

The rule: only neighbouring rows of one run are compared, as the reader of sequences compares them; null, NaN and values
of a type without an order are never out of order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Fall:
    """A row of a file, counted from 0, whose ``position`` is lower than that of the row ``before`` it."""

    path: str
    row: int
    article: str
    position: str
    before: str

    def __str__(self) -> str:
        return (
            f"{self.path}: article {self.article} is out of order: position {self.position} follows {self.before} "
            f"at row {self.row}"
        )


@dataclass(frozen=True, slots=True)
class Disorder:
    """``rows`` of ``articles`` in ``files`` of ``n_files`` files have a lower position than the row before.

    ``example`` is the first of them.
    """

    rows: int
    articles: int
    files: int
    n_files: int
    example: Fall


def find_falls(positions: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Return whether each row but the first has a lower position than the row before it, (n - 1,)."""
    known = _comparable(positions)
    try:
        lower = pc.less(known[1:], known[:-1])
    except pa.ArrowNotImplementedError:  # no order
        return np.zeros(max(0, len(known) - 1), np.bool_)
    falls: NDArray[np.bool_] = lower.fill_null(fill_value=False).to_numpy()
    return falls


def _comparable(positions: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return positions in a type that Arrow compares: float32 for float16, else their own: float64 ends at 2**53."""
    kind = positions.type
    if pa.types.is_dictionary(kind):
        return _comparable(positions.cast(kind.value_type))
    if isinstance(kind, pa.BaseExtensionType):
        return _comparable(positions.cast(kind.storage_type))
    return positions.cast(pa.float32()) if pa.types.is_float16(kind) else positions
