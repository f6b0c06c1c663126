"""The rows of requests, and the models' answers to them.

The rule: a row gets the answer that a run gives it: the same cascade, the same criteria, the same refusal of what
float32 cannot hold. There is no cap and no shadow evaluation, which are about rows taken together.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from lvm_batch.lvm.inference.cosines import cosines_with, has_unit_norm

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from lvm_batch.lvm.inference.cascade import Cascade, Judgement
    from lvm_batch.lvm.search.neighbours import Neighbours


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows as requests bring them.

    ``contexts`` is float32 (n, length, dim), finite; ``lanes`` holds n strings or ``None``.

    ``context_tokens`` is float64 (n,), NaN where not known; ``targets`` is float32 (n, dim), NaN where there is none.
    ``usable`` is bool (n,): a row that is not usable keeps its place and gets no answer. ``n_neighbours`` is int64
    (n,), how many vectors of the bank each row wants named, ``None`` for none of all.
    """

    contexts: NDArray[np.float32]
    lanes: Sequence[str | None]
    context_tokens: NDArray[np.float64]
    targets: NDArray[np.float32] | None
    usable: NDArray[np.bool_]
    n_neighbours: NDArray[np.int64] | None = None

    @property
    def most_neighbours(self) -> int:
        """How many neighbours the row wants that wants most."""
        return 0 if self.n_neighbours is None else int(self.n_neighbours.max(initial=0))

    def __len__(self) -> int:
        return len(self.contexts)


def joined(groups: Sequence[Rows]) -> Rows:
    """Join the rows of several requests."""
    if len(groups) == 1:
        return groups[0]
    return Rows(
        np.concatenate([rows.contexts for rows in groups]),
        [lane for rows in groups for lane in rows.lanes],
        np.concatenate([rows.context_tokens for rows in groups]),
        _joined_targets(groups),
        np.concatenate([rows.usable for rows in groups]),
        _joined_wishes(groups),
    )


def _joined_wishes(groups: Sequence[Rows]) -> NDArray[np.int64] | None:
    if all(rows.n_neighbours is None for rows in groups):
        return None
    return np.concatenate(
        [np.zeros(len(rows), np.int64) if rows.n_neighbours is None else rows.n_neighbours for rows in groups]
    )


def _joined_targets(groups: Sequence[Rows]) -> NDArray[np.float32] | None:
    if all(rows.targets is None for rows in groups):
        return None
    shape = groups[0].contexts.shape[2]
    return np.concatenate(
        [
            np.full((len(rows), shape), np.nan, np.float32) if rows.targets is None else rows.targets
            for rows in groups
        ]
    )


@dataclass(frozen=True, slots=True)
class Answers:
    """What the models answer to n rows; a float that is not known is NaN.

    ``prediction`` is float32 (n, dim) of unit norm; ``escalated`` (n,) marks those of the fallback; ``reasons`` is bool
    (n, reasons), in the order of ``Answerer.reasons``. ``answered`` (n,) is false for rows that were not usable, and
    for those so large that float32 could not hold their answer. ``neighbours`` are (n, k), fewer where a row wants
    fewer, ``None`` if no row wants any.
    """

    prediction: NDArray[np.float32]
    escalated: NDArray[np.bool_]
    reasons: NDArray[np.bool_]
    confidence: NDArray[np.float32]
    margin: NDArray[np.float32]
    amn_cosine: NDArray[np.float32]
    gru_cosine: NDArray[np.float32]
    answered: NDArray[np.bool_]
    neighbours: Neighbours | None = None
    n_neighbours: NDArray[np.int64] | None = None

    @property
    def cosine(self) -> NDArray[np.float32]:
        """Cosine of each prediction with its target, float32 (n,)."""
        return np.where(self.escalated, self.gru_cosine, self.amn_cosine)

    def divided(self, sizes: Sequence[int]) -> Iterator[Answers]:
        """Yield the answers of each request, of ``sizes`` rows."""
        if len(sizes) == 1:
            yield self
            return
        start = 0
        for size in sizes:
            part = slice(start, start + size)
            yield Answers(*(_taken(getattr(self, field.name), part) for field in fields(self)))
            start += size


def _taken(column: Any, part: slice) -> Any:  # noqa: ANN401 - whatever answers hold
    return None if column is None else column[part]


@dataclass(frozen=True, slots=True)
class PrimaryAnswers:
    """Rows that the primary model has answered; ``escalated`` marks those that the fallback is to answer."""

    rows: Rows
    prediction: NDArray[np.float32]
    judgement: Judgement
    escalated: NDArray[np.bool_]


class Answerer:
    """Answers rows in two steps, of which the second takes long if a row is escalated."""

    def __init__(self, cascade: Cascade) -> None:
        self._cascade = cascade
        self.reasons = cascade.reasons

    def __call__(self, rows: Rows) -> Answers:
        """Answer rows."""
        return self.settle(self.judge(rows))

    def judge(self, rows: Rows) -> PrimaryAnswers:
        """Run the primary model, and choose the rows to escalate."""
        with np.errstate(over="ignore", invalid="ignore"):  # the norm shows what float32 cannot hold
            prediction = self._cascade.primary(rows.contexts)
        judgement = self._cascade.judge(
            prediction,
            rows.contexts,
            lanes=rows.lanes,
            context_tokens=rows.context_tokens,
            usable=rows.usable,
            n_neighbours=rows.most_neighbours,
        )
        return PrimaryAnswers(rows, prediction, judgement, self._cascade.escalated(judgement))

    def settle(self, primary: PrimaryAnswers) -> Answers:
        """Run the fallback on the escalated rows, and put the answers together."""
        rows, prediction = primary.rows, primary.prediction
        amn_cosine = cosines_with(prediction, rows.targets)
        gru_cosine = np.full(len(rows), np.nan, np.float32)
        if self._cascade.fallback is not None and primary.escalated.any():
            places = np.flatnonzero(primary.escalated)
            prediction[places] = self._cascade.fallback(np.ascontiguousarray(rows.contexts[places]))
            targets = None if rows.targets is None else rows.targets[places]
            gru_cosine[places] = cosines_with(prediction[places], targets)
        answered = rows.usable & has_unit_norm(prediction)
        return Answers(
            prediction=prediction,
            escalated=primary.escalated,
            reasons=primary.judgement.reasons,
            confidence=primary.judgement.confidence,
            margin=primary.judgement.margin,
            amn_cosine=amn_cosine,
            gru_cosine=gru_cosine,
            answered=answered,
            neighbours=self._neighbours(primary, answered),
            n_neighbours=rows.n_neighbours,
        )

    def _neighbours(self, primary: PrimaryAnswers, answered: NDArray[np.bool_]) -> Neighbours | None:
        """Return the neighbours of the predictions, which are the fallback's by now where rows are escalated."""
        rows, found = primary.rows, primary.judgement.neighbours
        if rows.n_neighbours is None:
            return None
        k = rows.most_neighbours
        places = np.flatnonzero(primary.escalated & (rows.n_neighbours > 0))
        if len(places):
            contexts = np.ascontiguousarray(rows.contexts[places])
            found.put(places, self._cascade.neighbours(primary.prediction[places], contexts, k))
        wanted = (np.arange(k) < rows.n_neighbours[:, np.newaxis]) & answered[:, np.newaxis]
        return found.kept(wanted)
