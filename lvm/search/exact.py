"""Exact search for the nearest vectors of a bank, by cosine.

The rule: every vector of the bank is compared, and only one block of scores is in memory at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lvm_batch.lvm.devices.arrays import as_tensor
from lvm_batch.lvm.search.bank_checks import check_bank
from lvm_batch.lvm.search.bank_index import BankIndex
from lvm_batch.lvm.search.neighbours import Neighbours, no_neighbours
from lvm_batch.lvm.search.running_best import DEEPEST, RunningBest

if TYPE_CHECKING:
    from torch import Tensor

    from lvm_batch.lvm.search.neighbours import Floats, Places

_QUERIES, _VECTORS = 1024, 1024  # a block of scores is 4 MiB and stays in a core's cache


class ExactIndex(BankIndex):
    """Exact search by blocked matrix products with a running merge of the best."""

    def __init__(self, vectors: Floats, device: torch.device, *, numbers: Places | None = None) -> None:
        """Take a bank, float32 (m, dim) with unit rows, perhaps a memory map. Raises BankError for any other array."""
        check_bank(vectors)
        super().__init__(vectors, numbers)
        self.device = device
        self.bank = as_tensor(vectors).to(device)

    @torch.inference_mode()
    def _candidates(self, queries: Floats, width: int) -> Neighbours:
        found = no_neighbours(len(queries), width)
        for start in range(0, len(queries), _QUERIES):
            rows = slice(start, start + _QUERIES)
            best = self._best(as_tensor(queries[rows]).to(self.device), width)
            found.cosines[rows], found.places[rows] = best.cosines, best.places
        return found

    def _best(self, queries: Tensor, width: int) -> Neighbours:
        """Return the best ``width`` of the bank for one block of queries; fewer queries take larger blocks."""
        at_once = _VECTORS * max(1, _QUERIES // len(queries))
        scores = torch.empty(len(queries) * _padded(min(at_once, len(self.bank))))  # overwritten
        best = RunningBest(len(queries), width)
        for number, vectors in enumerate(torch.split(self.bank, at_once)):
            columns = _padded(len(vectors))
            block = scores[: len(queries) * columns].view(len(queries), columns)
            block[:, len(vectors) :] = -torch.inf
            torch.mm(queries, vectors.T, out=block[:, : len(vectors)])
            best.add(block, number * at_once)
        return best.neighbours


def _padded(n_vectors: int) -> int:
    """Return the columns of a block of scores, which is looked through fastest if their number is round."""
    return -(-n_vectors // DEEPEST) * DEEPEST
