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
from distributed.comm.addressing import parse_address

from lvm_batch.jobs.cores import usable_cores
from lvm_batch.jobs.errors import TryAgain, UsageError
from lvm_batch.jobs.prediction.warm_up import METHOD, warm_up

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

WAIT_S = 30
"""How long to wait for a scheduler and its first worker."""


_LOCAL = {
    "distributed.worker.multiprocessing-method": METHOD,
    # Which unit killed a worker is found out by the driver, in rounds.
    "distributed.scheduler.allowed-failures": 0,
    # A worker that stands still for so long is given up; while torch computes, the heart goes on beating.
    "distributed.scheduler.worker-ttl": "60s",
    # Asking every 10 ms what a worker is at takes 4 % of its time; the dashboard's profile stays empty.
    "distributed.worker.profile.enabled": False,
    # What a worker holds is what it computes with, which waiting does not free: it goes on until its limit, and is then
    # killed and its unit tried again.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
}


def local_workers(wanted: int | None) -> tuple[int, int]:
    """Return how many local workers to start, and with how many threads each: together all cores."""
    cores = usable_cores()
    n_workers = wanted or cores
    return n_workers, max(1, cores // n_workers)


@contextmanager
def local_cluster(n_workers: int, *, memory_limit: int | None) -> Iterator[Client]:
    """Start ``n_workers`` processes of one thread, and stop them when the block is left.

    One that holds more than ``memory_limit`` bytes, by default its share of the machine, is killed and replaced.
    """
    warm_up()
    with (
        dask.config.set(_LOCAL),
        LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            memory_limit=memory_limit or "auto",
            env=dict(os.environ),  # a server that has been there for long does not know it
            dashboard_address="127.0.0.1:0",  # None would still take the port 8787, which another run may hold
            silence_logs=logging.ERROR,
            preload=["lvm_batch.jobs.prediction.worker_setup"],
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@contextmanager
def remote_cluster(address: str) -> Iterator[Client]:
    """Connect to the scheduler at ``address`` and wait for its first worker; raises :class:`TryAgain`."""
    try:
        parse_address(address, strict=True)
    except ValueError as error:
        raise UsageError(f"--scheduler cannot be {address!r}", "it looks like tcp://host:8786") from error
    try:
        client = Client(address, timeout=WAIT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise TryAgain(
            f"no scheduler answers at {address}: {error}",
            "start one with `dask scheduler`, or check the address",
        ) from error
    with client:
        _await_worker(client, address)
        yield client


def _await_worker(client: Client, address: str) -> None:
    try:
        client.wait_for_workers(1, timeout=WAIT_S)
    except TimeoutError as error:
        raise TryAgain(
            f"the scheduler at {address} has no workers", f"start one: `dask worker {address}`"
        ) from error


def n_slots(client: Client) -> int:
    """Tasks that the cluster can run at once, now."""
    workers = client.scheduler_info(n_workers=-1).get("workers", {}).values()
    return max(1, sum(int(worker["nthreads"]) for worker in workers))


def worker_memory(worker: Mapping[str, Any]) -> str:
    """Say how much memory a worker held when it last told, of how much it may have."""
    held = worker["metrics"].get("memory", 0) / 2**20
    limit = worker["memory_limit"]
    return f"{held:,.0f} MiB" + (f" of {limit / 2**20:,.0f} MiB" if limit else "")
