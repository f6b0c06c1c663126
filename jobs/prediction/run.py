"""The main job, from settings to a summary.

The rule: whatever ends a run, the output folder says what is done, and the same command does the rest. This
module puts the parts in order; each part is elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING

from lvm_batch.io.output.answers import answering
from lvm_batch.io.output.commit import OutputFolder
from lvm_batch.io.output.lock import lock_output
from lvm_batch.jobs.clusters.asked import check_cluster
from lvm_batch.jobs.clusters.skew import check_versions
from lvm_batch.jobs.clusters.started import started_cluster
from lvm_batch.jobs.clusters.terms import terms_of
from lvm_batch.jobs.console.signals import stoppable
from lvm_batch.jobs.prediction.cluster import local_cluster, n_slots, remote_cluster
from lvm_batch.jobs.prediction.dashboard import watched
from lvm_batch.jobs.prediction.execution.drive import drive
from lvm_batch.jobs.prediction.execution.events import RunStarted, Waiting
from lvm_batch.jobs.prediction.execution.query_latency import worker_p95_ms
from lvm_batch.jobs.prediction.planning.job import job_document
from lvm_batch.jobs.prediction.planning.kept_inputs import kept_inputs
from lvm_batch.jobs.prediction.planning.memory import check_memory, memory_limit
from lvm_batch.jobs.prediction.planning.plan import Prepared, prepare
from lvm_batch.jobs.prediction.planning.reprocess import units_again
from lvm_batch.jobs.prediction.results.outcomes import broadcast, collect, noted, unaccounted, vanished
from lvm_batch.jobs.prediction.results.summary import Summary, summarise
from lvm_batch.jobs.prediction.results.summary_text import as_text
from lvm_batch.jobs.prediction.results.verdict import verdict, warnings_of
from lvm_batch.jobs.prediction.telemetry.event_log import EventLog
from lvm_batch.jobs.prediction.telemetry.history import add_to_history
from lvm_batch.jobs.prediction.telemetry.progress import progress_on
from lvm_batch.jobs.reports.report import get_ready, write_report

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from distributed import Client

    from lvm_batch.io.dataset.units import Unit
    from lvm_batch.io.output.answers import Record
    from lvm_batch.io.output.job_documents import JobDocument
    from lvm_batch.io.storage.hold import Hold
    from lvm_batch.jobs.console.console import Console
    from lvm_batch.jobs.errors import JobError
    from lvm_batch.jobs.models.self_check import Refusal
    from lvm_batch.jobs.prediction.execution.worker import Failure
    from lvm_batch.jobs.prediction.planning.fleet import Fleet
    from lvm_batch.jobs.settings.run import RunSettings


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: its summary, the same as text, and the error that stands in the way of success, if any."""

    summary: Summary
    text: str
    error: JobError | None


@dataclass(frozen=True, slots=True)
class _Held:
    """A job whose output this run holds: ``asked`` is all that is asked of it, ``records`` are those that stand.

    ``missing`` are the units that this run reads and that are not done; ``had_succeeded`` says whether the job stood
    accepted before.
    """

    hold: Hold
    folder: OutputFolder
    prepared: Prepared
    settings: RunSettings
    asked: JobDocument
    records: dict[str, Record]
    missing: Sequence[Unit]
    had_succeeded: bool


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
    started: float | None = None,
    on_begin: Callable[[Prepared], None] = lambda _: None,
) -> Outcome:
    """Do what is missing of the job that ``settings`` ask for, and sum it up.

    ``started`` is the reading of ``time.monotonic`` from which the run's time counts; ``on_begin`` is called once the
    output is held. Raises ``JobError``, ``DataError`` or ``ModelError`` where the job cannot start or is interrupted.
    """
    started = monotonic() if started is None else started
    check_cluster(settings)
    get_ready()
    prepared = prepare(settings, threads=None)
    check_memory(prepared.memory, settings)
    for notice in prepared.notices:
        console.note(notice)
    with stoppable(), lock_output(prepared.job.output, on_wait=console.note) as hold:
        held = _held(hold, prepared, settings, console=console, on_begin=on_begin)
        work = _predicted(held, console) if held.missing else _Work(prepared.fleet.n_workers)
        return _summed_up(held, work, started=started, console=console)


