"""Splits windows by article into those for training and those for validation.

The rule: no article is on both sides, and rows marked ``ood`` are on neither. The seed decides which articles are for
validation. Only a dataset of one article is cut within it, and says so, since that flatters the model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lvm_batch.io.errors import DataError
from lvm_batch.jobs.console.text import plural

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lvm_batch.jobs.training.training_rows import TrainingRows
    from lvm_batch.lvm.training.windows import Windows

_MIN_ARTICLES = 2
_MIN_WINDOWS = 50
"""Windows of a single article from which its end can be kept apart."""


@dataclass(frozen=True, slots=True)
class Split:
    """Windows for training, windows of other articles for validation, and the dataset's own ``ood`` windows, if any.

    ``n_articles`` counts the articles for training and those for validation: none if the end of the only article is
    kept apart.
    """

    training: Windows
    validation: Windows
    ood: Windows | None
    n_articles: tuple[int, int]


def split_by_article(rows: TrainingRows, *, share: float, seed: int) -> Split:
    """Keep ``share`` of the articles for validation, at least one; raises ``DataError`` if there are too few."""
    in_dist = np.flatnonzero(~rows.ood)
    articles = np.unique(rows.articles[in_dist])
    if not len(in_dist):
        raise DataError(f"none of {plural(rows.n_rows, 'row')} is a window to train on", _hint(rows))
    if len(articles) < _MIN_ARTICLES:
        return _split_one_article(rows, in_dist, share)
    shuffled = np.random.default_rng([seed, len(articles)]).permutation(articles)
    n_validation = min(len(articles) - 1, max(1, math.ceil(share * len(articles))))
    is_validation = np.isin(rows.articles[in_dist], shuffled[:n_validation])
    return Split(
        training=rows.windows.take(in_dist[~is_validation]),
        validation=rows.windows.take(in_dist[is_validation]),
        ood=rows.windows.take(np.flatnonzero(rows.ood)) if rows.ood.any() else None,
        n_articles=(len(articles) - n_validation, n_validation),
    )


def _split_one_article(rows: TrainingRows, in_dist: NDArray[np.int64], share: float) -> Split:
    """Keep the end of the only article for validation; windows that share a vector with it are on neither side.

    Raises ``DataError`` if there are too few windows.
    """
    if len(in_dist) < _MIN_WINDOWS:
        raise DataError(
            f"{plural(len(in_dist), 'window')} of one article: none can be held out for validation",
            "give at least two articles; for windows, give the column that identifies articles (--article-column)",
        )
    validation = in_dist[-max(1, math.ceil(share * len(in_dist))) :]
    windows = rows.windows
    used = np.union1d(windows.contexts[validation], windows.targets[validation])
    shares = np.isin(windows.contexts[in_dist], used).any(axis=1) | np.isin(windows.targets[in_dist], used)
    return Split(
        training=windows.take(in_dist[~shares]),
        validation=windows.take(validation),
        ood=windows.take(np.flatnonzero(rows.ood)) if rows.ood.any() else None,
        n_articles=(1, 0),
    )


def _hint(rows: TrainingRows) -> str:
    if len(rows.windows):
        return "all windows are marked ood, and models are not trained on these: give other windows"
    length = rows.windows.length
    return (
        f"a window needs {length} usable vectors and a target: windows a `target` column, sequences articles of at "
        f"least {length + 1} rows; `lvm-batch inspect` shows what the dataset has"
    )
