"""What is counted while a unit is written: the body of its commit record, and of the summary.

The rule: a tally is a sum, so that the tallies of blocks add up to a unit's and those of units to a job's,
whatever the order. Means are made at the very end.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from lvm_batch.io.batches import OK, STATUSES
from lvm_batch.io.predictions import ROUTES
from lvm_batch.lvm.routing import REASONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from lvm_batch.io.predictions import PredictionBlock

SHOWN_BAD_ROWS = 20

Tally = dict[str, Any]


def empty_tally() -> Tally:
    """A tally of no rows."""
    return {
        "rows_out": 0,
        "rows_by_route": dict.fromkeys(ROUTES, 0),
        "rows_by_reason": dict.fromkeys(REASONS, 0),
        "rows_by_status": dict.fromkeys(STATUSES, 0),
        "rows_by_detail": {},
        "rows_with_reasons": 0,
        "shadow_rows": 0,
        "cosine": _sums(()),
        "amn_cosine": _sums(()),
        "gru_cosine": _sums(()),
        "escalation_gain": _sums(()),
        "shadow_gain": _sums(()),
        "confidence": _sums(()),
        "margin": _sums(()),
        "bad_rows": [],
    }


def tally_block(block: PredictionBlock, first_row: int) -> Tally:
    """Count one block, whose first row is ``first_row`` of its file."""
    routed = block.route == ROUTES.index("gru")
    gain = block.gru_cosine - block.amn_cosine
    bad = [(row, text) for row, text in sorted(block.details.items()) if block.status[row] != OK]
    return {
        "rows_out": len(block.status),
        "rows_by_route": {name: int((block.route == code).sum()) for code, name in enumerate(ROUTES)},
        "rows_by_reason": dict(zip(REASONS, block.reasons.sum(axis=0).tolist(), strict=True)),
        "rows_by_status": {name: int((block.status == code).sum()) for code, name in enumerate(STATUSES)},
        "rows_by_detail": dict(Counter(_kind_of(text) for text in block.details.values())),
        "rows_with_reasons": int(block.reasons.any(axis=1).sum()),
        "shadow_rows": int(block.shadow.sum()),
        "cosine": _sums(block.cosine),
        "amn_cosine": _sums(block.amn_cosine),
        "gru_cosine": _sums(block.gru_cosine),
        "escalation_gain": _sums(gain[routed]),
        "shadow_gain": _sums(gain[block.shadow]),
        "confidence": _sums(block.confidence),
        "margin": _sums(block.margin),
        "bad_rows": [{"row": first_row + row, "detail": text} for row, text in bad[:SHOWN_BAD_ROWS]],
    }


def add_tallies(tallies: Iterable[Mapping[str, Any]]) -> Tally:
    """Add tallies up; of bad rows the first few are kept."""
    total = empty_tally()
    for tally in tallies:
        _add(total, tally)
    return total


def _add(total: Tally, tally: Mapping[str, Any]) -> None:
    for name, value in tally.items():
        if name == "bad_rows":
            total[name] = (total[name] + list(value))[:SHOWN_BAD_ROWS]
        elif isinstance(value, dict):
            for key, amount in value.items():
                total[name][key] = total[name].get(key, 0) + amount
        else:
            total[name] += value


def mean(sums: Mapping[str, float]) -> float | None:
    """Return the mean of what was summed, or ``None`` of nothing."""
    return sums["sum"] / sums["n"] if sums["n"] else None


def _sums(values: NDArray[np.float32] | tuple[()]) -> dict[str, float]:
    """Sum what is known, in float64."""
    known = np.asarray(values, np.float64)
    known = known[~np.isnan(known)]
    return {"n": len(known), "sum": float(known.sum())}


def _kind_of(detail: str) -> str:
    """``nan: position 17`` and ``nan`` are of one kind; so are all wrong lengths."""
    return detail.partition(":")[0]
