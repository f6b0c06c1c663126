"""Ridge regression as a baseline that needs no training set: fitted to a part of the rows, asked about the others.

The rule: no row is predicted by a fit that saw its fold, and a fold is made of whole articles. No row is kept.
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
    from lvm_batch.jobs.evaluation.rows import JudgedDataset, JudgedRows
    from lvm_batch.lvm.training.ridge import RidgePredictor

    Floats = NDArray[np.float32]
    Codes = NDArray[np.int64]

N_FOLDS = 5


def folds_of(articles: Codes | None, n_rows: int) -> Codes:
    """Return the fold of each row, 0 to 4: its article's, or else that of the run of rows that it stands in."""
    if articles is None:
        return np.arange(n_rows) * N_FOLDS // max(1, n_rows)
    _, numbers = np.unique(articles, return_inverse=True)
    return np.asarray(numbers % N_FOLDS)


def ridge_predictions(
    dataset: JudgedDataset, folds: Codes, *, console: Console
) -> Iterator[tuple[JudgedRows, Floats]]:
    """Yield the dataset's rows with their predictions, float32 (n, dim), of unit norm.

    ``folds`` is the fold of every row of the dataset, of which there must be two or more.
    """
    fitted = _fit(watch_rows(dataset, console, what="fitting ridge", n_rows=dataset.n_rows), folds)
    again = watch_rows(dataset, console, what="judging ridge", n_rows=dataset.n_rows)
    for rows, here in _with_folds(again, folds):
        predicted = np.empty_like(rows.targets)
        for fold in np.unique(here).tolist():
            predicted[here == fold] = fitted[fold](rows.contexts[here == fold])
        yield rows, predicted


def _fit(batches: Iterable[JudgedRows], folds: Codes) -> Mapping[int, RidgePredictor]:
    """Return for each fold what is fitted to all others."""
    sums: dict[int, RidgeSums] = {}
    for rows, here in _with_folds(batches, folds):
        for fold in np.unique(here).tolist():
            if fold not in sums:
                sums[fold] = RidgeSums(*rows.contexts.shape[1:])
            sums[fold].add(rows.contexts[here == fold], rows.targets[here == fold])
    total = reduce(add, sums.values())
    return {fold: (total - part).solve() for fold, part in sums.items()}


def _with_folds(batches: Iterable[JudgedRows], folds: Codes) -> Iterator[tuple[JudgedRows, Codes]]:
    start = 0
    for rows in batches:
        yield rows, folds[start : start + len(rows.targets)]
        start += len(rows.targets)
