"""Measures how long a model takes for one query.

The rule: measure on one thread of a CPU, as the model cards do, whatever device a job uses.
"""

from __future__ import annotations

from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import torch

from lvm_batch.jobs.processes.resources import keep_freed_memory
from lvm_batch.lvm.checkpoints.checkpoint import load_checkpoint
from lvm_batch.lvm.devices.devices import set_threads
from lvm_batch.lvm.inference.predictor import Predictor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvm_batch.lvm.architectures.context_model import ContextModel

_WARM_UP = 50


def checkpoint_latency_ms(content: bytes, name: str, *, length: int, n_queries: int) -> dict[str, float]:
    """Return :func:`latency_ms` of a checkpoint, given as bytes; errors call it ``name``.

    Call it in a process like a worker (``start_forkserver``), where numpy has one thread too.
    """
    return latency_ms(load_checkpoint(content, name).model, length=length, n_queries=n_queries)


def latency_ms(model: ContextModel, *, length: int, n_queries: int) -> dict[str, float]:
    """Predict one context of ``length`` vectors at a time; return p50, p95 and p99 in milliseconds.

    Raises ``ArchitectureError`` if the model does not read contexts of that length.
    """
    keep_freed_memory()
    shape = (n_queries + _WARM_UP, 1, length, model.dim)
    contexts = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    with _one_thread():
        predict = Predictor(model, torch.device("cpu"))
        took_ms = [_time_ms(predict, context) for context in contexts][_WARM_UP:]
    p50, p95, p99 = np.percentile(took_ms, [50, 95, 99])
    return {"p50": float(p50), "p95": float(p95), "p99": float(p99)}


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
