"""Measures, before a job, how long the primary model takes for a single query on its workers.

The rule: if the measurement fails, the job goes on without it.
"""

from __future__ import annotations

from concurrent.futures import CancelledError
from time import monotonic
from typing import TYPE_CHECKING

from lvm_batch.jobs.clusters.waiting import workers_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from distributed import Client

    from lvm_batch.jobs.prediction.planning.job import Job

_QUERIES = 100
_ROUNDS = 4
_WORKERS = 16
_TIMEOUT_S = 20


def worker_p95_ms(client: Client, job: Job, *, tell: Callable[[str], object]) -> float | None:
    """Return the p95 of single queries in milliseconds, on one thread of the slowest of up to 16 workers.

    All workers measure at once, as they will work at once. Each returns the best of four rounds of 100 queries, because
    other programs on its machine may slow a round, but seldom all four. If a worker fails or does not answer within
    20 s, ``tell`` is called with the reason and the result is ``None``. Raises ``TryAgain`` if the scheduler is gone.
    """
    addresses = sorted(workers_of(client))[:_WORKERS]
    length = job.dataset_format.shape.length
    futures = [
        client.submit(_p95_ms, job.models.primary.path, length, workers=[address], pure=False)
        for address in addresses
    ]
    until = monotonic() + _TIMEOUT_S
    try:
        # A foreign worker may raise anything, so errors are fetched, not raised.
        errors = [future.exception(timeout=max(0.0, until - monotonic())) for future in futures]
        error = next(filter(None, errors), None)
        times = [] if error else [future.result(timeout=_TIMEOUT_S) for future in futures]
    except (OSError, CancelledError) as problem:  # TimeoutError is an OSError
        error, times = problem, []
    if error:
        tell(f"the latency of a single query was not measured: {type(error).__name__}: {error}")
    return max(times, default=None)


def _p95_ms(path: str, length: int) -> float:
    from lvm_batch.io.storage.locations import read_file
    from lvm_batch.jobs.models.latency import latency_ms
    from lvm_batch.lvm.checkpoints.checkpoint import load_checkpoint

    model = load_checkpoint(read_file(path), path).model
    return min(latency_ms(model, length=length, n_queries=_QUERIES)["p95"] for _ in range(_ROUNDS))
