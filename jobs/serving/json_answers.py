"""Answers written as JSON.

The rule: a value that a run leaves null is null.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from lvm_batch.io.schema import NEIGHBOUR_COLUMNS, ROUTES
from lvm_batch.jobs.models.named_bank import NamedBank
from lvm_batch.jobs.serving.bodies import Problem, unusable
from lvm_batch.jobs.serving.json_vectors import CONTEXT
from lvm_batch.lvm.inference.routing import ALL_REASONS
from lvm_batch.lvm.search.neighbours import NOWHERE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lvm_batch.jobs.serving.bodies import Place, Refusal
    from lvm_batch.jobs.serving.rows import Answers

_AS_ARRAYS = orjson.OPT_SERIALIZE_NUMPY  # which also writes NaN as null


class AnswerWriter:
    """Writes answers; ``models`` is what the model behind each of ``ROUTES`` is called, ``bank`` names neighbours."""

    def __init__(self, models: Sequence[str | None], bank: NamedBank | None = None) -> None:
        self._models = models
        self._bank = bank or NamedBank()

    def answer(self, answers: Answers, detail: str | None, place: Place = CONTEXT) -> bytes:
        """Write the answer to the query at ``place``. Raises :class:`Refusal` if float32 could not hold it."""
        if not answers.answered[0]:
            raise _overflow(place)
        return orjson.dumps(self._values(answers, 0, detail), option=_AS_ARRAYS)

    def answers(self, answers: Sequence[Answers], details: Sequence[str | None]) -> bytes:
        """Write the answers to a body of several queries, in their order. Raises :class:`Refusal`."""
        overflown = np.flatnonzero(~np.concatenate([part.answered for part in answers]))
        if len(overflown):
            raise _overflow(("body", "rows", int(overflown[0]), "context"))
        places = ((part, row) for part in answers for row in range(len(part.answered)))
        values = [
            self._values(part, row, detail) for (part, row), detail in zip(places, details, strict=True)
        ]
        return orjson.dumps({"answers": values}, option=_AS_ARRAYS)

    def _values(self, answers: Answers, row: int, detail: str | None) -> dict[str, Any]:
        """Return what :class:`bodies.Answer` holds, with arrays in place of lists."""
        escalated = bool(answers.escalated[row])
        return {
            "prediction": answers.prediction[row],
            "route": ROUTES[escalated],
            "reasons": [ALL_REASONS[number] for number in answers.reasons[row].nonzero()[0].tolist()],
            "confidence": answers.confidence[row],
            "margin": answers.margin[row],
            "cosine": answers.gru_cosine[row] if escalated else answers.amn_cosine[row],
            "model": self._models[escalated],
            "status_detail": detail,
            **self._neighbours(answers, row),
        }

    def _neighbours(self, answers: Answers, row: int) -> dict[str, Any]:
        """Return the neighbours of a row that wants some."""
        found, wanted = answers.neighbours, answers.n_neighbours
        if found is None or wanted is None or not wanted[row]:
            return {}
        known = found.places[row] != NOWHERE
        values = self._bank.names(found.places[row][known]), found.cosines[row][known]
        return dict(zip(NEIGHBOUR_COLUMNS, values, strict=True))


def _overflow(place: Place) -> Refusal:
    return unusable(Problem(place, "is so large that float32 cannot hold its answer", "inf"))
