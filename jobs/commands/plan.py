"""``lvm-batch plan``: what ``run`` would do with the same options."""

from __future__ import annotations

from lvm_batch.jobs.console.console import Console
from lvm_batch.jobs.releases.applied import with_release
from lvm_batch.jobs.settings.options import takes_console, takes_settings
from lvm_batch.jobs.settings.run import RunSettings
from lvm_batch.jobs.settings.sources import ResolvedSettings


@takes_settings()
@takes_console
def plan(resolved: ResolvedSettings[RunSettings], *, console: Console) -> None:
    """Check a run before it starts, and say what it would do.

    It checks inputs, models, options, memory and the output, as `run --dry-run` does, and says
    how the run would be cut into work units.

    Examples:
        lvm-batch plan data/ --model amn/best_model.pt --output out/
        lvm-batch plan --config job.toml --as-of 2026-11-22
    """
    console.doing("looking at the dataset and the models")
    from lvm_batch.jobs.prediction.planning.preview import preview_job

    console.result(*preview_job(with_release(resolved), console=console))
