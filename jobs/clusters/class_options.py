"""What Dask's classes of clusters are made with: the table of a job's file, and what a run adds to it.

The rule: Python starts on other machines as it does on this one, importing nothing that lies in the working directory.
This module does not start anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask

from lvm_batch.jobs.clusters.tables import block_of
from lvm_batch.jobs.clusters.tls import client_security
from lvm_batch.jobs.clusters.waiting import CLUSTER_WAIT_S
from lvm_batch.jobs.processes.child_processes import safe_python, with_safe_environment

if TYPE_CHECKING:
    from lvm_batch.jobs.settings.run import RunSettings

IDLE_S = 300
"""How long a scheduler elsewhere that has nothing to do stays when the run that started it was killed."""


def slurm_options(settings: RunSettings) -> dict[str, Any]:
    """What a ``SLURMCluster`` is made with, of the table; certificates where its ``protocol`` is tls."""
    block = block_of(settings)
    secure = str(block.get("protocol", "")).startswith("tls")
    python = safe_python(block.get("python") or dask.config.get("jobqueue.slurm.python", None))
    return block | {"python": python} | ({"security": client_security()} if secure else {})


def kubernetes_options(settings: RunSettings) -> dict[str, Any]:
    """What a ``KubeCluster`` is made with, of the table, with a name by which what it leaves would be found.

    Should this process be killed, Dask's operator ends the cluster once it has had nothing to do for long.
    """
    idle_s = IDLE_S + int(settings.wait_for_workers or CLUSTER_WAIT_S)
    block = block_of(settings)
    env = block.get("env") or dask.config.get("kubernetes.env", None)
    ours = {"name": "lvm-batch-{uuid}", "idle_timeout": idle_s}
    return ours | block | {"env": with_safe_environment(env)}


def ssh_options(settings: RunSettings) -> dict[str, Any]:
    """What an ``SSHCluster`` is made with, of the table."""
    block = block_of(settings)
    python = block.get("remote_python")
    return block | {
        "remote_python": list(map(safe_python, python)) if isinstance(python, list) else safe_python(python)
    }
