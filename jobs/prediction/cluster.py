"""Where the work runs: a local cluster made for this run, or a scheduler that is there already.

The rule: within half a minute there are workers, or an error that says what is missing.
"""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import dask
from distributed import Client, LocalCluster
from distributed.comm.addressing import parse_address
from distributed.system import MEMORY_LIMIT

from lvm_batch.jobs.clusters.tls import client_security
from lvm_batch.jobs.clusters.waiting import await_worker
from lvm_batch.jobs.cores import usable_cores
from lvm_batch.jobs.errors import TryAgain, UsageError
from lvm_batch.jobs.prediction.dashboard import served_at
from lvm_batch.jobs.prediction.warm_up import METHOD, warm_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from lvm_batch.lvm.found_device import FoundDevice

WAIT_S = 30
"""How long to wait for a scheduler and its first worker."""

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


def local_workers(wanted: int | None) -> tuple[int, int]:
    """Return how many local workers to start, and with how many threads each: together all cores."""
    cores = usable_cores()
    n_workers = wanted or cores
    return n_workers, max(1, cores // n_workers)


_MOST_SLOTS = 16
"""Units that one worker computes at once for its GPU: with more, threads wait for Python's lock rather than decode."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """Local workers: how many, how many units each computes at once, and which GPU each has to itself."""

    n_workers: int
    slots: int = 1
    gpus: tuple[str, ...] = ()

    def for_units(self, n_units: int) -> Fleet:
        """Return as many workers as have something to do."""
        return replace(self, n_workers=min(self.n_workers, n_units))


def local_fleet(wanted: int | None, device: FoundDevice | None) -> Fleet:
    """Return what workers to start: one to a core; with GPUs one to each GPU, whose threads read for it.

    Reading and decoding leave Python's lock alone, so that they run beside what computes.
    """
    if device is None or device.kind in {"", "cpu"}:
        return Fleet(local_workers(wanted)[0])
    n_devices = len(device.gpus) or 1
    n_workers = min(wanted or n_devices, n_devices)
    return Fleet(n_workers, max(1, min(_MOST_SLOTS, usable_cores() // n_workers)), device.gpus[:n_workers])


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

    One that holds more than ``memory_limit`` bytes, by default its share of the machine, is killed and replaced.
    ``gpus`` names the one of each worker, if there are. ``dashboard`` is the address of Dask's dashboard; ``profile``
    has its profiles filled.
    """
    warm_up()
    with (
        dask.config.set(
            ENGINE
            | {
                "distributed.worker.multiprocessing-method": METHOD,
                "distributed.worker.profile.enabled": profile,
            }
        ),
        _Workers(
            n_workers,
            gpus,
            threads_per_worker=slots,
            memory_limit=memory_limit or ("auto" if slots == 1 else int(MEMORY_LIMIT) // n_workers),
            env=dict(os.environ),  # a server that has been there for long does not know it
            **served_at(dashboard),
            silence_logs=logging.ERROR,
            preload=["lvm_batch.jobs.prediction.worker_setup"],
        ) as cluster,
        Client(cluster) as client,
    ):
        if gpus:
            client.wait_for_workers(n_workers)  # the others are waited for when the cluster is made
        yield client


@contextmanager
def remote_cluster(
    address: str, *, wait_s: float | None = None, tell: Callable[[str], object] = lambda _: None
) -> Iterator[Client]:
    """Connect to the scheduler at ``address`` and wait for its first worker, ``wait_s`` at most; raises
    :class:`TryAgain`, and :class:`SettingsError` where certificates are missing.
    """
    try:
        parse_address(address, strict=True)
    except ValueError as error:
        raise UsageError(f"--scheduler cannot be {address!r}", "it looks like tcp://host:8786") from error
    is_secure = address.startswith("tls:")
    security = client_security() if is_secure else None
    try:
        client = Client(address, timeout=WAIT_S, set_as_default=False, security=security)
    except (OSError, ValueError) as error:
        hint = "start one with `dask scheduler`, or check the address"
        certified = ", and that both sides have certificates of the same distributed.comm.tls.ca-file"
        raise TryAgain(f"no scheduler answers at {address}: {error}", hint + certified * is_secure) from error
    with client:
        await_worker(
            client,
            wait_s or WAIT_S,
            tell=tell,
            where=f"the scheduler at {address}",
            hint=f"start one: `dask worker {address}`",
        )
        yield client


def n_slots(client: Client) -> int:
    """Tasks that the cluster can run at once, now."""
    workers = client.scheduler_info(n_workers=-1).get("workers", {}).values()
    return max(1, sum(int(worker["nthreads"]) for worker in workers))


def worker_memory(worker: Mapping[str, Any]) -> str:
    """Say how much memory a worker held when it last told, of how much it may have."""
    held = worker["metrics"].get("memory", 0) / 2**20
    limit = worker["memory_limit"]
    return f"{held:,.0f} MiB" + (f" of {limit / 2**20:,.0f} MiB" if limit else "")
