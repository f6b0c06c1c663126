"""Whether tonight's rows differ from those of earlier nights: by how much, and whether chance explains it.

The rule: a difference counts only if it is large, larger than nights usually differ, and larger than where articles are
dealt out to nights at random. Rows of an article depend on each other, so that they stay together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lvm_batch.jobs.monitoring.domain_classifier import DomainClassifier

if TYPE_CHECKING:
    from numpy.typing import NDArray

PERMUTATIONS = 999

Statistic = Callable[["NDArray[np.bool_]"], "NDArray[np.float64]"]
"""Takes labellings of rows (n, m), true for tonight's; returns how much these differ from the others, (m,)."""

_REACH = 2.0
"""Times as far above the median of earlier nights as the second highest of them, a night is usual (see the log in
tests/benchmarks/monitoring.md). The highest does not count, so that one odd night does not silence the next ones."""
_NEVER_USUAL = 0.9  # of areas and distances, which end at 1


@dataclass(frozen=True, slots=True)
class PooledRows:
    """Rows of tonight (night 0) and of earlier nights (1, 2, …), by ``nights`` (n,).

    ``groups`` (n,) are numbered from 0; a group is of one night.
    """

    nights: NDArray[np.int64]
    groups: NDArray[np.int64]

    def choose(self, rows: NDArray[np.bool_]) -> PooledRows:
        """Return some of the rows."""
        return PooledRows(self.nights[rows], np.unique(self.groups[rows], return_inverse=True)[1].reshape(-1))


@dataclass(frozen=True, slots=True)
class Shift:
    """How much tonight's rows differ, from which size on that is an alert, and how likely by chance.

    ``usual`` is the median of how much each earlier night differs from the others; it and ``p`` are ``None`` where the
    difference is too small for them to matter.
    """

    size: float
    threshold: float
    usual: float | None = None
    p: float | None = None

    def fires(self, max_p: float) -> bool:
        """Whether the difference is an alert."""
        return self.p is not None and self.size > self.threshold and self.p <= max_p


def find_shift(
    rows: PooledRows, statistic: Callable[[NDArray[np.bool_], PooledRows], Statistic], *, floor: float
) -> Shift:
    """Return how much tonight differs by a statistic, which is made for a choice of the rows and for these rows.

    Nothing else is computed for a difference below ``floor``.
    """
    of_all = statistic(np.ones(len(rows.nights), np.bool_), rows)
    size = float(of_all((rows.nights == 0)[:, None])[0])
    if size <= floor:
        return Shift(size, floor)
    median, bound = _usual_sizes(rows, statistic)
    threshold = max(floor, bound)
    if size <= threshold:
        return Shift(size, threshold, median)
    return Shift(size, threshold, median, _p_value(rows, of_all, size))


def _usual_sizes(
    rows: PooledRows, statistic: Callable[[NDArray[np.bool_], PooledRows], Statistic]
) -> tuple[float, float]:
    """Return the median of what each earlier night differs from the others, and the largest usual difference."""
    earlier = rows.nights > 0
    others = rows.choose(earlier)
    labels = others.nights[:, None] == np.unique(others.nights)[None, :]
    sizes = statistic(earlier, others)(labels)
    median = float(np.median(sizes))
    reach = float(np.sort(sizes)[-2]) - median
    return median, min(median + _REACH * reach, _NEVER_USUAL)


def _p_value(rows: PooledRows, statistic: Statistic, size: float) -> float:
    """Return the share of random deals of groups, the real one among them, in which tonight differs as much."""
    rng = np.random.default_rng(0)
    n_groups = int(rows.groups.max()) + 1
    n_tonight = len(np.unique(rows.groups[rows.nights == 0]))
    dealt = rng.permuted(np.tile(np.arange(n_groups) < n_tonight, (PERMUTATIONS, 1)), axis=1)
    sizes = statistic(dealt.T[rows.groups])
    return float(1 + np.count_nonzero(sizes >= size)) / (PERMUTATIONS + 1)


def told_apart(features: NDArray[Any]) -> Callable[[NDArray[np.bool_], PooledRows], Statistic]:
    """Return the statistic of a domain classifier over ``features`` (n, d): its area under the ROC curve."""
    return lambda chosen, rows: DomainClassifier(features[chosen], rows.groups).auc


def distribution_apart(values: NDArray[Any]) -> Callable[[NDArray[np.bool_], PooledRows], Statistic]:
    """Return Kolmogorov and Smirnov's statistic of ``values`` (n,): the largest difference of shares below a value."""
    return lambda chosen, _: _Distributions(values[chosen]).distance


def shares_apart(kinds: NDArray[Any]) -> Callable[[NDArray[np.bool_], PooledRows], Statistic]:
    """Return the total variation of ``kinds`` (n,): the share of rows that would have to be of another kind."""
    return lambda chosen, _: _Shares(kinds[chosen]).distance


class _Distributions:
    def __init__(self, values: NDArray[Any]) -> None:
        self._order = np.argsort(values, kind="stable")
        ordered = values[self._order]
        self._ends = np.append(ordered[1:] > ordered[:-1], True)  # the last row of each value

    def distance(self, labels: NDArray[np.bool_]) -> NDArray[np.float64]:
        marked = labels[self._order]
        n_marked = marked.sum(axis=0)
        below = marked.cumsum(axis=0)[self._ends]
        others = np.flatnonzero(self._ends)[:, None] + 1 - below
        gaps = below / np.maximum(n_marked, 1) - others / np.maximum(len(marked) - n_marked, 1)
        return np.asarray(np.abs(gaps).max(axis=0))


class _Shares:
    def __init__(self, kinds: NDArray[Any]) -> None:
        self._kinds = (kinds[:, None] == np.unique(kinds)[None, :]).astype(np.float64)

    def distance(self, labels: NDArray[np.bool_]) -> NDArray[np.float64]:
        marked = labels.astype(np.float64)
        n_marked, inside = marked.sum(axis=0), self._kinds.T @ marked
        others = self._kinds.sum(axis=0)[:, None] - inside
        gaps = inside / np.maximum(n_marked, 1) - others / np.maximum(len(labels) - n_marked, 1)
        return np.asarray(np.abs(gaps).sum(axis=0) / 2)
