"""Computes units in a copy of the fork server, and measures its peak memory.

The rule: the peak is that of a worker that starts on its own, as on a cluster. A copy lacks the pages of libraries
that the server has read from their files; they are added.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from lvm_batch.jobs.processes.forkserver import METHOD, in_forked_process, start_forkserver

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lvm_batch.io.dataset.units import Unit
    from lvm_batch.jobs.prediction.planning.job import Job


def peak_of(job: Job, units: Sequence[Unit]) -> int:
    """Compute ``units`` one after the other in a new process; return its peak in bytes."""
    assert METHOD == "forkserver"
    start_forkserver()
    return in_forked_process(_compute, job, tuple(units))


def _compute(job: Job, units: Sequence[Unit]) -> int:
    from lvm_batch.jobs.prediction.execution import worker

    libraries = _status(os.getppid(), "RssFile") - _status(os.getpid(), "RssFile")
    for unit in units:
        outcome = worker.run_unit(job, unit)
        assert not isinstance(outcome, worker.Failure), outcome
    return _status(os.getpid(), "VmHWM") + libraries


def _status(process: int, name: str) -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
