"""``lvm-batch run``: contexts in, routed predictions out."""

from __future__ import annotations

from time import monotonic
from typing import Annotated

import typer

from lvm_batch.jobs.console.console import Console
from lvm_batch.jobs.releases.applied import with_release
from lvm_batch.jobs.settings.options import takes_console, takes_settings
from lvm_batch.jobs.settings.run import RunSettings
from lvm_batch.jobs.settings.sources import ResolvedSettings


@takes_settings()
@takes_console
def run(
    resolved: ResolvedSettings[RunSettings],
    *,
    console: Console,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what a run would do, and stop.")] = False,
) -> int:
    """Predict the next vector of every row of DATASET, and write OUT.

    Rows for which a criterion of routing holds are run through the fallback model. The same
    command resumes a run that was stopped, and does what is missing. Each option is also an
    environment variable, such as LVM_BATCH_WORKERS, and a key of a --config file.

    Examples:
        lvm-batch run data/ --model amn/best_model.pt --bank bank/ --output out/
        lvm-batch run data/ --model amn --fallback gru --output out/ --dry-run
        lvm-batch run data/ --release released/ --bank bank/ --output out/
        lvm-batch run --config job.toml --as-of now
    """
    started = monotonic()
    settings = with_release(resolved)
    if dry_run:
        console.doing("looking at the dataset and the models")
        from lvm_batch.jobs.prediction.planning.preview import preview_job

        console.result(*preview_job(settings, console=console))
        return 0
    from lvm_batch.jobs.observed_run import run_observed

    outcome = run_observed(
        settings,
        console=console,
        started=started,
        show=lambda outcome: console.result(
            outcome.summary.to_json(),
            outcome.text,
            warnings=[warning.as_dict for warning in outcome.summary.warnings],
            error=outcome.error,
        ),
    )
    return outcome.error.exit_code if outcome.error else 0
