"""Search for the nearest vectors of a bank, without those of a query's own context.

The rule: whatever a kind of search proposes, a query's own context does not count, and a query is short of neighbours
only if the bank is: it is compared with every vector before that is said.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np

from lvm_batch.lvm.search.bank_checks import check_queries
from lvm_batch.lvm.search.exhaustive import search_all
from lvm_batch.lvm.search.neighbours import NOWHERE, no_neighbours
from lvm_batch.lvm.search.own_context import OwnContextFilter
from lvm_batch.lvm.search.reranking import in_order

if TYPE_CHECKING:
    from lvm_batch.lvm.search.neighbours import Floats, Neighbours, Places
    from lvm_batch.lvm.search.own_context import OwnVectors

_EQUAL = 2e-6  # what the scores of equal vectors may differ by in a search
_TIED = 64  # equal vectors that are put in the order of the bank

_WIDER = 8  # how much further a query is searched that has more vectors of its own than its context is long
_WIDEST = 512  # beyond it a comparison with all costs less


class BankIndex(ABC):
    """A bank that can be searched; each kind of search says how it finds candidates."""

    def __init__(self, vectors: Floats, numbers: Places | None = None) -> None:
        """Take a bank, float32 (m, dim) with unit rows, perhaps a memory map.

        ``numbers`` int64 (m,) tell from which row of the data each vector is, negative if from none that is known.
        """
        self._vectors = vectors
        self._numbers = numbers
        self._filter = OwnContextFilter(vectors, numbers)

    @abstractmethod
    def _candidates(self, queries: Floats, width: int) -> Neighbours:
        """Return ``width`` vectors near each of the queries, which are finite; the bank has as many or more."""

    def top2(self, queries: Floats, own: OwnVectors | None = None) -> Floats:
        """Return the cosines of each query with its two nearest vectors, float32 (n, 2): see :meth:`nearest`."""
        return self.nearest(queries, 2, own).cosines

    def nearest(self, queries: Floats, k: int, own: OwnVectors | None = None) -> Neighbours:
        """Return the ``k`` nearest vectors of each query.

        ``queries`` is float32 (n, dim) of unit norm. Vectors of the bank that are of a query's ``own`` context do not
        count; ``None`` is no context. There are fewer than ``k`` only if the bank has no
        more, and none for a query that is not finite. Raises BankError if the dimensions differ.
        """
        check_queries(queries, self._vectors.shape[1])
        finite = np.isfinite(queries).all(axis=1)
        width = k if own is None else k + own.length
        if finite.all() and len(queries) and len(self._vectors):
            return self._find(queries, k, own, width)
        found = no_neighbours(len(queries), k)
        rows = np.flatnonzero(finite) if len(self._vectors) else np.empty(0, np.int64)
        if len(rows):
            found.put(rows, self._find(queries[rows], k, _taken(own, rows), width))
        return found

    def ranked(self, queries: Floats, found: Neighbours, k: int, own: OwnVectors | None) -> Neighbours:
        """Return the first ``k`` of the neighbours of :meth:`nearest`, whose order depends on the vectors alone.

        ``found`` are the ``k + SPARE`` nearest. Cosines are computed again, in the same way for every vector, and equal
        ones stand in the order of the bank; of more than 64 equal ones at the end, those that the search found.
        """
        ordered = in_order(self._vectors, queries, found)
        last = ordered.cosines[:, -1]  # NaN where everything was found
        with np.errstate(invalid="ignore"):
            rows = np.flatnonzero(ordered.cosines[:, k - 1] - last <= _EQUAL)
        best = ordered.first(k)
        if len(rows):
            more = self.nearest(queries[rows], k + _TIED, _taken(own, rows))
            best.put(rows, in_order(self._vectors, queries[rows], more).first(k))
        return best

    def _find(self, queries: Floats, k: int, own: OwnVectors | None, width: int) -> Neighbours:
        """Look at ``width`` candidates of each query, and at more where too few of them count."""
        n_vectors = len(self._vectors)
        near = self._candidates(queries, min(width, n_vectors))
        found = self._counting(near, own, k).first(k)
        saw_all = (near.places != NOWHERE).sum(axis=1) == n_vectors
        rows = np.flatnonzero((found.places[:, -1] == NOWHERE) & ~saw_all)
        if len(rows):
            found.put(rows, self._find_more(queries[rows], k, _taken(own, rows), _WIDER * width))
        return found

    def _counting(self, near: Neighbours, own: OwnVectors | None, k: int) -> Neighbours:
        """Return the first ``k`` candidates that are of no own context."""
        return near if own is None else near.kept(self._filter.counting(near.places, own, k))

    def _find_more(self, queries: Floats, k: int, own: OwnVectors | None, width: int) -> Neighbours:
        if width > _WIDEST:
            return search_all(self._vectors, self._numbers, queries, k, own)
        return self._find(queries, k, own, width)


def _taken(own: OwnVectors | None, rows: Places) -> OwnVectors | None:
    return None if own is None else own[rows]
