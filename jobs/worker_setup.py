"""What a local worker does before its first task; Dask imports this module when it starts one.

The rule: what a unit needs is imported here, so that it is there before a worker starts, or while it does.
"""

from __future__ import annotations

import gc
import signal
from typing import TYPE_CHECKING

from lvm_batch.jobs import models, unit  # noqa: F401 - for the workers to come

if TYPE_CHECKING:
    from distributed import Worker

gc.freeze()  # what has been imported stays: no collection looks through it, nor does the end of the process


def dask_setup(_: Worker) -> None:
    """Leave Ctrl-C, which a terminal sends to the workers too, to the process that drives the run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
