"""Measures what one query to a model takes: time and memory.

The rule: measure on one thread of a CPU, as the model cards do, whatever device a job uses.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lvm_batch.jobs.processes.resources import give_back_freed_memory, keep_freed_memory, own_bytes
from lvm_batch.lvm.checkpoints.checkpoint import load_checkpoint
from lvm_batch.lvm.devices.devices import set_threads
from lvm_batch.lvm.inference.predictor import Predictor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from lvm_batch.lvm.architectures.context_model import ContextModel

_CPU = torch.device("cpu")
_WARM_UP = 50
_MB = 1e6  # the cards' unit


@dataclass(frozen=True, slots=True)
class QueryCost:
    """What one query takes: ``latency_ms`` by name (mean, p50, p95, p99), and memory.

    ``memory_bytes`` is what a process that answers queries holds above one that has the libraries and no model; None
    where the system does not tell.
    """

    latency_ms: Mapping[str, float]
    memory_bytes: int | None

    @property
    def as_dict(self) -> dict[str, Any]:
        """The cost as JSON values; ``queries_per_s`` is the rate of one thread, one query after the other."""
        return {
            "latency_ms": dict(self.latency_ms),
            "queries_per_s": round(1000 / self.latency_ms["mean"], 1),
            "memory_mb": None if self.memory_bytes is None else round(self.memory_bytes / _MB, 2),
        }


def checkpoint_query_cost(content: bytes, name: str, *, length: int, n_queries: int) -> QueryCost:
    """Return :func:`query_cost` of a checkpoint, given as bytes; errors call it ``name``."""
    return query_cost(partial(_load, content, name), length=length, n_queries=n_queries)


def _load(content: bytes, name: str) -> ContextModel:
    return load_checkpoint(content, name).model


def query_cost(load: Callable[[], ContextModel], *, length: int, n_queries: int) -> QueryCost:
    """Measure a model that ``load`` returns on queries of ``length`` vectors.

    Call it in a process like a worker (``start_forkserver``), where numpy has one thread too and nothing else
    allocates. Raises ``ArchitectureError`` if the model does not read contexts of that length.
    """
    model = load()
    latency = latency_ms(model, length=length, n_queries=n_queries)
    return QueryCost(latency, query_memory_bytes(load, length, dim=model.dim))


def latency_ms(model: ContextModel, *, length: int, n_queries: int) -> dict[str, float]:
    """Predict one context of ``length`` vectors at a time; return mean, p50, p95 and p99 in milliseconds.

    Raises ``ArchitectureError`` if the model does not read contexts of that length.
    """
    keep_freed_memory()
    contexts = _queries(n_queries + _WARM_UP, length, model.dim)
    with _one_thread():
        predict = Predictor(model, _CPU)
        took_ms = [_time_ms(predict, context) for context in contexts][_WARM_UP:]
    p50, p95, p99 = np.percentile(took_ms, [50, 95, 99])
    return {"mean": float(np.mean(took_ms)), "p50": float(p50), "p95": float(p95), "p99": float(p99)}


def query_memory_bytes(load: Callable[[], ContextModel], length: int, *, dim: int) -> int | None:
    """Return the memory that a model of vectors of ``dim`` and a query take; ``None`` where the system does not tell.

    Load the model once before: the first time also fills libraries' caches.
    What loading takes for a moment does not count, what a query takes for a moment does.
    """
    contexts = _queries(_WARM_UP, length, dim)
    bare = own_bytes() if give_back_freed_memory() else None
    with _one_thread():
        predict = Predictor(load(), _CPU)
        give_back_freed_memory()
        for context in contexts:
            predict(context)
        held = own_bytes()
    return None if bare is None or held is None else max(0, held - bare)


def _queries(n_queries: int, length: int, dim: int) -> np.ndarray:
    """Return contexts of one row each, float32 (n_queries, 1, ``length``, ``dim``)."""
    return np.random.default_rng(0).standard_normal((n_queries, 1, length, dim), dtype=np.float32)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    set_threads(1)
    try:
        yield
    finally:
        set_threads(before)


def _time_ms(predict: Predictor, context: np.ndarray) -> float:
    start = perf_counter()
    predict(context)
    return 1000 * (perf_counter() - start)
