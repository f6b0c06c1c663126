"""What a local worker does before its first task; Dask imports this module when it starts one.

The rule: what a worker and a unit need is imported here, so that it is there before a worker starts, or while it does.
"""

# ruff: noqa: E402, F401 - what is imported is for the workers to come
from __future__ import annotations

import gc
import logging
import signal
import sys
from typing import TYPE_CHECKING

# What is imported stays: no collection is to look through it while it grows, which is a quarter of the time, nor
# afterwards, nor at the end of the process.
gc.disable()

import distributed.nanny

from lvm_batch.jobs.models import load
from lvm_batch.jobs.prediction.execution import unit

gc.freeze()
gc.enable()

if TYPE_CHECKING:
    from types import TracebackType

    from distributed import Worker

_GONE = (FileNotFoundError, EOFError, ConnectionError)


def _say_unless_gone(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Say nothing of a worker that was still starting when the driver went, and took with it what they share."""
    if not issubclass(kind, _GONE):
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _say_unless_gone


def dask_setup(_: Worker) -> None:
    """Leave Ctrl-C, which a terminal sends to the workers too, and what is to be said, to the driving process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A driver that has gone is no news to the user who ended it; what a task raises is told by the driver.
    logging.getLogger("distributed.worker").setLevel(logging.CRITICAL)
