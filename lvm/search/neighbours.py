"""The neighbours of queries in a bank, as every kind of search returns them.

The rule: a neighbour that does not exist has the place -1 and no cosine, and comes after those that do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]
    Places = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

SPARE = 3
"""Neighbours found beyond those that are wanted: the last of them shows whether equal ones would be cut off."""

NOWHERE = -1
"""The place of a neighbour that does not exist."""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The nearest vectors of a bank to n queries, the nearest first.

    ``places`` is int64 (n, k): row numbers of the bank, or :data:`NOWHERE`. ``cosines`` is float32 (n, k), NaN there.
    """

    cosines: Floats
    places: Places

    def kept(self, keep: Flags) -> Neighbours:
        """Return the neighbours that ``keep``, bool (n, k), marks, before as many places that are empty now."""
        missing = ~keep | (self.places == NOWHERE)
        order = np.argsort(missing, axis=1, kind="stable")
        lacks = np.take_along_axis(missing, order, axis=1)
        return Neighbours(
            np.where(lacks, np.float32(np.nan), np.take_along_axis(self.cosines, order, axis=1)),
            np.where(lacks, NOWHERE, np.take_along_axis(self.places, order, axis=1)),
        )

    def first(self, k: int) -> Neighbours:
        """Return the first ``k`` neighbours of each query, also where the bank holds fewer."""
        lacking = max(0, k - self.places.shape[1])
        if not lacking:
            return Neighbours(self.cosines[:, :k], self.places[:, :k])
        sides = ((0, 0), (0, lacking))
        return Neighbours(
            np.pad(self.cosines, sides, constant_values=np.nan),
            np.pad(self.places, sides, constant_values=NOWHERE),
        )

    def __getitem__(self, rows: slice) -> Neighbours:
        """Return the neighbours of some of the queries."""
        return Neighbours(self.cosines[rows], self.places[rows])

    def put(self, rows: npt.NDArray[np.int64], others: Neighbours) -> None:
        """Replace the neighbours of some rows in place."""
        self.cosines[rows], self.places[rows] = others.cosines, others.places


def no_neighbours(n_queries: int, k: int) -> Neighbours:
    """Return ``n_queries`` times no neighbour, (n, k)."""
    shape = (n_queries, k)
    return Neighbours(np.full(shape, np.nan, np.float32), np.full(shape, NOWHERE, np.int64))
