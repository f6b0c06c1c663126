"""What the engine is told of the workers that it may count on: how many, how soon, with how much memory.

The rule: it knows nothing of clusters but this. This module does not know the engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask.utils import parse_bytes

from lvm_batch.jobs.clusters.check import limits, slurm_job
from lvm_batch.jobs.clusters.tables import block_of
from lvm_batch.jobs.clusters.waiting import CLUSTER_WAIT_S

if TYPE_CHECKING:
    from lvm_batch.jobs.settings.run import RunSettings


@dataclass(frozen=True, slots=True)
class Terms:
    """``wait_s`` is how long there may be no worker, ``None`` for as long as it takes one to start here.

    ``most_workers`` are as many as may come where their number follows from the work that is submitted.
    ``may_differ`` says that workers were installed by somebody else, so that their versions are to be looked at.
    """

    wait_s: float | None = None
    most_workers: int | None = None
    may_differ: bool = False


LOCAL = Terms()


def terms_of(settings: RunSettings) -> Terms:
    """Return what ``settings`` say of the workers."""
    allowed = limits(settings)
    return Terms(
        settings.wait_for_workers or (CLUSTER_WAIT_S if settings.cluster else None),
        allowed[1] if allowed else None,
        settings.runs_elsewhere,
    )


def memory_each(settings: RunSettings) -> int | None:
    """Bytes that the cluster's table gives to each worker process, ``None`` where it does not say."""
    if settings.cluster == "slurm":
        job = slurm_job(settings)
        return int(job.worker_memory // job.worker_processes)
    if settings.cluster == "kubernetes":
        given = block_of(settings).get("resources", {}).get("limits", {}).get("memory")
        return given and int(parse_bytes(given))
    return None
