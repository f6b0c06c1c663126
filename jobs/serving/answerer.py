"""The models at work on rows that requests have brought.

The rule: a row gets the answer that a run gives it: the same cascade, the same criteria, the same refusal of what
float32 cannot hold. There is no cap and no shadow evaluation: both are about rows taken together. Does not know who
asks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lvm_batch.jobs.serving.rows import Answers
from lvm_batch.lvm.inference.cosines import cosines_with, has_unit_norm

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lvm_batch.jobs.serving.rows import Rows
    from lvm_batch.lvm.inference.cascade import Cascade, Judgement


@dataclass(frozen=True, slots=True)
class PrimaryAnswers:
    """Rows that the primary model has answered; ``escalated`` marks those that the fallback is to answer."""

    rows: Rows
    prediction: NDArray[np.float32]
    judgement: Judgement
    escalated: NDArray[np.bool_]


class Answerer:
    """Answers rows in two steps, of which the second takes long where a row is escalated."""

    def __init__(self, cascade: Cascade) -> None:
        self._cascade = cascade

    def __call__(self, rows: Rows) -> Answers:
        """Answer rows."""
        return self.settle(self.judge(rows))

    def judge(self, rows: Rows) -> PrimaryAnswers:
        """Run the primary model, and say which rows are to be escalated."""
        with np.errstate(over="ignore", invalid="ignore"):  # what float32 cannot hold is found by its norm
            prediction = self._cascade.primary(rows.contexts)
        judgement = self._cascade.judge(
            prediction, lanes=rows.lanes, context_tokens=rows.context_tokens, usable=rows.usable
        )
        return PrimaryAnswers(rows, prediction, judgement, self._cascade.escalated(judgement))

    def settle(self, judged: PrimaryAnswers) -> Answers:
        """Run the fallback on the rows that are escalated, and put the answers together."""
        rows, prediction = judged.rows, judged.prediction
        amn_cosine = cosines_with(prediction, rows.targets)
        gru_cosine = np.full(len(rows), np.nan, np.float32)
        if self._cascade.fallback is not None and judged.escalated.any():
            places = np.flatnonzero(judged.escalated)
            prediction[places] = self._cascade.fallback(np.ascontiguousarray(rows.contexts[places]))
            targets = None if rows.targets is None else rows.targets[places]
            gru_cosine[places] = cosines_with(prediction[places], targets)
        return Answers(
            prediction=prediction,
            escalated=judged.escalated,
            reasons=judged.judgement.reasons,
            confidence=judged.judgement.confidence,
            margin=judged.judgement.margin,
            amn_cosine=amn_cosine,
            gru_cosine=gru_cosine,
            answered=rows.usable & has_unit_norm(prediction),
        )
