"""The entry of a run in the history.

The rule: the entry has only what this run computed, so that entries can be pooled.
"""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from lvm_batch.io.history.row_sample import join_samples
from lvm_batch.io.history.run_entry import Figure, ModelEntry, RunEntry, ThresholdsEntry
from lvm_batch.io.output.tally import NOTHING, SquareSums, Sums
from lvm_batch.io.output.unit_files import PRIVATE
from lvm_batch.io.storage.redaction import redact
from lvm_batch.jobs.prediction.execution.row_sampling import SAMPLED_ROWS
from lvm_batch.jobs.prediction.execution.tally import total_of
from lvm_batch.jobs.prediction.telemetry.input_sample import NO_SAMPLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lvm_batch.io.output.commit_record import CommitRecord
    from lvm_batch.io.output.tally import Tally
    from lvm_batch.jobs.models.facts import ModelRef
    from lvm_batch.jobs.prediction.observers import RunBeginning
    from lvm_batch.jobs.prediction.planning.plan import Plan
    from lvm_batch.jobs.prediction.results.events import RunSummarised
    from lvm_batch.jobs.prediction.telemetry.input_sample import Sample
    from lvm_batch.jobs.settings.run import RunSettings


def entry_of(run: RunBeginning, end: RunSummarised, sample: Sample = NO_SAMPLE) -> RunEntry:
    """Return the entry of a run that came to its ``end``, with a ``sample`` of its input."""
    wall_s = end.summary.wall_s
    rows_in = sum(record.rows_in for record in end.computed)
    peaks = [record.worker_peak for record in end.computed if record.worker_peak is not None]
    return RunEntry(
        version=version("lvm-batch"),
        started=end.ended - timedelta(seconds=wall_s),
        ended=end.ended,
        state=end.error.kind if end.error else "done",
        shape=job_shape(run.plan, run.settings, workers=end.workers),
        **_requested(run.plan, run.settings, redact(end.summary.output)),
        units=len(end.computed),
        failed_units=len(end.summary.failed_units),
        rows_in=rows_in,
        **_counted(end.computed),
        wall_s=wall_s,
        rows_per_s=_rate(rows_in, end),
        workers=end.workers,
        peak_bytes=max(peaks, default=None),
        projected_bytes=run.plan.memory.peak + run.plan.memory.mapped,
        query_p95_ms=end.query.p95_ms if end.query else None,
        input_norm=sample.norm,
        input_centroid=sample.centroid,
        input_seen=sample.seen,
        query_mean_ms=end.query.mean_ms if end.query else None,
        query_processor=end.query.processor if end.query else None,
        query_memory_bytes=end.query.memory_bytes if end.query else None,
        row_sample=join_samples(
            [record.sample for record in end.computed if record.sample], max_rows=2 * SAMPLED_ROWS
        ),
    )


def job_shape(plan: Plan, settings: RunSettings, *, workers: int) -> str:
    """Return a digest, 12 digits, of all that decides a job's speed except its rows: settings, architectures, workers.

    A model that is trained anew does not change it, nor does tomorrow's input.
    """
    job = plan.job
    models = (job.models.primary, job.models.fallback)
    values = {
        "settings": plan.identity.values["settings"],
        "cap_rate": job.cap_rate,
        "unit_size": int(settings.unit_size),
        "architectures": [model.architecture if model else None for model in models],
        "bank": job.models.bank is not None,
        "device": job.models.device,
        "workers": workers,
        **({"router": True} if job.models.router else {}),  # entries are younger than the history
    }
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def _rate(rows_in: int, end: RunSummarised) -> float | None:
    """Return the rows a second of the run; none for rows that parts of the job computed before it."""
    measured = rows_in and end.summary.rows_computed and end.summary.wall_s
    return rows_in / end.summary.wall_s if measured else None


def _requested(plan: Plan, settings: RunSettings, output: str) -> dict[str, Any]:
    """Return the request: the job, its models and its thresholds."""
    job = plan.job
    return {
        "job_id": job.job_id,
        "fingerprint": job.fingerprint,
        "dataset": tuple(redact(text) for text in settings.dataset),
        "output": output,
        "report": f"{output.rstrip('/')}/{PRIVATE}/report.html",
        "primary": _model(job.models.primary),
        "fallback": None if job.models.fallback is None else _model(job.models.fallback),
        "bank": redact(job.models.bank.path) if job.models.bank else None,
        "thresholds": ThresholdsEntry(
            min_confidence=settings.min_confidence,
            min_margin=settings.min_margin,
            max_context_tokens=settings.max_context_tokens,
            high_stakes_lanes=settings.high_stakes_lane,
            max_fallback_rate=settings.max_fallback_rate,
        ),
    }


def _counted(computed: Sequence[CommitRecord]) -> dict[str, Any]:
    """Return how many rows came out, by route, status and reason, and their figures."""
    total = total_of(record.tally for record in computed)
    routed = sum(total.rows_by_route.values())
    return {
        "rows_out": total.rows_out,
        "rows_by_route": total.rows_by_route,
        "rows_by_status": total.rows_by_status,
        "rows_by_reason": total.rows_by_reason,
        "fallback_rate": total.rows_by_route["gru"] / routed if routed else None,
        **_figures(total),
    }


def _model(model: ModelRef) -> ModelEntry:
    return ModelEntry(redact(model.path), model.sha256, model.architecture)


def _figures(total: Tally) -> dict[str, Figure]:
    return {
        "cosine": _mean(total.cosine),
        "cosine_in_dist": _mean(total.cosine_by_split.get("in_dist", NOTHING)),
        "cosine_ood": _mean(total.cosine_by_split.get("ood", NOTHING)),
        "cosine_amn": _mean(total.cosine_by_route.get("amn", NOTHING)),
        "cosine_gru": _mean(total.cosine_by_route.get("gru", NOTHING)),
        "escalation_gain": _gain(total.escalation_gain),
        "shadow_gain": _gain(total.shadow_gain),
    }


def _mean(sums: Sums) -> Figure:
    return Figure(sums.mean, sums.n)


def _gain(sums: SquareSums) -> Figure:
    return Figure(sums.mean, sums.n, sums.deviation)
