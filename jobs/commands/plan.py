"""``lvm-batch plan``: what ``run`` would do with the same options."""

from __future__ import annotations

from lvm_batch.jobs.console.console import Console
from lvm_batch.jobs.settings.options import takes_console, takes_settings
from lvm_batch.jobs.settings.run import RunSettings
from lvm_batch.jobs.settings.sources import ResolvedSettings


@takes_settings()
@takes_console
def plan(resolved: ResolvedSettings[RunSettings], *, console: Console) -> None:
    """Check the inputs, models and options of a run and say how it would be cut into work units."""
    from lvm_batch.jobs.prediction.planning.preview import preview_job

    console.result(*preview_job(resolved.settings))
