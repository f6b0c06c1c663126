"""Reads the windows of a dataset for training, each with its article.

The rule: windows are read as a run reads them, and only those with a usable context and target are kept. Every vector
is in memory once, whatever the number of its windows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from lvm_batch.io.dataset.batches import text_values
from lvm_batch.io.dataset.column_checks import is_text
from lvm_batch.io.dataset.files import look_for_files
from lvm_batch.io.errors import DataError
from lvm_batch.io.schema import OK
from lvm_batch.jobs.datasets.articles import Articles, group_windows
from lvm_batch.jobs.datasets.dataset_files import batches_of, open_dataset
from lvm_batch.jobs.datasets.dataset_format import find_format
from lvm_batch.jobs.training.vector_store import VectorStore
from lvm_batch.lvm.inference.cosines import has_direction
from lvm_batch.lvm.training.windows import Windows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lvm_batch.io.dataset.batches import Batch
    from lvm_batch.io.dataset.units import DatasetFormat, Footer
    from lvm_batch.jobs.settings.train import TrainSettings


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """Windows, the number of each one's article, int64 (n,), and whether its ``split`` is ``ood``, bool (n,).

    ``n_rows`` is the number of rows read; ``notices`` say what the user should know of the files.
    """

    windows: Windows
    articles: NDArray[np.int64]
    ood: NDArray[np.bool_]
    n_rows: int
    notices: tuple[str, ...] = ()


def read_training_rows(settings: TrainSettings) -> TrainingRows:
    """Read every window of the dataset; raises ``DataError`` or, for several bad files, ``SettingsError``."""
    listing = look_for_files(settings.dataset)
    found = find_format(settings, listing.files, length=settings.context_length)
    data_format = found.data_format
    dataset = open_dataset(settings, listing, data_format)
    _refuse_two_layouts(dataset.footers)
    if dataset.footers[0].roles.layout == "sequences":
        single = replace(data_format, shape=replace(data_format.shape, length=1))
        rows = _of_sequences(dataset.footers, single, length=data_format.shape.length)
    else:
        rows = _of_windows(dataset.footers, data_format)
    if settings.input_norm == "unit":
        vectors = rows.windows.vectors
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return replace(rows, notices=(*found.notices, *dataset.notices))


def _refuse_two_layouts(footers: Sequence[Footer]) -> None:
    """Raise ``DataError`` if there are windows and sequences: an article in both would be trained on twice."""
    first_with = {footer.roles.layout: footer.file.path for footer in reversed(footers)}
    if len(first_with) > 1:
        raise DataError(
            f"{first_with['windows']} has windows, {first_with['sequences']} sequences",
            "train on one of the two: give only its files, or a pattern that matches only them",
        )


def _of_sequences(footers: Sequence[Footer], single: DatasetFormat, *, length: int) -> TrainingRows:
    """Find the windows: each is ``length`` usable rows of one article in succession, and the row after them.

    ``single`` reads contexts of one vector: the row's own. Their target says whether the article goes on.
    """
    vectors = np.empty((sum(footer.n_rows for footer in footers), single.shape.dim), np.float32)
    usable = np.zeros(len(vectors), np.bool_)
    continued = np.zeros(len(vectors), np.bool_)
    ood = np.zeros(len(vectors), np.bool_)
    articles = Articles()
    start = 0
    for footer in footers:
        for batch in batches_of(footer, single):
            assert batch.targets is not None  # noqa: S101 - sequences have targets
            rows = slice(start, start + batch.n_rows)
            vectors[rows] = batch.contexts[:, 0]
            usable[rows] = batch.status == OK
            continued[rows] = has_direction(batch.targets)
            ood[rows] = _is_ood(batch, footer)
            articles.add(batch.carried[_carried(footer, footer.roles.article)])
            start = rows.stop
    targets = _row_after_runs(usable & continued, length=length)
    contexts = targets[:, None] + np.arange(-length, 0)
    last = targets - 1
    return TrainingRows(Windows(vectors, contexts, targets), articles.codes[last], ood[last], len(vectors))


def _row_after_runs(goes_on: NDArray[np.bool_], *, length: int) -> NDArray[np.int64]:
    """Return the rows, int64 (n,), that follow ``length`` rows for which ``goes_on`` is true."""
    ends = np.cumsum(np.concatenate([[0], goes_on]))
    whole = ends[length:] - ends[: max(0, len(ends) - length)] == length
    return np.flatnonzero(whole) + length


def _of_windows(footers: Sequence[Footer], data_format: DatasetFormat) -> TrainingRows:
    store = VectorStore(data_format.shape.dim)
    places: list[NDArray[np.int64]] = []
    ood: list[NDArray[np.bool_]] = []
    articles = Articles()
    for footer in footers:
        column = _carried(footer, data_format.names.article)
        for batch in batches_of(footer, data_format):
            if batch.targets is None:
                continue
            usable = (batch.status == OK) & has_direction(batch.targets)
            vectors = np.concatenate([batch.contexts[usable], batch.targets[usable, None]], axis=1)
            places.append(store.add(vectors))
            ood.append(_is_ood(batch, footer)[usable])
            articles.add(_ids(batch, column).filter(usable))
    windows = np.concatenate([np.empty((0, data_format.shape.length + 1), np.int64), *places])
    return TrainingRows(
        Windows(store.vectors, windows[:, :-1], windows[:, -1]),
        group_windows(windows, articles.codes),
        np.concatenate([np.empty(0, np.bool_), *ood]),
        sum(footer.n_rows for footer in footers),
    )


def _ids(batch: Batch, column: str) -> pa.ChunkedArray:
    """Return the article of each row, null if it has none or there is no such column."""
    if column in batch.carried.column_names:
        return batch.carried[column]
    return pa.chunked_array([pa.nulls(batch.n_rows)])


def _is_ood(batch: Batch, footer: Footer) -> NDArray[np.bool_]:
    if footer.roles.split is None:
        return np.zeros(batch.n_rows, np.bool_)
    splits = batch.carried[_carried(footer, footer.roles.split)]
    if not is_text(splits.type):
        return np.zeros(batch.n_rows, np.bool_)
    return np.asarray(text_values(splits) == "ood", np.bool_)


def _carried(footer: Footer, column: str | None) -> str:
    """Return the name of a column of the file among the carried ones."""
    return footer.roles.carried.get(column or "", column or "")
