"""The main job, from settings to an outcome.

The rule: whatever ends a run, the output folder says what is done, and the same command does the rest.
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
from lvm_batch.jobs.prediction.execution.query_latency import worker_p95_ms
from lvm_batch.jobs.prediction.observers import RunBeginning, RunOutcome, telling
from lvm_batch.jobs.prediction.planning.memory import check_memory, memory_limit
from lvm_batch.jobs.prediction.planning.plan import Prepared, job_document, prepare
from lvm_batch.jobs.prediction.planning.rerun import kept_inputs, units_again
from lvm_batch.jobs.prediction.results.events import RunStarted, RunSummarised, Waiting
from lvm_batch.jobs.prediction.results.outcomes import collect, missing_outputs, noted, unaccounted
from lvm_batch.jobs.prediction.results.summary import summarise
from lvm_batch.jobs.prediction.results.summary_text import as_text
from lvm_batch.jobs.prediction.results.verdict import verdict, warnings_of
from lvm_batch.jobs.processes.forkserver import METHOD, PRELOAD, start_forkserver

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
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
class _Held:
    """A job whose output this run holds: ``asked`` is all that is asked of it, ``records`` are those that stand.

    ``missing`` are the units that this run reads and that are not done; ``had_succeeded`` says whether the job stood
    accepted before. ``tell`` passes an event to the observers.
    """

    hold: LockGuard
    folder: OutputFolder
    prepared: Prepared
    settings: RunSettings
    asked: JobDocument
    records: dict[str, CommitRecord]
    missing: Sequence[Unit]
    had_succeeded: bool
    tell: Listener


@dataclass(frozen=True, slots=True)
class _Work:
    """What the workers of a run have done: on how many, what failed, which were refused, and how long a query took."""

    n_workers: int
    failures: Sequence[Failure] = ()
    refused: Sequence[Refusal] = ()
    query_p95_ms: float | None = None


def run(
    settings: RunSettings,
    *,
    console: Console,
    observers: Sequence[RunObserver] = (),
    started: float | None = None,
) -> RunOutcome:
    """Do what is missing of the job that ``settings`` ask for, and sum it up.

    ``observers`` hear of its beginning and its events, each in turn; how it ended is for the caller to tell them, who
    also sees what fails before. ``started`` is the reading of ``time.monotonic`` from which the run's time counts.
    Raises ``JobError``, ``DataError`` or ``ModelError`` where the job cannot start or is interrupted.
    """
    started = monotonic() if started is None else started
    check_cluster(settings)
    prepared = prepare(settings, threads=None)
    check_memory(prepared.memory, settings)
    for notice in prepared.notices:
        console.note(notice)
    with lock_output(prepared.job.output, on_wait=console.note) as hold:
        held = _held(hold, prepared, settings, console=console, observers=observers)
        work = _predicted(held, console) if held.missing else _Work(prepared.fleet.n_workers)
        return _summed_up(held, work, started=started, console=console)


def _held(
    hold: LockGuard,
    prepared: Prepared,
    settings: RunSettings,
    *,
    console: Console,
    observers: Sequence[RunObserver],
) -> _Held:
    """Begin the job in its output or go on with it, and look at what is there."""
    folder = OutputFolder(prepared.job.output, hold=hold)
    had_succeeded = folder.succeeded
    asked = _begin(folder, prepared, settings, console)
    prepared = replace(prepared, job=replace(prepared.job, fingerprint=asked.fingerprint))
    for observer in observers:
        observer.begin(RunBeginning(prepared, settings, folder, hold))
    folder.clear_tmp()
    records = answering(asked, folder.records())
    missing = [unit for unit in prepared.units if unit.output not in records]
    tell = telling(observers, hold)
    return _Held(hold, folder, prepared, settings, asked, records, missing, had_succeeded, tell)


def _predicted(held: _Held, console: Console) -> _Work:
    """Predict the units that are missing; their records are added to those that stand as they come."""
    prepared, settings = held.prepared, held.settings
    held.folder.mark_success(None)
    fleet = prepared.fleet.for_units(len(held.missing))
    job = prepared.job if settings.runs_elsewhere else replace(prepared.job, threads=fleet.threads)
    with (
        _cluster(held, fleet, tell=console.note) as client,
        dask_pages(client, settings, tell=console.note),
    ):
        if settings.runs_elsewhere:
            check_versions(client, tell=console.note)
        query_p95_ms = worker_p95_ms(client, job, tell=console.note) if settings.history else None
        work = replace(_driven(held, client, job, console), query_p95_ms=query_p95_ms)
    gone = missing_outputs(held.folder, held.records)
    return replace(work, failures=[*work.failures, *gone])


def _driven(held: _Held, client: Client, job: Job, console: Console) -> _Work:
    """Drive the units that are missing over the cluster, and take their records."""
    refused: list[Refusal] = []
    n_workers = n_slots(client)
    outcomes = drive(
        client,
        job,
        held.missing,
        unit_timeout_s=held.settings.unit_timeout,
        on_refused=noted(refused, held.tell, console),
        on_waiting=lambda: held.tell(Waiting()),
        expectations=backend_of(held.settings).expectations(),
    )
    failures = collect(outcomes, held.records, held.tell, _started(held.prepared, held.records, n_workers))
    return _Work(n_workers, failures, refused)


def _summed_up(held: _Held, work: _Work, *, started: float, console: Console) -> RunOutcome:
    """Write what came of the job: the summary, ``_SUCCESS``, and whatever observers make of them."""
    failures = [*work.failures, *unaccounted(held.prepared.units, held.asked, held.records, work.failures)]
    done = [unit for unit in held.missing if unit.output in held.records]
    summary = summarise(
        held.prepared,
        held.settings,
        held.asked,
        held.records,
        failures,
        units_computed=len(done),
        rows_computed=sum(unit.n_rows for unit in done),
        refused=work.refused,
        wall_s=monotonic() - started,
    )
    ended = datetime.now(UTC)
    outcome = _conclude(held.folder, summary, held.settings, console)
    held.tell(
        RunSummarised(
            summary,
            records=held.records,
            computed=[held.records[unit.output] for unit in done],
            error=outcome.error,
            ended=ended,
            workers=work.n_workers,
            is_news=bool(held.missing) or held.folder.succeeded != held.had_succeeded,
            query_p95_ms=work.query_p95_ms,
        )
    )
    held.hold.check()  # whoever hears of the run next hears that it came to its end
    return outcome


def _conclude(folder: OutputFolder, summary: Summary, settings: RunSettings, console: Console) -> RunOutcome:
    error = verdict(summary, settings)
    for warning in warnings_of(summary, settings):
        console.note(warning, level="warning")
    folder.write_summary(summary.to_json())
    success = error is None and summary.is_whole
    if success:
        folder.mark_success(summary.success)
    else:
        folder.mark_refused()
    return RunOutcome(summary, as_text(summary, success=success), error)


def _begin(folder: OutputFolder, prepared: Prepared, settings: RunSettings, console: Console) -> JobDocument:
    """Begin the job or go on with it; return all that is asked of it."""
    again = units_again(folder, prepared, settings.reprocess)
    if again:
        console.note(
            f"units to predict again: {len(again):,}; if this is interrupted, the same command without --reprocess "
            "does the rest"
        )
    kept = kept_inputs(folder, prepared, settings)
    return folder.begin(job_document(prepared, settings), kept=kept, again=again)


def _started(prepared: Prepared, records: Mapping[str, CommitRecord], n_workers: int) -> RunStarted:
    done = [records[unit.output].rows_in for unit in prepared.units if unit.output in records]
    return RunStarted(len(prepared.units), prepared.n_rows, len(done), sum(done), n_workers)


def _cluster(held: _Held, fleet: Fleet, *, tell: Callable[[str], object]) -> AbstractContextManager[Client]:
    settings = held.settings
    if not settings.runs_elsewhere:
        start_forkserver()
    local = LocalWorkers(
        fleet.n_workers,
        memory_limit(settings, held.prepared.memory.n_workers),
        slots=fleet.slots,
        gpus=fleet.gpus,
        method=METHOD,
        preload=(PRELOAD,),
    )
    return backend_of(settings).start(WorkerRequest(len(held.missing), local, tell))
