"""Records the outcome of each unit of a run, and passes it to the listeners.

The rule: a unit counts as done if the output holds the file that its record describes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvm_batch.jobs.prediction.execution.worker import Failure
from lvm_batch.jobs.prediction.results.events import RunEnded, UnitDone, UnitFailed, WorkerRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from lvm_batch.io.dataset.units import Unit
    from lvm_batch.io.output.commit import OutputFolder
    from lvm_batch.io.output.commit_record import CommitRecord
    from lvm_batch.io.output.job_documents import JobDocument
    from lvm_batch.jobs.console.console import Console
    from lvm_batch.jobs.models.self_check import Refusal
    from lvm_batch.jobs.prediction.results.events import Listener, RunStarted


def collect(
    outcomes: Iterable[tuple[Unit, CommitRecord | Failure]],
    records: dict[str, CommitRecord],
    tell: Listener,
    started: RunStarted,
) -> list[Failure]:
    """Add records to ``records`` as they come; return what failed."""
    failures: list[Failure] = []
    state = "interrupted"
    tell(started)
    try:
        for unit, outcome in outcomes:
            if isinstance(outcome, Failure):
                failures.append(outcome)
                tell(UnitFailed(outcome, unit.n_rows))
            else:
                records[unit.output] = outcome
                tell(UnitDone(outcome))
        state = "finished"
    finally:
        tell(RunEnded(state))
    return failures


def missing_outputs(folder: OutputFolder, records: dict[str, CommitRecord]) -> list[Failure]:
    """Take records out of ``records`` whose files readers of the output would not find; return these as failures."""
    published = folder.published()
    unseen = [output for output, record in records.items() if published.get(output) != record.bytes]
    # A network's file system may list what was there a minute ago, but finds a file by its name.
    gone = [output for output in unseen if folder.record(output) is None]
    for output in gone:
        del records[output]
    hint = "check what else writes or removes files there, then run the same command again"
    return [Failure(output, "gone", f"{output} is not in {folder.text}", hint) for output in gone]


def units_without_record(
    units: Sequence[Unit],
    job: JobDocument,
    records: Mapping[str, CommitRecord],
    failures: Iterable[Failure],
) -> list[Failure]:
    """Return as failures the ``units`` that have neither record nor failure, or that are no units of ``job``."""
    known = {failure.output for failure in failures} | (records.keys() & {unit.output for unit in job.units})
    hint = "run the same command again; if that does not help, choose another --output and report this"
    return [
        Failure(unit.output, "unaccounted", f"{unit.output} of {unit.file.path} has no commit record", hint)
        for unit in units
        if unit.output not in known
    ]


def record_refusals(refused: list[Refusal], tell: Listener, console: Console) -> Callable[[Refusal], None]:
    """Return a function that adds a worker to ``refused``, notes it on the console and passes it to ``tell``."""

    def note(refusal: Refusal) -> None:
        refused.append(refusal)
        console.note(refusal.text, level="warning")
        tell(WorkerRefused(refusal))

    return note
