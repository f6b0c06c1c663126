"""Tests of cosine summaries and bootstrap intervals against plain computations."""

from __future__ import annotations

import numpy as np
import pytest

from lvm_batch.lvm.evaluation import bootstrap
from lvm_batch.lvm.evaluation.bootstrap import (
    interval,
    mean_squared_error,
    resampled_means,
    summarise_cosines,
)


def random_values(n_rows: int, seed: int = 0) -> np.ndarray:
    """Cosines about 0.6, a tenth of them missing."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0.6, 0.1, n_rows)
    values[rng.random(n_rows) < 0.1] = np.nan
    return values


def plain_means(columns: list[np.ndarray], clusters: np.ndarray, *, resamples: int, seed: int) -> np.ndarray:
    """The mean of each column in each sample, with every row repeated as often as its cluster was drawn."""
    names = sorted(set(clusters.tolist()))
    rng = np.random.default_rng(seed)
    means = np.empty((resamples, len(columns)))
    for sample in range(resamples):
        times = dict(zip(names, rng.multinomial(len(names), [1 / len(names)] * len(names)), strict=True))
        rows = [row for row, name in enumerate(clusters.tolist()) for _ in range(times[name])]
        means[sample] = [np.nanmean(column[rows]) for column in columns]
    return means


def test_a_summary_counts_what_has_no_cosine_and_leaves_it_out() -> None:
    """Mean and standard deviation skip missing values instead of counting them as zero."""
    summary = summarise_cosines(np.array([0.5, np.nan, 0.7, np.nan, 0.9], np.float32))
    assert (summary.n, summary.n_nan) == (3, 2)
    assert summary.mean == pytest.approx(0.7, abs=1e-7)
    assert summary.std == pytest.approx(np.std([0.5, 0.7, 0.9]), abs=1e-7)


@pytest.mark.parametrize("n_rows", [0, 3])
def test_a_summary_of_nothing_has_no_mean(n_rows: int) -> None:
    """Without any value, mean and standard deviation are None."""
    summary = summarise_cosines(np.full(n_rows, np.nan))
    assert (summary.n, summary.n_nan, summary.mean, summary.std) == (0, n_rows, None, None)


def test_the_squared_error_of_a_component_follows_from_the_cosine() -> None:
    """For unit vectors the error is the mean over rows and components of the squared difference."""
    vectors = np.random.default_rng(0).standard_normal((2, 50, 24))
    a, b = vectors / np.linalg.norm(vectors, axis=2, keepdims=True)
    assert mean_squared_error((a * b).sum(axis=1).mean(), 24) == pytest.approx(((a - b) ** 2).mean())


def test_resampled_means_are_those_of_whole_clusters() -> None:
    """A sample has every row of a cluster as often as the cluster was drawn, the same in all columns."""
    columns = [random_values(60), random_values(60, seed=1)]
    clusters = np.random.default_rng(2).integers(0, 9, 60) * 7
    sampled_means = resampled_means(columns, clusters, resamples=40, seed=5)
    np.testing.assert_allclose(
        sampled_means, plain_means(columns, clusters, resamples=40, seed=5), atol=1e-12
    )


def test_blocks_of_samples_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same seed gives the same samples, however many are drawn at a time."""
    values, clusters = random_values(200), np.arange(200) // 4
    at_once = resampled_means([values], clusters, resamples=100, seed=3)
    monkeypatch.setattr(bootstrap, "_DRAWN", 7 * 50)
    np.testing.assert_allclose(
        resampled_means([values], clusters, resamples=100, seed=3), at_once, atol=1e-15
    )
    assert (resampled_means([values], clusters, resamples=100, seed=4) != at_once).any()


def test_an_interval_is_as_wide_as_theory_says() -> None:
    """For 400 independent rows, the interval of the mean is 1.96 standard errors to each side."""
    values = np.random.default_rng(0).normal(0.6, 0.1, 400)
    low, high = interval(resampled_means([values], np.arange(400), resamples=4000, seed=0)[:, 0]) or (0, 0)
    error = values.std() / 20
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)


def test_repeated_rows_do_not_narrow_an_interval_of_clusters() -> None:
    """A hundred equal rows in a cluster count as one; resampling rows would count them a hundred times."""
    values, clusters = np.repeat(random_values(30, seed=4), 100), np.repeat(np.arange(30), 100)
    widths = [
        np.ptp(interval(resampled_means([values], by, resamples=500, seed=0)[:, 0]) or (0, 0))
        for by in (clusters, np.arange(3000))
    ]
    assert widths[0] > 7 * widths[1]


def test_one_cluster_gives_no_interval() -> None:
    """A column whose rows all belong to one cluster has no interval; the other columns have one."""
    clusters = np.array([0, 0, 0, 1, 1, 2])
    values = np.linspace(0.1, 0.6, 6)
    of_one = np.where(clusters == 0, values, np.nan)
    means = resampled_means([values, of_one], clusters, resamples=100, seed=0)
    assert interval(means[:, 1]) is None
    assert interval(means[:, 0]) is not None


def test_no_rows_give_no_mean() -> None:
    """Without rows the mean is unknown, whatever the number of columns."""
    means = resampled_means([np.empty(0), np.empty(0)], np.empty(0, np.int64), resamples=5, seed=1)
    assert means.shape == (5, 2)
    assert np.isnan(means).all()


def test_samples_without_a_row_of_a_column_are_left_out() -> None:
    """An interval uses only the samples in which its column has rows."""
    clusters = np.arange(6)
    rare = np.array([0.2, 0.4, np.nan, np.nan, np.nan, np.nan])
    means = resampled_means([rare], clusters, resamples=300, seed=0)[:, 0]
    assert np.isnan(means).any()
    assert interval(means) == pytest.approx((0.2, 0.4))
