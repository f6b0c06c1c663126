"""A domain classifier: whether the rows of some nights can be told from those of others, by logistic regression.

The rule: rows are scored only by models that saw no row of their group. Many labellings are judged at once, so that a
permutation test fits the classifier anew for each of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FOLDS = 5
_STEPS = 8
_RIDGE = 0.05
"""Of the rows: a few hundred sampled rows bear no more than a smooth fit in 34 dimensions."""
_AT_ONCE = 100  # labellings; 4,000 rows of them are 1.6 MB


class DomainClassifier:
    """Judges labellings of rows that ``features`` (n, d) describe and that come in ``groups`` (n,).

    The classifier is logistic regression with a ridge, in which both labels weigh the same. It is fitted by steps of
    Newton's method with the fixed bound of the second derivative, XᵀX / 4 (Böhning and Lindsay 1988), so that all
    labellings share one inverse a fold.
    """

    def __init__(self, features: NDArray[Any], groups: NDArray[np.int64]) -> None:
        rng = np.random.default_rng(0)
        # rows of equal score are counted in the order of rows, which must say nothing
        self._order = rng.permutation(len(features))
        fold_of_group = rng.permutation(int(groups.max()) + 1) % _FOLDS
        self._folds = fold_of_group[groups[self._order]]
        self._rows = _standardised(features)[self._order]

    def auc(self, labels: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return the area under the ROC curve for each labelling of ``labels`` (n, m), (m,): 0.5 is chance.

        Scores are compared within folds, as each fold has a model of its own.
        """
        parts = np.array_split(labels, max(1, -(-labels.shape[1] // _AT_ONCE)), axis=1)
        return np.concatenate([self._auc(part[self._order]) for part in parts])

    def _auc(self, labels: NDArray[np.bool_]) -> NDArray[np.float64]:
        won, pairs = np.zeros(labels.shape[1]), np.zeros(labels.shape[1])
        for fold in range(_FOLDS):
            judged = self._folds == fold
            weights = _fit(self._rows[~judged], labels[~judged].astype(np.float32))
            more, both = _pairs_in_order(self._rows[judged] @ weights, labels[judged])
            won, pairs = won + more, pairs + both
        return np.where(pairs > 0, won / np.maximum(pairs, 1), 0.5)


def _standardised(features: NDArray[Any]) -> NDArray[np.float32]:
    """Return features of mean 0 and deviation 1, (n, d + 1), with a constant one; those that are constant become 0."""
    values = features.astype(np.float64)
    spread = values.std(axis=0)
    scaled = (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return np.column_stack([scaled, np.ones(len(values))]).astype(np.float32)


def _fit(rows: NDArray[np.float32], labels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the weights for each labelling, (d, m), from ``rows`` (n, d) and ``labels`` (n, m)."""
    n_rows, ridge = len(rows), np.float32(_RIDGE * len(rows))
    bound = np.linalg.inv(rows.T @ rows / 4 + ridge * np.eye(rows.shape[1], dtype=np.float32))
    n_marked = np.maximum(labels.sum(axis=0), 1)
    weight = np.where(labels > 0, n_rows / (2 * n_marked), n_rows / (2 * np.maximum(n_rows - n_marked, 1)))
    weight = weight.astype(np.float32)
    fitted = np.zeros((rows.shape[1], labels.shape[1]), np.float32)
    for _ in range(_STEPS):
        likely = 1 / (1 + np.exp(-np.clip(rows @ fitted, -30, 30)))
        fitted += bound @ (rows.T @ (weight * (labels - likely)) - ridge * fitted)
    return fitted


def _pairs_in_order(
    scores: NDArray[np.float32], labels: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how many pairs of a marked and another row have the marked one's score above, and how many there are."""
    ordered = np.take_along_axis(labels, scores.argsort(axis=0, kind="stable"), axis=0)
    n_marked = ordered.sum(axis=0)
    ranks = (np.arange(1, len(ordered) + 1)[:, None] * ordered).sum(axis=0)
    return ranks - n_marked * (n_marked + 1) // 2, n_marked * (len(ordered) - n_marked)
