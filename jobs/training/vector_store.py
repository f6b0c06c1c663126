"""Vectors, each held once.

The rule: two vectors are the same if all their bits are. They are told apart by a hash of 64 bits, which two different
ones of a million share with a probability of 3e-8. This module does not know where vectors come from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MULTIPLIERS_SEED = 20


class VectorStore:
    """Takes in vectors and says where each one stands."""

    def __init__(self, dim: int) -> None:
        rng = np.random.default_rng(_MULTIPLIERS_SEED)
        self._multipliers = rng.integers(1, 2**64, dim, np.uint64) | np.uint64(1)
        self._dim = dim
        self._places: dict[int, int] = {}
        self._kept: list[NDArray[np.float32]] = []

    @property
    def vectors(self) -> NDArray[np.float32]:
        """All vectors, float32 (m, dim), in the order they came."""
        return np.concatenate([np.empty((0, self._dim), np.float32), *self._kept])

    def add(self, windows: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return where the vectors of windows (n, length, dim) stand, int64 (n, length)."""
        flat = np.ascontiguousarray(windows).reshape(-1, self._dim)
        hashes = self._hashes(flat).tolist()
        n_known = len(self._places)
        places = [self._places.setdefault(value, len(self._places)) for value in hashes]
        new: dict[int, int] = {}
        for row, place in enumerate(places):
            if place >= n_known:
                new.setdefault(place, row)
        self._kept.append(flat[list(new.values())])
        return np.array(places, np.int64).reshape(windows.shape[:2])

    def _hashes(self, vectors: NDArray[np.float32]) -> NDArray[np.uint64]:
        """Return a multilinear hash of each vector's bits, modulo 2**64, uint64 (n,)."""
        bits = vectors.view(np.uint32).astype(np.uint64)
        hashes: NDArray[np.uint64] = (bits * self._multipliers).sum(axis=1, dtype=np.uint64)
        return hashes
