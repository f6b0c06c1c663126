"""Exact search for the two nearest vectors of a bank, by cosine.

The rule: every vector of the bank is compared, and only one block of scores is in memory at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from lvm_batch.lvm.devices.arrays import as_tensor
from lvm_batch.lvm.errors import BankError

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

_QUERIES, _VECTORS = 1024, 1024  # a block of scores is 4 MiB and stays in a core's cache
_NORM_TOLERANCE = 1e-3  # what float16 leaves of a unit norm


class ExactIndex:
    """Exact search by blocked matrix products with a running merge of the best two."""

    def __init__(self, vectors: Floats, device: torch.device) -> None:
        """Take a bank, float32 (m, dim) with unit rows, perhaps a memory map. Raises BankError for any other array."""
        check_bank(vectors)
        self.device = device
        self.bank = as_tensor(vectors).to(device)

    @torch.inference_mode()
    def top2(self, queries: Floats) -> Floats:
        """Return the cosines of each query with its two nearest vectors, float32 (n, 2), descending.

        ``queries`` is float32 (n, dim) of unit norm. NaN in place of a vector that the bank lacks, and for a query that
        is not finite. Raises BankError if the dimensions differ.
        """
        check_queries(queries, self.bank.shape[1])
        best = np.full((len(queries), 2), np.nan, dtype=np.float32)
        out = torch.from_numpy(best)
        for start in range(0, len(queries), _QUERIES):
            rows = slice(start, start + _QUERIES)
            nearest = self._nearest(as_tensor(queries[rows]).to(self.device))
            out[rows, : nearest.shape[1]] = nearest
        best[~np.isfinite(queries).all(axis=1)] = np.nan  # an infinite query has infinite scores
        return best

    def _nearest(self, queries: torch.Tensor) -> torch.Tensor:
        """Return the best min(2, m) scores of each query of one block, (q, 2)."""
        scores = torch.empty(len(queries) * _VECTORS, device=self.device)  # overwritten by each block
        best = torch.empty(len(queries), 0, device=self.device)
        for vectors in torch.split(self.bank, _VECTORS):
            block = scores[: len(queries) * len(vectors)].view(len(queries), len(vectors))
            torch.mm(queries, vectors.T, out=block)
            best = _best_two(torch.cat([best, _best_two(block)], dim=1))
        return best


def _best_two(scores: torch.Tensor) -> torch.Tensor:
    return scores.topk(min(2, scores.shape[1]), dim=1).values


def check_bank(vectors: Floats) -> None:
    """Raise BankError unless the bank is a matrix of finite rows of unit norm."""
    if vectors.ndim != 2:  # noqa: PLR2004
        raise BankError(f"a bank of shape {vectors.shape}, not (vectors, dim)", "build the bank again")
    for start in range(0, len(vectors), _VECTORS):
        block = vectors[start : start + _VECTORS]
        norms = np.sqrt(np.einsum("nd,nd->n", block, block))
        bad = np.flatnonzero(~(np.abs(norms - 1) <= _NORM_TOLERANCE))
        if len(bad):
            message = f"vector {start + bad[0]} of the bank has a norm of {norms[bad[0]]:.3g}, not 1"
            raise BankError(message, "build the bank again: it makes unit norms")


def check_queries(queries: Floats, dim: int) -> None:
    """Raise BankError unless the queries are a matrix of the bank's width."""
    if queries.ndim != 2 or queries.shape[1] != dim:  # noqa: PLR2004
        message = f"a bank of dimension {dim} searched by vectors of shape {queries.shape}"
        raise BankError(message, "build the bank from vectors of the model's dimension")
