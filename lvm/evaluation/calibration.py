"""The calibration of confidence and margin: how they relate to the true cosine, and the gain of escalation by them.

The rule: a gain is the rise of the mean cosine over all rows if the fallback predicts the chosen rows. The figures
describe the given rows themselves; ``threshold_search`` judges on other rows. Needs numpy alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lvm_batch.lvm.inference.routing import rows_in

if TYPE_CHECKING:
    import numpy.typing as npt

    Values = npt.NDArray[np.float64]
    Floats = npt.NDArray[np.float32]
    Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class CalibrationRows:
    """Rows that both models have predicted; every value is finite except in ``margin`` and ``confidence``.

    ``primary`` and ``fallback`` are each model's cosine with the target, float64 (n,); ``confidence`` and ``margin``
    are float32 (n,) as the routing policy measures them, NaN if not known. ``escalated_anyway`` marks rows that
    are escalated for other reasons. ``articles`` are int64 (n,).
    """

    primary: Values
    fallback: Values
    confidence: Floats
    margin: Floats
    escalated_anyway: Flags
    articles: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.primary)

    @property
    def gain(self) -> Values:
        """The fallback's cosine less the primary model's, (n,)."""
        return self.fallback - self.primary

    @property
    def has_cosines(self) -> Flags:
        """Which rows both models have a cosine for, bool (n,)."""
        return np.asarray(np.isfinite(self.primary) & np.isfinite(self.fallback))

    def take(self, rows: Flags) -> CalibrationRows:
        """Return some of the rows."""
        return CalibrationRows(*(getattr(self, field.name)[rows] for field in fields(self)))

    @classmethod
    def joined(cls, parts: list[CalibrationRows]) -> CalibrationRows:
        """Return the rows of all parts, concatenated."""
        columns = ([getattr(part, field.name) for part in parts] for field in fields(cls))
        return cls(*map(np.concatenate, columns))


class Bin(NamedTuple):
    """One bin of a reliability curve: the means of predicted and of actual values, and the number of rows."""

    predicted: float
    actual: float
    rows: int


def reliability(predicted: Floats | Values, actual: Values, *, n_bins: int = 10) -> list[Bin]:
    """Return a reliability curve: bins of equal size, from the lowest to the highest ``predicted``, both (n,)."""
    bins = [rows for rows in np.array_split(np.argsort(predicted, kind="stable"), n_bins) if len(rows)]
    return [Bin(float(predicted[rows].mean()), float(actual[rows].mean()), len(rows)) for rows in bins]


def average_ranks(values: Floats | Values) -> Values:
    """Return the rank of each value (n,), from 1; equal values share the mean of their ranks."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[group])


def spearman(left: Floats | Values, right: Floats | Values) -> float | None:
    """Return Spearman's rank correlation of (n,) and (n,), None if either is constant."""
    ranks = np.stack([average_ranks(left), average_ranks(right)])
    ranks -= ranks.mean(axis=1, keepdims=True)
    size = math.sqrt(float(np.square(ranks).sum(axis=1).prod()))
    return float(ranks[0] @ ranks[1]) / size if size else None


def auroc(scores: Floats | Values, is_positive: Flags) -> float | None:
    """Return the probability that a positive row has a higher score than a negative one; a tie counts half.

    This is Mann and Whitney's statistic divided by the number of pairs; None if all rows are of one kind.
    """
    n_positive = int(is_positive.sum())
    n_pairs = n_positive * (len(scores) - n_positive)
    if not n_pairs:
        return None
    above = float(average_ranks(scores)[is_positive].sum()) - n_positive * (n_positive + 1) / 2
    return above / n_pairs


def oracle_rows(gain: Values, n_chosen: int) -> Flags:
    """Choose the rows that gain most, at most ``n_chosen`` and none that loses, bool (n,); this needs every target."""
    best = np.argsort(-gain, kind="stable")[:n_chosen]
    chosen = np.zeros(len(gain), np.bool_)
    chosen[best[gain[best] > 0]] = True
    return chosen


def gain_curve(scores: Floats | Values, gain: Values, shares: Values) -> Values:
    """Return the gain, (k,), for each of ``shares`` (k,) of the rows escalated, highest ``scores`` (n,) first."""
    total = np.concatenate([[0.0], np.cumsum(gain[np.argsort(-scores, kind="stable")])])
    return np.asarray(total[[rows_in(share, len(gain)) for share in shares.tolist()]] / len(gain))


def oracle_curve(gain: Values, shares: Values) -> Values:
    """Return the gain, (k,), of an oracle that may escalate each of ``shares`` (k,) of the rows."""
    return gain_curve(gain, np.maximum(gain, 0.0), shares)
