"""The results of an evaluation as plain values: for each model and baseline, means with their intervals.

The rule: an unknown figure is None; comparisons use the same rows and the same bootstrap samples.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lvm_batch.io.schema import SPLITS
from lvm_batch.jobs.evaluation.row_scores import MEAN
from lvm_batch.lvm.evaluation.bootstrap import (
    interval,
    mean_squared_error,
    resampled_means,
    summarise_cosines,
)
from lvm_batch.lvm.evaluation.retrieval import DEPTHS, summarise_ranks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from lvm_batch.jobs.evaluation.row_scores import RowLabels, RowScores

    Values = NDArray[np.floating]

N_LANES = 20
"""The number of lanes with figures: those with the most rows."""

SHOWN_LANES = 12
"""The number of lanes in tables and plots."""


@dataclass(frozen=True, slots=True)
class Group:
    """All rows, those of a split, or those of a lane: ``rows`` is bool (n,)."""

    kind: str
    name: str
    rows: NDArray[np.bool_]

    @property
    def key(self) -> str:
        """A name that no other group has."""
        return f"{self.kind} {self.name}"


def groups_of(labels: RowLabels, n_rows: int) -> list[Group]:
    """Return the groups with figures: all rows, each split and each of the largest lanes."""
    groups = [Group("overall", "", np.ones(n_rows, np.bool_))]
    if labels.splits is not None:
        groups += [Group("split", name, labels.splits == name) for name in SPLITS]
    if labels.lanes is not None:
        counts = Counter(lane for lane in labels.lanes.tolist() if lane is not None)
        largest = sorted(counts, key=lambda lane: (-counts[lane], lane))[:N_LANES]
        groups += [Group("lane", lane, labels.lanes == lane) for lane in largest]
    return [group for group in groups if group.rows.any()]


def figures_of(scores: RowScores, *, dim: int, resamples: int, seed: int) -> dict[str, dict[str, Any]]:
    """Return the figures of every model and baseline, by name.

    Bootstrap samples draw articles, or rows if not every row has an article.
    """
    comparison = _Comparison(scores, dim=dim, resamples=resamples, seed=seed)
    return {name: comparison.figures(name) for name in scores.cosines}


class _Comparison:
    """The cosines of every model and baseline in every group, and their means in common bootstrap samples."""

    def __init__(self, scores: RowScores, *, dim: int, resamples: int, seed: int) -> None:
        self._dim = dim
        self._ranks = scores.ranks
        self._groups = groups_of(scores.labels, scores.n_rows)
        self._columns = {
            (name, what, group.key): values
            if group.kind == "overall"
            else np.where(group.rows, values, np.nan)
            for name, cosines in scores.cosines.items()
            for what, values in _columns_of(cosines, scores.cosines[MEAN])
            for group in self._groups
        }
        articles = scores.labels.articles
        clusters = np.arange(scores.n_rows) if articles is None else articles
        means = resampled_means(list(self._columns.values()), clusters, resamples=resamples, seed=seed)
        self._means = dict(zip(self._columns, means.T, strict=True))

    def figures(self, name: str) -> dict[str, Any]:
        """Return all figures of a model or baseline."""
        by_kind: dict[str, dict[str, Any]] = {kind: {} for kind in ("overall", "split", "lane")}
        for group in self._groups:
            by_kind[group.kind][group.name] = self._group_figures(name, group)
        return {
            **by_kind["overall"][""],
            "by_split": by_kind["split"],
            "delta": self._delta(name, by_kind["split"]),
            "by_lane": by_kind["lane"],
            "retrieval": _retrieval(self._ranks.get(name)),
        }

    def _group_figures(self, name: str, group: Group) -> dict[str, Any]:
        summary = summarise_cosines(self._columns[name, "cosine", group.key])
        n_rows = int(group.rows.sum())
        return {
            "rows": n_rows,
            "without_cosine": n_rows - summary.n,
            "cosine": summary.mean,
            "std": summary.std,
            "mse": None if summary.mean is None else mean_squared_error(summary.mean, self._dim),
            "interval": interval(self._means[name, "cosine", group.key]),
            "over_mean": None if name == MEAN else self._over_mean(name, group),
        }

    def _over_mean(self, name: str, group: Group) -> dict[str, Any]:
        key = (name, "over_mean", group.key)
        return {
            "cosine": summarise_cosines(self._columns[key]).mean,
            "interval": interval(self._means[key]),
        }

    def _delta(self, name: str, splits: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return how much higher the cosine is out of distribution."""
        known = {
            split: figures["cosine"] for split, figures in splits.items() if figures["cosine"] is not None
        }
        if len(known) < len(SPLITS):
            return None
        in_dist, ood = (self._means[name, "cosine", f"split {split}"] for split in SPLITS)
        return {"cosine": known["ood"] - known["in_dist"], "interval": interval(ood - in_dist)}


def _columns_of(cosines: Values, of_mean: Values) -> Iterator[tuple[str, Values]]:
    yield "cosine", cosines
    if cosines is not of_mean:
        yield "over_mean", cosines - of_mean


def _retrieval(ranks: NDArray[np.int64] | None) -> dict[str, Any] | None:
    if ranks is None:
        return None
    summary = summarise_ranks(ranks)
    return {
        "rows": summary.n,
        **{f"recall_at_{depth}": (summary.recall_at or {}).get(depth) for depth in DEPTHS},
        "mrr": summary.mrr,
        "contain_at_50": summary.contain_at_50,
    }
