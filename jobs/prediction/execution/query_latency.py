"""Measures, before a job, the time and the memory that the primary model takes for a single query on its workers.

The rule: if the measurement fails, the job goes on without it.
"""

from __future__ import annotations

from concurrent.futures import CancelledError
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from lvm_batch.jobs.clusters.waiting import workers_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from distributed import Client

    from lvm_batch.jobs.prediction.planning.job import Job
    from lvm_batch.lvm.architectures.context_model import ContextModel

_QUERIES = 100
_ROUNDS = 4
_WORKERS = 16
_TIMEOUT_S = 20


class QueryTimes(NamedTuple):
    """The time of single queries on one thread in milliseconds, the processor that it was measured on, and the memory.

    ``memory_bytes`` is what the model and a query take, ``None`` where the system does not tell.
    """

    p95_ms: float
    mean_ms: float
    processor: str
    memory_bytes: int | None = None


def worker_query_times(client: Client, job: Job, *, tell: Callable[[str], object]) -> QueryTimes | None:
    """Return the times of single queries on one thread of the slowest of up to 16 workers, by p95.

    All workers measure at once, as they will work at once. Each returns the best of four rounds of 100 queries, because
    other programs on its machine may slow a round, but seldom all four. If a worker fails or does not answer within
    20 s, ``tell`` is called with the reason and the result is ``None``. Raises ``TryAgain`` if the scheduler is gone.
    """
    addresses = sorted(workers_of(client))[:_WORKERS]
    length = job.dataset_format.shape.length
    futures = [
        client.submit(_query_times, job.models.primary.path, length, workers=[address], pure=False)
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
    return max(times, default=None, key=lambda one: one.p95_ms)


def _query_times(path: str, length: int) -> QueryTimes:
    from lvm_batch.io.storage.locations import read_file
    from lvm_batch.jobs.models.latency import latency_ms, query_memory_bytes
    from lvm_batch.jobs.processes.resources import processor_name
    from lvm_batch.lvm.checkpoints.checkpoint import load_checkpoint

    content = read_file(path)

    def load() -> ContextModel:
        return load_checkpoint(content, path).model

    model = load()
    memory = query_memory_bytes(load, length, dim=model.dim)
    rounds = [latency_ms(model, length=length, n_queries=_QUERIES) for _ in range(_ROUNDS)]
    p95, mean = (min(one[name] for one in rounds) for name in ("p95", "mean"))
    return QueryTimes(p95, mean, processor_name(), memory)
