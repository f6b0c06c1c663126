"""The best two of a few candidates, by exact scores.

The rule: every score is the float32 product of a query and a vector of the bank, whatever search found the candidates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

_QUERIES = 64  # 64 queries with 32 candidates of 768 components are 6 MiB, gathered from the bank


@torch.inference_mode()
def best_two(bank: torch.Tensor, queries: Floats, places: npt.NDArray[np.int64]) -> Floats:
    """Return the two highest scores of each query among its candidates, float32 (n, 2), descending.

    ``bank`` is (m, dim), perhaps a memory map, ``queries`` float32 (n, dim) and ``places`` (n, k) row numbers of the
    bank, negative for "no candidate". NaN in place of a missing one, and for a query that is not finite.
    """
    best = np.full((len(queries), 2), np.nan, np.float32)
    for start in range(0, len(queries), _QUERIES):
        rows = slice(start, start + _QUERIES)
        best[rows] = _best_two(bank, torch.from_numpy(queries[rows]), torch.from_numpy(places[rows]))
    return best


def _best_two(bank: torch.Tensor, queries: torch.Tensor, places: torch.Tensor) -> Floats:
    """Return the best two scores of queries (q, dim) among their candidates (q, k)."""
    vectors = bank.index_select(0, places.clamp(min=0).flatten()).view(*places.shape, -1)  # (q, k, dim)
    scores = torch.bmm(vectors, queries.unsqueeze(2)).squeeze(2)
    scores[places < 0] = -torch.inf
    scores[~queries.isfinite().all(dim=1)] = torch.nan
    top = scores.topk(min(2, scores.shape[1]), dim=1).values
    top[top == -torch.inf] = torch.nan
    return np.asarray(torch.nn.functional.pad(top, (0, 2 - top.shape[1]), value=torch.nan).numpy())
