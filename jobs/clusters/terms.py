"""What the engine is told of the workers that it may count on.

The rule: it knows nothing of clusters but this. This module does not know the engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lvm_batch.jobs.clusters.asked import limits
from lvm_batch.jobs.clusters.waiting import CLUSTER_WAIT_S

if TYPE_CHECKING:
    from lvm_batch.jobs.settings import RunSettings


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
