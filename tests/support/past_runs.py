"""Entries of a run history, for tests that need particular figures."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from lvm_batch.io.history.row_sample import RowSample
from lvm_batch.io.history.run_entry import Figure, ModelEntry, RunEntry, ThresholdsEntry

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def make_run_entry(*, hours_ago: float = 1.0, minutes: float = 10.0, **figures: Any) -> RunEntry:  # noqa: ANN401 - of any field
    """A run of 1,000 rows that ended ``hours_ago`` before noon, with figures that fire no rule."""
    ended = NOW - timedelta(hours=hours_ago)
    values: dict[str, Any] = {
        "version": "0.1.0",
        "started": ended - timedelta(minutes=minutes),
        "ended": ended,
        "state": "done",
        "job_id": "0c9e946ca597",
        "fingerprint": "0c9e946ca597" + "0" * 52,
        "shape": "0b9a3e6d1af2",
        "dataset": ("s3://vectors/2026-11-22",),
        "output": "/out/a",
        "report": "/out/a/_lvm_batch/report.html",
        "primary": ModelEntry("models/amn.pt", "a" * 64, "amn"),
        "fallback": ModelEntry("models/gru.pt", "b" * 64, "gru"),
        "bank": "bank",
        "thresholds": ThresholdsEntry(0.7, 0.02, 384.0, ("sci-fact",), 0.2),
        "units": 2,
        "failed_units": 0,
        "rows_in": 1000,
        "rows_out": 1000,
        "rows_by_route": {"amn": 900, "gru": 100},
        "rows_by_status": {"ok": 1000, "short_context": 0, "bad_input": 0},
        "rows_by_reason": {"low_confidence": 100},
        "fallback_rate": 0.1,
        "cosine": Figure(0.65, 1000),
        "cosine_in_dist": Figure(None, 0),
        "cosine_ood": Figure(None, 0),
        "cosine_amn": Figure(0.65, 900),
        "cosine_gru": Figure(0.65, 100),
        "escalation_gain": Figure(0.0, 100, 0.02),
        "shadow_gain": Figure(0.0, 10, 0.02),
        "wall_s": 10.0,
        "rows_per_s": 100.0,
        "workers": 2,
    }
    return RunEntry(**values | figures)


def make_row_sample(
    night: int,
    *,
    n_articles: int = 10,
    shift: float = 0.0,
    confidence: float = 0.8,
    low_confidence: float = 0.2,
) -> RowSample:
    """20 rows of each article; articles differ as rows do, and vectors of a night are ``shift`` off in one direction.

    ``confidence`` is the mean of a night, ``low_confidence`` the share of rows with this reason.
    """
    rng = np.random.default_rng(night)
    groups = np.repeat(np.arange(n_articles), 20)
    columns = {
        name: rng.normal(0, 0.3, (n_articles, 6))[groups]
        + rng.normal(0, 1, (len(groups), 6))
        + shift * np.eye(6)[0]
        for name in ("inputs", "predictions")
    }
    columns["confidence"] = confidence + rng.normal(0, 0.05, len(groups))
    columns["reasons"] = rng.random(len(groups)) < low_confidence
    return RowSample.of(columns | {"groups": groups}, ("low_confidence", "high_stakes_lane"))
