"""The two passes over a batch: the primary model on every row, the fallback on those that are escalated.

The rule: a row that is not ok takes part in nothing and comes out empty; every other row comes out with the
prediction of exactly one model. This module does not know where rows are read from or written to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lvm_batch.io.batches import BAD_INPUT, OK
from lvm_batch.io.predictions import NO_ROUTE, ROUTES, PredictionBlock
from lvm_batch.lvm.inference import row_cosines
from lvm_batch.lvm.routing import cap, shadow_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lvm_batch.io.batches import Batch
    from lvm_batch.jobs.stopwatch import Stopwatch
    from lvm_batch.lvm.cascade import Cascade

_AMN, _GRU = (ROUTES.index(name) for name in ("amn", "gru"))


@dataclass(frozen=True, slots=True)
class FirstPass:
    """Rows that the primary model has answered, on their way to the second pass; one batch, or several joined.

    ``targets`` is float32 (n, dim), NaN where a row has none. ``chosen`` marks the rows chosen for shadow
    evaluation. ``candidates`` are the rows that the fallback may have to answer, ``contexts`` their contexts.
    """

    carried: pa.Table
    targets: NDArray[np.float32] | None
    status: NDArray[np.int8]
    details: dict[int, str]
    prediction: NDArray[np.float32]
    confidence: NDArray[np.float32]
    margin: NDArray[np.float32]
    reasons: NDArray[np.bool_]
    chosen: NDArray[np.bool_]
    candidates: NDArray[np.int64]
    contexts: NDArray[np.float32]


def first_pass(
    batch: Batch, cascade: Cascade, *, key: str, shadow_rate: float, watch: Stopwatch
) -> FirstPass:
    """Answer a batch with the primary model and judge the answers.

    ``key`` names the file, for the choice of shadow rows. What is kept of the batch is copied: its arrays are
    reused by the reader.
    """
    with watch.timing("amn"):
        prediction = cascade.primary(batch.contexts)
    with watch.timing("bank"):
        judged = cascade.judge(prediction, lanes=batch.lanes, context_tokens=batch.context_tokens)
    usable = batch.status == OK
    reasons = judged.reasons & usable[:, None]
    rows = np.arange(batch.first_row, batch.first_row + batch.n_rows)
    chosen = usable & shadow_rows(key, rows, shadow_rate) & (cascade.fallback is not None)
    wanted = (reasons.any(axis=1) | chosen) & (cascade.fallback is not None)
    candidates = np.flatnonzero(wanted)
    return FirstPass(
        carried=batch.carried,
        targets=None if batch.targets is None else batch.targets.copy(),
        status=batch.status,
        details=batch.details,
        prediction=prediction,
        confidence=judged.confidence,
        margin=judged.margin,
        reasons=reasons,
        chosen=chosen,
        candidates=candidates,
        contexts=batch.contexts[candidates],
    )


def join(parts: Sequence[FirstPass]) -> FirstPass:
    """Put the rows of several batches behind one another."""
    starts = np.cumsum([0, *(len(part.status) for part in parts[:-1])]).tolist()

    def joined(name: str) -> Any:  # noqa: ANN401 - the type of the field of that name
        return np.concatenate([getattr(part, name) for part in parts])

    arrays = ("status", "prediction", "confidence", "margin", "reasons", "chosen", "contexts")
    return FirstPass(
        carried=pa.concat_tables([part.carried for part in parts]),
        targets=None if parts[0].targets is None else joined("targets"),
        details={
            start + row: text
            for start, part in zip(starts, parts, strict=True)
            for row, text in part.details.items()
        },
        candidates=np.concatenate(
            [start + part.candidates for start, part in zip(starts, parts, strict=True)]
        ),
        **{name: joined(name) for name in arrays},
    )


def second_pass(
    first: FirstPass, cascade: Cascade, *, cap_rate: float | None, watch: Stopwatch
) -> PredictionBlock:
    """Run the fallback on the rows that are escalated or shadowed, and settle every row's route.

    With ``cap_rate`` at most that fraction of the rows, but every high-stakes one, is escalated; a row that is turned
    down keeps its reasons.
    """
    usable = first.status == OK
    escalated = _escalated(first, cascade, usable, cap_rate)
    shadow = first.chosen & ~escalated
    second = np.full_like(first.prediction, np.nan)
    answering = (escalated | shadow)[first.candidates]
    with watch.timing("gru"):
        if cascade.fallback is not None and answering.any():
            second[first.candidates[answering]] = cascade.fallback(first.contexts[answering])
    with watch.timing("cosines"):
        amn_cosine, gru_cosine = _cosines(first.prediction, first.targets), _cosines(second, first.targets)
    prediction = np.where(escalated[:, None], second, first.prediction)
    overflown = np.flatnonzero(usable & ~np.isfinite(prediction.sum(axis=1)))
    status = first.status.copy()
    status[overflown] = BAD_INPUT
    usable = status == OK
    return PredictionBlock(
        carried=first.carried,
        prediction=np.where(usable[:, None], prediction, np.float32(np.nan)),
        cosine=_known(np.where(escalated, gru_cosine, amn_cosine), usable),
        route=np.where(usable, np.where(escalated, _GRU, _AMN), NO_ROUTE).astype(np.int8),
        reasons=first.reasons & usable[:, None],
        confidence=_known(first.confidence, usable),
        margin=_known(first.margin, usable),
        amn_cosine=_known(amn_cosine, usable),
        gru_cosine=_known(gru_cosine, usable),
        shadow=shadow & usable,
        status=status,
        details=first.details | dict.fromkeys(overflown.tolist(), "inf"),
    )


def _escalated(
    first: FirstPass, cascade: Cascade, usable: NDArray[np.bool_], cap_rate: float | None
) -> NDArray[np.bool_]:
    if cascade.fallback is None:
        return np.zeros(len(usable), np.bool_)
    if cap_rate is None:
        return np.asarray(first.reasons.any(axis=1))
    return cap(first.reasons, first.confidence, max_rate=cap_rate, eligible=usable)


def _cosines(predictions: NDArray[np.float32], targets: NDArray[np.float32] | None) -> NDArray[np.float32]:
    if targets is None:
        return np.full(len(predictions), np.nan, np.float32)
    return row_cosines(predictions, targets)


def _known(values: NDArray[np.float32], usable: NDArray[np.bool_]) -> NDArray[np.float32]:
    return np.where(usable, values, np.float32(np.nan))
