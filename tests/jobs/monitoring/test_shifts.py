"""Differences between nights: what is counted, and how seldom chance makes an alert of them."""

from __future__ import annotations

import numpy as np
import pytest

from lvm_batch.jobs.monitoring.domain_classifier import DomainClassifier
from lvm_batch.jobs.monitoring.shifts import (
    PooledRows,
    distribution_apart,
    find_shift,
    shares_apart,
    told_apart,
)

MAX_P = 0.002


def nights_of(
    *shifts: float, n_articles: int = 8, alike: float = 0.7, seed: int = 0
) -> tuple[PooledRows, np.ndarray]:
    """Nights of articles of 20 rows, the first being tonight; vectors (n, 6) of a night are shifted along one axis.

    Rows of an article share ``alike`` of their deviation.
    """
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_articles * len(shifts)), 20)
    nights = groups // n_articles
    vectors = alike * rng.normal(size=(groups.max() + 1, 6))[groups]
    vectors += (1 - alike**2) ** 0.5 * rng.normal(size=(len(groups), 6))
    vectors[:, 0] += np.array(shifts)[nights]
    return PooledRows(nights, groups), vectors


def test_a_classifier_tells_apart_what_is_apart() -> None:
    """The area is near 1 for separated rows, near 0.5 for labels at random, whatever else is judged at once."""
    rows, vectors = nights_of(6.0, 0, 0, alike=0.0)
    labels = np.stack([rows.nights == 0, np.random.default_rng(1).random(len(vectors)) < 0.3], axis=1)
    classifier = DomainClassifier(vectors, rows.groups)
    apart, at_random = classifier.auc(labels)
    assert apart > 0.99
    assert at_random == pytest.approx(0.5, abs=0.08)
    assert classifier.auc(np.repeat(labels, 120, axis=1))[[0, 239]] == pytest.approx(
        [apart, at_random], abs=1e-4
    )


def test_rows_of_an_article_are_never_learnt_and_judged() -> None:
    """Articles that all rows tell apart do not tell nights apart: a model has not seen the articles that it scores."""
    rows, vectors = nights_of(*[0.0] * 6, alike=0.999)
    labels = np.random.default_rng(0).permuted(np.tile(np.arange(48) < 8, (200, 1)), axis=1).T[rows.groups]
    assert DomainClassifier(vectors, rows.groups).auc(labels).mean() == pytest.approx(0.5, abs=0.05)
    assert DomainClassifier(vectors, np.arange(len(vectors))).auc(labels).mean() > 0.6


def test_equal_rows_are_not_told_apart() -> None:
    """Rows of equal score count by chance, not by the order in which nights come."""
    rows, vectors = nights_of(*[0.0] * 6, n_articles=30)
    areas = DomainClassifier(np.ones_like(vectors), rows.groups).auc(rows.nights[:, None] == np.arange(6))
    assert areas == pytest.approx(np.full(6, 0.5), abs=0.1)


def test_distances_are_those_of_their_definitions() -> None:
    """The distance of distributions is that of Kolmogorov and Smirnov, the distance of shares the total variation."""
    rng = np.random.default_rng(2)
    values, labels = rng.integers(0, 9, 300), rng.random((300, 3)) < 0.3
    rows = PooledRows(np.zeros(300, int), np.arange(300))
    every = np.ones(300, np.bool_)
    distances = distribution_apart(values.astype(float))(every, rows)(labels)
    variations = shares_apart(values)(every, rows)(labels)
    for distance, variation, label in zip(distances, variations, labels.T, strict=True):
        now, then = values[label], values[~label]
        assert distance == pytest.approx(max(abs((now <= x).mean() - (then <= x).mean()) for x in range(9)))
        assert variation == pytest.approx(
            sum(abs((now == x).mean() - (then == x).mean()) for x in range(9)) / 2
        )


def test_articles_that_are_alike_are_no_drift() -> None:
    """Of 40 nights without drift none is an alert, though rows that were independent would make many of them."""
    fired = alone = 0
    for seed in range(40):
        rows, vectors = nights_of(*[0.0] * 6, seed=seed)
        fired += find_shift(rows, distribution_apart(vectors[:, 0]), floor=0.1).fires(MAX_P)
        one_by_one = PooledRows(rows.nights, np.arange(len(vectors)))
        shift = find_shift(one_by_one, distribution_apart(vectors[:, 0]), floor=0.1)
        alone += (shift.p or 1.0) <= MAX_P
    assert fired == 0
    assert alone > 4


def test_a_small_difference_is_no_alert_however_certain() -> None:
    """A difference under the floor is not even tested."""
    rows, vectors = nights_of(0.3, *[0.0] * 5, n_articles=60, alike=0.0)
    shift = find_shift(rows, distribution_apart(vectors[:, 0]), floor=0.15)
    assert (shift.p, shift.fires(MAX_P)) == (None, False)
    assert find_shift(rows, distribution_apart(vectors[:, 0]), floor=0.05).fires(MAX_P)


def test_nights_that_usually_differ_are_no_alert() -> None:
    """Where every night is another, one more of the kind is usual."""
    rows, vectors = nights_of(1.5, -1.5, 1.2, -1.4, 1.6, -1.3, 1.4, alike=0.0)
    shift = find_shift(rows, distribution_apart(vectors[:, 0]), floor=0.15)
    assert shift.size > 0.4
    assert not shift.fires(MAX_P)


def test_a_night_that_drifted_before_does_not_silence_the_next() -> None:
    """One odd night among the earlier ones changes neither what is usual nor what is an alert."""
    rows, vectors = nights_of(3.0, 3.0, *[0.0] * 6)
    assert find_shift(rows, told_apart(vectors), floor=0.65).fires(MAX_P)
