"""The kinds of workers.

The rule: a new kind is one new module, its class in ``KINDS``, and its name and table among the settings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvm_batch.jobs.clusters.kubernetes import Kubernetes
from lvm_batch.jobs.clusters.local import Local
from lvm_batch.jobs.clusters.scheduler import Scheduler
from lvm_batch.jobs.clusters.slurm import Slurm
from lvm_batch.jobs.clusters.ssh import SSH

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lvm_batch.jobs.clusters.backend import Backend
    from lvm_batch.jobs.settings.run import RunSettings

_ALL: tuple[type[Backend], ...] = (Local, Scheduler, Slurm, Kubernetes, SSH)

KINDS: Mapping[str, type[Backend]] = {kind.name: kind for kind in _ALL}


def backends_of(settings: RunSettings) -> list[Backend]:
    """Return the kinds that ``settings`` name, a scheduler first; ``check_cluster`` refuses more than one."""
    named = [Scheduler.name] if settings.scheduler else []
    named += [settings.cluster] if settings.cluster else []
    return [KINDS[name](settings) for name in named or [Local.name]]


def backend_of(settings: RunSettings) -> Backend:
    """Return the kind of workers of a run with these settings."""
    return backends_of(settings)[-1]
