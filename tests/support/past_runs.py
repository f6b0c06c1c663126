"""Entries of a run history, for tests that need particular figures."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

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
