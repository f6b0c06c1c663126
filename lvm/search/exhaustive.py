"""Comparison of a few queries with every vector of a bank, for what a faster search leaves open.

The rule: a query's own context is found in the bank, however often it stands there, before anything is ranked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lvm_batch.lvm.devices.arrays import as_tensor
from lvm_batch.lvm.search.neighbours import Neighbours, no_neighbours
from lvm_batch.lvm.search.own_context import SAME_COSINE, unit_contexts
from lvm_batch.lvm.search.running_best import RunningBest

if TYPE_CHECKING:
    from torch import Tensor

    from lvm_batch.lvm.search.neighbours import Floats

_CPU = torch.device("cpu")
_QUERIES, _VECTORS = (
    128,
    1024,
)  # scores of a block, also those of five times as many context vectors, are 3 MiB


@torch.inference_mode()
def search_all(bank: Floats, queries: Floats, k: int, contexts: Floats | None) -> Neighbours:
    """Return the ``k`` nearest vectors of each query that are not of its own context.

    ``bank`` is float32 (m, dim) of unit norm, ``queries`` float32 (n, dim), finite, and ``contexts`` float32
    (n, length, dim), or None if all vectors count.
    """
    found = no_neighbours(len(queries), k)
    for start in range(0, len(queries), _QUERIES):
        rows = slice(start, start + _QUERIES)
        own = None if contexts is None else as_tensor(unit_contexts(contexts[rows]))
        best = _search_block(as_tensor(bank), as_tensor(queries[rows]), k, own)
        found.cosines[rows], found.places[rows] = best.cosines, best.places
    return found


def _search_block(bank: Tensor, queries: Tensor, k: int, own: Tensor | None) -> Neighbours:
    best = RunningBest(len(queries), k, _CPU)
    for number, vectors in enumerate(torch.split(bank, _VECTORS)):
        scores = queries @ vectors.T
        if own is not None:
            same = own.flatten(0, 1) @ vectors.T >= float(SAME_COSINE)  # (q * length, v)
            scores[same.view(*own.shape[:2], -1).any(dim=1)] = -torch.inf
        best.add(scores, number * _VECTORS)
    return best.neighbours
