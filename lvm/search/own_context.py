"""Which vectors of a bank are a row's own context.

A model predicts from its context, so a prediction lies near it: where the bank holds the dataset's own vectors, the
nearest neighbour of 84 % of AMN's predictions is one of the row's own context vectors, and says nothing of the
prediction (60 articles of Wikipedia, 2026-11-29).

The rule: a vector of the bank is a row's own if its cosine with one of the row's context vectors is 1 - 1e-4 or more.
That is more than float16 takes away (1e-7), and less than any two sentences differ by. A zero vector is nobody's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from lvm_batch.lvm.search.neighbours import Flags, Floats, Places

SAME_COSINE = np.float32(1 - 1e-4)
"""The cosine from which two vectors count as the same."""

_GATHERED = 448  # vectors of the bank compared at a time: 1.3 MiB, which stays in a core's cache
_LEAST, _MOST = 1e-30, 1e30  # squares of norms that float32 products keep exact


def is_own(bank: Floats, places: Places, contexts: Floats) -> Flags:
    """Tell which of each row's candidates are the row's own context vectors, bool (n, width).

    ``bank`` is float32 (m, dim) of unit norm, ``places`` int64 (n, width) row numbers of it, negative for none, and
    ``contexts`` float32 (n, length, dim) of any norm.
    """
    own = np.empty(places.shape, np.bool_)
    step = max(1, _GATHERED // max(1, places.shape[1]))
    for start in range(0, len(places), step):
        rows = slice(start, start + step)
        bounded, norms = _measured(contexts[rows])
        with np.errstate(invalid="ignore", over="ignore"):
            products = np.matmul(bank[places[rows]], bounded.transpose(0, 2, 1))  # (n, width, length)
            same = (products >= SAME_COSINE * norms[:, np.newaxis]) & (norms > 0)[:, np.newaxis]
        own[rows] = same.any(axis=2) & (places[rows] >= 0)
    return own


def unit_contexts(contexts: Floats) -> Floats:
    """Return contexts (n, length, dim) scaled to unit norm; a vector without a direction becomes zeros."""
    bounded, norms = _measured(contexts)
    with np.errstate(invalid="ignore", divide="ignore"):
        unit = bounded / norms[:, :, np.newaxis]
    return np.where(np.isfinite(unit), unit, np.float32(0))


def _measured(contexts: Floats) -> tuple[Floats, Floats]:
    """Return contexts and their norms (n, length); vectors whose squares float32 cannot hold are scaled first."""
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("nld,nld->nl", contexts, contexts)
    odd = ~((squares > _LEAST) & (squares < _MOST))
    if odd.any():
        contexts = contexts.copy()
        contexts[odd] = _scaled(contexts[odd])
        squares[odd] = np.einsum("nd,nd->n", contexts[odd], contexts[odd])
    return contexts, np.sqrt(squares)


def _scaled(vectors: Floats) -> Floats:
    """Return vectors (n, dim) divided by their largest component; those without a direction become zeros."""
    with np.errstate(invalid="ignore", divide="ignore"):
        scaled = vectors / np.abs(vectors).max(axis=1, keepdims=True)
    return np.where(np.isfinite(scaled).all(axis=1, keepdims=True), scaled, np.float32(0))
