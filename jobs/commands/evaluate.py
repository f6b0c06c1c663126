"""``lvm-batch evaluate``: how good models are on a dataset."""

from __future__ import annotations

from typing import Annotated

import typer

from lvm_batch.jobs.console.console import Console
from lvm_batch.jobs.errors import UsageError
from lvm_batch.jobs.settings.evaluate import EvaluateSettings
from lvm_batch.jobs.settings.options import takes_console, takes_settings
from lvm_batch.jobs.settings.sources import ResolvedSettings

_CALIBRATE = typer.Option(
    "--calibrate",
    help="Also tell how well confidence and margin predict the cosine, and propose thresholds; needs --bank.",
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
    _refuse_unused(resolved, calibrate=calibrate)
    from lvm_batch.jobs.evaluation.evaluate import evaluate as evaluate_models

    calibration, more = _calibrate(resolved.settings, console) if calibrate else ({}, "")
    values, text = evaluate_models(resolved.settings, console=console)
    console.result(values | calibration, f"{text}\n\n{more}" if more else text)


def _calibrate(settings: EvaluateSettings, console: Console) -> tuple[dict[str, object], str]:
    """Calibrate before the evaluation: it needs more than that does, and refuses settings that lack it."""
    from lvm_batch.jobs.evaluation.calibration.calibrate import calibrate

    values, text = calibrate(settings, console=console)
    return {"calibration": values}, text


def _refuse_unused(resolved: ResolvedSettings[EvaluateSettings], *, calibrate: bool) -> None:
    """Refuse options that only a calibration reads."""
    for name in ("fallback", "budget"):
        if not calibrate and resolved.origins[name] == "flag":
            raise UsageError(
                f"--{name} means nothing without --calibrate",
                "add --calibrate; a model is judged where --model names it",
            )