def _held(
    hold: Hold,
    prepared: Prepared,
    settings: RunSettings,
    *,
    console: Console,
    on_begin: Callable[[Prepared], None],
) -> _Held:
    """Begin the job in its output or go on with it, and look at what is there."""
    folder = OutputFolder(prepared.job.output, hold=hold)
    had_succeeded = folder.succeeded
    asked = _begin(folder, prepared, settings, console)
    prepared = replace(prepared, job=replace(prepared.job, fingerprint=asked.fingerprint))
    on_begin(prepared)
    folder.clear_tmp()
    records = answering(asked, folder.records())
    missing = [unit for unit in prepared.units if unit.output not in records]
    return _Held(hold, folder, prepared, settings, asked, records, missing, had_succeeded)


def _predicted(held: _Held, console: Console) -> _Work:
    """Predict the units that are missing; their records are added to those that stand as they come."""
    folder, prepared, settings = held.folder, held.prepared, held.settings
    folder.mark_success(None)
    tell = broadcast(
        progress_on(console),  # first, to hear of the end of a run that has lost its output
        lambda _: held.hold.check(),
        EventLog(folder, lambda: datetime.now(UTC)),
    )
    fleet = prepared.fleet.for_units(len(held.missing))
    job = prepared.job if settings.runs_elsewhere else replace(prepared.job, threads=fleet.threads)
    refused: list[Refusal] = []
    with (
        _cluster(held, fleet, tell=console.note) as client,
        watched(client, settings, tell=console.note),
    ):
        if settings.runs_elsewhere:
            check_versions(client, tell=console.note)
        query_p95_ms = worker_p95_ms(client, job, tell=console.note) if settings.history else None
        n_workers = n_slots(client)
        outcomes = drive(
            client,
            job,
            held.missing,
            unit_timeout_s=settings.unit_timeout,
            on_refused=noted(refused, tell, console),
            on_waiting=lambda: tell(Waiting()),
            terms=terms_of(settings),
        )
        started = _started(prepared, held.records, n_workers)
        failures = collect(outcomes, held.records, tell, started)
    return _Work(n_workers, [*failures, *vanished(folder, held.records)], refused, query_p95_ms)


def _summed_up(held: _Held, work: _Work, *, started: float, console: Console) -> Outcome:
    """Write what came of the job: summary, ``_SUCCESS``, report, history."""
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
    is_news = held.missing or held.folder.succeeded != held.had_succeeded
    if is_news and (why_none := write_report(held.folder, summary, records=held.records)):
        console.note(why_none)
    held.hold.check()  # what follows tells others that the run came to its end
    add_to_history(
        held.prepared,
        held.settings,
        summary,
        [held.records[unit.output] for unit in done],
        error=outcome.error,
        ended=ended,
        workers=work.n_workers,
        tell=console.note,
        query_p95_ms=work.query_p95_ms,
    )
    return outcome


def _conclude(folder: OutputFolder, summary: Summary, settings: RunSettings, console: Console) -> Outcome:
    error = verdict(summary, settings)
    for warning in warnings_of(summary, settings):
        console.note(warning, level="warning")
    folder.write_summary(summary.to_json())
    success = error is None and summary.is_whole
    if success:
        folder.mark_success(summary.success)
    else:
        folder.mark_refused()
    return Outcome(summary, as_text(summary, success=success), error)


def _begin(folder: OutputFolder, prepared: Prepared, settings: RunSettings, console: Console) -> JobDocument:
    """Begin the job or go on with it; return what was asked of it in all."""
    again = units_again(folder, prepared, settings.reprocess)
    if again:
        console.note(
            f"units to predict again: {len(again):,}; if this is interrupted, the same command without --reprocess "
            "does the rest"
        )
    kept = kept_inputs(folder, prepared, settings)
    return folder.begin(job_document(prepared, settings), kept=kept, again=again)


def _started(prepared: Prepared, records: Mapping[str, Record], n_workers: int) -> RunStarted:
    done = [records[unit.output].rows_in for unit in prepared.units if unit.output in records]
    return RunStarted(len(prepared.units), prepared.n_rows, len(done), sum(done), n_workers)


def _cluster(held: _Held, fleet: Fleet, *, tell: Callable[[str], object]) -> AbstractContextManager[Client]:
    settings = held.settings
    if settings.cluster:
        return started_cluster(settings, n_units=len(held.missing), tell=tell)
    if settings.scheduler:
        return remote_cluster(settings.scheduler, wait_s=settings.wait_for_workers, tell=tell)
    return local_cluster(
        fleet.n_workers,
        memory_limit=memory_limit(settings, held.prepared.memory.n_workers),
        slots=fleet.slots,
        gpus=fleet.gpus,
        dashboard=settings.dashboard,
        profile=bool(settings.dashboard or settings.performance_report),
    )
