"""Workers of this machine: processes that are started for the run, one for each core or GPU.

The rule: a worker that cannot start is named with the reason and what to do about it.
"""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dask
import distributed.utils
from distributed import Client, LocalCluster, system

from lvm_batch.jobs.clusters.backend import ENGINE, Backend
from lvm_batch.jobs.clusters.dashboard import dashboard_options
from lvm_batch.jobs.clusters.process_limits import check_process_limits
from lvm_batch.jobs.clusters.waiting import await_workers
from lvm_batch.jobs.errors import Problem, TryAgain
from lvm_batch.jobs.processes.child_processes import environment_kept, safe_children
from lvm_batch.jobs.processes.system_errors import system_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from lvm_batch.jobs.clusters.backend import LocalWorkers, WorkerRequest

_START_S = 120
"""How long a worker may take to start: importing torch with CUDA is slow if nothing is in the cache."""


class Local(Backend):
    """Worker processes of this machine."""

    name = "local"

    def check(self) -> Iterator[Problem]:
        """Yield options that are for workers elsewhere."""
        if self.settings.wait_for_workers:
            yield Problem("--wait-for-workers needs --scheduler or --cluster", "leave it out")

    def memory_each(self, n_local: int, /) -> int:
        """Return ``--memory-limit``, or a worker's share of this machine or of what its control group allows."""
        return self.settings.memory_limit or int(system.MEMORY_LIMIT) // n_local

    def start(self, request: WorkerRequest) -> AbstractContextManager[Client]:
        """Start the workers."""
        profile = bool(self.settings.dashboard or self.settings.performance_report)
        return local_cluster(request.local, dashboard=self.settings.dashboard, profile=profile)


@contextmanager
def local_cluster(
    workers: LocalWorkers, *, dashboard: str | None = None, profile: bool = False
) -> Iterator[Client]:
    """Start ``workers``, and stop them when the block is left.

    ``dashboard`` is the address of Dask's dashboard; ``profile`` has its profiles filled.
    """
    check_process_limits(workers.n_workers)
    # Else Dask imports pandas and what else a fork server of its own would need, in this process, for 0.2 s.
    distributed.utils._forkserver_preload_set = True  # noqa: SLF001
    with (
        safe_children(),  # in case no server starts them, or one is started anew
        dask.config.set(_dask_settings(workers, profile=profile)),
        environment_kept(
            dask.config.get("distributed.nanny.pre-spawn-environ")
        ),  # Dask sets them in this process
        _start(workers, dashboard) as cluster,
        Client(cluster) as client,
    ):
        if workers.gpus:  # the others are waited for when the cluster is made
            hint = "check what else uses the machine's memory and its GPUs"
            await_workers(client, _START_S, where="this machine", hint=hint, n_workers=workers.n_workers)
        yield client


def _dask_settings(workers: LocalWorkers, *, profile: bool) -> dict[str, Any]:
    """Return Dask's settings as its packages have them, without those of a site, and with ours.

    Encryption, scratch space, plugins and what else a site sets for its clusters is not for workers that live as long
    as a run, on this machine; each could keep them from starting.
    """
    ours = {
        "distributed.worker.multiprocessing-method": workers.method,
        "distributed.worker.profile.enabled": profile,
    }
    defaults: dict[str, Any] = dask.config.merge(*dask.config.defaults)
    return defaults | ENGINE | ours


def _start(workers: LocalWorkers, dashboard: str | None) -> _ProcessCluster:
    """Start workers; raises the fault of the machine that kept Dask from it, or :class:`TryAgain`."""
    try:
        return _ProcessCluster(
            workers.n_workers,
            workers.gpus,
            threads_per_worker=workers.slots,
            memory_limit=workers.memory_limit,
            env=dict(os.environ),  # a server that has been there for long does not know it
            **dashboard_options(dashboard),
            silence_logs=logging.ERROR,
            preload=list(workers.preload),
        )
    except Exception as error:
        if fault := system_error(error, through_failures=True):
            message, hint = fault.args
            raise type(fault)(f"local workers did not start: {message}", hint) from error
        if isinstance(error, RuntimeError):  # Dask's, of a process that has ended
            hint = "read its messages above, check limits on memory and processes, then run the same command again"
            raise TryAgain(f"local workers did not start: {error}", hint) from error
        raise


class _ProcessCluster(LocalCluster):
    """A local cluster; if there are GPUs, each worker sees one of them, by CUDA_VISIBLE_DEVICES.

    That is what dask-cuda's LocalCUDACluster does too. The rest of it, RAPIDS' memory pool, UCX and spilling from the
    GPU, is of no use to a job whose GPU holds nothing between two batches.
    """

    def __init__(self, n_workers: int, gpus: Sequence[str], **options: Any) -> None:  # noqa: ANN401 - those of Dask
        self._gpus = gpus
        super().__init__(n_workers=0 if gpus else n_workers, **options)  # type: ignore[no-untyped-call]
        if gpus:
            self.scale(n_workers)  # type: ignore[no-untyped-call]

    def new_worker_spec(self) -> dict[Any, Any]:
        [(number, spec)] = super().new_worker_spec().items()  # type: ignore[no-untyped-call]
        env = spec["options"]["env"] | {"CUDA_VISIBLE_DEVICES": self._gpus[number]}
        return {number: spec | {"options": spec["options"] | {"env": env}}}
