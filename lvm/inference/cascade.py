"""Two models and a bank: the primary model predicts every row, the fallback the rows that are escalated.

The rule: a row's prediction and reasons depend on that row alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from lvm_batch.lvm.inference.routing import ALL_REASONS, REASONS, escalation_reasons
from lvm_batch.lvm.search.neighbours import SPARE, no_neighbours
from lvm_batch.lvm.search.own_context import OwnVectors

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from lvm_batch.lvm.inference.gain_router import GainRouter
    from lvm_batch.lvm.inference.thresholds import OwnContext, Thresholds
    from lvm_batch.lvm.search.neighbours import Neighbours


class ContextPredictor(Protocol):
    """A model that is ready to predict, on any device; several threads may call it at once."""

    def __call__(self, contexts: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Predict from contexts float32 (n, length, dim). Returns float32 (n, dim), unit norm."""


class NeighbourIndex(Protocol):
    """Finds the nearest vectors of a bank; those of a query's ``own`` context do not count."""

    def nearest(self, queries: npt.NDArray[np.float32], k: int, own: OwnVectors | None = None) -> Neighbours:
        """Return the ``k`` nearest of each query, float32 (n, dim)."""

    def ranked(
        self,
        queries: npt.NDArray[np.float32],
        found: Neighbours,
        k: int,
        own: OwnVectors | None,
    ) -> Neighbours:
        """Return ``k`` of the ``k + SPARE`` nearest, exact, and equal ones in the order of the bank."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The routing policy's judgement of predictions.

    ``confidence`` and ``margin`` are float32 (n,), NaN if not known; ``reasons`` is bool (n, reasons), in the order of
    ``Cascade.reasons``. ``neighbours`` are as many as were asked for. ``expected_gain`` is float32 (n,), ``None``
    without a router.
    """

    confidence: npt.NDArray[np.float32]
    margin: npt.NDArray[np.float32]
    reasons: npt.NDArray[np.bool_]
    neighbours: Neighbours
    expected_gain: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class Cascade:
    """The models of one job, ready to predict; there may be no fallback, no bank, and no router.

    With ``own_context`` of "drop", a row's own context vectors do not count as neighbours of its prediction.
    """

    primary: ContextPredictor
    fallback: ContextPredictor | None
    index: NeighbourIndex | None
    thresholds: Thresholds
    own_context: OwnContext = "keep"
    router: GainRouter | None = None

    @property
    def reasons(self) -> tuple[str, ...]:
        """The reasons to escalate a row: those of the cards, and with a router its own."""
        return REASONS if self.router is None else ALL_REASONS

    def judge(
        self,
        predictions: npt.NDArray[np.float32],
        contexts: npt.NDArray[np.float32],
        *,
        numbers: npt.NDArray[np.int64] | None = None,
        lanes: Sequence[str | None] | npt.NDArray[np.object_] | None = None,
        context_tokens: npt.NDArray[np.float64] | None = None,
        usable: npt.NDArray[np.bool_] | None = None,
        n_neighbours: int = 0,
    ) -> Judgement:
        """Measure predictions, float32 (n, dim), against the bank and evaluate the escalation criteria.

        ``contexts`` is float32 (n, length, dim), and ``numbers`` int64 (n, length) the rows of the data that they are
        from, in the bank's numbering, if they are known. Confidence is the cosine with the nearest vector of the bank,
        margin what it has over the second nearest. A row that is not ``usable``, bool (n,), has no reasons.
        """
        n_rows = len(predictions)
        own = self._own(contexts, numbers)
        found = self._nearest(predictions, own, n_neighbours + SPARE if n_neighbours else 2)
        confidence, margin = found.cosines[:, 0], found.cosines[:, 0] - found.cosines[:, 1]
        reasons = escalation_reasons(
            self.thresholds,
            n_rows,
            confidence=confidence,
            margin=margin,
            lanes=lanes,
            context_tokens=context_tokens,
        )
        expected_gain = None
        if self.router is not None:
            expected_gain = self.router.expected_gain(predictions, contexts)
            reasons = np.column_stack([reasons, self.router.escalates(expected_gain)])
        if usable is not None:
            reasons[~usable] = False
        neighbours = self._ranked(predictions, own, found, n_neighbours)
        return Judgement(confidence, margin, reasons, neighbours, expected_gain)

    def neighbours(
        self,
        predictions: npt.NDArray[np.float32],
        contexts: npt.NDArray[np.float32],
        k: int,
        *,
        numbers: npt.NDArray[np.int64] | None = None,
    ) -> Neighbours:
        """Return the ``k`` nearest vectors of the bank to predictions, as ``judge`` finds them."""
        own = self._own(contexts, numbers)
        return self._ranked(predictions, own, self._nearest(predictions, own, k + SPARE), k)

    def _nearest(self, predictions: npt.NDArray[np.float32], own: OwnVectors | None, k: int) -> Neighbours:
        if self.index is None:
            return no_neighbours(len(predictions), k)
        return self.index.nearest(predictions, k, own)

    def _ranked(
        self,
        predictions: npt.NDArray[np.float32],
        own: OwnVectors | None,
        found: Neighbours,
        k: int,
    ) -> Neighbours:
        if self.index is None or not k:
            return found.first(k)
        return self.index.ranked(predictions, found, k, own)

    def _own(
        self, contexts: npt.NDArray[np.float32], numbers: npt.NDArray[np.int64] | None
    ) -> OwnVectors | None:
        """Return the contexts whose vectors do not count."""
        return None if self.own_context == "keep" else OwnVectors(contexts, numbers)

    def escalated(self, judgement: Judgement) -> npt.NDArray[np.bool_]:
        """Return which rows the fallback is to answer, bool (n,): those with a reason, none without a fallback."""
        return np.asarray(judgement.reasons.any(axis=1) & (self.fallback is not None))
