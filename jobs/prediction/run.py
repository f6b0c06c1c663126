"""The main job, from settings to a summary.

The rule: whatever ends a run, the output folder says what is done, and the same command does the rest. This
module puts the parts in order; each part is elsewhere.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from time import monotonic
from typing import TYPE_CHECKING, Any

from lvm_batch.io.commit import OutputFolder
from lvm_batch.io.lock import lock_output
from lvm_batch.jobs.clusters.asked import check_cluster
from lvm_batch.jobs.clusters.skew import check_versions
from lvm_batch.jobs.clusters.started import started_cluster
from lvm_batch.jobs.clusters.terms import terms_of
from lvm_batch.jobs.monitoring.history import add_to_history
from lvm_batch.jobs.prediction.cluster import local_cluster, local_workers, n_slots, remote_cluster
from lvm_batch.jobs.prediction.dashboard import watched
from lvm_batch.jobs.prediction.drive import drive
from lvm_batch.jobs.prediction.event_log import EventLog
from lvm_batch.jobs.prediction.events import RunEnded, RunStarted, UnitDone, UnitFailed, WorkerRefused
from lvm_batch.jobs.prediction.memory import check_memory
from lvm_batch.jobs.prediction.prepare import Prepared, prepare
from lvm_batch.jobs.prediction.progress import progress_on
from lvm_batch.jobs.prediction.query_latency import worker_p95_ms
from lvm_batch.jobs.prediction.reprocess import units_again
from lvm_batch.jobs.prediction.summary import as_text, is_whole, summarise, verdict, warnings_of
from lvm_batch.jobs.prediction.worker import Failure
from lvm_batch.jobs.reports.report import get_ready, write_report
from lvm_batch.jobs.signals import stoppable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from distributed import Client

    from lvm_batch.io.commit import Record
    from lvm_batch.io.units import Unit
    from lvm_batch.jobs.console import Console
    from lvm_batch.jobs.errors import JobError
    from lvm_batch.jobs.prediction.cluster import Fleet
    from lvm_batch.jobs.prediction.events import Event, Listener
    from lvm_batch.jobs.prediction.self_check import Refusal
    from lvm_batch.jobs.settings import RunSettings


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: its summary, the same as text, and the error that stands in the way of success, if any."""

    summary: dict[str, Any]
    text: str
    error: JobError | None


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
    threads = None if settings.runs_elsewhere else local_workers(settings.workers)[1]
    prepared = prepare(settings, threads=threads)
    check_memory(prepared.memory, settings)
    for notice in prepared.notices:
        console.note(notice)
    folder = OutputFolder(prepared.job.output)
    with stoppable(), lock_output(prepared.job.output, on_wait=console.note):
        standing = _begin(folder, prepared, settings, console)
        prepared = replace(prepared, job=replace(prepared.job, fingerprint=standing["fingerprint"]))
        on_begin(prepared)
        folder.clear_tmp()
        records = _standing_records(folder, standing)
        missing = [unit for unit in prepared.units if unit.output not in records]
        work = _Work(prepared.fleet.n_workers)
        if missing:
            work = _predicted(folder, prepared, settings, missing, records, console=console)
        summary = summarise(
            prepared,
            settings,
            standing,
            records,
            work.failures,
            units_computed=len(missing) - len(work.failures),
            rows_computed=sum(unit.n_rows for unit in missing if unit.output in records),
            refused=work.refused,
            wall_s=monotonic() - started,
        )
        ended = datetime.now(UTC)
        outcome = _conclude(folder, summary, settings, console)
        if missing and (why_none := write_report(folder, summary, records=records)):
            console.note(why_none)
        add_to_history(
            prepared,
            settings,
            summary,
            [records[unit.output] for unit in missing if unit.output in records],
            error=outcome.error,
            ended=ended,
            workers=work.n_workers,
            tell=console.note,
            query_p95_ms=work.query_p95_ms,
        )
        return outcome


