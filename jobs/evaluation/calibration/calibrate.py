"""``evaluate --calibrate``: what confidence and margin are worth on a dataset, and thresholds for a budget.

The rule: rows are answered and judged as a run does it, by both models, and of each only what can be known of it is
kept. This module does not know how thresholds are found or figures drawn.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lvm_batch.jobs.checks import Checks
from lvm_batch.jobs.console.progress import watch_rows
from lvm_batch.jobs.datasets.articles import UNKNOWN
from lvm_batch.jobs.errors import UsageError
from lvm_batch.jobs.evaluation.calibration.figures import figures_of
from lvm_batch.jobs.evaluation.calibration.plots import draw_gain, draw_reliability
from lvm_batch.jobs.evaluation.calibration.text import as_text, as_toml
from lvm_batch.jobs.evaluation.rows import JudgedDataset
from lvm_batch.jobs.models.check import look_at_models
from lvm_batch.jobs.models.load import load_cascade
from lvm_batch.jobs.output_folder import as_json, make_output_folder, write_files
from lvm_batch.jobs.plots import figure_svg
from lvm_batch.jobs.settings.run import RunSettings
from lvm_batch.lvm.evaluation.calibration import CalibrationRows, signals
from lvm_batch.lvm.inference.cosines import row_cosines
from lvm_batch.lvm.inference.routing import REASONS
from lvm_batch.lvm.registry.registry import ROLES

if TYPE_CHECKING:
    from lvm_batch.jobs.console.console import Console
    from lvm_batch.jobs.evaluation.rows import JudgedRows
    from lvm_batch.jobs.models.facts import FoundModels
    from lvm_batch.jobs.settings.evaluate import EvaluateSettings
    from lvm_batch.lvm.inference.cascade import Cascade

MIN_ROWS = 100
_BLOCKS = 20  # of rows, that stand for articles where there are none

_STANDING = [REASONS.index(name) for name in ("high_stakes_lane", "long_context")]


def calibrate(settings: EvaluateSettings, *, console: Console) -> tuple[dict[str, Any], str]:
    """Answer the dataset's usable rows by the primary model and the fallback, and return what comes of it as values and
    as text; with ``settings.output`` also as files there: values, plots, and the proposed thresholds as TOML.

    The primary model is the first of ``settings.model``, or has the role. Raises :class:`UsageError` without a bank, a
    fallback, or enough rows, ``OutputError`` where the output cannot be written, and what models and datasets raise.
    """
    folder = make_output_folder(settings.output, what="an evaluation") if settings.output else None
    run_settings, found = calibrated_models(settings)
    assert found.primary and found.fallback and found.bank  # noqa: PT018, S101 - their absence has been raised by now
    dataset = JudgedDataset(settings, dim=found.primary.dim)
    rows, grouped_by = _answered(dataset, load_cascade(found.as_set(run_settings)), console)
    values = {
        "primary": asdict(found.primary.ref),
        "fallback": asdict(found.fallback.ref),
        "bank": asdict(found.bank.ref) | {"vectors": found.bank.n_vectors},
        "grouped_by": grouped_by,
        **figures_of(rows, budget=settings.budget, seed=settings.seed, resamples=settings.resamples),
    }
    if folder:
        _write(folder, rows, values)
    return values, as_text(values)


def calibrated_models(settings: EvaluateSettings) -> tuple[RunSettings, FoundModels]:
    """Find what a run with these settings would use, and return it with them, before a row is read.

    Raises what it lacks, all together.
    """
    if settings.bank is None:
        raise UsageError(
            "--calibrate needs a bank: confidence and margin are measured against one",
            "give --bank PATH; lvm-batch bank build VECTORS.parquet --output BANK makes one",
        )
    run_settings = RunSettings(
        model=settings.model[0] if settings.model else None,
        fallback=settings.fallback,
        bank=settings.bank,
        models_dir=settings.models_dir,
        device=settings.device,
    )
    found = look_at_models(run_settings)
    checks = Checks()
    checks.errors.extend(found.problems)
    checks.raise_all()
    if found.fallback is None:
        role = Path(settings.models_dir).parent / ROLES[1]
        raise UsageError(
            f"--calibrate needs a fallback model, and there is neither --fallback nor {role}",
            "give --fallback CKPT: the model that escalated rows would be run through",
        )
    return run_settings, found


def _answered(dataset: JudgedDataset, cascade: Cascade, console: Console) -> tuple[CalibrationRows, str]:
    """Answer every usable row by both models; return what is known of the rows, and what they are grouped by."""
    parts = [
        _judged(rows, cascade)
        for rows in watch_rows(dataset, console, what="calibrating", n_rows=dataset.n_rows)
    ]
    rows = CalibrationRows.joined(parts)
    usable = np.isfinite(rows.primary) & np.isfinite(rows.fallback)  # a context may overflow float32
    rows = rows.take(usable)
    if len(rows) < MIN_ROWS:
        raise UsageError(
            f"there are {len(rows)} rows to calibrate on, and fewer than {MIN_ROWS} tell nothing",
            "give a dataset of more rows with targets",
        )
    if (rows.articles != UNKNOWN).all() and (rows.articles != rows.articles[0]).any():
        return rows, "articles"
    blocks = np.arange(len(rows)) * _BLOCKS // len(rows)
    return replace(rows, articles=blocks), "blocks of rows"


def _judged(rows: JudgedRows, cascade: Cascade) -> CalibrationRows:
    assert cascade.fallback is not None  # noqa: S101 - its absence has been raised by now
    predictions = cascade.primary(rows.contexts)
    judged = cascade.judge(predictions, lanes=rows.lanes, context_tokens=rows.context_tokens)
    return CalibrationRows(
        primary=row_cosines(predictions, rows.targets).astype(np.float64),
        fallback=row_cosines(cascade.fallback(rows.contexts), rows.targets).astype(np.float64),
        confidence=judged.confidence,
        margin=judged.margin,
        standing=np.asarray(judged.reasons[:, _STANDING].any(axis=1)),
        articles=np.full(len(predictions), UNKNOWN) if rows.articles is None else rows.articles,
        signals=signals(predictions, rows.contexts, judged.confidence, judged.margin),
    )


def _write(folder: Path, rows: CalibrationRows, values: dict[str, Any]) -> None:
    """Write values, plots and, where there are any, the proposed thresholds."""
    files = {
        "calibration.json": as_json(values),
        "calibration_reliability.svg": figure_svg(partial(draw_reliability, values=values)),
        "calibration_gain.svg": figure_svg(partial(draw_gain, rows=rows, values=values)),
    }
    if values["proposed"]:
        files["thresholds.toml"] = as_toml(values).encode()
    write_files(folder, files)
