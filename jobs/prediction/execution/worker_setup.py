"""Sets up a local worker before its first task; Dask imports this module when it starts the worker.

The rule: import here what a worker and a unit need, so that it is loaded before the worker starts, or while it does.
"""

# ruff: noqa: E402, F401 - the imports are for the workers
from __future__ import annotations

import gc
import logging
import signal
import sys
from typing import TYPE_CHECKING

from lvm_batch.jobs.processes.forkserver import unblock_ctrl_c
from lvm_batch.jobs.processes.imports import imported_as_empty, imported_as_missing

# Imported objects live as long as the process. Collecting garbage among them takes a quarter of the import's time, and
# more time afterwards and at the end.
gc.disable()

# Shapes of results for compilers of models, which take a quarter of the 1.0 s that importing torch takes (2026-11-29).
with imported_as_empty("torch._meta_registrations"):
    import torch

import distributed.nanny
import pyarrow as pa

from lvm_batch.jobs.models import check
from lvm_batch.jobs.models.load import load_announced
from lvm_batch.jobs.prediction.execution import unit

# With the first array that it makes, Arrow imports pandas, if it is installed: 0.2 s and 28 MB of each worker, for
# nothing (2026-11-29). Arrow looks for it once.
with imported_as_missing("pandas"):
    pa.array([])

load_announced()

unblock_ctrl_c()

gc.freeze()
gc.enable()

if TYPE_CHECKING:
    from types import TracebackType

    from distributed import Worker

_GONE = (FileNotFoundError, EOFError, ConnectionError)


def _say_unless_gone(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print no trace if a worker was still starting when the driver, and the files they share, went away."""
    if not issubclass(kind, _GONE):
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _say_unless_gone


def dask_setup(_: Worker) -> None:
    """Leave Ctrl-C, which a terminal sends to the workers too, and all messages to the driver."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The user who ended the driver knows that it is gone; the driver reports what a task raises.
    logging.getLogger("distributed.worker").setLevel(logging.CRITICAL)