def _predicted(
    folder: OutputFolder,
    prepared: Prepared,
    settings: RunSettings,
    missing: Sequence[Unit],
    records: dict[str, Record],
    *,
    console: Console,
) -> _Work:
    """Predict the units that are missing; their records are added to ``records`` as they come."""
    folder.mark_success(None)
    tell = _broadcast(EventLog(folder, lambda: datetime.now(UTC)), progress_on(console))
    fleet = prepared.fleet.for_units(len(missing))
    refused: list[Refusal] = []
    with (
        _cluster(settings, fleet, n_units=len(missing), tell=console.note) as client,
        watched(client, settings, tell=console.note),
    ):
        if settings.runs_elsewhere:
            check_versions(client, tell=console.note)
        query_p95_ms = worker_p95_ms(client, prepared.job, tell=console.note) if settings.history else None
        n_workers = n_slots(client)
        outcomes = drive(
            client,
            prepared.job,
            missing,
            unit_timeout_s=settings.unit_timeout,
            on_refused=_noted(refused, tell, console),
            terms=terms_of(settings),
        )
        failures = _collect(outcomes, records, tell, _started(prepared, records, n_workers))
    return _Work(n_workers, failures, refused, query_p95_ms)


def _conclude(
    folder: OutputFolder, summary: dict[str, Any], settings: RunSettings, console: Console
) -> Outcome:
    error = verdict(summary, settings)
    for warning in warnings_of(summary, settings):
        console.note(warning, level="warning")
    folder.write_summary(summary)
    kept = ("job_id", "fingerprint", "units", "rows_in", "rows_out", "rows_by_route", "rows_by_status")
    success = error is None and is_whole(summary)
    if success:
        folder.mark_success({name: summary[name] for name in kept})
    else:
        folder.mark_refused()
    return Outcome(summary, as_text(summary, success=success), error)


def _begin(
    folder: OutputFolder, prepared: Prepared, settings: RunSettings, console: Console
) -> dict[str, Any]:
    """Begin the job or go on with it; return what was asked of it in all."""
    again = units_again(folder, prepared, settings.reprocess)
    if again:
        console.note(
            f"units to predict again: {len(again):,}; if this is interrupted, the same command without --reprocess "
            "does the rest"
        )
    return folder.begin(_job_document(prepared, settings), selected=prepared.span is not None, again=again)


def _job_document(prepared: Prepared, settings: RunSettings) -> dict[str, Any]:
    job = prepared.job
    return {
        "version": version("lvm-batch"),
        "job_id": job.job_id,
        "fingerprint": job.fingerprint,
        "identity": prepared.identity,
        "unreadable": [error.path for error in prepared.unreadable],
        "settings": settings.told(),
        "models": asdict(job.models),
        "rows": prepared.n_rows,
        "units": [
            {"output": unit.output, "input": unit.file.path, "first_row": unit.first_row, "rows": unit.n_rows}
            for unit in prepared.units
        ],
    }


def _standing_records(folder: OutputFolder, job: Mapping[str, Any]) -> dict[str, Record]:
    wanted = {unit["output"] for unit in job["units"]}
    return {output: record for output, record in folder.records().items() if output in wanted}


def _collect(
    outcomes: Iterable[tuple[Unit, Record | Failure]],
    records: dict[str, Record],
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


def _noted(refused: list[Refusal], tell: Listener, console: Console) -> Callable[[Refusal], None]:
    """Return what adds a worker to ``refused``, and tells of it."""

    def note(refusal: Refusal) -> None:
        refused.append(refusal)
        console.note(refusal.text, level="warning")
        tell(WorkerRefused(refusal))

    return note


def _broadcast(*listeners: Listener) -> Listener:
    def tell(event: Event) -> None:
        for listener in listeners:
            listener(event)

    return tell


def _started(prepared: Prepared, records: dict[str, Record], workers: int) -> RunStarted:
    done = [records[unit.output]["rows_in"] for unit in prepared.units if unit.output in records]
    return RunStarted(len(prepared.units), prepared.n_rows, len(done), sum(done), workers)


def _cluster(
    settings: RunSettings, fleet: Fleet, *, n_units: int, tell: Callable[[str], object]
) -> AbstractContextManager[Client]:
    if settings.cluster:
        return started_cluster(settings, n_units=n_units, tell=tell)
    if settings.scheduler:
        return remote_cluster(settings.scheduler, wait_s=settings.wait_for_workers, tell=tell)
    return local_cluster(
        fleet.n_workers,
        memory_limit=settings.memory_limit,
        slots=fleet.slots,
        gpus=fleet.gpus,
        dashboard=settings.dashboard,
        profile=bool(settings.dashboard or settings.performance_report),
    )
