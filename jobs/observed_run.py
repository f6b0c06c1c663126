"""A run with all its observers: what ``lvm-batch run`` does, for the command and for Python.

The rule: whatever ends a run, even before it begins, every observer is called.
"""

from __future__ import annotations

import os
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from lvm_batch.jobs.console.signals import stop_on_signals
from lvm_batch.jobs.prediction.observers import report_failures
from lvm_batch.jobs.prediction.telemetry.event_log import EventLog
from lvm_batch.jobs.prediction.telemetry.history import History
from lvm_batch.jobs.prediction.telemetry.lineage import Lineage
from lvm_batch.jobs.prediction.telemetry.metrics import Metrics
from lvm_batch.jobs.prediction.telemetry.pings import Pings
from lvm_batch.jobs.prediction.telemetry.progress import progress_on
from lvm_batch.jobs.prediction.telemetry.spans import Spans
from lvm_batch.jobs.processes.child_processes import environment_for_children
from lvm_batch.jobs.processes.forkserver import ALONE, start_forkserver, stop_forkserver
from lvm_batch.jobs.reports.report_writer import ReportWriter, prepare_to_draw

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from lvm_batch.jobs.console.console import Console
    from lvm_batch.jobs.prediction.observers import RunObserver, RunOutcome
    from lvm_batch.jobs.settings.run import RunSettings


def run_observed(
    settings: RunSettings,
    *,
    console: Console,
    started: float | None = None,
    show: Callable[[RunOutcome], None] = lambda _: None,
    on_signals: Callable[[], AbstractContextManager[None]] = stop_on_signals,
) -> RunOutcome:
    """Do the missing units of a job, with :func:`observers_of` it, and return how it ended.

    ``show`` prints the outcome before observers hear of it: where it cannot be printed, they hear of that. ``started``
    is the reading of ``time.monotonic`` from which the run's time counts. ``on_signals`` says what Ctrl-C and SIGTERM
    do while the run works.
    Raises ``JobError``, ``DataError`` or ``ModelError`` where the job cannot start or is interrupted.
    """
    started = monotonic() if started is None else started
    observers = observers_of(settings, console=console, started=started)
    with report_failures(observers), on_signals():
        console.doing("looking at the dataset and the models")
        with environment_for_children(ALONE):  # what drives a run multiplies no matrices
            from lvm_batch.jobs.prediction.planning.plan import make_plan
        prepare = partial(_load_libraries, settings, console)
        plan = make_plan(settings, threads=None, console=console, prepare=prepare)
        run = _function_of(settings)
        outcome = run(settings, console=console, observers=observers, started=started, plan=plan)
        show(outcome)
    for observer in observers:
        observer.conclude(outcome)
    return outcome


def _function_of(settings: RunSettings) -> Callable[..., RunOutcome]:
    """Return what computes the job, or one part of it."""
    if settings.share is None:
        from lvm_batch.jobs.prediction.run import run

        return run
    from lvm_batch.jobs.prediction.part_run import run_part

    return partial(run_part, part=settings.share)


def _load_libraries(settings: RunSettings, console: Console) -> None:
    """Begin to load torch in another process, load Dask in this one, and check the cluster of the settings."""
    console.doing("reading the dataset's footers, and loading torch and the models")
    from lvm_batch.jobs.clusters.check import check_cluster
    from lvm_batch.jobs.models.find import announce_models

    if settings.runs_elsewhere:
        stop_forkserver()
    else:
        start_forkserver()
        announce_models(settings)
    with environment_for_children(ALONE):
        _function_of(settings)  # Dask loads while torch does
    prepare_to_draw()  # soon nothing is to be done but wait for torch
    check_cluster(settings)


def observers_of(settings: RunSettings, *, console: Console, started: float) -> list[RunObserver]:
    """Return the observers of a run: first those that show it, then those that write to its output, then the rest.

    What tells others of a job is for the run that finishes it, and not for its parts.
    """
    observers: list[RunObserver] = [progress_on(console), EventLog()]
    if settings.part:
        return observers
    observers.append(ReportWriter(tell=console.note))
    if settings.history is not None:
        observers.append(History(settings.history, tell=console.note))
    if settings.metrics_file:
        observers.append(Metrics(settings, started=started, tell=console.note))
    if settings.ping_url is not None:
        observers.append(Pings(settings.ping_url, tell=console.note))
    if settings.openlineage is not None:
        observers.append(
            Lineage(settings.openlineage, tell=console.note, parent=os.environ.get("OPENLINEAGE_PARENT_ID"))
        )
    if settings.opentelemetry is not None:
        observers.append(Spans(settings.opentelemetry, tell=console.note))
    return observers
