"""Counts blocks of predictions: what a unit's commit record says of its rows.

The rule: every tally names every route, reason and status, so that a file without rows is described like any other.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from lvm_batch.io.dataset.batches import text_values
from lvm_batch.io.dataset.column_checks import is_text
from lvm_batch.io.output.tally import (
    SHOWN_BAD_ROWS,
    BadRow,
    SquareSums,
    Sums,
    SumsByPart,
    Tally,
    add_tallies,
)
from lvm_batch.io.schema import OK, ROUTES, SPLITS, STATUSES
from lvm_batch.lvm.inference.routing import REASONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from lvm_batch.io.output.writer import PredictionBlock


def empty_tally() -> Tally:
    """Return the tally of no rows."""
    return Tally(
        rows_out=0,
        rows_by_route=dict.fromkeys(ROUTES, 0),
        rows_by_reason=dict.fromkeys(REASONS, 0),
        rows_by_status=dict.fromkeys(STATUSES, 0),
    )


def total_of(tallies: Iterable[Tally]) -> Tally:
    """Add tallies up, beginning from none."""
    return add_tallies((empty_tally(), *tallies))


def tally_block(
    block: PredictionBlock,
    first_row: int,
    *,
    reasons: Sequence[str] = REASONS,
    split_column: str = "split",
) -> Tally:
    """Count one block, whose first row is ``first_row`` of its file and whose reasons are ``reasons``, in their order.

    ``split_column`` is the carried column, if there is one, that says which rows are ``in_dist`` and which ``ood``.
    """
    gain = block.gru_cosine - block.amn_cosine
    routes = {name: block.route == code for code, name in enumerate(ROUTES)}
    return Tally(
        rows_out=len(block.status),
        rows_by_route={name: int(rows.sum()) for name, rows in routes.items()},
        rows_by_reason=dict(zip(reasons, block.reasons.sum(axis=0).tolist(), strict=True)),
        rows_by_status={name: int((block.status == code).sum()) for code, name in enumerate(STATUSES)},
        rows_by_detail=dict(Counter(_kind_of(text) for text in block.details.values())),
        rows_with_reasons=int(block.reasons.any(axis=1).sum()),
        shadow_rows=int(block.shadow.sum()),
        cosine=_sums(block.cosine),
        amn_cosine=_sums(block.amn_cosine),
        gru_cosine=_sums(block.gru_cosine),
        cosine_by_split=_sums_by_part(block.cosine, _splits(block.carried, split_column)),
        cosine_by_route=_sums_by_part(block.cosine, routes),
        escalation_gain=_square_sums(gain[routes["gru"]]),
        shadow_gain=_square_sums(gain[block.shadow]),
        context_gain=_context_gain(block),
        confidence=_sums(block.confidence),
        margin=_sums(block.margin),
        bad_rows=_bad_rows(block, first_row),
    )


def _context_gain(block: PredictionBlock) -> SquareSums:
    """Sum the cosine less that of the context's mean, over the rows where both are known."""
    measured = block.context_cosine
    return _square_sums(block.cosine[: len(measured)] - measured)


def _bad_rows(block: PredictionBlock, first_row: int) -> tuple[BadRow, ...]:
    bad = [(row, text) for row, text in sorted(block.details.items()) if block.status[row] != OK]
    return tuple(BadRow(first_row + row, text) for row, text in bad[:SHOWN_BAD_ROWS])


def _splits(carried: pa.Table, column: str) -> dict[str, NDArray[np.bool_]]:
    """Return the rows of each split, (n,) bool; none if there is no text column of splits."""
    if column not in carried.column_names:
        return {}
    values = carried[column]
    if not is_text(values.type):
        return {}
    texts = text_values(values)
    return {name: np.asarray(texts == name, np.bool_) for name in SPLITS}


def _sums_by_part(values: NDArray[np.float32], parts: Mapping[str, NDArray[np.bool_]]) -> SumsByPart:
    """Sum each part that has values; of very many units the others would take memory at the driver."""
    sums = {name: _sums(values[rows]) for name, rows in parts.items()}
    return {name: part for name, part in sums.items() if part.n}


def _sums(values: NDArray[np.float32]) -> Sums:
    known = _known(values)
    return Sums(len(known), float(known.sum()))


def _square_sums(values: NDArray[np.float32]) -> SquareSums:
    known = _known(values)
    return SquareSums(len(known), float(known.sum()), len(known), float((known**2).sum()))


def _known(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the values that are known, in float64."""
    floats = np.asarray(values, np.float64)
    return floats[~np.isnan(floats)]


def _kind_of(detail: str) -> str:
    """``nan: position 17`` and ``nan`` are of one kind; so are all wrong lengths."""
    return detail.partition(":")[0]
