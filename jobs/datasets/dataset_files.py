"""The files of a dataset, checked, and read whole and in order by this process.

The rule: every unusable file is named before a row is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lvm_batch.io.dataset.article_runs import ArticleRuns
from lvm_batch.io.dataset.reading import open_unit
from lvm_batch.io.dataset.units import Footer, read_footers, whole_unit
from lvm_batch.io.errors import DataError
from lvm_batch.jobs.checks import Checks
from lvm_batch.jobs.datasets.dataset_notices import refuse_disorder, split_article_notices

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvm_batch.io.dataset.article_runs import RowOrder
    from lvm_batch.io.dataset.batches import Batch
    from lvm_batch.io.dataset.files import DatasetListing
    from lvm_batch.io.dataset.units import DatasetFormat
    from lvm_batch.jobs.settings.dataset import DatasetSettings

_BATCH_ROWS = 1024


@dataclass(frozen=True, slots=True)
class DatasetFiles:
    """The footers of a dataset's files, in order.

    ``order`` is that of their rows. ``notices`` say what the user should know of the files.
    """

    footers: list[Footer]
    order: RowOrder
    notices: tuple[str, ...]

    @property
    def n_rows(self) -> int:
        """The number of rows, usable or not."""
        return sum(footer.n_rows for footer in self.footers)


def open_dataset(
    settings: DatasetSettings, listing: DatasetListing, data_format: DatasetFormat
) -> DatasetFiles:
    """Read the footers of the files of a ``listing``.

    Raises the ``DataError`` of an unusable file or of rows out of order, or ``SettingsError`` for several.
    """
    checks, runs = Checks(), ArticleRuns()
    read = list(read_footers(listing.files, data_format, runs=runs))
    footers = [footer for _, footer in read if isinstance(footer, Footer)]
    checks.add_of_files(
        [(file.path, error) for file, error in read if isinstance(error, DataError)], len(read)
    )
    order = runs.order((footer.file.path for footer in footers), length=data_format.shape.length)
    named = settings.with_columns(data_format.names)
    checks.run(lambda: refuse_disorder(order, named))
    checks.raise_all()
    # One without rows may have no columns, either.
    footers = [footer for footer in footers if footer.n_rows] or footers
    return DatasetFiles(footers, order, (*listing.notices, *split_article_notices(order, named)))


def batches_of(footer: Footer, data_format: DatasetFormat) -> Iterator[Batch]:
    """Yield a file's rows with their article and split; the arrays of a batch are valid until the next one.

    Raises ``DataError`` if the file breaks.
    """
    along = {data_format.names.article, data_format.names.split}
    with open_unit(whole_unit(footer), data_format, batch_rows=_BATCH_ROWS, along=along) as rows:
        yield from rows.batches
