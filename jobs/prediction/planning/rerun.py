"""The inputs of a job that a run may leave out: those outside the time that it reads.

The rule: a selection by time leaves out what lies outside that time, and nothing else. A file of the job that lies
within that time and no longer exists is an error, as in a run over the whole dataset: otherwise a file that replaced it
would be predicted beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvm_batch.io.dataset.file_times import files_within
from lvm_batch.io.dataset.files import InputFile, matching_files
from lvm_batch.io.errors import DataError

if TYPE_CHECKING:
    from lvm_batch.io.dataset.file_times import Span
    from lvm_batch.io.output.commit import OutputFolder
    from lvm_batch.jobs.prediction.planning.plan import Prepared
    from lvm_batch.jobs.settings.run import RunSettings


def kept_inputs(folder: OutputFolder, prepared: Prepared, settings: RunSettings) -> frozenset[str]:
    """Return the names of the job's inputs that the run leaves out; ``folder`` holds the job."""
    job = folder.job() if prepared.span else None
    if job is None or prepared.span is None:
        return frozenset()
    asked = prepared.identity.inputs
    unread = [
        InputFile(file.path, name, file.size, file.modified_ns)
        for name, file in job.identity.inputs.items()
        if name not in asked
    ]
    return frozenset(file.name for file in unread) - _missed(unread, prepared, prepared.span, settings)


def _missed(unread: list[InputFile], prepared: Prepared, span: Span, settings: RunSettings) -> set[str]:
    """Return the names of those of ``unread`` that the dataset's arguments and the span select."""
    read = [footer.file for footer in prepared.footers]
    meant = matching_files(settings.dataset, unread)
    try:
        within = files_within([*read, *meant], span, by=settings.time_column)
    except DataError:  # the job has files of another dataset, without times
        return set()
    return {file.name for file in within} & {file.name for file in meant}
