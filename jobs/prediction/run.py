"""The main job, from settings to an outcome.

The rule: whatever ends a run, the output folder records which units are done, and the same command computes the rest.
"""

from __future__ import annotations

from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING

from lvm_batch.io.output.commit import OutputFolder
from lvm_batch.io.output.commit_record import answering
from lvm_batch.io.output.lock import lock_output, started_parts
from lvm_batch.jobs.clusters.backend import LocalWorkers, WorkerRequest
from lvm_batch.jobs.clusters.check import check_cluster
from lvm_batch.jobs.clusters.dashboard import dask_pages
from lvm_batch.jobs.clusters.kinds import backend_of
from lvm_batch.jobs.clusters.versions import check_versions
from lvm_batch.jobs.clusters.waiting import n_slots
from lvm_batch.jobs.errors import UnitsFailed
from lvm_batch.jobs.prediction.conclusion import CurrentRun, Work, sum_up
from lvm_batch.jobs.prediction.execution.drive import drive
from lvm_batch.jobs.prediction.execution.query_latency import worker_query_times
from lvm_batch.jobs.prediction.execution.row_sampling import sample_rate
from lvm_batch.jobs.prediction.observers import RunBeginning, make_listener
from lvm_batch.jobs.prediction.planning.memory import check_memory, memory_limit
from lvm_batch.jobs.prediction.planning.plan import Plan, job_document, make_plan
from lvm_batch.jobs.prediction.planning.rerun import inputs_left_out, units_to_repeat
from lvm_batch.jobs.prediction.results.events import RunStarted, Waiting
from lvm_batch.jobs.prediction.results.job_parts import check_whole
from lvm_batch.jobs.prediction.results.outcomes import collect, missing_outputs, record_refusals
from lvm_batch.jobs.processes.forkserver import METHOD, PRELOAD, start_forkserver

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from distributed import Client

    from lvm_batch.io.output.job_documents import JobDocument
    from lvm_batch.io.storage.lock_guard import LockGuard
    from lvm_batch.jobs.console.console import Console
    from lvm_batch.jobs.models.self_check import Refusal
    from lvm_batch.jobs.prediction.observers import RunObserver, RunOutcome
    from lvm_batch.jobs.prediction.planning.fleet import Fleet
    from lvm_batch.jobs.prediction.planning.job import Job
    from lvm_batch.jobs.settings.run import RunSettings


def run(
    settings: RunSettings,
    *,
    console: Console,
    observers: Sequence[RunObserver] = (),
    started: float | None = None,
    plan: Plan | None = None,
) -> RunOutcome:
    """Compute the missing units of the job that ``settings`` describe, and summarise the job.

    With ``settings.finish``, compute nothing: the parts of the job have done that.

    ``observers`` are told when the run begins, and each of its events, in order. The caller tells them how the run
    ended, because the caller also sees errors before it began. ``started`` is the reading of ``time.monotonic`` from
    which the run's time counts. ``plan`` is the plan of these settings, if it was made and the cluster checked.
    Raises ``JobError``, ``DataError`` or ``ModelError`` if the job cannot start, is interrupted, or cannot be finished
    because units are missing.
    """
    started = monotonic() if started is None else started
    plan = plan or make_plan(settings, threads=None, console=console, prepare=lambda: check_cluster(settings))
    check_memory(plan.memory, settings)
    for notice in plan.notices:
        console.note(notice)
    with lock_output(plan.job.output, on_wait=console.note) as hold:
        current = _begin(hold, plan, settings, console=console, observers=observers)
        if settings.finish:
            _check_whole(current)
        work = _predict(current) if current.missing else Work(plan.fleet.n_workers)
        return sum_up(current, work, started=started)


def _begin(
    hold: LockGuard,
    plan: Plan,
    settings: RunSettings,
    *,
    console: Console,
    observers: Sequence[RunObserver],
) -> CurrentRun:
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
    return CurrentRun(hold, folder, plan, settings, document, records, missing, had_succeeded, tell, console)


def _begin_job(folder: OutputFolder, plan: Plan, settings: RunSettings, console: Console) -> JobDocument:
    """Begin the job or continue it; return its document. Finishing it adds nothing to it."""
    if settings.finish:
        folder.required_job()
        return folder.join(job_document(plan, settings), kept=inputs_left_out(folder, plan, settings))
    again = units_to_repeat(folder, plan, settings.reprocess)
    if again:
        console.note(
            f"units to predict again: {len(again):,}; if this run is interrupted, the same command without "
            "--reprocess finishes it"
        )
    kept = inputs_left_out(folder, plan, settings)
    return folder.begin(job_document(plan, settings), kept=kept, again=again)


def _check_whole(current: CurrentRun) -> None:
    """Raise ``UnitsFailed`` if a unit of the job is missing; it is no success then, whatever it was before."""
    try:
        check_whole(current.document, current.records, started_parts(current.folder.text))
    except UnitsFailed:
        current.folder.mark_success(None)
        raise


def _predict(current: CurrentRun) -> Work:
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


def _start_cluster(current: CurrentRun, fleet: Fleet) -> AbstractContextManager[Client]:
    settings = current.settings
    if not settings.runs_elsewhere:
        start_forkserver()
    limit = memory_limit(settings, current.plan.memory.n_workers)
    local = LocalWorkers(
        fleet.n_workers, limit, slots=fleet.slots, gpus=fleet.gpus, method=METHOD, preload=(PRELOAD,)
    )
    return backend_of(settings).start(WorkerRequest(len(current.missing), local, current.console.note))


def _drive(current: CurrentRun, client: Client, job: Job) -> Work:
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
    return Work(n_workers, failures, refused)


def _work_to_do(current: CurrentRun, n_workers: int) -> RunStarted:
    plan, records = current.plan, current.records
    done = [records[unit.output].rows_in for unit in plan.units if unit.output in records]
    return RunStarted(len(plan.units), plan.n_rows, len(done), sum(done), n_workers)
