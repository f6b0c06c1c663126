"""The main job, from settings to an outcome.

The rule: whatever ends a run, the output folder records which units are done, and the same command computes the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING

from lvm_batch.io.output.commit import OutputFolder
from lvm_batch.io.output.commit_record import answering
from lvm_batch.io.output.lock import lock_output
from lvm_batch.jobs.clusters.backend import LocalWorkers, WorkerRequest
from lvm_batch.jobs.clusters.check import check_cluster
from lvm_batch.jobs.clusters.dashboard import dask_pages
from lvm_batch.jobs.clusters.kinds import backend_of
from lvm_batch.jobs.clusters.versions import check_versions
from lvm_batch.jobs.clusters.waiting import n_slots
from lvm_batch.jobs.prediction.execution.drive import drive
from lvm_batch.jobs.prediction.execution.query_latency import QueryTimes, worker_query_times
from lvm_batch.jobs.prediction.execution.row_sampling import sample_rate
from lvm_batch.jobs.prediction.observers import RunBeginning, RunOutcome, make_listener
from lvm_batch.jobs.prediction.planning.memory import check_memory, memory_limit
from lvm_batch.jobs.prediction.planning.plan import Plan, job_document, make_plan
from lvm_batch.jobs.prediction.planning.rerun import inputs_left_out, units_to_repeat
from lvm_batch.jobs.prediction.results.events import RunStarted, RunSummarised, Waiting
from lvm_batch.jobs.prediction.results.outcomes import (
    collect,
    missing_outputs,
    record_refusals,
    units_without_record,
)
from lvm_batch.jobs.prediction.results.run_warnings import warnings_of_run
from lvm_batch.jobs.prediction.results.summary import summarise
from lvm_batch.jobs.prediction.results.summary_text import as_text
from lvm_batch.jobs.prediction.results.verdict import verdict
from lvm_batch.jobs.processes.forkserver import METHOD, PRELOAD, start_forkserver

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from distributed import Client

    from lvm_batch.io.dataset.units import Unit
    from lvm_batch.io.output.commit_record import CommitRecord
    from lvm_batch.io.output.job_documents import JobDocument
    from lvm_batch.io.storage.lock_guard import LockGuard
    from lvm_batch.jobs.console.console import Console
    from lvm_batch.jobs.models.self_check import Refusal
    from lvm_batch.jobs.prediction.execution.worker import Failure
    from lvm_batch.jobs.prediction.observers import RunObserver
    from lvm_batch.jobs.prediction.planning.fleet import Fleet
    from lvm_batch.jobs.prediction.planning.job import Job
    from lvm_batch.jobs.prediction.results.events import Listener
    from lvm_batch.jobs.prediction.results.summary import Summary
    from lvm_batch.jobs.settings.run import RunSettings


@dataclass(frozen=True, slots=True)
class _CurrentRun:
    """A run that holds the output of its job.

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
class _Work:
    """The workers' work: how many workers, the failures, the refused workers, and the times of single queries."""

    n_workers: int
    failures: Sequence[Failure] = ()
    refused: Sequence[Refusal] = ()
    query: QueryTimes | None = None


def run(
    settings: RunSettings,
    *,
    console: Console,
    observers: Sequence[RunObserver] = (),
    started: float | None = None,
    plan: Plan | None = None,
) -> RunOutcome:
    """Compute the missing units of the job that ``settings`` describe, and summarise the job.

    ``observers`` are told when the run begins, and each of its events, in order. The caller tells them how the run
    ended, because the caller also sees errors before it began. ``started`` is the reading of ``time.monotonic`` from
    which the run's time counts. ``plan`` is the plan of these settings, if it was made and the cluster checked.
    Raises ``JobError``, ``DataError`` or ``ModelError`` if the job cannot start or is interrupted.
    """
    started = monotonic() if started is None else started
    plan = plan or make_plan(settings, threads=None, console=console, prepare=lambda: check_cluster(settings))
    check_memory(plan.memory, settings)
    for notice in plan.notices:
        console.note(notice)
    with lock_output(plan.job.output, on_wait=console.note) as hold:
        current = _begin(hold, plan, settings, console=console, observers=observers)
        work = _predict(current) if current.missing else _Work(plan.fleet.n_workers)
        return _sum_up(current, work, started=started)


