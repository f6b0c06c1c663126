"""Contexts in another order, to see whether a model uses the order of its context.

The rule: the order of a row depends on the seed and on the row's place among all rows, not on how they are cut into
batches, and is never the given order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]


class ContextShuffle:
    """Shuffles the contexts of consecutive batches of rows."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def __call__(self, contexts: Floats) -> Floats:
        """Return contexts float32 (n, length, dim), length over 1, with each row's vectors in another random order."""
        n_rows, length, _ = contexts.shape
        order = self._rng.random((n_rows, length)).argsort(axis=1)
        unchanged = (order == np.arange(length)).all(axis=1)
        order[unchanged] = np.roll(np.arange(length), 1)
        return np.take_along_axis(contexts, order[:, :, None], axis=1)
