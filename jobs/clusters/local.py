"""Where the work runs: a local cluster made for this run, or a scheduler that is there already.

The rule: within half a minute there are workers, or an error that says what is missing.
"""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dask
from distributed import Client, LocalCluster

from lvm_batch.jobs.clusters.dashboard import served_at
from lvm_batch.jobs.clusters.tls import client_security
from lvm_batch.jobs.clusters.waiting import await_workers
from lvm_batch.jobs.errors import TryAgain
from lvm_batch.jobs.processes.child_processes import safe_children
from lvm_batch.jobs.processes.forkserver import METHOD, start_forkserver
from lvm_batch.jobs.processes.local_needs import check_room
from lvm_batch.jobs.processes.system_errors import system_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

WAIT_S = 30
"""How long to wait for a scheduler and its first worker."""

_START_S = 120
"""How long a local worker may take to start: importing torch with CUDA is slow where nothing is in the cache."""

ENGINE = {
    # Which unit killed a worker is found out by the driver, in rounds.
    "distributed.scheduler.allowed-failures": 0,
    # A worker that stands still for so long is given up; while torch computes, the heart goes on beating.
    "distributed.scheduler.worker-ttl": "60s",
    # Asking every 10 ms what a worker is at takes 4 % of its time; the dashboard's profile is filled on demand.
    "distributed.worker.profile.enabled": False,
    # What a worker holds is what it computes with, which waiting does not free: it goes on until its limit, and is then
    # killed and its unit tried again.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
}
"""Dask's settings for a scheduler and workers that serve a run alone."""


def _of_dask_itself() -> dict[str, Any]:
    """Dask's settings as its packages have them, without those of a site.

    Encryption, scratch space, plugins and what else a site sets for its clusters is not for workers that live as long
    as a run, on this machine; each could keep them from starting.
    """
    return dask.config.merge(*dask.config.defaults)


class _Workers(LocalCluster):
    """A local cluster; where there are GPUs, each worker sees one of them, by CUDA_VISIBLE_DEVICES.

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


def _started(n_workers: int, gpus: Sequence[str], **options: Any) -> _Workers:  # noqa: ANN401 - those of Dask
    """Start workers; raises the fault of the surroundings behind it where Dask cannot, or :class:`TryAgain`."""
    try:
        return _Workers(n_workers, gpus, **options)
    except Exception as error:
        if fault := system_error(error, through_failures=True):
            message, hint = fault.args
            raise type(fault)(f"local workers did not start: {message}", hint) from error
        if isinstance(error, RuntimeError):  # Dask's, of a process that has ended
            hint = "see what it has said, and whether memory or processes are limited, then run the same command again"
            raise TryAgain(f"local workers did not start: {error}", hint) from error
        raise


@contextmanager
def local_cluster(
    n_workers: int,
    *,
    memory_limit: int | None,
    slots: int = 1,
    gpus: Sequence[str] = (),
    dashboard: str | None = None,
    profile: bool = False,
) -> Iterator[Client]:
    """Start ``n_workers`` processes of ``slots`` threads, and stop them when the block is left.

    One that holds more than ``memory_limit`` bytes, where there is a limit, is killed and replaced. ``gpus`` names the
    one of each worker, if there are. ``dashboard`` is the address of Dask's dashboard; ``profile`` has its profiles
    filled.
    """
    start_forkserver()
    check_room(n_workers)
    with (
        safe_children(),  # where a server is not what starts them, or one is started anew
        dask.config.set(
            _of_dask_itself()
            | ENGINE
            | {
                "distributed.worker.multiprocessing-method": METHOD,
                "distributed.worker.profile.enabled": profile,
            }
        ),
        _started(
            n_workers,
            gpus,
            threads_per_worker=slots,
            memory_limit=memory_limit,
            env=dict(os.environ),  # a server that has been there for long does not know it
            **served_at(dashboard),
            silence_logs=logging.ERROR,
            preload=["lvm_batch.jobs.prediction.execution.worker_setup"],
        ) as cluster,
        Client(cluster) as client,
    ):
        if gpus:  # the others are waited for when the cluster is made
            hint = "see what else takes the machine's memory and its GPUs"
            await_workers(client, _START_S, where="this machine", hint=hint, n_workers=n_workers)
        yield client


@contextmanager
def remote_cluster(
    address: str, *, wait_s: float | None = None, tell: Callable[[str], object] = lambda _: None
) -> Iterator[Client]:
    """Connect to the scheduler at ``address`` and wait for its first worker, ``wait_s`` at most; raises
    :class:`TryAgain`, and :class:`SettingsError` where certificates are missing.
    """
    wait_s = wait_s or WAIT_S
    is_secure = address.startswith("tls:")
    security = client_security() if is_secure else None
    try:
        client = Client(address, timeout=min(wait_s, WAIT_S), set_as_default=False, security=security)
    except (OSError, ValueError) as error:
        hint = "start one with `dask scheduler`, or check the address"
        certified = ", and that both sides have certificates of the same distributed.comm.tls.ca-file"
        raise TryAgain(f"no scheduler answers at {address}: {error}", hint + certified * is_secure) from error
    with client:
        await_workers(
            client,
            wait_s,
            tell=tell,
            where=f"the scheduler at {address}",
            hint=f"start one: `dask worker {address}`",
        )
        yield client
