"""The rank of the true next vector in a bank that is sorted by cosine with a prediction.

The rule: the search is exact, and doubt counts against the prediction: a tie, or a prediction that is not finite. Only
one block of scores is in memory at a time. What is left out of a row's search, such as its own context, is neither
ranked nor looked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

from lvm_batch.lvm.devices.arrays import as_tensor
from lvm_batch.lvm.search.bank_checks import check_bank, check_queries
from lvm_batch.lvm.search.own_context import SAME_COSINE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt
    from torch import Tensor

    Floats = npt.NDArray[np.float32]
    Ranks = npt.NDArray[np.int64]

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
    For row ``left_out[j, 0]`` the vector ``left_out[j, 1]`` does not count.
    """

    n_rows: int
    rows: Tensor
    vectors: Tensor
    left_out: Tensor


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
    def places(self, targets: Floats, contexts: Floats | None = None) -> Places:
        """Find targets, float32 (n, dim) of any norm, in the bank. Raises BankError if the dimensions differ.

        With ``contexts``, float32 (n, length, dim), vectors of the bank that are of a row's own context do not count.
        """
        check_queries(targets, self.bank.shape[1])
        pairs, own = self._same(targets), self._own(contexts)
        keys = [each[:, 0] * len(self.bank) + each[:, 1] for each in (pairs, own)]
        rows, vectors = pairs[~torch.isin(*keys)].unbind(dim=1)
        return Places(len(targets), rows, vectors, own)

    def _same(self, queries: Floats) -> Tensor:
        """Return the pairs of a query and a vector of the bank that are the same, int64 (p, 2), by query."""
        found = [torch.empty(0, 2, dtype=torch.int64, device=self.device)]
        for start, block in self._queries(queries):
            unit = F.normalize(block, dim=1)
            blocks = [
                (unit @ vectors.T >= float(SAME_COSINE)).nonzero()
                + torch.tensor([start, first], device=self.device)
                for first, vectors in self._blocks()
            ]
            found.append(_by_row(torch.cat(blocks)))
        return torch.cat(found)

    def _own(self, contexts: Floats | None) -> Tensor:
        """Return the pairs of a row and a vector of its own context, int64 (p, 2), by row.

        Windows overlap: each of their vectors is searched for once.
        """
        if contexts is None:
            return torch.empty(0, 2, dtype=torch.int64, device=self.device)
        n_rows, length, dim = contexts.shape
        flat = np.ascontiguousarray(contexts).reshape(-1, dim)
        _, first, numbers = np.unique(
            flat.view(np.dtype((np.void, flat.itemsize * dim)))[:, 0], return_index=True, return_inverse=True
        )
        same = self._same(flat[first])
        rows = torch.arange(n_rows, device=self.device).repeat_interleave(length)
        own: Tensor = torch.unique(_joined(rows, torch.from_numpy(numbers).to(self.device), same), dim=0)
        return own

    @torch.inference_mode()
    def ranks(self, predictions: Floats, places: Places) -> Ranks:
        """Return the rank of each row's target among the bank's vectors, by cosine with its prediction, int64 (n,).

        ``predictions`` is float32 (n, dim) of unit norm. Rank 1 is the nearest vector. If a target has several places,
        the nearest counts, and the others are ignored. A row whose target is not in the bank has :data:`NOT_IN_BANK`,
        a prediction that is not finite the last rank.
        """
        check_queries(predictions, self.bank.shape[1])
        ranks = np.full(places.n_rows, NOT_IN_BANK, np.int64)
        known = torch.unique(places.rows)  # only these rows are searched for
        targets = torch.stack([places.rows, places.vectors], dim=1)
        found = [
            self._ranks(queries, _within(targets, here), _within(places.left_out, here))
            for start, queries in self._queries(predictions[known.cpu().numpy()])
            for here in [known[start : start + len(queries)]]
        ]
        if found:
            ranks[known.cpu().numpy()] = torch.cat(found).cpu().numpy()
        return ranks

    def _ranks(self, queries: Tensor, targets: Tensor, left_out: Tensor) -> Tensor:
        """Return the ranks (q,) of queries (q, dim).

        Both of the others are pairs of a query and a vector: the places of its target, and what does not count for it.
        """
        rows, vectors = targets.unbind(dim=1)
        own = torch.full((len(queries),), -torch.inf, device=self.device)
        own.scatter_reduce_(0, rows, (queries[rows] * self.bank[vectors]).sum(dim=1), "amax")
        nearer = torch.zeros(len(queries), dtype=torch.int64, device=self.device)
        rows, vectors = torch.cat([targets, left_out]).unbind(dim=1)
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


def _within(pairs: Tensor, rows: Tensor) -> Tensor:
    """Return the pairs of certain rows, which ascend, with their places among these in place of their numbers."""
    places = torch.searchsorted(rows, pairs[:, 0].contiguous())
    inside = places < len(rows)
    inside[inside.clone()] = rows[places[inside]] == pairs[inside, 0]
    return torch.stack([places[inside], pairs[inside, 1]], dim=1)


def _joined(rows: Tensor, numbers: Tensor, pairs: Tensor) -> Tensor:
    """Return a pair of each row, (n,), with the second of every one of ``pairs`` whose first is the row's number.

    ``pairs`` is (p, 2), by its first column.
    """
    starts = torch.searchsorted(pairs[:, 0].contiguous(), numbers)
    counts = torch.searchsorted(pairs[:, 0].contiguous(), numbers, right=True) - starts
    places = torch.arange(int(counts.sum()), device=rows.device)
    within = places - (counts.cumsum(0) - counts).repeat_interleave(counts)
    return torch.stack(
        [rows.repeat_interleave(counts), pairs[starts.repeat_interleave(counts) + within, 1]], dim=1
    )
