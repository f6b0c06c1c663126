"""The best of a few candidates, by exact scores.

The rule: every score is the float32 product of a query and a vector of the bank, whatever search found the candidates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from lvm_batch.lvm.devices.arrays import as_tensor
from lvm_batch.lvm.search.neighbours import NOWHERE, Neighbours, no_neighbours

if TYPE_CHECKING:
    from lvm_batch.lvm.search.neighbours import Floats, Places

_GATHERED = 2048  # vectors of the bank gathered at a time: 6 MiB of 768 components


@torch.inference_mode()
def best_of(bank: torch.Tensor, queries: Floats, places: Places, width: int) -> Neighbours:
    """Return the best ``width`` of each query's candidates, by descending score.

    ``bank`` is (m, dim), perhaps a memory map, ``queries`` float32 (n, dim), finite, and ``places`` (n, c) row numbers
    of the bank, negative for "no candidate".
    """
    best = no_neighbours(len(queries), width)
    step = max(1, _GATHERED // max(1, places.shape[1]))
    for start in range(0, len(queries), step):
        rows = slice(start, start + step)
        part = _best_of(bank, as_tensor(queries[rows]), torch.from_numpy(places[rows]), width)
        best.cosines[rows], best.places[rows] = part.cosines, part.places
    return best


def _best_of(bank: torch.Tensor, queries: torch.Tensor, places: torch.Tensor, width: int) -> Neighbours:
    """Return the best of the candidates (q, c) of queries (q, dim)."""
    vectors = bank.index_select(0, places.clamp(min=0).flatten()).view(*places.shape, -1)  # (q, c, dim)
    scores = torch.bmm(vectors, queries.unsqueeze(2)).squeeze(2)
    scores[places < 0] = -torch.inf
    top = scores.topk(min(width, scores.shape[1]), dim=1)
    found = torch.where(top.values == -torch.inf, NOWHERE, places.gather(1, top.indices))
    cosines = torch.where(top.values == -torch.inf, torch.nan, top.values)
    return Neighbours(cosines.numpy(), found.numpy()).first(width)


def in_order(bank: Floats, queries: Floats, found: Neighbours) -> Neighbours:
    """Return neighbours with their cosines computed again, descending, and equal ones in the order of the bank.

    ``einsum`` adds every pair of vectors in the same order, wherever they stand; matrix products do not.
    """
    cosines = np.full(found.places.shape, np.nan, np.float32)
    step = max(1, _GATHERED // max(1, found.places.shape[1]))
    for start in range(0, len(queries), step):
        rows = slice(start, start + step)
        cosines[rows] = np.einsum("nkd,nd->nk", bank[found.places[rows]], queries[rows])
    cosines[found.places == NOWHERE] = np.nan
    order = np.lexsort((found.places, -cosines))  # NaN is last
    return Neighbours(
        np.take_along_axis(cosines, order, axis=1), np.take_along_axis(found.places, order, axis=1)
    )
