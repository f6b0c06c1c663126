"""The files of a dataset, checked, and read whole and in order by this process.

The rule: every unusable file is named before a row is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lvm_batch.io.dataset.article_runs import ArticleRuns
from lvm_batch.io.dataset.reading import open_unit
from lvm_batch.io.dataset.units import Footer, cut_units, read_footers
from lvm_batch.io.errors import DataError
from lvm_batch.jobs.checks import Checks
from lvm_batch.jobs.datasets.dataset_notices import split_article_notices

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lvm_batch.io.dataset.article_runs import Cuts
    from lvm_batch.io.dataset.batches import Batch
    from lvm_batch.io.dataset.files import DatasetListing, InputFile
    from lvm_batch.io.dataset.units import DatasetFormat
    from lvm_batch.io.schema import Pad

_BATCH_ROWS = 1024
_WHOLE = 2**62  # unit bytes: a file is one unit


@dataclass(frozen=True, slots=True)
class DatasetFiles:
    """The footers of a dataset's files, in order.

    ``cuts`` are the articles whose rows are not together, ``None`` if there are none. ``notices`` say what the user
    should know of the files.
    """

    footers: list[Footer]
    cuts: Cuts | None
    notices: tuple[str, ...]

    @property
    def n_rows(self) -> int:
        """The number of rows, usable or not."""
        return sum(footer.n_rows for footer in self.footers)


def open_dataset(
    listing: DatasetListing, data_format: DatasetFormat, *, pad: Pad | None = None
) -> DatasetFiles:
    """Read the footers of the files of a ``listing``; ``pad`` says what happens to short contexts.

    Raises the ``DataError`` of an unusable file, or ``SettingsError`` for several.
    """
    runs = ArticleRuns()
    footers = _usable_footers(listing.files, data_format, runs)
    cuts = runs.cuts((footer.file.path for footer in footers), length=data_format.shape.length)
    return DatasetFiles(footers, cuts, (*listing.notices, *split_article_notices(cuts, pad=pad)))


def _usable_footers(
    files: Iterable[InputFile], data_format: DatasetFormat, runs: ArticleRuns
) -> list[Footer]:
    checks = Checks()
    read = list(read_footers(files, data_format, runs=runs))
    refused = [(file.path, footer) for file, footer in read if isinstance(footer, DataError)]
    checks.add_of_files(refused, len(read))
    checks.raise_all()
    footers = [footer for _, footer in read if isinstance(footer, Footer)]
    return [
        footer for footer in footers if footer.n_rows
    ] or footers  # one without rows may have no columns, either


def batches_of(footer: Footer, data_format: DatasetFormat) -> Iterator[Batch]:
    """Yield a file's rows with their article and split; the arrays of a batch are valid until the next one.

    Raises ``DataError`` if the file breaks.
    """
    along = {data_format.names.article, data_format.names.split}
    (unit,) = cut_units(footer, unit_bytes=_WHOLE, shape=data_format.shape)
    with open_unit(unit, data_format, batch_rows=_BATCH_ROWS, along=along) as rows:
        yield from rows.batches
