"""Windows for training: contexts and the vectors that follow them, as row numbers of one array of vectors.

The rule: a vector is in memory once, however many windows contain it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch.nn.functional as F  # noqa: N812 - its usual name

from lvm_batch.lvm.devices.arrays import as_tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt
    from torch import Tensor

    Floats = npt.NDArray[np.float32]
    Places = npt.NDArray[np.int64]

_AT_ONCE = 1024


@dataclass(frozen=True, slots=True)
class Windows:
    """``vectors`` is float32 (m, dim); ``contexts`` (n, length) and ``targets`` (n,) are int64 row numbers of it."""

    vectors: Floats
    contexts: Places
    targets: Places

    @classmethod
    def of(cls, contexts: Floats, targets: Floats) -> Windows:
        """Make windows of contexts float32 (n, length, dim) and targets float32 (n, dim) that share no memory."""
        n_rows, length, dim = contexts.shape
        places = np.arange(n_rows * (length + 1), dtype=np.int64)
        vectors = np.concatenate([contexts.reshape(-1, dim), targets])
        return cls(vectors, places[: n_rows * length].reshape(n_rows, length), places[n_rows * length :])

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def length(self) -> int:
        """The number of vectors in a context."""
        return int(self.contexts.shape[1])

    @property
    def dim(self) -> int:
        """Width of a vector."""
        return int(self.vectors.shape[1])

    def take(self, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> Windows:
        """Return some of the windows, over the same vectors."""
        return Windows(self.vectors, self.contexts[rows], self.targets[rows])

    def some(self, n_rows: int) -> Windows:
        """Return at most ``n_rows`` of the windows, evenly spaced."""
        return self.take(np.arange(0, len(self), max(1, -(-len(self) // n_rows))))

    def in_both_directions(self) -> Windows:
        """Return the windows followed by the same windows reversed, twice as many."""
        backwards = np.concatenate([self.contexts, self.targets[:, None]], axis=1)[:, ::-1]
        return Windows(
            self.vectors,
            np.concatenate([self.contexts, backwards[:, :-1]]),
            np.concatenate([self.targets, backwards[:, -1]]),
        )

    def batch(self, rows: npt.NDArray[np.int64] | slice) -> tuple[Tensor, Tensor]:
        """Return copies of contexts (b, length, dim) and of targets (b, dim), the targets with unit norm."""
        contexts = as_tensor(self.vectors[self.contexts[rows]])
        return contexts, F.normalize(as_tensor(self.vectors[self.targets[rows]]), dim=1)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all windows in order, in batches."""
        for start in range(0, len(self), _AT_ONCE):
            yield self.batch(slice(start, start + _AT_ONCE))

    def sample(self, n_rows: int) -> Tensor:
        """Return the contexts of at most ``n_rows`` windows, evenly spaced, (b, length, dim)."""
        contexts, _ = self.some(n_rows).batch(slice(None))
        return contexts
