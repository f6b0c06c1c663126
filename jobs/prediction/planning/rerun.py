"""How a run treats a job that has begun: the inputs it may leave out, and the committed units it predicts again.

The rule: a selection by time leaves out what lies outside that time, and nothing else. A file of the job that lies
within that time and no longer exists is an error, as in a run over the whole dataset: otherwise a file that replaced it
would be predicted beside it. A committed unit is predicted again only if ``--reprocess`` says so, and only if the run
reads its file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from lvm_batch.io.dataset.file_times import files_within
from lvm_batch.io.dataset.files import InputFile
from lvm_batch.io.dataset.overlap import matching_files
from lvm_batch.io.errors import DataError

if TYPE_CHECKING:
    from lvm_batch.io.dataset.file_times import Span
    from lvm_batch.io.output.commit import OutputFolder
    from lvm_batch.jobs.prediction.planning.plan import Plan
    from lvm_batch.jobs.settings.run import RunSettings

Reprocess = Literal["missing", "failed", "all"]


def inputs_left_out(folder: OutputFolder, plan: Plan, settings: RunSettings) -> frozenset[str]:
    """Return the names of the job's inputs that the run leaves out; ``folder`` holds the job."""
    job = folder.job() if plan.span else None
    if job is None or plan.span is None:
        return frozenset()
    inputs = plan.identity.inputs
    unread = [
        InputFile(file.path, name, file.size, file.modified_ns)
        for name, file in job.identity.inputs.items()
        if name not in inputs
    ]
    return frozenset(file.name for file in unread) - _missed(unread, plan, plan.span, settings)


def _missed(unread: list[InputFile], plan: Plan, span: Span, settings: RunSettings) -> set[str]:
    """Return the names of those of ``unread`` that the dataset's arguments and the span select."""
    read = [footer.file for footer in plan.footers]
    meant = matching_files(settings.dataset, unread)
    try:
        within = files_within([*read, *meant], span, by=settings.time_column)
    except DataError:  # the job has files of another dataset, without times
        return set()
    return {file.name for file in within} & {file.name for file in meant}


def units_to_repeat(folder: OutputFolder, plan: Plan, how: Reprocess) -> frozenset[str]:
    """Return the outputs of the committed units to predict again, as ``how`` says.

    ``missing`` selects none, ``failed`` the units of files that have changed since and units with bad rows, ``all`` the
    units of every file that the run reads.
    """
    job = None if how == "missing" else folder.job()
    if job is None:
        return frozenset()
    before = {file.path: file for file in job.identity.inputs.values()}
    unreadable = {error.path for error in plan.unreadable}
    now = {file.path: file for file in plan.identity.inputs.values() if file.path not in unreadable}
    return frozenset(
        output
        for output, record in folder.recorded().items()
        if (file := now.get(record.place.input))
        and (how == "all" or file != before.get(file.path) or record.tally.rows_by_status.get("bad_input"))
    )
