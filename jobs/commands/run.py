"""``lvm-batch run``: contexts in, routed predictions out."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from lvm_batch.jobs.console.console import Console
from lvm_batch.jobs.console.signals import stoppable
from lvm_batch.jobs.extras import check_extras
from lvm_batch.jobs.prediction.telemetry.lineage import lineage_of
from lvm_batch.jobs.prediction.telemetry.metrics import metrics_of
from lvm_batch.jobs.prediction.telemetry.pings import pinging
from lvm_batch.jobs.processes.child_processes import for_children
from lvm_batch.jobs.processes.forkserver import ALONE, warm_up
from lvm_batch.jobs.settings.options import takes_console, takes_settings
from lvm_batch.jobs.settings.run import RunSettings
from lvm_batch.jobs.settings.sources import Resolved

if TYPE_CHECKING:
    from lvm_batch.jobs.prediction.planning.plan import Prepared


@takes_settings()
@takes_console
def run(
    resolved: Resolved[RunSettings],
    *,
    console: Console,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
) -> int:
    """Predict the next vector of every row of DATASET, escalate where a criterion asks for it, and write OUT."""
    if dry_run:
        from lvm_batch.jobs.prediction.planning.preview import plan

        console.result(*plan(resolved.settings))
        return 0
    started = monotonic()
    with (
        metrics_of(resolved.settings, started=started, tell=console.note) as metrics,
        pinging(resolved.settings.ping_url, tell=console.note) as pings,
        lineage_of(resolved.settings, tell=console.note) as lineage,
        stoppable(),
    ):
        check_extras(resolved.settings)
        if not resolved.settings.runs_elsewhere:
            warm_up()
        with for_children(ALONE):  # what drives a run multiplies no matrices
            from lvm_batch.jobs.prediction import run as job

        def on_begin(prepared: Prepared) -> None:
            pings.begin(prepared)
            lineage.begin(prepared)

        outcome = job.run(resolved.settings, console=console, started=started, on_begin=on_begin)
        console.result(outcome.summary.to_json(), outcome.text, error=outcome.error)
        metrics.conclude(outcome.summary, outcome.error)
    pings.conclude(outcome.summary, outcome.error)
    lineage.conclude(outcome.summary, outcome.error)
    return outcome.error.exit_code if outcome.error else 0
