"""``lvm-batch bench``: how fast this machine is at the job."""

from __future__ import annotations

from typing import Annotated

import typer

from lvm_batch.jobs.console.console import Console
from lvm_batch.jobs.settings.options import takes_console, takes_settings
from lvm_batch.jobs.settings.run import BENCH_SETTINGS, RunSettings
from lvm_batch.jobs.settings.sources import ResolvedSettings


@takes_settings(required=(), names=BENCH_SETTINGS)
@takes_console
def bench(
    resolved: ResolvedSettings[RunSettings],
    *,
    console: Console,
    rows: Annotated[int, typer.Option("--rows", help="Rows of the run that is timed.", min=1)] = 100_000,
) -> None:
    """Measure how fast this machine does the job, and its parts.

    Windows of random vectors are predicted, together and one by one, and in
    each precision that this machine has. With DATASET, and the models, the
    bank and the thresholds of its runs, it also says what each precision
    changes on the first 4,000 rows, and which one to take.

    Examples:
        lvm-batch bench
        lvm-batch bench data/ --bank bank --min-margin 0.01
        lvm-batch bench --model amn/best_model.pt --rows 20000 --workers 2
    """
    console.doing("loading torch")
    from lvm_batch.jobs.benchmark.bench import bench as measure_speed

    console.result(*measure_speed(resolved.settings, n_rows=rows, console=console))
