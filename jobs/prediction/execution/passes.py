"""The two passes over a unit's rows: the primary model on every row, the fallback on those that are escalated.

The rule: a row that is not ok takes no part in anything and comes out empty; every other row comes out with the
prediction of exactly one model. Only rows that the fallback may have to answer keep their contexts, and only until it
has answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lvm_batch.io.schema import OK
from lvm_batch.jobs.prediction.batching import FALLBACK_ROWS
from lvm_batch.jobs.prediction.execution.context_means import context_cosines
from lvm_batch.lvm.inference.cosines import cosines_with
from lvm_batch.lvm.inference.routing import cap, shadow_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from lvm_batch.io.bank.keys import BankKeys
    from lvm_batch.io.dataset.batches import Batch
    from lvm_batch.jobs.prediction.execution.stopwatch import Stopwatch
    from lvm_batch.lvm.inference.cascade import Cascade
    from lvm_batch.lvm.search.neighbours import Neighbours


@dataclass(frozen=True, slots=True)
class Candidates:
    """Rows of a batch that the fallback may have to answer.

    ``rows`` (k,) are places within the batch; ``contexts`` is float32 (k, length, dim), ``targets`` float32 (k, dim).
    ``numbers`` int64 (k, length) tell where the contexts stand, if the bank knows.
    """

    rows: NDArray[np.int64]
    contexts: NDArray[np.float32]
    targets: NDArray[np.float32] | None
    numbers: NDArray[np.int64] | None = None

    def __getitem__(self, some: NDArray[np.bool_] | NDArray[np.int64]) -> Candidates:
        return Candidates(
            self.rows[some],
            self.contexts[some],
            None if self.targets is None else self.targets[some],
            None if self.numbers is None else self.numbers[some],
        )

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(slots=True)
class AnsweredBatch:
    """A batch that the primary model has answered.

    ``chosen`` marks the rows chosen for shadow evaluation. ``candidates`` is ``None`` if no row may go to the fallback,
    and after it has answered: then ``prediction`` and ``gru_cosine`` hold its answers, and ``escalated`` marks the rows
    whose prediction is the fallback's. ``expected_gain`` is ``None`` without a router.
    """

    carried: pa.Table
    status: NDArray[np.int8]
    details: dict[int, str]
    prediction: NDArray[np.float32]
    confidence: NDArray[np.float32]
    margin: NDArray[np.float32]
    reasons: NDArray[np.bool_]
    chosen: NDArray[np.bool_]
    escalated: NDArray[np.bool_]
    amn_cosine: NDArray[np.float32]
    gru_cosine: NDArray[np.float32]
    context_cosine: NDArray[np.float32]
    neighbours: Neighbours
    candidates: Candidates | None
    expected_gain: NDArray[np.float32] | None = None


def first_pass(
    batch: Batch,
    cascade: Cascade,
    *,
    key: str,
    shadow_rate: float,
    watch: Stopwatch,
    n_neighbours: int = 0,
    bank_keys: BankKeys | None = None,
) -> AnsweredBatch:
    """Answer a batch with the primary model and judge the answers, which get ``n_neighbours`` of the bank.

    ``bank_keys`` tell where the bank's vectors stand in their articles, if that is to be compared. ``key`` names the
    file, and with the row's number decides which rows are shadowed. Contexts and targets that are kept are copied,
    because the reader reuses the batch's arrays.
    """
    usable = batch.status == OK
    with watch.timing("amn"):
        prediction = cascade.primary(batch.contexts)
    with watch.timing("bank"):
        numbers = bank_keys.of_contexts(batch.places) if bank_keys and batch.places else None
        judged = cascade.judge(
            prediction,
            batch.contexts,
            numbers=numbers,
            lanes=batch.lanes,
            context_tokens=batch.context_tokens,
            usable=usable,
            n_neighbours=n_neighbours,
        )
    with watch.timing("cosines"):
        amn_cosine = cosines_with(prediction, batch.targets)
        context_cosine = context_cosines(batch)
    rows = np.arange(batch.first_row, batch.first_row + batch.n_rows)
    chosen = usable & shadow_rows(key, rows, shadow_rate) & (cascade.fallback is not None)
    return AnsweredBatch(
        carried=batch.carried,
        status=batch.status,
        details=batch.details,
        prediction=prediction,
        confidence=judged.confidence,
        margin=judged.margin,
        reasons=judged.reasons,
        chosen=chosen,
        escalated=np.zeros(batch.n_rows, np.bool_),
        amn_cosine=amn_cosine,
        gru_cosine=np.full(batch.n_rows, np.nan, np.float32),
        context_cosine=context_cosine,
        neighbours=judged.neighbours,
        candidates=_candidates(batch, np.flatnonzero(cascade.escalated(judged) | chosen), numbers),
        expected_gain=judged.expected_gain,
    )


def _candidates(
    batch: Batch, rows: NDArray[np.int64], numbers: NDArray[np.int64] | None
) -> Candidates | None:
    every = Candidates(np.arange(batch.n_rows), batch.contexts, batch.targets, numbers)
    return every[rows] if len(rows) else None


def second_pass(
    parts: Sequence[AnsweredBatch], cascade: Cascade, *, cap_rate: float | None, watch: Stopwatch
) -> None:
    """Run the fallback on the rows of ``parts`` that are escalated or shadowed, and release their contexts.

    With ``cap_rate``, at most that fraction of all rows is escalated, but every high-stakes row is; a row that the cap
    turns down keeps its reasons.
    """
    if cascade.fallback is not None:
        for part, escalated in zip(parts, _choose_escalated(parts, cap_rate), strict=True):
            part.escalated = escalated
        _answer(parts, cascade, watch)


def _choose_escalated(parts: Sequence[AnsweredBatch], cap_rate: float | None) -> list[NDArray[np.bool_]]:
    if cap_rate is None:
        return [np.asarray(part.reasons.any(axis=1)) for part in parts]
    gains = [part.expected_gain for part in parts if part.expected_gain is not None]
    escalated = cap(
        np.concatenate([part.reasons for part in parts]),
        np.concatenate([part.confidence for part in parts]),
        max_rate=cap_rate,
        eligible=np.concatenate([part.status for part in parts]) == OK,
        expected_gain=np.concatenate(gains) if gains else None,
    )
    return np.split(escalated, np.cumsum([len(part.status) for part in parts[:-1]]))


def _answer(parts: Sequence[AnsweredBatch], cascade: Cascade, watch: Stopwatch) -> None:
    assert cascade.fallback is not None  # noqa: S101 - checked by the caller
    for group in _group_candidates(parts):
        every = [candidates.contexts for _, candidates in group]
        contexts = every[0] if len(every) == 1 else np.concatenate(every)
        with watch.timing("gru"):
            answers = cascade.fallback(contexts)
            starts = np.cumsum([len(candidates) for _, candidates in group[:-1]])
            for (part, candidates), second in zip(group, np.split(answers, starts), strict=True):
                _settle(part, candidates, second)
        with watch.timing("bank"):
            _find_neighbours(group, answers, contexts, cascade)


def _group_candidates(parts: Sequence[AnsweredBatch]) -> Iterator[list[tuple[AnsweredBatch, Candidates]]]:
    """Yield the candidates to answer, in groups of ``FALLBACK_ROWS`` or more; the last group may be smaller."""
    group: list[tuple[AnsweredBatch, Candidates]] = []
    for part in parts:
        if (wanted := _select_candidates(part)) is not None:
            group.append((part, wanted))
        part.candidates = None
        if sum(len(candidates) for _, candidates in group) >= FALLBACK_ROWS:
            yield group
            group = []
    if group:
        yield group


def _select_candidates(part: AnsweredBatch) -> Candidates | None:
    """Return the candidates that are escalated or shadowed: all of them, unless there is a cap."""
    candidates = part.candidates
    if candidates is None:
        return None
    wanted = (part.escalated | part.chosen)[candidates.rows]
    if not wanted.any():
        return None
    return candidates if wanted.all() else candidates[wanted]


def _settle(part: AnsweredBatch, candidates: Candidates, second: NDArray[np.float32]) -> None:
    part.gru_cosine[candidates.rows] = cosines_with(second, candidates.targets)
    routed = part.escalated[candidates.rows]
    part.prediction[candidates.rows[routed]] = second[routed]


def _find_neighbours(
    group: Sequence[tuple[AnsweredBatch, Candidates]],
    answers: NDArray[np.float32],
    contexts: NDArray[np.float32],
    cascade: Cascade,
) -> None:
    """Replace the neighbours of rows whose prediction is the fallback's; all of a group are searched for together."""
    k = group[0][0].neighbours.places.shape[1]
    routed = [part.escalated[candidates.rows] for part, candidates in group]
    chosen = np.concatenate(routed)
    if not k or not chosen.any():
        return
    numbers = [candidates.numbers for _, candidates in group if candidates.numbers is not None]
    own = np.concatenate(numbers)[chosen] if numbers else None
    found = cascade.neighbours(answers[chosen], contexts[chosen], k, numbers=own)
    ends = np.cumsum([int(rows.sum()) for rows in routed])
    for (part, candidates), rows, end in zip(group, routed, ends.tolist(), strict=True):
        part.neighbours.put(candidates.rows[rows], found[end - int(rows.sum()) : end])
