"""The results of a calibration as plain values.

The rule: an unknown figure is None.
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
    from lvm_batch.lvm.evaluation.router_fit import FittedRouter

SHARES = (0.05, 0.10, 0.15, 0.20, 0.25, 0.30, 0.40, 0.50)
"""The shares of rows in the table of thresholds."""


def figures_of(
    rows: CalibrationRows, fitted: FittedRouter, *, budget: float, seed: int, resamples: int
) -> dict[str, Any]:
    """Return all figures of a calibration on ``rows``; the router was ``fitted`` on them, or on some of them."""
    policies = recoveries(rows, budget=budget, seed=seed, resamples=resamples)
    oracle = policies.pop("oracle")
    policies |= {"router": fitted.recovery_of_all, "oracle": oracle}
    return {
        "rows": len(rows),
        "articles": len(np.unique(rows.articles)),
        "budget": budget,
        "primary_cosine": float(rows.primary.mean()),
        "fallback_cosine": float(rows.fallback.mean()),
        "fallback_is_better": float((rows.gain > 0).mean()),
        "escalated_anyway": float(rows.escalated_anyway.mean()),
        "signals": {
            "confidence": _signal(rows.confidence, rows),
            "margin": _signal(rows.margin, rows),
        },
        "thresholds": [_at_share(rows, share) for share in SHARES],
        "policies": {name: asdict(recovery) for name, recovery in policies.items()},
        "proposed": _proposed(rows, budget),
    }


def _signal(values: NDArray[np.float32], rows: CalibrationRows) -> dict[str, Any]:
    """Return how a signal relates to the true cosine; it should be low where the fallback is better."""
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
    """Return the gain of escalating a share of these rows: by each threshold alone, at random, and by an oracle."""
    gains: dict[str, float | None] = {"share": share}
    for name, values in (("confidence", rows.confidence), ("margin", rows.margin)):
        known = bool(np.isfinite(values).any())
        gains[name] = quantile_below(values, share) if known else None
        gains[f"{name}_gain"] = float(gain_curve(-values, rows.gain, np.array([share]))[0]) if known else None
    gains["random_gain"] = share * float(rows.gain.mean())
    gains["oracle_gain"] = float(oracle_curve(rows.gain, np.array([share]))[0])
    return gains


def _proposed(rows: CalibrationRows, budget: float) -> dict[str, float] | None:
    """Return the best thresholds on all rows and the share that they escalate; None if no threshold gains anything."""
    thresholds = find_thresholds(rows, budget)
    if thresholds == NEVER:
        return None
    return {
        "min_confidence": thresholds.min_confidence,
        "min_margin": thresholds.min_margin,
        "escalated": float(escalated(rows, thresholds).mean()),
    }
