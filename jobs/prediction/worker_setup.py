"""What a local worker does before its first task; Dask imports this module when it starts one.

The rule: what a unit needs is imported here, so that it is there before a worker starts, or while it does.
"""

from __future__ import annotations

import gc
import logging
import signal
from typing import TYPE_CHECKING

from lvm_batch.jobs import models  # noqa: F401 - for the workers to come
from lvm_batch.jobs.prediction import unit  # noqa: F401 - as above

if TYPE_CHECKING:
    from distributed import Worker

gc.freeze()  # what has been imported stays: no collection looks through it, nor does the end of the process


def dask_setup(_: Worker) -> None:
    """Leave Ctrl-C, which a terminal sends to the workers too, and what is to be said, to the driving process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A driver that has gone is no news to the user who ended it; what a task raises is told by the driver.
    logging.getLogger("distributed.worker").setLevel(logging.CRITICAL)
