"""Summaries of cosines: mean, standard deviation, and bootstrap intervals of the mean.

The rule: rows without a cosine are counted, and never averaged. Needs numpy alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Values = npt.NDArray[np.floating]
    Doubles = npt.NDArray[np.float64]

CONFIDENCE = 0.95
"""The share of resampled means that an interval contains."""

_DRAWN = 2**21  # counts in a block of resamples, 16 MiB
_SOME = 2  # the least number of clusters that shows how much clusters differ


@dataclass(frozen=True, slots=True)
class CosineSummary:
    """The mean and the (population) standard deviation of ``n`` cosines; ``n_nan`` rows have none.

    Mean and deviation are None if ``n`` is 0.
    """

    n: int
    n_nan: int
    mean: float | None
    std: float | None


def summarise_cosines(cosines: Values) -> CosineSummary:
    """Return the summary of cosines (n,), NaN for a row without one."""
    known = cosines[np.isfinite(cosines)].astype(np.float64)
    n_nan = len(cosines) - len(known)
    if not len(known):
        return CosineSummary(0, n_nan, None, None)
    return CosineSummary(len(known), n_nan, float(known.mean()), float(known.std()))


def mean_squared_error(cosine: float, dim: int) -> float:
    """Return the mean squared error per component of unit vectors of width ``dim`` with this mean cosine.

    |a - b|² = |a|² + |b|² - 2 a·b = 2 (1 - cosine). The cards call it MSE: 0.0011 at a cosine of 0.58.
    """
    return 2 * (1 - cosine) / dim


def resampled_means(
    columns: Sequence[Values], clusters: npt.NDArray[np.int64], *, resamples: int, seed: int
) -> Doubles:
    """Return the mean of each column in each bootstrap sample, float64 (resamples, columns).

    A column is (n,), NaN for rows that are not part of it. ``clusters`` (n,) numbers the cluster of each row: a sample
    draws as many clusters as there are, with replacement, and takes all rows of each (Davison and Hinkley 1997, 3.8).
    All columns share the samples, so that means can be subtracted. The mean is NaN if a sample has no row of a column,
    and always if a column's rows belong to fewer than two clusters.
    """
    _, clusters = np.unique(clusters, return_inverse=True)
    sums, counts = _per_cluster(columns, clusters)
    n_clusters, rng = len(sums), np.random.default_rng(seed)
    means = np.full((resamples, len(columns)), np.nan)
    if n_clusters < _SOME:
        return means
    block = max(1, _DRAWN // n_clusters)
    for start in range(0, resamples, block):
        rows = slice(start, min(start + block, resamples))
        shares = np.full(n_clusters, 1 / n_clusters)
        drawn = rng.multinomial(n_clusters, shares, size=rows.stop - start).astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            means[rows] = (drawn @ sums) / (drawn @ counts)
    means[:, (counts > 0).sum(axis=0) < _SOME] = np.nan
    return means


def interval(means: Doubles) -> tuple[float, float] | None:
    """Return the percentile interval of resampled means (resamples,), None if all of them are NaN."""
    known = means[np.isfinite(means)]
    if not len(known):
        return None
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(known, [tail, 100 - tail])
    return float(low), float(high)


def _per_cluster(columns: Sequence[Values], clusters: npt.NDArray[np.int64]) -> tuple[Doubles, Doubles]:
    """Return the sums and the counts of columns by cluster, both float64 (clusters, columns)."""
    n_clusters = int(clusters.max(initial=-1)) + 1
    sums, counts = np.zeros((2, n_clusters, len(columns)))
    for number, column in enumerate(columns):
        known = np.isfinite(column)
        sums[:, number] = np.bincount(clusters[known], column[known], n_clusters)
        counts[:, number] = np.bincount(clusters[known], minlength=n_clusters)
    return sums, counts
