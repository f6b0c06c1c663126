"""The rows that are escalated to the fallback model, and the reasons.

The rule: every decision depends on a row's own values and its place in its file, never on its batch (a cap depends on
the rows that are passed together). Needs numpy alone.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from lvm_batch.lvm.inference.thresholds import Thresholds

    Flags = npt.NDArray[np.bool_]
    Floats = npt.NDArray[np.float32]

REASONS = ("low_confidence", "high_stakes_lane", "long_context", "low_margin")
"""The escalation criteria of the models' cards, in the order of the columns of ``escalation_reasons``."""

EXPECTED_GAIN = "expected_gain"
"""The reason that a fitted router adds, in the column after those of ``REASONS``."""

ALL_REASONS = (*REASONS, EXPECTED_GAIN)

_HIGH_STAKES = REASONS.index("high_stakes_lane")
_ROUNDING = 1e-9  # 0.29 * 100 is 28.999999999999996 in float64, and it means 29 rows


def escalation_reasons(
    thresholds: Thresholds,
    n_rows: int,
    *,
    confidence: Floats | None = None,
    margin: Floats | None = None,
    lanes: Sequence[str | None] | npt.NDArray[np.object_] | None = None,
    context_tokens: npt.NDArray[np.float64] | None = None,
) -> Flags:
    """Evaluate the four criteria of the models' cards.

    ``confidence`` and ``margin`` are float32 (n,), compared in float32; ``lanes`` holds strings or None;
    ``context_tokens`` is float64 (n,). NaN or None means "not known", an argument left out "not known for any row": the
    criterion is then false. Returns bool (n_rows, 4) with the columns of ``REASONS``.
    """
    reasons = np.zeros((n_rows, len(REASONS)), dtype=np.bool_)
    if confidence is not None:
        reasons[:, 0] = confidence < np.float32(thresholds.min_confidence)
    if lanes is not None:
        high_stakes = frozenset(thresholds.high_stakes_lanes)
        reasons[:, 1] = np.fromiter((lane in high_stakes for lane in lanes), np.bool_, n_rows)
    if context_tokens is not None:
        reasons[:, 2] = context_tokens > thresholds.max_context_tokens
    if margin is not None:
        reasons[:, 3] = margin < np.float32(thresholds.min_margin)
    return reasons


def cap(
    reasons: Flags,
    confidence: Floats | None,
    *,
    max_rate: float,
    eligible: Flags,
    expected_gain: Floats | None = None,
) -> Flags:
    """Choose the rows to escalate if at most ``max_rate`` of the eligible rows may be.

    Every high-stakes row is escalated, even above the budget. The rest of the budget goes to the rows with the largest
    ``expected_gain``, float32 (n,), or else, without a router, to the least confident rows. Rows of which that is not
    known come last, and of equal rows the earlier one comes first. ``reasons`` is bool (n, 4 or 5), ``confidence``
    float32 (n,) or None without a bank, ``eligible`` bool (n,): the rows that have a prediction. Returns bool (n,).
    """
    wanted = reasons.any(axis=1) & eligible
    chosen = wanted & reasons[:, _HIGH_STAKES]
    budget = rows_in(max_rate, int(eligible.sum()))
    others = np.flatnonzero(wanted & ~chosen)
    order = confidence if expected_gain is None else -expected_gain
    if order is not None:
        others = others[np.argsort(order[others], kind="stable")]  # numpy sorts NaN last
    chosen[others[: max(0, budget - int(chosen.sum()))]] = True
    return chosen


def rows_in(share: float, n_rows: int) -> int:
    """Return how many whole rows make up at most a share of ``n_rows``."""
    return math.floor(share * n_rows + _ROUNDING)


def shadow_rows(key: str, rows: npt.NDArray[np.int64], rate: float) -> Flags:
    """Choose rows for shadow evaluation, each with probability ``rate``, by a hash of their place.

    ``key`` names the file, ``rows`` int64 (n,) are row numbers in it. The hash is SplitMix64 (Steele, Lea and Flood
    2014) of the row number, seeded with a digest of the key. Returns bool (n,), the same for any division into batches.
    """
    start = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")
    uniform = (_splitmix64(rows.astype(np.uint64), start) >> np.uint64(11)) * 2.0**-53
    return np.asarray(uniform < rate)


def _splitmix64(steps: npt.NDArray[np.uint64], start: int) -> npt.NDArray[np.uint64]:
    """Return the outputs of SplitMix64 at the given steps after ``start``, uint64 (n,); products wrap around."""
    state = (steps + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(start)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
