"""Every row of a dataset predicted by every model and baseline, and how near each prediction came.

The rule: models and baselines are judged on the same rows, and no row by a ridge that was fitted to its article. Of a
row nothing is kept but its cosines, its ranks and what tells it apart. This module does not know what figures are made
of them.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lvm_batch.jobs.console.progress import watch_rows
from lvm_batch.jobs.datasets.articles import UNKNOWN
from lvm_batch.jobs.evaluation.cross_fitted_ridge import folds_of, ridge_predictions
from lvm_batch.lvm.inference.cosines import row_cosines

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from lvm_batch.jobs.console.console import Console
    from lvm_batch.jobs.evaluation.rows import JudgedDataset, JudgedRows
    from lvm_batch.lvm.evaluation.retrieval import RankSearch

    Floats = NDArray[np.float32]
    Codes = NDArray[np.int64]
    Names = NDArray[np.object_]
    Predict = Callable[[Floats], Floats]

MEAN, LAST, RIDGE = "mean of context", "last vector", "ridge"
BASELINES = (MEAN, LAST, RIDGE)


@dataclass(frozen=True, slots=True)
class Marks:
    """What tells n rows apart, each (n,) as in ``JudgedRows``; ``None`` where the dataset does not say.

    It does not say which articles rows are of unless every row does: a row of an article that is not known may overlap
    with any other.
    """

    articles: Codes | None
    splits: Names | None
    lanes: Names | None


@dataclass(frozen=True, slots=True)
class Judged:
    """What is known of n rows: cosines float32 (n,) and, with a bank, ranks int64 (n,), of each model and baseline."""

    n_rows: int
    marks: Marks
    cosines: Mapping[str, Floats]
    ranks: Mapping[str, Codes]


def judge(
    dataset: JudgedDataset,
    models: Mapping[str, Predict],
    *,
    search: RankSearch | None,
    console: Console,
) -> Judged:
    """Predict every row by every model and baseline. Without two articles (or two rows) there is no ridge.

    The dataset is read three times: for all but the ridge, to fit that, and to judge it.
    """
    predictors = {**models, MEAN: _mean, LAST: _last}
    kept = _Kept(search)
    seen: list[Marks] = []
    n_rows = 0
    for rows in watch_rows(dataset, console, what="judging", n_rows=dataset.n_rows):
        kept.add(rows, {name: predict(rows.contexts) for name, predict in predictors.items()})
        seen.append(Marks(rows.articles, rows.splits, rows.lanes))
        n_rows += len(rows.targets)
    marks = _joined(seen)
    folds = folds_of(marks.articles, n_rows)
    if folds.any():  # or all rows are in the first one
        for rows, predicted in ridge_predictions(dataset, folds, console=console):
            kept.add(rows, {RIDGE: predicted})
    return Judged(n_rows, marks, kept.cosines, kept.ranks)


class _Kept:
    """What is kept of the predictions of rows."""

    def __init__(self, search: RankSearch | None) -> None:
        self._search = search
        self._cosines: dict[str, list[Floats]] = defaultdict(list)
        self._ranks: dict[str, list[Codes]] = defaultdict(list)

    def add(self, rows: JudgedRows, predictions: Mapping[str, Floats]) -> None:
        """Compare the predictions of the next rows with their targets, and with the bank."""
        places = self._search.places(rows.targets) if self._search else None
        for name, predicted in predictions.items():
            self._cosines[name].append(row_cosines(predicted, rows.targets))
            if self._search and places:
                self._ranks[name].append(self._search.ranks(_unit(predicted), places))

    @property
    def cosines(self) -> dict[str, Floats]:
        return {name: np.concatenate(parts) for name, parts in self._cosines.items()}

    @property
    def ranks(self) -> dict[str, Codes]:
        return {name: np.concatenate(parts) for name, parts in self._ranks.items()}


def _mean(contexts: Floats) -> Floats:
    return np.asarray(contexts.mean(axis=1))


def _last(contexts: Floats) -> Floats:
    return np.ascontiguousarray(contexts[:, -1])


def _unit(vectors: Floats) -> Floats:
    """Return vectors (n, dim) with unit norms; one without a norm is NaN."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _joined(seen: Sequence[Marks]) -> Marks:
    articles = _column([marks.articles for marks in seen])
    return Marks(
        articles=None if articles is None or (articles == UNKNOWN).any() else articles,
        splits=_column([marks.splits for marks in seen]),
        lanes=_column([marks.lanes for marks in seen]),
    )


def _column(parts: Sequence[NDArray[Any] | None]) -> NDArray[Any] | None:
    """Join what a dataset has of all its rows, or of none."""
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if known else None
