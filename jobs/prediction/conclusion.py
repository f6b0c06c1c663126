"""The end of a run: its summary, its verdict, and what its observers learn.

The rule: a run that has lost its output writes nothing, and is not reported as ended.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING

from lvm_batch.jobs.prediction.observers import RunOutcome
from lvm_batch.jobs.prediction.results.events import RunSummarised
from lvm_batch.jobs.prediction.results.outcomes import units_without_record
from lvm_batch.jobs.prediction.results.registration import registered
from lvm_batch.jobs.prediction.results.run_warnings import warnings_of_run
from lvm_batch.jobs.prediction.results.summary import summarise
from lvm_batch.jobs.prediction.results.summary_text import as_text
from lvm_batch.jobs.prediction.results.verdict import verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lvm_batch.io.dataset.units import Unit
    from lvm_batch.io.output.commit import OutputFolder
    from lvm_batch.io.output.commit_record import CommitRecord
    from lvm_batch.io.output.job_documents import JobDocument
    from lvm_batch.io.storage.lock_guard import LockGuard
    from lvm_batch.jobs.console.console import Console
    from lvm_batch.jobs.models.self_check import Refusal
    from lvm_batch.jobs.prediction.execution.query_latency import QueryTimes
    from lvm_batch.jobs.prediction.execution.worker import Failure
    from lvm_batch.jobs.prediction.planning.plan import Plan
    from lvm_batch.jobs.prediction.results.events import Listener
    from lvm_batch.jobs.prediction.results.summary import Summary
    from lvm_batch.jobs.settings.run import RunSettings


@dataclass(frozen=True, slots=True)
class CurrentRun:
    """A run that holds the output of its job, or a part of one that holds its share; then all is of that share.

    ``document`` is the job as ``job.json`` records it, ``records`` are its commit records by output. ``missing`` are
    units that this run reads and that have no record. ``had_succeeded`` says whether the job was a success before.
    ``tell`` passes an event to the observers.
    """

    hold: LockGuard
    folder: OutputFolder
    plan: Plan
    settings: RunSettings
    document: JobDocument
    records: dict[str, CommitRecord]
    missing: Sequence[Unit]
    had_succeeded: bool
    tell: Listener
    console: Console


@dataclass(frozen=True, slots=True)
class Work:
    """The workers' work: how many workers, the failures, the refused workers, and the times of single queries."""

    n_workers: int
    failures: Sequence[Failure] = ()
    refused: Sequence[Refusal] = ()
    query: QueryTimes | None = None


def sum_up(current: CurrentRun, work: Work, *, started: float) -> RunOutcome:
    """Write the summary and ``_SUCCESS``, and pass both to the observers."""
    computed = [unit for unit in current.missing if unit.output in current.records]
    summary = summarise_run(current, work, computed, started=started)
    if current.settings.finish and not current.had_succeeded:
        computed = list(current.plan.units)  # by the parts, which are in no history
    outcome = _conclude(current, summary)
    current.tell(
        RunSummarised(
            outcome.summary,
            records=current.records,
            computed=[current.records[unit.output] for unit in computed],
            error=outcome.error,
            ended=datetime.now(UTC),
            workers=work.n_workers,
            is_news=bool(current.missing) or current.folder.succeeded != current.had_succeeded,
            query=work.query,
        )
    )
    current.hold.check()  # a run that has lost its output must not be reported as ended
    return outcome


def summarise_run(current: CurrentRun, work: Work, computed: Sequence[Unit], *, started: float) -> Summary:
    """Return the summary of a run, or of a part of one, that has ``computed`` these units."""
    plan, document, records = current.plan, current.document, current.records
    lost = units_without_record(plan.units, document, records, work.failures)
    summary = summarise(
        plan,
        current.settings,
        document,
        records,
        [*work.failures, *lost],
        units_computed=len(computed),
        rows_computed=sum(unit.n_rows for unit in computed),
        refused=work.refused,
        wall_s=monotonic() - started,
    )
    return replace(summary, warnings=warnings_of_run(summary, current.settings))


def _conclude(current: CurrentRun, summary: Summary) -> RunOutcome:
    """Write the summary, mark the job as a success or as refused, and register a success in tables."""
    error, folder = verdict(summary, current.settings), current.folder
    folder.write_summary(summary.to_json())
    if success := error is None and summary.is_whole:
        folder.mark_success(summary.success)
        summary, error = registered(summary, current.settings, folder, current.document, current.records)
    else:
        folder.mark_refused()
    return RunOutcome(summary, as_text(summary, success=success), error)
