"""Windows divided into those to learn from and those to judge by, by article.

The rule: no article is on both sides, and rows marked ``ood`` are on neither. Which articles are kept apart follows
from the seed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lvm_batch.io.errors import DataError

if TYPE_CHECKING:
    from lvm_batch.jobs.training.rows import TrainingRows
    from lvm_batch.lvm.training.windows import Windows

_SOME = 2


@dataclass(frozen=True, slots=True)
class Split:
    """Windows to train on, windows of other articles to judge by, and the dataset's own ``ood`` windows, if any.

    ``n_articles`` counts the articles that are trained on and those of the validation windows.
    """

    training: Windows
    validation: Windows
    ood: Windows | None
    n_articles: tuple[int, int]


def split_by_article(rows: TrainingRows, *, share: float, seed: int) -> Split:
    """Keep ``share`` of the articles apart, at least one; raises ``DataError`` where there are too few."""
    known = np.flatnonzero(~rows.ood)
    articles = np.unique(rows.articles[known])
    if not len(known):
        raise DataError(f"none of {rows.n_rows:,} rows is a window to train on", _why_none(rows))
    if len(articles) < _SOME:
        raise DataError(
            f"all {len(known):,} windows are of one article, so none can be kept apart to judge by",
            "give at least two articles; of windows, name the column that tells articles apart (--article-column)",
        )
    shuffled = np.random.default_rng([seed, len(articles)]).permutation(articles)
    n_apart = min(len(articles) - 1, max(1, math.ceil(share * len(articles))))
    apart = np.isin(rows.articles[known], shuffled[:n_apart])
    return Split(
        training=rows.windows.take(known[~apart]),
        validation=rows.windows.take(known[apart]),
        ood=rows.windows.take(np.flatnonzero(rows.ood)) if rows.ood.any() else None,
        n_articles=(len(articles) - n_apart, n_apart),
    )


def _why_none(rows: TrainingRows) -> str:
    if len(rows.windows):
        return "all windows are marked ood, which no model is trained on: give others"
    length = rows.windows.length
    return (
        f"a window needs {length} usable vectors and a target: windows a `target` column, sequences articles of at "
        f"least {length + 1} rows; `lvm-batch inspect` shows what is there"
    )
