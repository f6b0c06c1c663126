"""Which way a model looks: how much closer it is to the next vector than to the last, and whether it uses the order.

The rule: figures are compared over the same rows and the same bootstrap samples as all others of an evaluation, and a
model is said to look back only if the whole interval does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lvm_batch.jobs.evaluation.row_scores import LAST
from lvm_batch.lvm.evaluation.bootstrap import interval, resampled_means, summarise_cosines
from lvm_batch.lvm.evaluation.retrieval import DEPTHS, NOT_IN_BANK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from lvm_batch.jobs.evaluation.row_scores import RowScores

    Values = NDArray[np.floating]
    Key = tuple[str, str]

PREVIOUS, NEXT = "previous", "next"
_AHEAD, _ORDER = "ahead", "order"


def directions_of(scores: RowScores, *, resamples: int, seed: int) -> dict[str, dict[str, Any]]:
    """Return for each model and baseline, by name, its direction and its recall beside that of the last vector.

    ``direction`` holds the mean of ``over_last``, the cosine with the next vector less that with the last one of the
    context, and of ``over_shuffled``, the cosine less that from a shuffled context (None for what has no other
    context); ``closer_to`` is ``previous`` or ``next`` where the whole interval of ``over_last`` says so. ``recall`` is
    None without a bank.
    """
    columns = dict(_columns(scores))
    articles = scores.labels.articles
    clusters = np.arange(scores.n_rows) if articles is None else articles
    means = resampled_means(list(columns.values()), clusters, resamples=resamples, seed=seed)
    figures = {
        key: {"mean": summarise_cosines(column).mean, "interval": interval(drawn)}
        for (key, column), drawn in zip(columns.items(), means.T, strict=True)
    }
    return {
        name: {"direction": _direction(name, figures), "recall": _recall(name, figures)}
        for name in scores.cosines
    }


def _columns(scores: RowScores) -> Iterator[tuple[Key, Values]]:
    """Yield the value of every row, NaN where it has none."""
    for name, cosines in scores.cosines.items():
        yield (name, _AHEAD), cosines - scores.last_cosines[name]
        if name in scores.shuffled_cosines:
            yield (name, _ORDER), cosines - scores.shuffled_cosines[name]
    for depth in DEPTHS:
        hits = {name: _hits(ranks, depth) for name, ranks in scores.ranks.items()}
        for name, found in hits.items():
            yield (name, f"recall_at_{depth}"), found
            yield (name, f"recall_at_{depth}_over_last"), found - hits[LAST]


def _hits(ranks: NDArray[np.int64], depth: int) -> Values:
    return np.where(ranks == NOT_IN_BANK, np.nan, (ranks <= depth).astype(np.float64))


def _direction(name: str, figures: dict[Key, dict[str, Any]]) -> dict[str, Any]:
    ahead = figures[name, _AHEAD]
    return {
        "over_last": ahead,
        "over_shuffled": figures.get((name, _ORDER)),
        "closer_to": _closer_to(ahead["interval"]),
    }


def _closer_to(ends: tuple[float, float] | None) -> str | None:
    if ends is None or ends[0] <= 0 <= ends[1]:
        return None
    return PREVIOUS if ends[1] < 0 else NEXT


def _recall(name: str, figures: dict[Key, dict[str, Any]]) -> dict[str, Any] | None:
    """Return the recall at each depth with its interval, and how much higher it is than the last vector's own."""
    if (name, f"recall_at_{DEPTHS[0]}") not in figures:
        return None
    return {
        f"recall_at_{depth}": {
            **figures[name, f"recall_at_{depth}"],
            "over_last": figures[name, f"recall_at_{depth}_over_last"],
        }
        for depth in DEPTHS
    }
