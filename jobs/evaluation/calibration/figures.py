"""What a calibration found, as plain values.

The rule: a figure is None where it is not known. This module does not know how rows were answered or how figures are
shown.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from lvm_batch.lvm.evaluation.calibration import auroc, gain_curve, oracle_curve, reliability, spearman
from lvm_batch.lvm.evaluation.threshold_search import (
    NEVER,
    escalated,
    find_thresholds,
    quantile_below,
    recoveries,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lvm_batch.lvm.evaluation.calibration import CalibrationRows

SHARES = (0.05, 0.10, 0.15, 0.20, 0.25, 0.30, 0.40, 0.50)
"""Of the rows, that the table of thresholds would escalate."""


def figures_of(rows: CalibrationRows, *, budget: float, seed: int, resamples: int) -> dict[str, Any]:
    """Return everything that a calibration tells of rows."""
    told = recoveries(rows, budget=budget, seed=seed, resamples=resamples)
    return {
        "rows": len(rows),
        "articles": len(np.unique(rows.articles)),
        "budget": budget,
        "primary_cosine": float(rows.primary.mean()),
        "fallback_cosine": float(rows.fallback.mean()),
        "fallback_is_better": float((rows.gain > 0).mean()),
        "escalated_anyway": float(rows.standing.mean()),
        "signals": {
            "confidence": _signal(rows.confidence, rows),
            "margin": _signal(rows.margin, rows),
        },
        "thresholds": [_at_share(rows, share) for share in SHARES],
        "policies": {name: asdict(recovery) for name, recovery in told.items()},
        "proposed": _proposed(rows, budget),
    }


def _signal(values: NDArray[np.float32], rows: CalibrationRows) -> dict[str, Any]:
    """How a signal goes with the true cosine; a low one should tell rows that the fallback answers better."""
    known = np.isfinite(values)
    if not known.any():
        return {"rows": 0, "spearman": None, "auroc": None, "reliability": []}
    return {
        "rows": int(known.sum()),
        "spearman": spearman(values[known], rows.primary[known]),
        "auroc": auroc(-values[known], rows.gain[known] > 0),
        "reliability": [tenth._asdict() for tenth in reliability(values[known], rows.primary[known])],
    }


def _at_share(rows: CalibrationRows, share: float) -> dict[str, float | None]:
    """What escalating a share of these very rows gains, by each threshold alone, by chance, and by an oracle."""
    told: dict[str, float | None] = {"share": share}
    for name, values in (("confidence", rows.confidence), ("margin", rows.margin)):
        known = bool(np.isfinite(values).any())
        told[name] = quantile_below(values, share) if known else None
        told[f"{name}_gain"] = float(gain_curve(-values, rows.gain, np.array([share]))[0]) if known else None
    told["random_gain"] = share * float(rows.gain.mean())
    told["oracle_gain"] = float(oracle_curve(rows.gain, np.array([share]))[0])
    return told


def _proposed(rows: CalibrationRows, budget: float) -> dict[str, float] | None:
    """The thresholds found on all rows, and what they escalate of them; None where none of them gains anything."""
    found = find_thresholds(rows, budget)
    if found == NEVER:
        return None
    return {
        "min_confidence": found.min_confidence,
        "min_margin": found.min_margin,
        "escalated": float(escalated(rows, found).mean()),
    }
