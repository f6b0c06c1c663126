"""``lvm-batch inspect``: what a dataset holds, and what a run would make of it."""

from __future__ import annotations

from lvm_batch.jobs.console.console import Console
from lvm_batch.jobs.settings.options import takes_console, takes_settings
from lvm_batch.jobs.settings.run import INSPECTED, RunSettings
from lvm_batch.jobs.settings.sources import ResolvedSettings


@takes_settings(required=("dataset",), names=INSPECTED)
@takes_console
def inspect(resolved: ResolvedSettings[RunSettings], *, console: Console) -> None:
    """Say what DATASET holds, what is wrong, and what to do next.

    Examples:
        lvm-batch inspect data/
        lvm-batch inspect data/part-0.parquet --vector-column embedding --json
    """
    console.doing("reading the footers of the dataset")
    from lvm_batch.jobs.inspection.inspection import inspect as inspect_dataset

    console.result(*inspect_dataset(resolved.settings))
