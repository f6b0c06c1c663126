"""A run as it enters the history.

The rule: a run's entry tells what this run computed, not what stood there before, so that entries can be pooled; and a
history that cannot be written changes nothing about the run. This module does not know what is monitored.
"""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from lvm_batch.io.errors import DataError
from lvm_batch.io.history.history import write_run
from lvm_batch.io.history.run_entry import Figure, PastModel, PastRun, PastThresholds
from lvm_batch.io.output.tally import NOTHING, SquareSums, Sums
from lvm_batch.io.output.unit_files import PRIVATE
from lvm_batch.io.storage.redaction import redacted
from lvm_batch.jobs.prediction.execution.tally import total_of
from lvm_batch.jobs.prediction.telemetry.input_sample import NO_SAMPLE, Sample, sample_input

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from lvm_batch.io.output.answers import Record
    from lvm_batch.io.output.tally import Tally
    from lvm_batch.jobs.errors import JobError
    from lvm_batch.jobs.prediction.planning.job import ModelRef
    from lvm_batch.jobs.prediction.planning.plan import Prepared
    from lvm_batch.jobs.prediction.results.summary import Summary
    from lvm_batch.jobs.settings.run import RunSettings


def add_to_history(
    prepared: Prepared,
    settings: RunSettings,
    summary: Summary,
    computed: Sequence[Record],
    *,
    error: JobError | None,
    ended: datetime,
    workers: int,
    tell: Callable[[str], object],
    query_p95_ms: float | None = None,
) -> None:
    """Add a run that has come to its end to the history that ``settings`` name, if they name one.

    ``computed`` are the commit records of the units that this run did; a run that had nothing to do adds nothing.
    ``error`` is why it is not a success; ``ended`` is UTC. Where the history cannot be written, ``tell`` is told and
    the run ends as it would have: ``OSError`` and ``DataError``, which stand for a full disk, no access, a store that
    is away, an address that leads nowhere. Where the input cannot be sampled any more, the entry has no sample.
    Anything else is a bug.
    """
    if settings.history is None or not (computed or summary.failed_units):
        return
    try:
        run = past_run(
            prepared,
            settings,
            summary,
            computed,
            error=error,
            ended=ended,
            workers=workers,
            query_p95_ms=query_p95_ms,
            sample=_sample(prepared, computed, tell),
        )
        write_run(settings.history, run)
    except (OSError, DataError) as problem:
        tell(f"the run was not added to the history {redacted(settings.history)}: {_what(problem)}")


def _sample(prepared: Prepared, computed: Sequence[Record], tell: Callable[[str], object]) -> Sample:
    try:
        return sample_input(prepared, {record.output for record in computed})
    except (OSError, DataError) as problem:
        tell(f"the history gets no sample of the input: {_what(problem)}")
        return NO_SAMPLE


def _what(problem: OSError | DataError) -> str:
    return redacted(str(problem.args[0] if isinstance(problem, DataError) else problem))


def past_run(
    prepared: Prepared,
    settings: RunSettings,
    summary: Summary,
    computed: Sequence[Record],
    *,
    error: JobError | None,
    ended: datetime,
    workers: int,
    query_p95_ms: float | None = None,
    sample: Sample = NO_SAMPLE,
) -> PastRun:
    """Return the run's entry; arguments are those of :func:`add_to_history`, and the input's sample."""
    wall_s = summary.wall_s
    rows_in = sum(record.rows_in for record in computed)
    peaks = [record.worker_peak for record in computed if record.worker_peak is not None]
    return PastRun(
        version=version("lvm-batch"),
        started=ended - timedelta(seconds=wall_s),
        ended=ended,
        state=error.kind if error else "done",
        shape=job_shape(prepared, settings, workers=workers),
        **_asked(prepared, settings, redacted(summary.output)),
        units=len(computed),
        failed_units=len(summary.failed_units),
        rows_in=rows_in,
        **_counted(computed),
        wall_s=wall_s,
        rows_per_s=rows_in / wall_s if rows_in and wall_s else None,
        workers=workers,
        peak_bytes=max(peaks, default=None),
        projected_bytes=prepared.memory.peak + prepared.memory.mapped,
        query_p95_ms=query_p95_ms,
        input_norm=sample.norm,
        input_centroid=sample.centroid,
    )


def job_shape(prepared: Prepared, settings: RunSettings, *, workers: int) -> str:
    """Return a digest, 12 digits, of what decides a job's speed but its rows: settings, architectures, workers.

    A model that was trained anew and tomorrow's input leave it as it is.
    """
    job = prepared.job
    models = (job.models.primary, job.models.fallback)
    values = {
        "settings": prepared.identity.values["settings"],
        "cap_rate": job.cap_rate,
        "unit_size": int(settings.unit_size),
        "architectures": [model.architecture if model else None for model in models],
        "bank": job.models.bank is not None,
        "device": job.models.device,
        "workers": workers,
    }
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def _asked(prepared: Prepared, settings: RunSettings, output: str) -> dict[str, Any]:
    """What was to be done: the job, its models and its thresholds."""
    job = prepared.job
    return {
        "job_id": job.job_id,
        "fingerprint": job.fingerprint,
        "dataset": tuple(redacted(text) for text in settings.dataset),
        "output": output,
        "report": f"{output.rstrip('/')}/{PRIVATE}/report.html",
        "primary": _model(job.models.primary),
        "fallback": None if job.models.fallback is None else _model(job.models.fallback),
        "bank": redacted(job.models.bank.path) if job.models.bank else None,
        "thresholds": PastThresholds(
            min_confidence=settings.min_confidence,
            min_margin=settings.min_margin,
            max_context_tokens=settings.max_context_tokens,
            high_stakes_lanes=settings.high_stakes_lane,
            max_fallback_rate=settings.max_fallback_rate,
        ),
    }


def _counted(computed: Sequence[Record]) -> dict[str, Any]:
    """Return what came of the rows: how many by what, and their figures."""
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


def _model(model: ModelRef) -> PastModel:
    return PastModel(redacted(model.path), model.sha256, model.architecture)


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
