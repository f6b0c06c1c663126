"""``lvm-batch inspect``: what a dataset holds, and what a run would make of it."""

from __future__ import annotations

from lvm_batch.jobs.console.console import Console
from lvm_batch.jobs.settings.dataset import DatasetSettings
from lvm_batch.jobs.settings.fields import names_of
from lvm_batch.jobs.settings.options import takes_console, takes_settings
from lvm_batch.jobs.settings.run import RunSettings
from lvm_batch.jobs.settings.sources import ResolvedSettings

_NAMES = (*names_of(DatasetSettings), "pad", "unit_size")


@takes_settings(required=("dataset",), names=_NAMES)
@takes_console
def inspect(resolved: ResolvedSettings[RunSettings], *, console: Console) -> None:
    """Say what DATASET holds: files, columns, encodings, first rows.

    Examples:
        lvm-batch inspect data/
        lvm-batch inspect data/part-0.parquet --vector-column embedding --json
    """
    from lvm_batch.jobs.datasets.inspection import inspect as inspect_dataset

    console.result(*inspect_dataset(resolved.settings))
