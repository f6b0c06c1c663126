"""A fitted router: what the fallback is expected to gain over the primary model, row by row.

The rule: the expected gain of a row follows from its context and the primary model's prediction alone, in a few inner
products. Needs numpy alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]
    Flags = npt.NDArray[np.bool_]

_ROWS = 128
"""Rows of a slice: their contexts stay in a core's cache while they are read three times. 4.0 % of AMN's time per row,
at 2,048 rows 6.1 % (measured 2026-11-29, one core of an AMD EPYC, by processor time)."""


@dataclass(frozen=True, slots=True, eq=False)
class GainRouter:
    """A quadratic form in the signals of a row, and a linear form in two of its vectors.

    ``of_last`` and ``of_prediction`` are float32 (dim,), ``of_signals`` (s,) and ``of_products`` (s, s) float32, with
    the s = 2 · length - 1 signals of :func:`pair_signals`. A row is escalated if its expected gain reaches
    ``threshold``.
    """

    bias: float
    of_last: Floats
    of_prediction: Floats
    of_signals: Floats
    of_products: Floats
    threshold: float

    @property
    def dim(self) -> int:
        """The components of a vector."""
        return len(self.of_last)

    @property
    def length(self) -> int:
        """The vectors in a context."""
        return (len(self.of_signals) + 1) // 2

    def expected_gain(self, predictions: Floats, contexts: Floats) -> Floats:
        """Return the expected rise of the cosine by the fallback, float32 (n,); NaN where a vector is not finite.

        ``predictions`` are the primary model's, float32 (n, dim), for ``contexts`` float32 (n, length, dim).
        """
        gain = np.empty(len(predictions), np.float32)
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is compared as false
            for start in range(0, len(gain), _ROWS):
                rows = slice(start, start + _ROWS)
                gain[rows] = self._slice(predictions[rows], contexts[rows])
        return gain

    def escalates(self, expected_gain: Floats) -> Flags:
        """Return which rows reach the threshold, bool (n,)."""
        return np.asarray(expected_gain >= np.float32(self.threshold))

    def _slice(self, predictions: Floats, contexts: Floats) -> Floats:
        signals = pair_signals(predictions, contexts)  # (n, s)
        linear = contexts[:, -1] @ self.of_last + predictions @ self.of_prediction
        quadratic = ((signals @ self.of_products + self.of_signals) * signals).sum(axis=1)
        return np.asarray(linear + quadratic + np.float32(self.bias))


def pair_signals(predictions: Floats, contexts: Floats) -> Floats:
    """Return the inner products of pairs of a row's vectors, float32 (n, 2 · length - 1).

    First those of the prediction with each vector of the context, then those of neighbours in the context; cosines,
    where vectors have unit norm.
    """
    with_prediction = np.einsum("nld,nd->nl", contexts, predictions)
    with_next = np.einsum("nld,nld->nl", contexts[:, :-1], contexts[:, 1:])
    return np.concatenate([with_prediction, with_next], axis=1)
