"""What a local worker does before its first task; Dask imports this module when it starts one.

The rule: what a unit needs is imported here, so that workers do it side by side while they start.
"""

from __future__ import annotations

import importlib
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distributed import Worker


def dask_setup(_: Worker) -> None:
    """Leave Ctrl-C, which a terminal sends to the workers too, to the process that drives the run; then import."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for module in ("models", "unit"):
        importlib.import_module(f"lvm_batch.jobs.{module}")
