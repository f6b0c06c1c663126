"""``lvm-batch evaluate``: how good models are on a dataset."""

from __future__ import annotations

from typing import Annotated

import typer

from lvm_batch.jobs.console.console import Console
from lvm_batch.jobs.settings.evaluate import EvaluateSettings
from lvm_batch.jobs.settings.options import takes_console, takes_settings
from lvm_batch.jobs.settings.sources import ResolvedSettings

_CALIBRATE = typer.Option(
    "--calibrate",
    help="Also measure how well confidence and margin predict the cosine, propose thresholds and fit a router; needs"
    " --bank.",
    rich_help_panel="Judging",
)


@takes_settings(required=("dataset",), kind=EvaluateSettings)
@takes_console
def evaluate(
    resolved: ResolvedSettings[EvaluateSettings],
    *,
    console: Console,
    calibrate: Annotated[bool, _CALIBRATE] = False,
) -> None:
    """Judge models by the true next vectors of DATASET.

    Baselines that need no model stand beside them.

    Examples:
        lvm-batch evaluate data/ --model amn/best_model.pt
        lvm-batch evaluate data/ --model amn --model gru --bank bank/ --output judged/
        lvm-batch evaluate data/ --model amn --bank bank/ --calibrate --budget 0.1
    """
    console.doing("looking at the dataset and the models")
    from lvm_batch.jobs.evaluation.requested import evaluate_requested

    console.result(*evaluate_requested(resolved, console=console, calibrate=calibrate))
