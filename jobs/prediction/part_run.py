"""One part of the main job, computed beside the others: its share of the units, and nothing about the whole.

The rule: a part adds commit records and events of its own, and no more. Whether the job is a success is for the run
that finishes it, once all parts have ended.
"""

from __future__ import annotations

from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING

from lvm_batch.io.output.commit import OutputFolder
from lvm_batch.io.output.commit_record import answering
from lvm_batch.io.output.lock import lock_part
from lvm_batch.jobs.clusters.process_limits import check_process_limits
from lvm_batch.jobs.prediction.conclusion import CurrentRun, Work, summarise_run
from lvm_batch.jobs.prediction.execution.processes import drive_processes
from lvm_batch.jobs.prediction.observers import RunBeginning, RunOutcome, make_listener
from lvm_batch.jobs.prediction.planning.memory import check_memory
from lvm_batch.jobs.prediction.planning.plan import job_document
from lvm_batch.jobs.prediction.planning.rerun import inputs_left_out
from lvm_batch.jobs.prediction.planning.shares import share_of
from lvm_batch.jobs.prediction.results.events import RunStarted, Waiting
from lvm_batch.jobs.prediction.results.outcomes import collect, record_refusals
from lvm_batch.jobs.prediction.results.summary import PartProgress
from lvm_batch.jobs.prediction.results.summary_text import part_text
from lvm_batch.jobs.prediction.results.verdict import Limits, verdict
from lvm_batch.jobs.processes.forkserver import start_forkserver

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lvm_batch.io.output.job_documents import JobDocument
    from lvm_batch.io.schema import Part
    from lvm_batch.io.storage.lock_guard import LockGuard
    from lvm_batch.jobs.console.console import Console
    from lvm_batch.jobs.models.self_check import Refusal
    from lvm_batch.jobs.prediction.observers import RunObserver
    from lvm_batch.jobs.prediction.planning.plan import Plan
    from lvm_batch.jobs.settings.run import RunSettings


def run_part(
    settings: RunSettings,
    part: Part,
    *,
    plan: Plan,
    console: Console,
    observers: Sequence[RunObserver] = (),
    started: float | None = None,
) -> RunOutcome:
    """Compute the missing units of one ``part`` of the job that ``plan`` is of, in processes of this machine.

    The summary is that of the part's units, and says how far the job is. ``settings``, ``observers`` and ``started``
    are as for ``run``. Raises ``JobError``, ``DataError`` or ``ModelError`` if the part cannot start or is interrupted.
    """
    started = monotonic() if started is None else started
    check_memory(plan.memory, settings)
    for notice in plan.notices:
        console.note(notice)
    with lock_part(plan.job.output, part, on_wait=console.note) as hold:
        folder = OutputFolder(plan.job.output, hold=hold, part=part)
        job = folder.join(job_document(plan, settings), kept=inputs_left_out(folder, plan, settings))
        current = _begin(
            hold, folder, part, job=job, plan=plan, settings=settings, console=console, observers=observers
        )
        work = _compute(current) if current.missing else Work(0)
        outcome = _outcome(current, work, part, job, started=started)
        hold.check()  # a part that has lost its lease must not be reported as ended
        return outcome


def _begin(
    hold: LockGuard,
    folder: OutputFolder,
    part: Part,
    *,
    job: JobDocument,
    plan: Plan,
    settings: RunSettings,
    console: Console,
    observers: Sequence[RunObserver],
) -> CurrentRun:
    """Find out which units of the part are missing; its plan and its job have no others than its own."""
    plan = replace(plan, job=replace(plan.job, fingerprint=job.fingerprint))
    plan, document = share_of(part, plan, job)
    for observer in observers:
        observer.begin(RunBeginning(plan, settings, folder, hold))
    records = answering(document, folder.records(document.outputs))
    missing = [unit for unit in plan.units if unit.output not in records]
    tell = make_listener(observers, hold)
    return CurrentRun(
        hold,
        folder,
        plan,
        settings,
        document,
        records,
        missing,
        had_succeeded=False,
        tell=tell,
        console=console,
    )


def _compute(current: CurrentRun) -> Work:
    """Compute the missing units, and add their records to ``current.records`` as they come."""
    plan, records, missing = current.plan, current.records, current.missing
    fleet = plan.fleet.for_units(len(missing))
    check_process_limits(fleet.n_workers)
    start_forkserver()
    refused: list[Refusal] = []
    outcomes = drive_processes(
        replace(plan.job, threads=fleet.threads),
        missing,
        fleet,
        unit_timeout_s=current.settings.unit_timeout,
        on_refused=record_refusals(refused, current.tell, current.console),
        on_waiting=lambda: current.tell(Waiting()),
    )
    rows_done = sum(record.rows_in for record in records.values())
    to_do = RunStarted(len(plan.units), plan.n_rows, len(records), rows_done, fleet.n_workers)
    failures = collect(outcomes, records, current.tell, to_do)
    return Work(fleet.n_workers, failures, refused)


def _outcome(current: CurrentRun, work: Work, part: Part, job: JobDocument, *, started: float) -> RunOutcome:
    """Return how the part ended: with an error if units of it have no output; gates are for the whole job."""
    computed = [unit for unit in current.missing if unit.output in current.records]
    done = current.folder.n_recorded(job.outputs)
    summary = replace(
        summarise_run(current, work, computed, started=started),
        part=PartProgress(part.number, part.count, units=len(job.outputs), units_done=done),
        warnings=(),
    )
    has_ended = done == len(job.outputs) and current.folder.succeeded
    finish = "" if has_ended else current.console.command_with("--finish", without="--part")
    return RunOutcome(summary, part_text(summary, finish), verdict(summary, Limits()))
