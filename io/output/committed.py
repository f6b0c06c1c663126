"""What is committed in an output folder, for those who read it.

The rule: a file counts where its commit record and its bytes say the same, so that readers see whole files of one job
only, also while a run goes on; while a dataset that has grown is predicted, they see it as it was before. Files come in
the order of the inputs that they answer.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from pyarrow import fs

from lvm_batch.io.errors import InputNotFound, NotFinished, OutputError
from lvm_batch.io.output.commit import JOB, OutputFolder
from lvm_batch.io.output.commit_record import answering
from lvm_batch.io.output.job_documents import FORMAT
from lvm_batch.io.output.lock import is_held
from lvm_batch.io.storage.listing import look_at
from lvm_batch.io.storage.locations import Location, folders_above, locate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from lvm_batch.io.dataset.partitions import Value
    from lvm_batch.io.output.commit_record import CommitRecord
    from lvm_batch.io.output.job_documents import JobDocument

_READ_ALL_THE_SAME = "to read what is committed: require_success=False"


@dataclass(frozen=True, slots=True)
class CommittedFile:
    """One file of predictions: its path below the output folder, the input it answers, and its commit record."""

    name: str
    input: str
    record: CommitRecord


@dataclass(frozen=True, slots=True)
class Committed:
    """The files to read of a job below ``root``, in the order of the inputs, never none."""

    root: Location
    files: tuple[CommittedFile, ...]
    job: JobDocument

    @property
    def planned(self) -> tuple[str, ...]:
        """The paths of all files of the job, also of those to come."""
        return tuple(unit.output for unit in self.job.units)

    @property
    def n_rows(self) -> int:
        """Rows of the committed files."""
        return sum(file.record.tally.rows_out for file in self.files)


class ReadFile(NamedTuple):
    """A file to read: its place, its own columns, those of all folders, and the values that its folders give."""

    place: Location
    schema: pa.Schema
    folders: pa.Schema
    values: Mapping[str, Value]


def committed(output: str, *, require_success: bool) -> Committed:
    """Return the committed files of the job in ``output``.

    Where success is required and ``_SUCCESS`` does not stand, these are the files of the job as it last succeeded.
    Raises :class:`InputNotFound` where no job is, :class:`NotFinished` where it has not succeeded yet though that is
    required or nothing is committed yet, and :class:`OutputError` for a newer format or a file that is gone.
    """
    folder = OutputFolder(output)
    job = _job(folder)
    recorded = folder.recorded()
    published = folder.published()
    whole = {name: record for name, record in recorded.items() if published.get(name) == record.bytes}
    if require_success:
        job = _succeeded(folder, job, whole)
    answered = answering(job, whole)
    if require_success:
        _require_whole(folder, answered, [unit.output for unit in job.units if unit.output in recorded])
    if not answered:
        raise NotFinished(f"nothing in {output} is committed yet", "wait for the run, or start it again")
    files = tuple(
        CommittedFile(record.output, record.place.input, record) for record in _by_input(job, answered)
    )
    return Committed(locate(output), files, job)


def _job(folder: OutputFolder) -> JobDocument:
    job = folder.required_job()
    if job.identity.format is None:
        raise OutputError(
            f"{folder.text}/_lvm_batch/job.json is damaged: it does not state its format", "run the job again"
        )
    if job.identity.is_newer:
        raise OutputError(
            f"{folder.text} is in format {job.identity.format}, "
            f"written by lvm-batch {job.version or 'of a newer version'}; "
            f"this version reads formats up to {FORMAT}",
            "pip install --upgrade lvm-batch",
        )
    return job


def _succeeded(folder: OutputFolder, job: JobDocument, whole: Mapping[str, CommitRecord]) -> JobDocument:
    """Return the job as it last succeeded, perhaps before it grew; raises :class:`NotFinished` where it never did."""
    if folder.succeeded:
        return job
    accepted = folder.accepted_job()
    if accepted is None or len(answering(accepted, whole)) < len(accepted.units):
        raise NotFinished(*_unfinished(folder.text, job, answering(job, whole)))
    return accepted


def _require_whole(folder: OutputFolder, whole: Mapping[str, CommitRecord], recorded: Sequence[str]) -> None:
    if lost := sorted(set(recorded) - whole.keys()):
        raise OutputError(
            f"{folder.text}/{lost[0]} is gone or has changed since it was committed ({len(lost)} such files)",
            "run the command that started the job again: it writes them again; or, "
            f"{_READ_ALL_THE_SAME.replace('what is committed', 'the others')}",
        )


def _unfinished(output: str, job: JobDocument, whole: Mapping[str, CommitRecord]) -> tuple[str, str]:
    """Return what an output without ``_SUCCESS`` is waiting for, and what to do."""
    begun = {unit.output for unit in job.units}
    counted = f"{len(begun & whole.keys()):,} of {len(begun):,} units are committed"
    if is_held(output):
        return f"{output} is being written: {counted}", f"wait for the run; or, {_READ_ALL_THE_SAME}"
    if begun - whole.keys():
        return (
            f"{output} is incomplete: {counted}, and no run is working on it",
            f"run the command that started it again: it does the rest; or, {_READ_ALL_THE_SAME}",
        )
    return (
        f"{output} was not accepted: {counted}, but a gate failed, files were left out, or its parts wait for --finish",
        f"see _lvm_batch/summary.json in it; or, {_READ_ALL_THE_SAME}",
    )


def _by_input(job: JobDocument, records: Mapping[str, CommitRecord]) -> list[CommitRecord]:
    """Return records in the order of the job's inputs, and of their rows."""
    numbers = {file.path: number for number, file in enumerate(job.identity.inputs.values())}

    def key(record: CommitRecord) -> tuple[int, str, int]:
        place = record.place
        return numbers.get(place.input, len(numbers)), place.input, place.first_row or 0

    return sorted(records.values(), key=key)


def job_around(output: Location) -> Location | None:
    """Return the output folder of a job that contains ``output``; ``None`` if there is none, or none is readable."""
    for folder in folders_above(output):
        with suppress(InputNotFound):  # access may be given to the output alone
            if look_at(folder.child(JOB)).type == fs.FileType.File:
                return folder
    return None
