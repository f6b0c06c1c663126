"""Predicts every row of a dataset by every model and baseline, and compares each prediction with the target.

The rule: models and baselines get the same rows, and no row is predicted by a ridge that was fitted to its article.
Only a row's cosines, ranks and labels are kept.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lvm_batch.jobs.console.progress import watch_rows
from lvm_batch.jobs.datasets.articles import UNKNOWN
from lvm_batch.jobs.evaluation.cross_fitted_ridge import folds_of, ridge_predictions
from lvm_batch.lvm.evaluation.context_order import ContextShuffle
from lvm_batch.lvm.inference.cosines import row_cosines

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from lvm_batch.jobs.console.console import Console
    from lvm_batch.jobs.evaluation.judged_rows import JudgedDataset, JudgedRows
    from lvm_batch.lvm.checkpoints.training_vectors import TrainingVectors
    from lvm_batch.lvm.evaluation.retrieval import RankSearch
    from lvm_batch.lvm.inference.thresholds import OwnContext

    Floats = NDArray[np.float32]
    Codes = NDArray[np.int64]
    Names = NDArray[np.object_]
    Told = NDArray[np.int8]
    Predict = Callable[[Floats], Floats]

MEAN, LAST, RIDGE = "mean of context", "last vector", "ridge"
BASELINES = (MEAN, LAST, RIDGE)


@dataclass(frozen=True, slots=True)
class RowLabels:
    """The articles, splits and lanes of n rows, each (n,) as in ``JudgedRows``; ``None`` if the dataset has none.

    ``articles`` is ``None`` unless every row has one: a row of an unknown article may overlap with any other.
    """

    articles: Codes | None
    splits: Names | None
    lanes: Names | None


@dataclass(frozen=True, slots=True)
class RowScores:
    """Labels of n rows, and for each model and baseline cosines, float32 (n,), and with a bank ranks, int64 (n,).

    ``last_cosines`` are those of the prediction with the context's last vector, ``shuffled_cosines`` each model's with
    the target where its context was shuffled (none for contexts of one vector). ``told`` says of each model with a
    digest which rows it was trained on, int8 (n,).
    """

    n_rows: int
    labels: RowLabels
    cosines: Mapping[str, Floats]
    ranks: Mapping[str, Codes]
    last_cosines: Mapping[str, Floats]
    shuffled_cosines: Mapping[str, Floats]
    told: Mapping[str, Told]


def score_rows(
    dataset: JudgedDataset,
    models: Mapping[str, Predict],
    *,
    digests: Mapping[str, TrainingVectors],
    search: RankSearch | None,
    own_context: OwnContext,
    seed: int,
    console: Console,
) -> RowScores:
    """Predict every row by every model and baseline; without two articles (or two rows) there is no ridge.

    The models predict each row once more from its context in another order, which the ``seed`` decides. The dataset is
    read three times: for all but the ridge, to fit the ridge, and to predict by it. Ranks leave a row's own context out
    of the bank, unless ``own_context`` is "keep".
    """
    predictors = {**models, MEAN: _mean, LAST: _last}
    scores, shuffle = _Scores(search, keeps_own=own_context == "keep"), ContextShuffle(seed)
    parts: list[RowLabels] = []
    n_rows = 0
    for rows in watch_rows(dataset, console, what="judging", n_rows=dataset.n_rows):
        scores.add(rows, {name: predict(rows.contexts) for name, predict in predictors.items()})
        scores.add_told(rows, digests)
        if rows.contexts.shape[1] > 1:
            shuffled = shuffle(rows.contexts)
            scores.add_shuffled(rows, {name: predict(shuffled) for name, predict in models.items()})
        parts.append(RowLabels(rows.articles, rows.splits, rows.lanes))
        n_rows += len(rows.targets)
    labels = _join(parts)
    folds = folds_of(labels.articles, n_rows)
    if folds.any():  # otherwise all rows are in the first fold
        for rows, predicted in ridge_predictions(dataset, folds, console=console):
            scores.add(rows, {RIDGE: predicted})
    return scores.joined(n_rows, labels)


class _Scores:
    """Collects the cosines and ranks of predictions, and what models have seen."""

    def __init__(self, search: RankSearch | None, *, keeps_own: bool) -> None:
        self._search = search
        self._keeps_own = keeps_own
        self._cosines: dict[str, list[Floats]] = defaultdict(list)
        self._ranks: dict[str, list[Codes]] = defaultdict(list)
        self._last_cosines: dict[str, list[Floats]] = defaultdict(list)
        self._shuffled_cosines: dict[str, list[Floats]] = defaultdict(list)
        self._told: dict[str, list[Told]] = defaultdict(list)

    def add(self, rows: JudgedRows, predictions: Mapping[str, Floats]) -> None:
        """Compare the predictions of the next rows with their targets, with their last vectors and with the bank."""
        own = None if self._keeps_own else rows.contexts
        places = self._search.places(rows.targets, own) if self._search else None
        last = _last(rows.contexts)
        for name, predicted in predictions.items():
            self._cosines[name].append(row_cosines(predicted, rows.targets))
            self._last_cosines[name].append(row_cosines(predicted, last))
            if self._search and places:
                self._ranks[name].append(self._search.ranks(_unit(predicted), places))

    def add_shuffled(self, rows: JudgedRows, predictions: Mapping[str, Floats]) -> None:
        """Compare what models predict from shuffled contexts with the targets."""
        for name, predicted in predictions.items():
            self._shuffled_cosines[name].append(row_cosines(predicted, rows.targets))

    def add_told(self, rows: JudgedRows, digests: Mapping[str, TrainingVectors]) -> None:
        """Add which of the next rows models were trained on."""
        for name, digest in digests.items():
            self._told[name].append(digest.tell_rows(rows.contexts, rows.targets))

    def joined(self, n_rows: int, labels: RowLabels) -> RowScores:
        """Return the scores of all rows."""
        return RowScores(
            n_rows,
            labels,
            cosines=_joined(self._cosines),
            ranks=_joined(self._ranks),
            last_cosines=_joined(self._last_cosines),
            shuffled_cosines=_joined(self._shuffled_cosines),
            told=_joined(self._told),
        )


def _joined(parts: Mapping[str, list[NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    return {name: np.concatenate(values) for name, values in parts.items()}


def _mean(contexts: Floats) -> Floats:
    return np.asarray(contexts.mean(axis=1))


def _last(contexts: Floats) -> Floats:
    return np.ascontiguousarray(contexts[:, -1])


def _unit(vectors: Floats) -> Floats:
    """Return vectors (n, dim) scaled to unit norm; a zero vector becomes NaN."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _join(parts: Sequence[RowLabels]) -> RowLabels:
    articles = _column([labels.articles for labels in parts])
    return RowLabels(
        articles=None if articles is None or (articles == UNKNOWN).any() else articles,
        splits=_column([labels.splits for labels in parts]),
        lanes=_column([labels.lanes for labels in parts]),
    )


def _column(parts: Sequence[NDArray[Any] | None]) -> NDArray[Any] | None:
    """Join a column that the dataset has for all rows, or for none."""
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if known else None
