"""An evaluation as it is asked for: the models judged, with a calibration if that is wanted.

The rule: a setting that only a calibration reads is refused without one, and torch is loaded only once everything that
needs none is right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lvm_batch.jobs.errors import UsageError
from lvm_batch.jobs.evaluation.preflight import check_evaluation

if TYPE_CHECKING:
    from lvm_batch.jobs.console.console import Console
    from lvm_batch.jobs.settings.evaluate import EvaluateSettings
    from lvm_batch.jobs.settings.sources import ResolvedSettings


def evaluate_requested(
    resolved: ResolvedSettings[EvaluateSettings], *, console: Console, calibrate: bool
) -> tuple[dict[str, Any], str]:
    """Evaluate and, with ``calibrate``, calibrate; return both as values and as text.

    Raises ``UsageError`` for settings that mean nothing, ``DataError``, ``ModelError`` or ``JobError``.
    """
    _refuse_unused(resolved, calibrate=calibrate)
    check_evaluation(resolved.settings, calibrates=calibrate)
    console.doing("loading torch and the models")
    from lvm_batch.jobs.evaluation.evaluate import evaluate

    calibration, more = _calibrate(resolved.settings, console) if calibrate else ({}, "")
    values, text = evaluate(resolved.settings, console=console)
    return values | calibration, f"{text}\n\n{more}" if more else text


def _calibrate(settings: EvaluateSettings, console: Console) -> tuple[dict[str, Any], str]:
    """Calibrate before the evaluation: it needs more than that does, and refuses settings that lack it."""
    from lvm_batch.jobs.evaluation.calibration.calibrate import calibrate

    values, text = calibrate(settings, console=console)
    return {"calibration": values}, text


def _refuse_unused(resolved: ResolvedSettings[EvaluateSettings], *, calibrate: bool) -> None:
    """Refuse options that only a calibration reads."""
    for name in ("fallback", "budget"):
        if not calibrate and resolved.origins[name] == "flag":
            raise UsageError(
                f"--{name} needs --calibrate",
                "add --calibrate; to judge a model, give it with --model",
            )
