"""The rank of the true next vector in a bank that is sorted by cosine with a prediction.

The rule: the search is exact, and doubt counts against the prediction: a tie, or a prediction that is not finite. Only
one block of scores is in memory at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

from lvm_batch.lvm.devices.arrays import as_tensor
from lvm_batch.lvm.search.exact import check_bank, check_queries

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt
    from torch import Tensor

    Floats = npt.NDArray[np.float32]
    Ranks = npt.NDArray[np.int64]

SAME_COSINE = 0.9999
"""A vector of the bank with a higher cosine to a target counts as that target: float16 rounding leaves 0.9999999."""

NOT_IN_BANK = 0
"""The rank of a row whose target is not in the bank."""

DEPTHS = (1, 5, 10)
CONTAIN_DEPTH = 50

_TIE = 1e-6  # the error of float32 products of unit vectors
_QUERIES, _VECTORS = 1024, 1024  # a block of scores is 4 MiB and stays in a core's cache


@dataclass(frozen=True, slots=True)
class Places:
    """The places of targets in a bank: the target of row ``rows[i]`` is vector ``vectors[i]``.

    Both are int64, ``rows`` ascending. A target may have several places, such as a heading that many articles share.
    """

    n_rows: int
    rows: Tensor
    vectors: Tensor


@dataclass(frozen=True, slots=True)
class RetrievalSummary:
    """The retrieval of ``n`` rows whose target is in the bank.

    ``recall_at`` holds the share of targets among the first 1, 5 and 10, ``mrr`` is the mean reciprocal rank,
    ``contain_at_50`` the share among the first 50. All but ``n`` are None if ``n`` is 0.
    """

    n: int
    recall_at: dict[int, float] | None
    mrr: float | None
    contain_at_50: float | None


class RankSearch:
    """An exhaustive search of a bank, by blocked matrix products."""

    def __init__(self, vectors: Floats, device: torch.device) -> None:
        """Take a bank, float32 (m, dim) with unit rows, perhaps a memory map. Raises BankError for any other array."""
        check_bank(vectors)
        self.device = device
        self.bank = as_tensor(vectors).to(device)

    @torch.inference_mode()
    def places(self, targets: Floats) -> Places:
        """Find targets, float32 (n, dim) of any norm, in the bank. Raises BankError if the dimensions differ."""
        check_queries(targets, self.bank.shape[1])
        found = [torch.empty(0, 2, dtype=torch.int64, device=self.device)]
        for start, queries in self._queries(targets):
            unit = F.normalize(queries, dim=1)
            blocks = [
                (unit @ vectors.T > SAME_COSINE).nonzero() + torch.tensor([start, first], device=self.device)
                for first, vectors in self._blocks()
            ]
            found.append(_by_row(torch.cat(blocks)))
        rows, vectors = torch.cat(found).unbind(dim=1)
        return Places(len(targets), rows, vectors)

    @torch.inference_mode()
    def ranks(self, predictions: Floats, places: Places) -> Ranks:
        """Return the rank of each row's target among the bank's vectors, by cosine with its prediction, int64 (n,).

        ``predictions`` is float32 (n, dim) of unit norm. Rank 1 is the nearest vector. If a target has several places,
        the nearest counts, and the others are ignored. A row whose target is not in the bank has :data:`NOT_IN_BANK`,
        a prediction that is not finite the last rank.
        """
        check_queries(predictions, self.bank.shape[1])
        ranks = np.full(places.n_rows, NOT_IN_BANK, np.int64)
        known, numbers = torch.unique(places.rows, return_inverse=True)  # only these rows are searched for
        found = [
            self._ranks(queries, numbers[here] - start, places.vectors[here])
            for start, queries in self._queries(predictions[known.cpu().numpy()])
            for here in [(numbers >= start) & (numbers < start + len(queries))]
        ]
        if found:
            ranks[known.cpu().numpy()] = torch.cat(found).cpu().numpy()
        return ranks

    def _ranks(self, queries: Tensor, rows: Tensor, vectors: Tensor) -> Tensor:
        """Return the ranks (q,) of queries (q, dim); the pairs (rows, vectors) are the places of their targets."""
        own = torch.full((len(queries),), -torch.inf, device=self.device)
        own.scatter_reduce_(0, rows, (queries[rows] * self.bank[vectors]).sum(dim=1), "amax")
        nearer = torch.zeros(len(queries), dtype=torch.int64, device=self.device)
        for first, block in self._blocks():
            scores = queries @ block.T  # (q, v)
            here = (vectors >= first) & (vectors < first + len(block))
            scores[rows[here], vectors[here] - first] = -torch.inf
            nearer += (scores >= (own - _TIE).unsqueeze(1)).sum(dim=1)
        return torch.where(own.isfinite(), nearer + 1, len(self.bank))

    def _queries(self, vectors: Floats) -> Iterator[tuple[int, Tensor]]:
        for start in range(0, len(vectors), _QUERIES):
            yield start, as_tensor(vectors[start : start + _QUERIES]).to(self.device)

    def _blocks(self) -> Iterator[tuple[int, Tensor]]:
        for number, block in enumerate(torch.split(self.bank, _VECTORS)):
            yield number * _VECTORS, block


def summarise_ranks(ranks: Ranks) -> RetrievalSummary:
    """Return the summary of ranks (n,), as :meth:`RankSearch.ranks` returns them."""
    known = ranks[ranks != NOT_IN_BANK]
    if not len(known):
        return RetrievalSummary(0, None, None, None)
    return RetrievalSummary(
        n=len(known),
        recall_at=dict(zip(DEPTHS, recall_curve(ranks, DEPTHS), strict=True)),
        mrr=float((1 / known).mean()),
        contain_at_50=recall_curve(ranks, [CONTAIN_DEPTH])[0],
    )


def recall_curve(ranks: Ranks, depths: Sequence[int]) -> list[float]:
    """Return for each depth the share of rows, of those with a target in the bank, whose rank is at most the depth."""
    known = ranks[ranks != NOT_IN_BANK]
    return [float((known <= depth).mean()) for depth in depths]


def _by_row(pairs: Tensor) -> Tensor:
    """Return pairs (n, 2) sorted by their row."""
    return pairs[pairs[:, 0].argsort(stable=True)]
