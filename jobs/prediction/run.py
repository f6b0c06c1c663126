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
from lvm_batch.jobs.monitoring.history import add_to_history
from lvm_batch.jobs.prediction.cluster import local_cluster, local_workers, n_slots, remote_cluster
from lvm_batch.jobs.prediction.drive import drive
from lvm_batch.jobs.prediction.event_log import EventLog
from lvm_batch.jobs.prediction.events import RunEnded, RunStarted, UnitDone, UnitFailed
from lvm_batch.jobs.prediction.memory import check_memory
from lvm_batch.jobs.prediction.prepare import Prepared, prepare
from lvm_batch.jobs.prediction.progress import ProgressBar, ProgressLines
from lvm_batch.jobs.prediction.query_latency import worker_p95_ms
from lvm_batch.jobs.prediction.summary import as_text, summarise, totals_of, verdict, warnings_of
from lvm_batch.jobs.prediction.worker import Failure
from lvm_batch.jobs.reports.report import write_report
from lvm_batch.jobs.signals import stoppable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager

    from distributed import Client

    from lvm_batch.io.commit import Record
    from lvm_batch.io.units import Unit
    from lvm_batch.jobs.console import Console
    from lvm_batch.jobs.errors import JobError
    from lvm_batch.jobs.prediction.events import Event, Listener
    from lvm_batch.jobs.settings import RunSettings


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: its summary, the same as text, and the error that stands in the way of success, if any."""

    summary: dict[str, Any]
    text: str
    error: JobError | None


def run(settings: RunSettings, *, console: Console, started: float | None = None) -> Outcome:
    """Do what is missing of the job that ``settings`` ask for, and sum it up.

    ``started`` is the reading of ``time.monotonic`` from which the run's time counts. Raises ``JobError``,
    ``DataError`` or ``ModelError`` where the job cannot start or is interrupted.
    """
    started = monotonic() if started is None else started
    n_workers, threads = local_workers(settings.workers)
    prepared = prepare(settings, threads=None if settings.scheduler else threads)
    check_memory(prepared.memory, settings)
    for notice in prepared.notices:
        console.note(notice)
    folder = OutputFolder(prepared.job.output)
    with stoppable(), lock_output(prepared.job.output, on_wait=console.note):
        standing = folder.begin(_job_document(prepared, settings))
        prepared = replace(prepared, job=replace(prepared.job, fingerprint=standing["fingerprint"]))
        folder.clear_tmp()
        records = _standing_records(folder, prepared)
        missing = [unit for unit in prepared.units if unit.output not in records]
        failures: list[Failure] = []
        query_p95_ms: float | None = None
        if missing:
            folder.mark_success(None)
            tell = _broadcast(EventLog(folder, lambda: datetime.now(UTC)), _progress(console))
            with _cluster(settings, min(n_workers, len(missing))) as client:
                if settings.history:
                    query_p95_ms = worker_p95_ms(client, prepared.job, tell=console.note)
                n_workers = n_slots(client)
                outcomes = drive(client, prepared.job, missing, unit_timeout_s=settings.unit_timeout)
                failures = _collect(outcomes, records, tell, _started(prepared, records, n_workers))
        summary = summarise(
            prepared,
            settings,
            records,
            failures,
            units_computed=len(missing) - len(failures),
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
            workers=n_workers,
            tell=console.note,
            query_p95_ms=query_p95_ms,
        )
        return outcome


def _conclude(
    folder: OutputFolder, summary: dict[str, Any], settings: RunSettings, console: Console
) -> Outcome:
    error = verdict(summary, settings)
    for warning in warnings_of(summary, settings):
        console.note(warning)
    folder.write_summary(summary)
    kept = ("job_id", "fingerprint", "units", "rows_in", "rows_out", "rows_by_route", "rows_by_status")
    folder.mark_success(None if error else {name: summary[name] for name in kept})
    return Outcome(summary, as_text(summary, success=error is None), error)


def _job_document(prepared: Prepared, settings: RunSettings) -> dict[str, Any]:
    job = prepared.job
    return {
        "version": version("lvm-batch"),
        "job_id": job.job_id,
        "fingerprint": job.fingerprint,
        "identity": prepared.identity,
        "unreadable": [error.path for error in prepared.unreadable],
        "settings": settings.model_dump(mode="json"),
        "models": asdict(job.models),
        "rows": prepared.n_rows,
        "units": [
            {"output": unit.output, "input": unit.file.path, "first_row": unit.first_row, "rows": unit.n_rows}
            for unit in prepared.units
        ],
    }


def _standing_records(folder: OutputFolder, prepared: Prepared) -> dict[str, Record]:
    wanted = {unit.output for unit in prepared.units}
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


def _broadcast(*listeners: Listener) -> Listener:
    def tell(event: Event) -> None:
        for listener in listeners:
            listener(event)

    return tell


def _started(prepared: Prepared, records: dict[str, Record], workers: int) -> RunStarted:
    rows_done = totals_of(records.values())["rows_in"]
    return RunStarted(len(prepared.units), prepared.n_rows, len(records), rows_done, workers)


def _cluster(settings: RunSettings, n_workers: int) -> AbstractContextManager[Client]:
    if settings.scheduler:
        return remote_cluster(settings.scheduler)
    return local_cluster(n_workers, memory_limit=settings.memory_limit)


def _progress(console: Console) -> Listener:
    return ProgressBar(console.progress) if console.progress.is_terminal else ProgressLines(console.note)
