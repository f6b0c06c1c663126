"""What confidence and margin are worth: how they go with the true cosine, and what escalation by them gains.

The rule: a gain is what the mean cosine over all rows rises by where the fallback answers the chosen ones. What stands
here is told of the rows themselves; ``threshold_search`` judges on others. Knows numpy, neither models nor files.
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

SIGNALS = ("confidence", "margin", "cosine with last", "cosine with mean", "norm of mean")
"""What is known of a row before the fallback has run, in the order of ``signals``."""


@dataclass(frozen=True, slots=True)
class CalibrationRows:
    """Rows that both models have answered, n > 0, every value finite but those of ``margin`` and ``confidence``.

    ``primary`` and ``fallback`` are each model's cosine with the target, float64 (n,); ``confidence`` and ``margin``
    are float32 (n,) as the routing policy measures them, NaN where not known. ``standing`` marks rows that are
    escalated whatever these two are. ``articles`` are int64 (n,); ``signals`` is float64 (n, len(SIGNALS)).
    """

    primary: Values
    fallback: Values
    confidence: Floats
    margin: Floats
    standing: Flags
    articles: npt.NDArray[np.int64]
    signals: Values

    def __len__(self) -> int:
        return len(self.primary)

    @property
    def gain(self) -> Values:
        """What the fallback's cosine has over the primary model's, (n,)."""
        return self.fallback - self.primary

    def take(self, rows: Flags) -> CalibrationRows:
        """Return some of the rows."""
        return CalibrationRows(*(getattr(self, field.name)[rows] for field in fields(self)))

    @classmethod
    def joined(cls, parts: list[CalibrationRows]) -> CalibrationRows:
        """Return rows behind one another."""
        columns = ([getattr(part, field.name) for part in parts] for field in fields(cls))
        return cls(*map(np.concatenate, columns))


def signals(predictions: Floats, contexts: Floats, confidence: Floats, margin: Floats) -> Values:
    """Return what is known of rows before the fallback runs, float64 (n, len(SIGNALS)), 0 for what is not known.

    ``predictions`` are the primary model's, (n, dim), of ``contexts`` (n, length, dim). The norm is that of the mean of
    the context's directions: 1 where all vectors agree.
    """
    directions = _unit(contexts.astype(np.float64))  # (n, L, D)
    mean = directions.mean(axis=1)
    columns = (
        confidence,
        margin,
        np.einsum("nd,nd->n", predictions, directions[:, -1]),
        np.einsum("nd,nd->n", predictions, _unit(mean)),
        np.linalg.norm(mean, axis=1),
    )
    return np.nan_to_num(np.stack(columns, axis=1).astype(np.float64))


def _unit(vectors: Values) -> Values:
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0))


class Bin(NamedTuple):
    """A tenth of the rows: the mean of what was predicted, the mean of what came true, and how many rows."""

    predicted: float
    actual: float
    rows: int


def reliability(predicted: Floats | Values, actual: Values, *, n_bins: int = 10) -> list[Bin]:
    """Return a reliability curve: bins of equally many rows from the lowest to the highest ``predicted``, both (n,)."""
    bins = [rows for rows in np.array_split(np.argsort(predicted, kind="stable"), n_bins) if len(rows)]
    return [Bin(float(predicted[rows].mean()), float(actual[rows].mean()), len(rows)) for rows in bins]


def average_ranks(values: Floats | Values) -> Values:
    """Return the rank of each value (n,), from 1; equal values have the mean of their ranks."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[group])


def spearman(left: Floats | Values, right: Floats | Values) -> float | None:
    """Return Spearman's rank correlation of (n,) and (n,); None where either is constant."""
    ranks = np.stack([average_ranks(left), average_ranks(right)])
    ranks -= ranks.mean(axis=1, keepdims=True)
    size = math.sqrt(float(np.square(ranks).sum(axis=1).prod()))
    return float(ranks[0] @ ranks[1]) / size if size else None


def auroc(scores: Floats | Values, is_positive: Flags) -> float | None:
    """Return the chance that a positive row has a higher score than a negative one, a tie counting half.

    That is Mann and Whitney's statistic over the number of pairs; None where all rows are of one kind.
    """
    n_positive = int(is_positive.sum())
    n_pairs = n_positive * (len(scores) - n_positive)
    if not n_pairs:
        return None
    above = float(average_ranks(scores)[is_positive].sum()) - n_positive * (n_positive + 1) / 2
    return above / n_pairs


def oracle_rows(gain: Values, n_chosen: int) -> Flags:
    """Choose, knowing every target, the rows that gain most, at most ``n_chosen`` and none that loses, (n,)."""
    best = np.argsort(-gain, kind="stable")[:n_chosen]
    chosen = np.zeros(len(gain), np.bool_)
    chosen[best[gain[best] > 0]] = True
    return chosen


def gain_curve(scores: Floats | Values, gain: Values, shares: Values) -> Values:
    """Return the gain where each of ``shares`` (k,) of the rows is escalated, highest ``scores`` (n,) first, (k,)."""
    total = np.concatenate([[0.0], np.cumsum(gain[np.argsort(-scores, kind="stable")])])
    return np.asarray(total[[rows_in(share, len(gain)) for share in shares.tolist()]] / len(gain))


def oracle_curve(gain: Values, shares: Values) -> Values:
    """Return the gain of an oracle that may escalate each of ``shares`` (k,) of the rows, (k,)."""
    return gain_curve(gain, np.maximum(gain, 0.0), shares)
