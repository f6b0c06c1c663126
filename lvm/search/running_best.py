"""The best scores of queries over a bank that is compared block by block.

The rule: the scores that are kept are the highest of all blocks; most blocks are looked at only for whether they hold
anything better, because sorting costs more than that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lvm_batch.lvm.search.neighbours import NOWHERE, Neighbours

if TYPE_CHECKING:
    from torch import Tensor

_DEPTHS = (16, 4, 1)  # scores that share a peak
_LANES = 2  # peaks for each score to find, at least


class RunningBest:
    """The ``width`` best scores of each query so far, descending, and their places in the bank."""

    def __init__(self, n_queries: int, width: int, device: torch.device) -> None:
        self._scores = torch.full((n_queries, width), -torch.inf, device=device)
        self._places = torch.full((n_queries, width), NOWHERE, dtype=torch.int64, device=device)
        self._width = width

    def add(self, scores: Tensor, first: int) -> None:
        """Take the scores of a block, (n, v) and contiguous, whose first vector has the place ``first``.

        The best of a block are among the lanes with the best peaks: of 1,024 scores the peaks of 64 lanes are sorted,
        and then the 16 scores of each lane that counts. A query whose scores are NaN keeps what it has.
        """
        n_queries, n_vectors = scores.shape
        n_best = min(self._width, n_vectors)
        depth = next(d for d in _DEPTHS if not n_vectors % d and (d == 1 or n_vectors >= _LANES * n_best * d))
        n_lanes = n_vectors // depth
        peaks = scores.view(n_queries, depth, n_lanes).amax(dim=1)
        (rows,) = (peaks.amax(dim=1) > self._scores[:, -1]).nonzero(as_tuple=True)
        if not len(rows):
            return
        lanes = peaks[rows].topk(n_best, dim=1).indices
        steps = torch.arange(depth, device=scores.device).view(1, depth, 1) * n_lanes
        columns = (lanes.unsqueeze(1) + steps).flatten(1)  # (rows, depth * n_best)
        found = scores.view(-1)[columns + (rows * n_vectors).unsqueeze(1)]
        self._merge(rows, found, columns + first)

    def _merge(self, rows: Tensor, scores: Tensor, places: Tensor) -> None:
        best = torch.cat([self._scores[rows], scores], dim=1).topk(self._width, dim=1)
        self._places[rows] = torch.cat([self._places[rows], places], dim=1).gather(1, best.indices)
        self._scores[rows] = best.values

    @property
    def neighbours(self) -> Neighbours:
        """The best so far."""
        cosines = torch.where(self._places == NOWHERE, torch.nan, self._scores)
        return Neighbours(cosines.cpu().numpy(), self._places.cpu().numpy())
