"""Ridge regression as a baseline without a training set: fitted to a part of the rows, it predicts the others.

The rule: no row is predicted by a fit to its own fold, and a fold consists of whole articles. No row is kept.
"""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import TYPE_CHECKING

import numpy as np

from lvm_batch.jobs.console.progress import watch_rows
from lvm_batch.lvm.training.ridge import RidgeSums

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from lvm_batch.jobs.console.console import Console
    from lvm_batch.jobs.evaluation.judged_rows import JudgedDataset, JudgedRows
    from lvm_batch.lvm.training.ridge import RidgePredictor

    Floats = NDArray[np.float32]
    Codes = NDArray[np.int64]

N_FOLDS = 5


def folds_of(articles: Codes | None, n_rows: int) -> Codes:
    """Return the fold of each row, 0 to 4, int64 (n,): by article, or else by its place among the rows."""
    if articles is None:
        return np.arange(n_rows) * N_FOLDS // max(1, n_rows)
    _, numbers = np.unique(articles, return_inverse=True)
    return np.asarray(numbers % N_FOLDS)


def ridge_predictions(
    dataset: JudgedDataset, folds: Codes, *, console: Console
) -> Iterator[tuple[JudgedRows, Floats]]:
    """Yield the dataset's rows with their predictions, float32 (n, dim), of unit norm.

    ``folds`` is the fold of every row of the dataset; there must be two folds or more.
    """
    fitted = _fit(watch_rows(dataset, console, what="fitting ridge", n_rows=dataset.n_rows), folds)
    again = watch_rows(dataset, console, what="judging ridge", n_rows=dataset.n_rows)
    for rows, batch_folds in _with_folds(again, folds):
        predicted = np.empty_like(rows.targets)
        for fold in np.unique(batch_folds).tolist():
            predicted[batch_folds == fold] = fitted[fold](rows.contexts[batch_folds == fold])
        yield rows, predicted


def _fit(batches: Iterable[JudgedRows], folds: Codes) -> Mapping[int, RidgePredictor]:
    """Return for each fold the predictor that is fitted to all other folds."""
    sums: dict[int, RidgeSums] = {}
    for rows, batch_folds in _with_folds(batches, folds):
        for fold in np.unique(batch_folds).tolist():
            if fold not in sums:
                sums[fold] = RidgeSums(*rows.contexts.shape[1:])
            sums[fold].add(rows.contexts[batch_folds == fold], rows.targets[batch_folds == fold])
    total = reduce(add, sums.values())
    return {fold: (total - part).solve() for fold, part in sums.items()}


def _with_folds(batches: Iterable[JudgedRows], folds: Codes) -> Iterator[tuple[JudgedRows, Codes]]:
    start = 0
    for rows in batches:
        yield rows, folds[start : start + len(rows.targets)]
        start += len(rows.targets)
