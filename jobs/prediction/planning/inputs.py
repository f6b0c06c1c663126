"""The inputs of a run: which files it reads, and what their footers say.

The rule: problems are collected, not raised, so that all of them are reported together. A file that cannot be read
stops the run, unless ``--on-bad-file skip`` leaves it out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lvm_batch.io.dataset.article_runs import ArticleRuns
from lvm_batch.io.dataset.file_times import Span, files_within, selection_notices
from lvm_batch.io.dataset.files import DatasetListing, look_for_files
from lvm_batch.io.dataset.first_rows import first_files
from lvm_batch.io.dataset.units import DatasetFormat, Footer, read_footers
from lvm_batch.io.errors import UnreadableFile
from lvm_batch.jobs.console.progress import watch_files
from lvm_batch.jobs.datasets.dataset_notices import overruled_notices, refuse_disorder, split_article_notices
from lvm_batch.jobs.prediction.planning.carried_columns import carried_column_errors
from lvm_batch.jobs.prediction.planning.limit import limit_notices
from lvm_batch.jobs.prediction.planning.places import run_place_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lvm_batch.io.dataset.files import InputFile
    from lvm_batch.io.errors import DataError
    from lvm_batch.jobs.checks import Checks
    from lvm_batch.jobs.console.console import Console
    from lvm_batch.jobs.settings.run import RunSettings


@dataclass(frozen=True, slots=True)
class Selection:
    """The files of a dataset: all that are ``listed``, those ``selected`` by their time, and those that a limit leaves.

    ``span`` is the time whose files are read, ``None`` for all files.
    """

    listed: DatasetListing
    selected: Sequence[InputFile]
    files: Sequence[InputFile]
    span: Span | None

    def notices(self, settings: RunSettings) -> tuple[str, ...]:
        """Return which files are not read, and why."""
        by_time = (
            ()
            if self.span is None
            else selection_notices(self.listed.files, self.selected, by=settings.time_column)
        )
        return (*self.listed.notices, *by_time)


@dataclass(frozen=True, slots=True)
class Inputs:
    """The files that a job reads, and how it reads them; ``unreadable`` are those left out.

    ``tables`` has the version that is read of each table.
    """

    files: Sequence[InputFile]
    footers: Sequence[Footer]
    unreadable: tuple[UnreadableFile, ...]
    dataset: DatasetFormat
    span: Span | None
    notices: tuple[str, ...]
    tables: Mapping[str, int]


def select_files(settings: RunSettings, checks: Checks) -> Selection:
    """Find the files to read, and check that nothing would be written among them."""
    listed = checks.run(lambda: look_for_files(settings.dataset)) or DatasetListing([], ())
    checks.errors.extend(run_place_errors(settings, listed.files))
    span = None if settings.span == (None, None) else Span(*settings.span)
    selected: Sequence[InputFile] = listed.files
    if span is not None:
        selected = checks.run(lambda: files_within(listed.files, span, by=settings.time_column)) or []
    files = selected if settings.limit is None else first_files(selected, settings.limit)
    return Selection(listed, selected, files, span)


def read_inputs(
    selection: Selection,
    dataset: DatasetFormat,
    settings: RunSettings,
    checks: Checks,
    *,
    console: Console | None,
) -> Inputs:
    """Read all footers, and look at the order of rows; ``console`` shows how many are read."""
    files, runs = selection.files, ArticleRuns()
    found = watch_files(
        read_footers(files, dataset, runs=runs), console, what="reading footers", n_files=len(files)
    )
    footers, unreadable = _part(found, len(files), checks, settings)
    if footers:
        checks.errors.extend(carried_column_errors(settings, footers))
    order = runs.order((footer.file.path for footer in footers), length=dataset.shape.length)
    resolved = settings.with_columns(dataset.names)
    checks.run(lambda: refuse_disorder(order, resolved))
    notices = (
        *split_article_notices(order, resolved, pad=settings.pad),
        *overruled_notices(footers),
        *limit_notices(settings.limit, footers, n_files=len(selection.selected)),
    )
    return Inputs(files, footers, unreadable, dataset, selection.span, notices, selection.listed.tables)


def _part(
    found: Iterable[tuple[InputFile, Footer | DataError]], n_files: int, checks: Checks, settings: RunSettings
) -> tuple[list[Footer], tuple[UnreadableFile, ...]]:
    """Part footers from errors; with ``--on-bad-file skip``, a file that cannot be read is left out and is no error."""
    footers: list[Footer] = []
    unreadable: list[UnreadableFile] = []
    refused: list[tuple[str, DataError]] = []
    for file, footer in found:
        if isinstance(footer, Footer):
            footers.append(footer)
        elif settings.on_bad_file == "skip" and isinstance(footer, UnreadableFile):
            unreadable.append(footer)
        else:
            refused.append((file.path, footer))
    checks.add_of_files(refused, n_files)
    return footers, tuple(unreadable)
