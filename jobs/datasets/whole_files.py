"""The files of a dataset, read whole and in order by this process: for commands that learn from rows or judge by them.

The rule: every file that cannot be used is named before a row is read. This module does not know what rows are for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvm_batch.io.dataset.reading import open_unit
from lvm_batch.io.dataset.units import Footer, cut_units, read_footers
from lvm_batch.jobs.checks import Checks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lvm_batch.io.dataset.article_runs import ArticleRuns
    from lvm_batch.io.dataset.batches import Batch
    from lvm_batch.io.dataset.files import InputFile
    from lvm_batch.io.dataset.units import DatasetFormat

_BATCH_ROWS = 1024
_WHOLE = 2**62  # unit bytes: a file is one unit


def usable_footers(
    files: Iterable[InputFile], understood: DatasetFormat, *, runs: ArticleRuns | None = None
) -> list[Footer]:
    """Return every file's footer; raises its ``DataError``, or ``SettingsError`` where several files are bad.

    ``runs`` takes in the runs of articles of every file of sequences.
    """
    checks = Checks()
    footers: list[Footer] = []
    for _, found in read_footers(files, understood, runs=runs):
        if isinstance(found, Footer):
            footers.append(found)
        else:
            checks.errors.append(found)
    checks.raise_all()
    return footers


def batches_of(footer: Footer, understood: DatasetFormat) -> Iterator[Batch]:
    """Yield a file's rows with their article and split; a batch's arrays hold until the next one.

    Raises ``DataError`` where it breaks.
    """
    along = {understood.names.article, understood.names.split}
    (unit,) = cut_units(footer, unit_bytes=_WHOLE, shape=understood.shape)
    with open_unit(unit, understood, batch_rows=_BATCH_ROWS, along=along) as rows:
        yield from rows.batches
