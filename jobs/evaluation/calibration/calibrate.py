"""``evaluate --calibrate``: measures how well confidence and margin predict errors, proposes thresholds, fits a router.

The rule: rows are predicted and judged as in a run, by both models. Cosines are kept of all rows, vectors only of those
that the router is fitted on.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
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
from lvm_batch.jobs.evaluation.calibration.fitted_router import router_figures, write_router
from lvm_batch.jobs.evaluation.judged_rows import JudgedDataset
from lvm_batch.jobs.evaluation.preflight import check_calibration
from lvm_batch.jobs.models.check import look_at_models
from lvm_batch.jobs.models.files import name_models
from lvm_batch.jobs.models.load import load_cascade, load_keys
from lvm_batch.jobs.output_folder import as_json, make_output_folder, write_files
from lvm_batch.jobs.plots import figure_svg
from lvm_batch.jobs.settings.run import RunSettings
from lvm_batch.lvm.evaluation.calibration import CalibrationRows
from lvm_batch.lvm.evaluation.router_features import MOST_ROWS, RouterRows
from lvm_batch.lvm.evaluation.router_fit import fit_router
from lvm_batch.lvm.inference.cosines import row_cosines
from lvm_batch.lvm.inference.routing import REASONS

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from lvm_batch.io.bank.keys import BankKeys
    from lvm_batch.jobs.console.console import Console
    from lvm_batch.jobs.evaluation.judged_rows import JudgedRows
    from lvm_batch.jobs.models.facts import FoundModels
    from lvm_batch.jobs.settings.evaluate import EvaluateSettings
    from lvm_batch.lvm.evaluation.router_fit import FittedRouter
    from lvm_batch.lvm.inference.cascade import Cascade

MIN_ROWS = 100
_BLOCKS = 20  # of rows, in place of articles if there are none

_FIXED_REASONS = [REASONS.index(name) for name in ("high_stakes_lane", "long_context")]


def calibrate(settings: EvaluateSettings, *, console: Console) -> tuple[dict[str, Any], str]:
    """Predict the dataset's usable rows by the primary model and the fallback, and return the figures and their text.

    With ``settings.output``, values, plots, the proposed thresholds (as TOML) and the router are written there too. The
    primary model is the first of ``settings.model``, or the one with the role. Raises ``UsageError`` without a bank, a
    fallback, or enough rows, ``OutputError`` if the output cannot be written, and the errors of models and datasets.
    """
    folder = make_output_folder(settings.output, what="an evaluation") if settings.output else None
    run_settings, models = find_run_models(settings)
    assert models.primary and models.fallback and models.bank  # noqa: PT018, S101 - checked above
    shape = models.primary.shape
    dataset = JudgedDataset(settings, dim=shape.dim, length=settings.context_length or shape.length)
    loaded = models.as_set(run_settings, knows_places=True)
    predicted = _predict(dataset, load_cascade(loaded), load_keys(loaded.bank), console)
    console.doing("fitting a router")
    fitted = fit_router(
        predicted.for_router, budget=settings.budget, seed=settings.seed, resamples=settings.resamples
    )
    values = {
        "primary": asdict(models.primary.ref),
        "fallback": asdict(models.fallback.ref),
        "bank": asdict(models.bank.ref) | {"vectors": models.bank.n_vectors},
        "grouped_by": predicted.grouped_by,
        **figures_of(
            predicted.rows,
            fitted,
            budget=settings.budget,
            seed=settings.seed,
            resamples=settings.resamples,
        ),
        "router": router_figures(fitted, is_written=folder is not None),
    }
    if folder:
        _write(folder, predicted.rows, values, fitted)
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


@dataclass(frozen=True, slots=True)
class _Predicted:
    """All usable rows, what they are grouped by, and those of them that a router is fitted on."""

    rows: CalibrationRows
    grouped_by: str
    for_router: RouterRows


def _predict(
    dataset: JudgedDataset, cascade: Cascade, bank_keys: BankKeys | None, console: Console
) -> _Predicted:
    """Predict every usable row by both models; a router gets every row, or evenly spaced ones of very many."""
    parts, for_router, n_rows = [], [], 0
    every = -(-dataset.n_rows // MOST_ROWS)
    for batch in watch_rows(dataset, console, what="calibrating", n_rows=dataset.n_rows):
        rows, predictions = _calibration_rows(batch, cascade, bank_keys)
        places = np.arange(n_rows, n_rows + len(rows))
        parts.append(rows)
        kept = places % every == 0
        for_router.append(RouterRows.of(rows.take(kept), predictions[kept], batch.contexts[kept]))
        n_rows += len(rows)
    return _grouped(CalibrationRows.joined(parts), RouterRows.joined(for_router), every)


def _grouped(rows: CalibrationRows, for_router: RouterRows, every: int) -> _Predicted:
    """Leave out rows without a cosine, and number blocks of rows if not every row has an article."""
    if (rows.articles == UNKNOWN).any() or (rows.articles == rows.articles[0]).all():
        blocks = np.arange(len(rows)) * _BLOCKS // len(rows)
        rows, grouped_by = replace(rows, articles=blocks), "blocks of rows"
        for_router = replace(for_router, rows=replace(for_router.rows, articles=blocks[::every]))
    else:
        grouped_by = "articles"
    rows = rows.take(rows.has_cosines)  # a context may overflow float32
    if len(rows) < MIN_ROWS:
        raise UsageError(
            f"there is a target in {plural(len(rows), 'row')}, but at least {MIN_ROWS} are needed",
            "give a dataset with more rows that have targets",
        )
    return _Predicted(rows, grouped_by, for_router.take(for_router.is_usable))


def _calibration_rows(
    rows: JudgedRows, cascade: Cascade, bank_keys: BankKeys | None
) -> tuple[CalibrationRows, NDArray[np.float32]]:
    """Return the rows as both models answer them, and the primary model's predictions, float32 (n, dim)."""
    assert cascade.fallback is not None  # noqa: S101 - checked at the start
    predictions = cascade.primary(rows.contexts)
    judged = cascade.judge(
        predictions,
        rows.contexts,
        numbers=bank_keys.of_contexts(rows.places) if bank_keys and rows.places else None,
        lanes=rows.lanes,
        context_tokens=rows.context_tokens,
    )
    return CalibrationRows(
        primary=row_cosines(predictions, rows.targets).astype(np.float64),
        fallback=row_cosines(cascade.fallback(rows.contexts), rows.targets).astype(np.float64),
        confidence=judged.confidence,
        margin=judged.margin,
        escalated_anyway=np.asarray(judged.reasons[:, _FIXED_REASONS].any(axis=1)),
        articles=np.full(len(predictions), UNKNOWN) if rows.articles is None else rows.articles,
    ), predictions


def _write(folder: Path, rows: CalibrationRows, values: dict[str, Any], fitted: FittedRouter) -> None:
    """Write values, plots, and the proposed thresholds and the router, if there are any."""
    files = {
        "calibration.json": as_json(values),
        "calibration_reliability.svg": figure_svg(partial(draw_reliability, values=values)),
        "calibration_gain.svg": figure_svg(partial(draw_gain, rows=rows, values=values)),
    }
    if values["proposed"]:
        files["thresholds.toml"] = as_toml(values).encode()
    write_files(folder, files)
    write_router(folder, fitted, values)
