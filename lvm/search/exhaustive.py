"""Comparison of a few queries with every vector of a bank, for what a faster search leaves open.

The rule: a query's own context is found in the bank, however often it stands there, before anything is ranked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from lvm_batch.lvm.devices.arrays import as_tensor
from lvm_batch.lvm.search.neighbours import Neighbours, no_neighbours
from lvm_batch.lvm.search.own_context import SAME_COSINE, has_number, unit_contexts
from lvm_batch.lvm.search.running_best import RunningBest

if TYPE_CHECKING:
    from torch import Tensor

    from lvm_batch.lvm.search.neighbours import Floats, Places
    from lvm_batch.lvm.search.own_context import OwnVectors

_QUERIES, _VECTORS = (
    128,
    1024,
)  # scores of a block, also those of five times as many context vectors, are 3 MiB


@torch.inference_mode()
def search_all(
    bank: Floats, numbers: Places | None, queries: Floats, k: int, own: OwnVectors | None
) -> Neighbours:
    """Return the ``k`` nearest vectors of each query that are not of its own context.

    ``bank`` is float32 (m, dim) of unit norm, ``numbers`` int64 (m,) the rows of the data that it is from, if they are
    known, and ``queries`` float32 (n, dim), finite. Without ``own`` all vectors count.
    """
    found = no_neighbours(len(queries), k)
    for start in range(0, len(queries), _QUERIES):
        rows = slice(start, start + _QUERIES)
        best = _search_block(bank, numbers, as_tensor(queries[rows]), k, None if own is None else own[rows])
        found.cosines[rows], found.places[rows] = best.cosines, best.places
    return found


def _search_block(
    bank: Floats, numbers: Places | None, queries: Tensor, k: int, own: OwnVectors | None
) -> Neighbours:
    best = RunningBest(len(queries), k)
    units = None if own is None else as_tensor(unit_contexts(own.contexts))
    for start in range(0, len(bank), _VECTORS):
        rows = slice(start, start + _VECTORS)
        vectors = as_tensor(bank[rows])
        scores = queries @ vectors.T
        if units is not None:
            same = units.flatten(0, 1) @ vectors.T >= float(SAME_COSINE)  # (q * length, v)
            scores[same.view(*units.shape[:2], -1).any(dim=1)] = -torch.inf
        if numbers is not None and own is not None and own.numbers is not None:
            scores[torch.from_numpy(has_number(numbers[np.newaxis, rows], own.numbers))] = -torch.inf
        best.add(scores, start)
    return best.neighbours
