"""Two models and a bank: the primary model predicts every row, the fallback the rows that are escalated.

The rule: a row's prediction and reasons depend on that row alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from lvm_batch.lvm.inference.routing import escalation_reasons

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from lvm_batch.lvm.inference.thresholds import Thresholds


class ContextPredictor(Protocol):
    """A model that is ready to predict, on any device; several threads may call it at once."""

    def __call__(self, contexts: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Predict from contexts float32 (n, length, dim). Returns float32 (n, dim), unit norm."""


class NeighbourIndex(Protocol):
    """Finds the two nearest vectors of a bank."""

    def top2(self, queries: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the two highest cosines of each query, float32 (n, 2), descending, NaN where there are fewer."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The routing policy's judgement of predictions.

    ``confidence`` and ``margin`` are float32 (n,), NaN if not known; ``reasons`` is bool (n, 4), in the order of
    ``REASONS``.
    """

    confidence: npt.NDArray[np.float32]
    margin: npt.NDArray[np.float32]
    reasons: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Cascade:
    """The models of one job, ready to predict; there may be no fallback, and no bank."""

    primary: ContextPredictor
    fallback: ContextPredictor | None
    index: NeighbourIndex | None
    thresholds: Thresholds

    def judge(
        self,
        predictions: npt.NDArray[np.float32],
        *,
        lanes: Sequence[str | None] | npt.NDArray[np.object_] | None = None,
        context_tokens: npt.NDArray[np.float64] | None = None,
        usable: npt.NDArray[np.bool_] | None = None,
    ) -> Judgement:
        """Measure predictions, float32 (n, dim), against the bank and evaluate the escalation criteria.

        Confidence is the cosine with the nearest vector of the bank, margin what it has over the second nearest.
        A row that is not ``usable``, bool (n,), has no reasons.
        """
        n_rows = len(predictions)
        nearest = (
            np.full((n_rows, 2), np.nan, np.float32) if self.index is None else self.index.top2(predictions)
        )
        confidence, margin = nearest[:, 0], nearest[:, 0] - nearest[:, 1]
        reasons = escalation_reasons(
            self.thresholds,
            n_rows,
            confidence=confidence,
            margin=margin,
            lanes=lanes,
            context_tokens=context_tokens,
        )
        if usable is not None:
            reasons[~usable] = False
        return Judgement(confidence, margin, reasons)

    def escalated(self, judgement: Judgement) -> npt.NDArray[np.bool_]:
        """Return which rows the fallback is to answer, bool (n,): those with a reason, none without a fallback."""
        return np.asarray(judgement.reasons.any(axis=1) & (self.fallback is not None))
