"""How long a model takes for one query at a time.

The rule: one thread of a CPU, as the cards measured, whatever device a job runs on. Does not know where a model comes
from.
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
    """Return :func:`latency_ms` of a checkpoint, given by its bytes; ``name`` is what errors call it.

    To be called in a process like a worker (``start_forkserver``), where numpy too has one thread.
    """
    return latency_ms(load_checkpoint(content, name).model, length=length, n_queries=n_queries)


def latency_ms(model: ContextModel, *, length: int, n_queries: int) -> dict[str, float]:
    """Ask a model for one prediction at a time, of contexts of ``length`` vectors; milliseconds at p50, p95 and p99.

    Raises ``ArchitectureError`` where the model does not read contexts of that length.
    """
    keep_freed_memory()
    shape = (n_queries + _WARM_UP, 1, length, model.dim)
    contexts = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    with _one_thread():
        predict = Predictor(model, torch.device("cpu"))
        took_ms = [_timed_ms(predict, context) for context in contexts][_WARM_UP:]
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


def _timed_ms(predict: Predictor, context: np.ndarray) -> float:
    start = perf_counter()
    predict(context)
    return 1000 * (perf_counter() - start)
