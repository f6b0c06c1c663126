"""``lvm-batch plan``: what ``run`` would do with the same options."""

from __future__ import annotations

from lvm_batch.jobs.console import Console
from lvm_batch.jobs.options import takes_console, takes_settings
from lvm_batch.jobs.resolution import Resolved
from lvm_batch.jobs.settings import RunSettings


@takes_settings()
@takes_console
def plan(resolved: Resolved[RunSettings], *, console: Console) -> None:
    """Check the inputs, models and options of a run and say how it would be cut into work units."""
    from lvm_batch.jobs.prediction.plan import plan as planned

    console.result(*planned(resolved.settings))