def _begin(
    hold: LockGuard,
    plan: Plan,
    settings: RunSettings,
    *,
    console: Console,
    observers: Sequence[RunObserver],
) -> _CurrentRun:
    """Begin the job in its output, or continue it, and find out which units are missing."""
    folder = OutputFolder(plan.job.output, hold=hold)
    had_succeeded = folder.succeeded
    document = _begin_job(folder, plan, settings, console)
    plan = replace(plan, job=replace(plan.job, fingerprint=document.fingerprint))
    for observer in observers:
        observer.begin(RunBeginning(plan, settings, folder, hold))
    folder.clear_tmp()
    records = answering(document, folder.records())
    missing = [unit for unit in plan.units if unit.output not in records]
    tell = make_listener(observers, hold)
    return _CurrentRun(hold, folder, plan, settings, document, records, missing, had_succeeded, tell, console)


def _begin_job(folder: OutputFolder, plan: Plan, settings: RunSettings, console: Console) -> JobDocument:
    """Begin the job or continue it; return its document."""
    again = units_to_repeat(folder, plan, settings.reprocess)
    if again:
        console.note(
            f"units to predict again: {len(again):,}; if this is interrupted, the same command without --reprocess "
            "does the rest"
        )
    kept = inputs_left_out(folder, plan, settings)
    return folder.begin(job_document(plan, settings), kept=kept, again=again)


def _predict(current: _CurrentRun) -> _Work:
    """Predict the missing units, and add their records to ``current.records`` as they come."""
    plan, settings, note = current.plan, current.settings, current.console.note
    current.folder.mark_success(None)
    fleet = plan.fleet.for_units(len(current.missing))
    job = plan.job if settings.runs_elsewhere else replace(plan.job, threads=fleet.threads)
    with _start_cluster(current, fleet) as client, dask_pages(client, settings, tell=note):
        if settings.runs_elsewhere:
            check_versions(client, tell=note)
        query = worker_query_times(client, job, tell=note) if settings.history else None
        work = replace(_drive(current, client, job), query=query)
    return replace(work, failures=[*work.failures, *missing_outputs(current.folder, current.records)])


def _start_cluster(current: _CurrentRun, fleet: Fleet) -> AbstractContextManager[Client]:
    settings = current.settings
    if not settings.runs_elsewhere:
        start_forkserver()
    limit = memory_limit(settings, current.plan.memory.n_workers)
    local = LocalWorkers(
        fleet.n_workers, limit, slots=fleet.slots, gpus=fleet.gpus, method=METHOD, preload=(PRELOAD,)
    )
    return backend_of(settings).start(WorkerRequest(len(current.missing), local, current.console.note))


def _drive(current: _CurrentRun, client: Client, job: Job) -> _Work:
    """Drive the missing units over the cluster, and collect their records."""
    refused: list[Refusal] = []
    n_workers = n_slots(client)
    outcomes = drive(
        client,
        replace(job, sample_rate=sample_rate(current.missing) if current.settings.history else 0.0),
        current.missing,
        unit_timeout_s=current.settings.unit_timeout,
        on_refused=record_refusals(refused, current.tell, current.console),
        on_waiting=lambda: current.tell(Waiting()),
        expectations=backend_of(current.settings).expectations(),
    )
    failures = collect(outcomes, current.records, current.tell, _work_to_do(current, n_workers))
    return _Work(n_workers, failures, refused)


def _work_to_do(current: _CurrentRun, n_workers: int) -> RunStarted:
    plan, records = current.plan, current.records
    done = [records[unit.output].rows_in for unit in plan.units if unit.output in records]
    return RunStarted(len(plan.units), plan.n_rows, len(done), sum(done), n_workers)


def _sum_up(current: _CurrentRun, work: _Work, *, started: float) -> RunOutcome:
    """Write the summary and ``_SUCCESS``, and pass both to the observers."""
    computed = [unit for unit in current.missing if unit.output in current.records]
    summary = _summarise(current, work, computed, started=started)
    ended = datetime.now(UTC)
    outcome = _conclude(current, summary)
    current.tell(
        RunSummarised(
            summary,
            records=current.records,
            computed=[current.records[unit.output] for unit in computed],
            error=outcome.error,
            ended=ended,
            workers=work.n_workers,
            is_news=bool(current.missing) or current.folder.succeeded != current.had_succeeded,
            query=work.query,
        )
    )
    current.hold.check()  # a run that has lost its output must not be reported as ended
    return outcome


def _summarise(current: _CurrentRun, work: _Work, computed: Sequence[Unit], *, started: float) -> Summary:
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


def _conclude(current: _CurrentRun, summary: Summary) -> RunOutcome:
    """Write the summary, and mark the job as a success or as refused."""
    error = verdict(summary, current.settings)
    current.folder.write_summary(summary.to_json())
    success = error is None and summary.is_whole
    if success:
        current.folder.mark_success(summary.success)
    else:
        current.folder.mark_refused()
    return RunOutcome(summary, as_text(summary, success=success), error)
