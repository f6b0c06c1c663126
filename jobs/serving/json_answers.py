"""Answers as JSON.

The rule: a value that a run would leave null is null here. Does not know how an answer came about.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from lvm_batch.io.output.writer import ROUTES
from lvm_batch.jobs.serving.bodies import Problem, unusable
from lvm_batch.lvm.inference.routing import REASONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lvm_batch.jobs.serving.bodies import Refusal
    from lvm_batch.jobs.serving.rows import Answers

_AS_ARRAYS = orjson.OPT_SERIALIZE_NUMPY  # which also writes NaN as null


class AnswerWriter:
    """Writes answers; ``models`` is what the model behind each of ``ROUTES`` is called."""

    def __init__(self, models: Sequence[str | None]) -> None:
        self._models = models

    def answer(self, answers: Answers, detail: str | None) -> bytes:
        """Write the answer of one query. Raises :class:`Refusal` where float32 could not hold it."""
        if not answers.answered[0]:
            raise _overflow(("body", "context"))
        return orjson.dumps(self._values(answers, 0, detail), option=_AS_ARRAYS)

    def answers(self, answers: Sequence[Answers], details: Sequence[str | None]) -> bytes:
        """Write the answers of a body of several queries, in their order. Raises :class:`Refusal`."""
        overflown = np.flatnonzero(~np.concatenate([part.answered for part in answers]))
        if len(overflown):
            raise _overflow(("body", "rows", int(overflown[0]), "context"))
        places = ((part, row) for part in answers for row in range(len(part.answered)))
        values = [
            self._values(part, row, detail) for (part, row), detail in zip(places, details, strict=True)
        ]
        return orjson.dumps({"answers": values}, option=_AS_ARRAYS)

    def _values(self, answers: Answers, row: int, detail: str | None) -> dict[str, Any]:
        escalated = bool(answers.escalated[row])
        return {
            "prediction": answers.prediction[row],
            "route": ROUTES[escalated],
            "reasons": [
                reason for reason, holds in zip(REASONS, answers.reasons[row].tolist(), strict=True) if holds
            ],
            "confidence": answers.confidence[row],
            "margin": answers.margin[row],
            "cosine": answers.gru_cosine[row] if escalated else answers.amn_cosine[row],
            "model": self._models[escalated],
            "status_detail": detail,
        }


def _overflow(place: tuple[str | int, ...]) -> Refusal:
    return unusable(Problem(place, "is so large that float32 cannot hold its answer", "inf"))
