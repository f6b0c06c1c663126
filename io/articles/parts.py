"""Consecutive rows of a file, with what tells their articles and their order.

The rule: rows that are known to be of one article are one entry, however many they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray


class Part(NamedTuple):
    """Consecutive rows of a file: entries of ``rows`` rows each with an id, and the position of every row, if known.

    ``is_known`` marks the last row of the part before, repeated to be compared with.
    """

    file: int
    first_row: int
    ids: pa.Array
    rows: NDArray[np.int64]
    positions: pa.Array | None
    is_known: bool = False

    @property
    def kind(self) -> tuple[pa.DataType, pa.DataType | None]:
        """The types of ids and positions."""
        return self.ids.type, None if self.positions is None else self.positions.type

    @property
    def n_rows(self) -> int:
        """Rows of the part."""
        return int(self.rows.sum())

    @property
    def last(self) -> Part:
        """The last row, as one that is known."""
        at = self.first_row + self.n_rows - 1
        positions = None if self.positions is None else self.positions[-1:]
        return Part(self.file, at, self.ids[-1:], np.ones(1, np.int64), positions, is_known=True)
