"""What came of an evaluation, as plain values: for each model and baseline, means with their intervals.

The rule: a figure is None where it is not known; what is compared is compared on the same rows and the same bootstrap
samples. This module does not know how rows were predicted or how figures are shown.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lvm_batch.io.output.writer import SPLITS
from lvm_batch.jobs.evaluation.cosines import MEAN
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

    from lvm_batch.jobs.evaluation.cosines import Judged, Marks

    Values = NDArray[np.floating]

N_LANES = 20
"""Lanes with most rows, of which figures are given."""

SHOWN_LANES = 12
"""Of these, the first that are shown in tables and plots."""


@dataclass(frozen=True, slots=True)
class Group:
    """Some of the rows: all of them, those of a split, or those of a lane. ``rows`` is bool (n,)."""

    kind: str
    name: str
    rows: NDArray[np.bool_]

    @property
    def key(self) -> str:
        """What no other group is called."""
        return f"{self.kind} {self.name}"


def groups_of(marks: Marks, n_rows: int) -> list[Group]:
    """Return the groups that figures are given of: all rows, each split and each of the largest lanes."""
    groups = [Group("overall", "", np.ones(n_rows, np.bool_))]
    if marks.splits is not None:
        groups += [Group("split", name, marks.splits == name) for name in SPLITS]
    if marks.lanes is not None:
        counts = Counter(lane for lane in marks.lanes.tolist() if lane is not None)
        largest = sorted(counts, key=lambda lane: (-counts[lane], lane))[:N_LANES]
        groups += [Group("lane", lane, marks.lanes == lane) for lane in largest]
    return [group for group in groups if group.rows.any()]


def figures_of(judged: Judged, *, dim: int, resamples: int, seed: int) -> dict[str, dict[str, Any]]:
    """Return the figures of every model and baseline, by its name.

    Bootstrap samples draw articles, or rows where the dataset does not say which article a row is of.
    """
    comparison = _Comparison(judged, dim=dim, resamples=resamples, seed=seed)
    return {name: comparison.figures(name) for name in judged.cosines}


class _Comparison:
    """The cosines of every model and baseline in every group, and their means in the samples that all share."""

    def __init__(self, judged: Judged, *, dim: int, resamples: int, seed: int) -> None:
        self._dim = dim
        self._ranks = judged.ranks
        self._groups = groups_of(judged.marks, judged.n_rows)
        self._columns = {
            (name, what, group.key): values
            if group.kind == "overall"
            else np.where(group.rows, values, np.nan)
            for name, cosines in judged.cosines.items()
            for what, values in _compared(cosines, judged.cosines[MEAN])
            for group in self._groups
        }
        articles = judged.marks.articles
        clusters = np.arange(judged.n_rows) if articles is None else articles
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
        """Return by how much the cosine is higher out of distribution."""
        known = {
            split: figures["cosine"] for split, figures in splits.items() if figures["cosine"] is not None
        }
        if len(known) < len(SPLITS):
            return None
        in_dist, ood = (self._means[name, "cosine", f"split {split}"] for split in SPLITS)
        return {"cosine": known["ood"] - known["in_dist"], "interval": interval(ood - in_dist)}


def _compared(cosines: Values, of_mean: Values) -> Iterator[tuple[str, Values]]:
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
