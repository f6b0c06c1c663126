"""The best scores of queries over a bank that is compared block by block.

The rule: the scores that are kept are the highest of all blocks; most scores are looked at only for whether their lane
holds anything better, because sorting costs more than that.

numpy selects: its partition uses the wide registers of a processor and takes a third of the time of torch's ``topk``
(64 to 1,024 scores, the best 2 to 18; Intel Sapphire Rapids, numpy 2.4, torch 2.13, 2026-11-30).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lvm_batch.lvm.search.neighbours import NOWHERE, Neighbours

if TYPE_CHECKING:
    from torch import Tensor

    from lvm_batch.lvm.search.neighbours import Floats, Places

DEEPEST = 16
"""Scores that share a peak, at most: blocks whose width is a multiple of it are looked through fastest."""


class RunningBest:
    """The ``width`` best scores of each query so far, and their places in the bank."""

    def __init__(self, n_queries: int, width: int) -> None:
        self._scores = np.full((n_queries, width), -np.inf, np.float32)
        self._places = np.full((n_queries, width), NOWHERE, np.int64)
        self._least = self._scores[:, 0].copy()
        self._width = width

    def add(self, scores: Tensor, first: int) -> None:
        """Take the scores of a block, (n, v) and contiguous, whose first vector has the place ``first``.

        The best of a block are in the lanes with the best peaks: of 1,024 scores the peaks of 64 lanes are compared,
        and then the 16 scores of each lane that counts. A query whose scores are NaN keeps what it has.
        """
        n_queries, n_vectors = scores.shape
        depth = _depth(n_vectors, self._width)
        n_lanes = n_vectors // depth
        peaks: Floats = scores.view(n_queries, depth, n_lanes).amax(dim=1).numpy()
        better = peaks > self._least[:, np.newaxis]
        n_better = better.sum(axis=1)
        rows = np.flatnonzero(n_better)
        if not len(rows):
            return
        n_best = min(self._width, int(n_better.max()))
        lanes = _best(peaks if len(rows) == n_queries else peaks[rows], n_best)
        columns = (lanes[:, np.newaxis] + (np.arange(depth) * n_lanes)[:, np.newaxis]).reshape(len(rows), -1)
        found = scores.view(-1).numpy()[columns + (rows * n_vectors)[:, np.newaxis]]
        self._merge(rows, found, columns + first)

    def _merge(self, rows: Places, scores: Floats, places: Places) -> None:
        scores = np.concatenate([self._scores[rows], scores], axis=1)
        places = np.concatenate([self._places[rows], places], axis=1)
        best = _best(scores, self._width)
        kept = np.take_along_axis(scores, best, axis=1)
        self._scores[rows], self._places[rows] = kept, np.take_along_axis(places, best, axis=1)
        self._least[rows] = kept.min(axis=1)

    @property
    def neighbours(self) -> Neighbours:
        """The best so far, the nearest first."""
        order = np.argsort(-self._scores, axis=1, kind="stable")
        scores = np.take_along_axis(self._scores, order, axis=1)
        places = np.take_along_axis(self._places, order, axis=1)
        is_there = scores > -np.inf
        return Neighbours(np.where(is_there, scores, np.float32(np.nan)), np.where(is_there, places, NOWHERE))


def _depth(n_vectors: int, width: int) -> int:
    """Return how many scores share a peak, so that there are about as many peaks as scores behind the best of them."""
    depth = DEEPEST
    while depth > 1 and (n_vectors % depth or depth * depth * width > 2 * n_vectors):
        depth //= 2
    return depth


def _best(values: Floats, k: int) -> Places:
    """Return the places of the best ``k`` of each row, in no order."""
    n = values.shape[1]
    places: Places = (
        np.argpartition(values, n - k, axis=1)[:, n - k :]
        if k < n
        else np.tile(np.arange(n), (len(values), 1))
    )
    return places
