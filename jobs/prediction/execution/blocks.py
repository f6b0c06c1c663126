"""Blocks of the output, made of batches that both models have answered.

The rule: a row that is not ok has a status and its reason, and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from lvm_batch.io.output.writer import PredictionBlock
from lvm_batch.io.schema import BAD_INPUT, NO_ROUTE, OK, ROUTES
from lvm_batch.lvm.inference.cosines import has_unit_norm
from lvm_batch.lvm.search.neighbours import NOWHERE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lvm_batch.jobs.prediction.execution.passes import AnsweredBatch

_AMN, _GRU = (ROUTES.index(name) for name in ("amn", "gru"))


def make_block(parts: Sequence[AnsweredBatch]) -> PredictionBlock:
    """Join batches that both models have answered to one block of the output."""

    def join(name: str) -> NDArray[np.float32]:
        return np.concatenate([getattr(part, name) for part in parts])

    starts = np.cumsum([0, *(len(part.status) for part in parts[:-1])]).tolist()
    details = {
        start + row: text
        for start, part in zip(starts, parts, strict=True)
        for row, text in part.details.items()
    }
    status = np.concatenate([part.status for part in parts])
    escalated = np.concatenate([part.escalated for part in parts])
    prediction = join("prediction")
    overflown = np.flatnonzero((status == OK) & ~has_unit_norm(prediction))
    status[overflown] = BAD_INPUT
    usable = status == OK
    prediction[~usable] = np.nan
    amn_cosine, gru_cosine = join("amn_cosine"), join("gru_cosine")
    return PredictionBlock(
        carried=pa.concat_tables([part.carried for part in parts]),
        prediction=prediction,
        cosine=_known(np.where(escalated, gru_cosine, amn_cosine), usable),
        route=np.where(usable, np.where(escalated, _GRU, _AMN), NO_ROUTE).astype(np.int8),
        reasons=np.concatenate([part.reasons for part in parts]) & usable[:, None],
        confidence=_known(join("confidence"), usable),
        margin=_known(join("margin"), usable),
        amn_cosine=_known(amn_cosine, usable),
        gru_cosine=_known(gru_cosine, usable),
        shadow=np.concatenate([part.chosen & ~part.escalated for part in parts]) & usable,
        status=status,
        context_cosine=_known(join("context_cosine"), usable),
        neighbour_places=np.where(
            usable[:, None], np.concatenate([part.neighbours.places for part in parts]), NOWHERE
        ),
        neighbour_cosines=np.concatenate([part.neighbours.cosines for part in parts]),
        details=details | dict.fromkeys(overflown.tolist(), "inf"),
    )


def _known(values: NDArray[np.float32], usable: NDArray[np.bool_]) -> NDArray[np.float32]:
    return np.where(usable, values, np.float32(np.nan))
