"""Reads the rows of a dataset that predictions can be compared with: contexts, targets and labels.

The rule: rows are read as a run reads them, and only those with a usable context and target are kept. They are read in
batches and copied, so a dataset may be of any size.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lvm_batch.io.dataset.batches import text_values
from lvm_batch.io.dataset.column_checks import is_absent
from lvm_batch.io.dataset.files import look_for_files
from lvm_batch.io.errors import ColumnError, DataError
from lvm_batch.io.schema import OK, SPLITS, STATUSES, WindowShape
from lvm_batch.jobs.console.text import plural
from lvm_batch.jobs.datasets.articles import Articles
from lvm_batch.jobs.datasets.dataset_files import batches_of, open_dataset
from lvm_batch.jobs.datasets.dataset_format import find_format
from lvm_batch.jobs.models.advice import data_misfit
from lvm_batch.jobs.models.fit import Sizes
from lvm_batch.lvm.inference.cosines import has_direction

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from lvm_batch.io.dataset.batches import Batch, ContextPlaces
    from lvm_batch.io.dataset.units import Footer
    from lvm_batch.jobs.settings.evaluate import EvaluateSettings

NO_TARGET = "no_target"


@dataclass(frozen=True, slots=True)
class JudgedRows:
    """Some rows, n > 0: ``contexts`` float32 (n, length, dim), oldest first, and ``targets`` float32 (n, dim), finite.

    ``articles`` is int64 (n,), a number for each article of the dataset or ``UNKNOWN``; ``splits`` holds ``in_dist``,
    ``ood`` and ``None``, ``lanes`` strings and ``None``, and ``context_tokens`` float64 (n,) with NaN if unknown. Each
    of the four is ``None`` if the dataset has no such column. ``n_read`` rows, usable or not, were read to find these.
    ``places`` tells where the contexts stand, in sequences with positions.
    """

    contexts: NDArray[np.float32]
    targets: NDArray[np.float32]
    articles: NDArray[np.int64] | None
    splits: NDArray[np.object_] | None
    lanes: NDArray[np.object_] | None
    context_tokens: NDArray[np.float64] | None
    n_read: int = 0
    places: ContextPlaces | None = None


class JudgedDataset:
    """A dataset that can be read several times; ``n_rows`` counts all its rows, usable or not.

    ``left_out`` counts the unusable rows of the last time, by status or as ``no_target``. ``notices`` say what the user
    should know of the files.
    """

    def __init__(self, settings: EvaluateSettings, *, dim: int, length: int = WindowShape().length) -> None:
        """Read every footer, for contexts of ``length`` vectors of ``dim`` components.

        Raises ``ArchitectureError`` if the dataset has others, ``DataError``, or ``SettingsError`` for several files.
        """
        listing = look_for_files(settings.dataset)
        found = find_format(settings, listing.files, shape=WindowShape(length, dim))
        if misfit := data_misfit(settings, found.columns, Sizes("the model", dim, length)):
            raise misfit
        self._format = found.data_format
        dataset = open_dataset(settings, listing, self._format)
        self._footers = dataset.footers
        self.notices = (*found.notices, *dataset.notices)
        self._has_articles = all(self._article_column(footer) for footer in self._footers)
        self._has_splits = any(footer.roles.split for footer in self._footers)
        self._has_lanes = any(footer.roles.lane for footer in self._footers)
        self._has_tokens = any(footer.roles.tokens for footer in self._footers)
        self.n_rows = dataset.n_rows
        self.left_out: Counter[str] = Counter()

    def __iter__(self) -> Iterator[JudgedRows]:
        """Yield rows in the order of the files; raises ``DataError`` if none is usable, or for an unknown split."""
        self.left_out = Counter()
        articles = Articles()
        n_read = n_judged = 0
        for footer, batch in self._batches():
            n_read += batch.n_rows
            usable = self._usable(batch)
            if usable.any():
                yield self._rows(footer, batch, usable, articles, n_read)
                n_judged += int(usable.sum())
                n_read = 0
        if not n_judged:
            raise self._nothing_to_judge()

    def _batches(self) -> Iterator[tuple[Footer, Batch]]:
        for footer in self._footers:
            for batch in batches_of(footer, self._format):
                yield footer, batch

    def _usable(self, batch: Batch) -> NDArray[np.bool_]:
        """Return which rows are usable, bool (n,), and count the others."""
        is_ok = batch.status == OK
        self.left_out.update(STATUSES[code] for code in batch.status[~is_ok].tolist())
        has_target = has_direction(batch.targets) if batch.targets is not None else np.zeros_like(is_ok)
        self.left_out[NO_TARGET] += int((is_ok & ~has_target).sum())
        return np.asarray(is_ok & has_target)

    def _rows(
        self, footer: Footer, batch: Batch, usable: NDArray[np.bool_], articles: Articles, n_read: int
    ) -> JudgedRows:
        assert batch.targets is not None  # noqa: S101 - otherwise no row is usable
        article = self._article_column(footer)
        lanes = _filled(batch.lanes, batch.n_rows, None)[usable]
        tokens = _filled(batch.context_tokens, batch.n_rows, np.nan)[usable]
        return JudgedRows(
            contexts=batch.contexts[usable],
            targets=batch.targets[usable],
            articles=articles.add(batch.carried[article])[usable] if self._has_articles and article else None,
            splits=_splits(batch, footer)[usable] if self._has_splits else None,
            lanes=lanes if self._has_lanes else None,
            context_tokens=tokens if self._has_tokens else None,
            n_read=n_read,
            places=None if batch.places is None else batch.places.of(usable),
        )

    def _article_column(self, footer: Footer) -> str | None:
        """Return the name of the article column among the carried columns of a file, if it has one."""
        name = self._format.names.article
        if name not in footer.roles.carried:
            return None
        kind = footer.schema.field(name).type
        if is_absent(kind):
            return None
        if pa.types.is_nested(kind):
            raise ColumnError(
                f"{footer.file.path}: column `{name}` is {kind}, which cannot identify articles",
                "give another column with --article-column, or a name that no column has",
            )
        return footer.roles.carried[name]

    def _nothing_to_judge(self) -> DataError:
        counts = ", ".join(f"{n_rows:,} {why}" for why, n_rows in self.left_out.items() if n_rows)
        name = self._format.names.target
        if not any(footer.roles.target or footer.roles.layout == "sequences" for footer in self._footers):
            return DataError(
                f"{self._footers[0].file.path} has no `{name}` column, so predictions cannot be judged",
                "give the column of the true next vectors with --target-column, or a dataset of sequences",
            )
        return DataError(
            f"none of {plural(self.n_rows, 'row')} can be used to judge models"
            + (f": {counts}" if counts else ""),
            f"windows need a usable `{name}`, sequences articles of more than {self._format.shape.length} rows; "
            "`lvm-batch inspect` shows what the dataset has",
        )


def _splits(batch: Batch, footer: Footer) -> NDArray[np.object_]:
    """Return the split of each row; raises ``DataError`` for an unknown one."""
    if footer.roles.split is None:
        return np.full(batch.n_rows, None, np.object_)
    splits = text_values(batch.carried[footer.roles.carried[footer.roles.split]])
    for row, split in enumerate(splits.tolist()):
        if split is not None and split not in SPLITS:
            raise DataError(
                f"{footer.file.path}: row {batch.first_row + row} has the split {split!r}",
                f"a split is {' or '.join(SPLITS)}, or null; if `{footer.roles.split}` means something else, give "
                "another column with --split-column, or a name that no column has",
            )
    return splits


def _filled(values: NDArray[Any] | None, n_rows: int, unknown: float | None) -> NDArray[Any]:
    """Return ``values``, or ``n_rows`` times ``unknown`` if a file has no such column."""
    return np.full(n_rows, unknown) if values is None else values
