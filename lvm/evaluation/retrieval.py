"""How far down a bank the true next vector stands when the bank is sorted by a prediction.

The one rule: the search is exact, and what is in doubt counts against the prediction: a tie, or a prediction that is no
number. Holds a block of scores at a time; does not know where predictions come from.
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
"""A vector of the bank with a higher cosine to a target is that target: float16 leaves 0.9999999 of it."""

NOT_IN_BANK = 0
"""The rank of a row whose target the bank does not hold."""

DEPTHS = (1, 5, 10)
CONTAIN_DEPTH = 50

_TIE = 1e-6  # what float32 products of unit vectors leave in doubt
_QUERIES, _VECTORS = 1024, 1024  # a block of scores is 4 MiB and stays in a core's cache


@dataclass(frozen=True, slots=True)
class Places:
    """Where targets stand in a bank: row ``rows[i]`` of the queries is vector ``vectors[i]``, both int64, rows rising.

    A target may stand in several places, as a heading does that many articles share.
    """

    n_rows: int
    rows: Tensor
    vectors: Tensor


@dataclass(frozen=True, slots=True)
class RetrievalSummary:
    """Of ``n`` rows whose target is in the bank: the share among the first 1, 5 and 10, the mean reciprocal rank, and
    the share among the first 50. All but ``n`` are None where there is no such row.
    """

    n: int
    recall_at: dict[int, float] | None
    mrr: float | None
    contain_at_50: float | None


class RankSearch:
    """A bank that is searched through whole, by blocked matrix products."""

    def __init__(self, vectors: Floats, device: torch.device) -> None:
        """Take a bank, float32 (m, dim) with unit rows, which may be a memory map. Raises BankError for any other."""
        check_bank(vectors)
        self.device = device
        self.bank = as_tensor(vectors).to(device)

    @torch.inference_mode()
    def places(self, targets: Floats) -> Places:
        """Find targets, float32 (n, dim) of any norm, in the bank. Raises BankError for another dimension."""
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

        ``predictions`` is float32 (n, dim) of unit norm. 1 is the nearest; of a target in several places the nearest
        counts, and the others are not in its way. Rows whose target is not in the bank have :data:`NOT_IN_BANK`,
        predictions that are not finite come last.
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
        """Return the ranks (q,) of queries (q, dim), whose targets stand at the pairs (rows, vectors)."""
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
    """Sum up ranks (n,) as :meth:`RankSearch.ranks` gives them."""
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
    """Return for each depth the share of the rows with a target in the bank that find it among so many nearest."""
    known = ranks[ranks != NOT_IN_BANK]
    return [float((known <= depth).mean()) for depth in depths]


def _by_row(pairs: Tensor) -> Tensor:
    """Sort pairs (n, 2) by their row."""
    return pairs[pairs[:, 0].argsort(stable=True)]
