"""``evaluate --calibrate``: measures how well confidence and margin predict errors, and proposes thresholds.

The rule: rows are predicted and judged as in a run, by both models, and only cosines and signals are kept.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from lvm_batch.jobs.checks import Checks
from lvm_batch.jobs.console.progress import watch_rows
from lvm_batch.jobs.console.text import plural
from lvm_batch.jobs.datasets.articles import UNKNOWN
from lvm_batch.jobs.errors import UsageError
from lvm_batch.jobs.evaluation.calibration.calibration_figures import figures_of
from lvm_batch.jobs.evaluation.calibration.calibration_plots import draw_gain, draw_reliability
from lvm_batch.jobs.evaluation.calibration.calibration_text import as_text, as_toml
from lvm_batch.jobs.evaluation.judged_rows import JudgedDataset
from lvm_batch.jobs.evaluation.preflight import check_calibration
from lvm_batch.jobs.models.check import look_at_models
from lvm_batch.jobs.models.files import name_models
from lvm_batch.jobs.models.load import load_cascade
from lvm_batch.jobs.output_folder import as_json, make_output_folder, write_files
from lvm_batch.jobs.plots import figure_svg
from lvm_batch.jobs.settings.run import RunSettings
from lvm_batch.lvm.evaluation.calibration import CalibrationRows, signals
from lvm_batch.lvm.inference.cosines import row_cosines
from lvm_batch.lvm.inference.routing import REASONS

if TYPE_CHECKING:
    from pathlib import Path

    from lvm_batch.jobs.console.console import Console
    from lvm_batch.jobs.evaluation.judged_rows import JudgedRows
    from lvm_batch.jobs.models.facts import FoundModels
    from lvm_batch.jobs.settings.evaluate import EvaluateSettings
    from lvm_batch.lvm.inference.cascade import Cascade

MIN_ROWS = 100
_BLOCKS = 20  # of rows, in place of articles if there are none

_FIXED_REASONS = [REASONS.index(name) for name in ("high_stakes_lane", "long_context")]


def calibrate(settings: EvaluateSettings, *, console: Console) -> tuple[dict[str, Any], str]:
    """Predict the dataset's usable rows by the primary model and the fallback, and return the figures and their text.

    With ``settings.output``, values, plots and the proposed thresholds (as TOML) are written there too. The primary
    model is the first of ``settings.model``, or the one with the role. Raises ``UsageError`` without a bank, a
    fallback, or enough rows, ``OutputError`` if the output cannot be written, and the errors of models and datasets.
    """
    folder = make_output_folder(settings.output, what="an evaluation") if settings.output else None
    run_settings, models = find_run_models(settings)
    assert models.primary and models.fallback and models.bank  # noqa: PT018, S101 - checked above
    shape = models.primary.shape
    dataset = JudgedDataset(settings, dim=shape.dim, length=settings.context_length or shape.length)
    rows, grouped_by = _predict(dataset, load_cascade(models.as_set(run_settings)), console)
    values = {
        "primary": asdict(models.primary.ref),
        "fallback": asdict(models.fallback.ref),
        "bank": asdict(models.bank.ref) | {"vectors": models.bank.n_vectors},
        "grouped_by": grouped_by,
        **figures_of(rows, budget=settings.budget, seed=settings.seed, resamples=settings.resamples),
    }
    if folder:
        _write(folder, rows, values)
    return values, as_text(values)


def find_run_models(settings: EvaluateSettings) -> tuple[RunSettings, FoundModels]:
    """Return the settings of a run with these models and bank, and what that run would find.

    Raises what is missing, all together, before a row is read.
    """
    check_calibration(settings)
    run_settings = _run_settings(settings)
    models = look_at_models(name_models(run_settings))
    checks = Checks()
    checks.errors.extend(models.problems)
    checks.raise_all()
    return run_settings, models


def _run_settings(settings: EvaluateSettings) -> RunSettings:
    return RunSettings(
        model=settings.model[0] if settings.model else None,
        fallback=settings.fallback,
        bank=settings.bank,
        models_dir=settings.models_dir,
        device=settings.device,
        own_context=settings.own_context,
    )


def _predict(dataset: JudgedDataset, cascade: Cascade, console: Console) -> tuple[CalibrationRows, str]:
    """Predict every usable row by both models; return the rows, and what they are grouped by."""
    parts = [
        _calibration_rows(rows, cascade)
        for rows in watch_rows(dataset, console, what="calibrating", n_rows=dataset.n_rows)
    ]
    rows = CalibrationRows.joined(parts)
    usable = np.isfinite(rows.primary) & np.isfinite(rows.fallback)  # a context may overflow float32
    rows = rows.take(usable)
    if len(rows) < MIN_ROWS:
        raise UsageError(
            f"there is a target in {plural(len(rows), 'row')}, and fewer than {MIN_ROWS} tell nothing",
            "give a dataset of more rows with targets",
        )
    if (rows.articles != UNKNOWN).all() and (rows.articles != rows.articles[0]).any():
        return rows, "articles"
    blocks = np.arange(len(rows)) * _BLOCKS // len(rows)
    return replace(rows, articles=blocks), "blocks of rows"


def _calibration_rows(rows: JudgedRows, cascade: Cascade) -> CalibrationRows:
    assert cascade.fallback is not None  # noqa: S101 - checked at the start
    predictions = cascade.primary(rows.contexts)
    judged = cascade.judge(predictions, rows.contexts, lanes=rows.lanes, context_tokens=rows.context_tokens)
    return CalibrationRows(
        primary=row_cosines(predictions, rows.targets).astype(np.float64),
        fallback=row_cosines(cascade.fallback(rows.contexts), rows.targets).astype(np.float64),
        confidence=judged.confidence,
        margin=judged.margin,
        escalated_anyway=np.asarray(judged.reasons[:, _FIXED_REASONS].any(axis=1)),
        articles=np.full(len(predictions), UNKNOWN) if rows.articles is None else rows.articles,
        signals=signals(predictions, rows.contexts, judged.confidence, judged.margin),
    )


def _write(folder: Path, rows: CalibrationRows, values: dict[str, Any]) -> None:
    """Write values, plots and the proposed thresholds, if there are any."""
    files = {
        "calibration.json": as_json(values),
        "calibration_reliability.svg": figure_svg(partial(draw_reliability, values=values)),
        "calibration_gain.svg": figure_svg(partial(draw_gain, rows=rows, values=values)),
    }
    if values["proposed"]:
        files["thresholds.toml"] = as_toml(values).encode()
    write_files(folder, files)
