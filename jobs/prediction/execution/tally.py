"""What is counted while a unit is written: the body of its commit record, and of the summary.

The rule: a tally is a sum, so that the tallies of blocks add up to a unit's and those of units to a job's,
whatever the order. Means are made at the very end.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from lvm_batch.io.dataset.batches import text_values
from lvm_batch.io.dataset.column_checks import is_text
from lvm_batch.io.schema import OK, ROUTES, SPLITS, STATUSES
from lvm_batch.lvm.inference.routing import REASONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pyarrow as pa
    from numpy.typing import NDArray

    from lvm_batch.io.output.writer import PredictionBlock

SHOWN_BAD_ROWS = 20

NOTHING = {"n": 0, "sum": 0.0}
"""The sums of no values."""

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
        "cosine_by_split": {},
        "cosine_by_route": {},
        "escalation_gain": _squares_too(()),
        "shadow_gain": _squares_too(()),
        "confidence": _sums(()),
        "margin": _sums(()),
        "bad_rows": [],
    }


def tally_block(block: PredictionBlock, first_row: int, *, split_column: str = "split") -> Tally:
    """Count one block, whose first row is ``first_row`` of its file.

    ``split_column`` is the carried column, if there is one, that says which rows are ``in_dist`` and which ``ood``.
    """
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
        "cosine_by_split": _sums_by_part(block.cosine, _splits(block.carried, split_column)),
        "cosine_by_route": _sums_by_part(
            block.cosine, {name: block.route == code for code, name in enumerate(ROUTES)}
        ),
        "escalation_gain": _squares_too(gain[routed]),
        "shadow_gain": _squares_too(gain[block.shadow]),
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
            _add(total.setdefault(name, {}), value)
        else:
            total[name] = total.get(name, 0) + value


def mean(sums: Mapping[str, float]) -> float | None:
    """Return the mean of what was summed, or ``None`` of nothing."""
    return sums["sum"] / sums["n"] if sums["n"] else None


def deviation(sums: Mapping[str, float]) -> float | None:
    """Return the standard deviation (of a sample, n - 1) of what was summed with its squares.

    ``None`` of fewer than two values, and where squares of some are missing: older records have none.
    """
    n = sums["n"]
    if n < 2 or sums["n_squares"] != n:  # noqa: PLR2004 - one value has no deviation
        return None
    return float(np.sqrt(max(0.0, sums["squares"] - sums["sum"] ** 2 / n) / (n - 1)))


def _splits(carried: pa.Table, column: str) -> dict[str, NDArray[np.bool_]]:
    """Return the rows of each split, (n,) bool; none where there is no column of texts that says it."""
    if column not in carried.column_names:
        return {}
    values = carried[column]
    if not is_text(values.type):
        return {}
    texts = text_values(values)
    return {name: np.asarray(texts == name, np.bool_) for name in SPLITS}


def _sums_by_part(
    values: NDArray[np.float32], parts: Mapping[str, NDArray[np.bool_]]
) -> dict[str, dict[str, float]]:
    """Sum each part that has values; of very many units the others would take memory at the driver."""
    sums = {name: _sums(values[rows]) for name, rows in parts.items()}
    return {name: part for name, part in sums.items() if part["n"]}


def _sums(values: NDArray[np.float32] | tuple[()]) -> dict[str, float]:
    known = _known(values)
    return {"n": len(known), "sum": float(known.sum())}


def _squares_too(values: NDArray[np.float32] | tuple[()]) -> dict[str, float]:
    """Sum squares too; they are counted by themselves, as records of older versions have none."""
    known = _known(values)
    return _sums(values) | {"n_squares": len(known), "squares": float((known**2).sum())}


def _known(values: NDArray[np.float32] | tuple[()]) -> NDArray[np.float64]:
    """What is known, in float64."""
    floats = np.asarray(values, np.float64)
    return floats[~np.isnan(floats)]


def _kind_of(detail: str) -> str:
    """``nan: position 17`` and ``nan`` are of one kind; so are all wrong lengths."""
    return detail.partition(":")[0]
