"""A real scheduler and workers in threads of the test's process: quick to start, but over TCP."""

from __future__ import annotations

import logging

import dask
from distributed import LocalCluster

_QUIET = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "10s",
    "distributed.admin.system-monitor.interval": "60s",
}
"""What nobody looks at here, and what takes 3 % of a core for as long as the tests last: samples of stacks and of the
machine, and how late the event loops are."""


def quick_cluster(n_workers: int) -> LocalCluster:
    """Start workers of one task each; a context manager."""
    with dask.config.set(_QUIET):
        return LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            processes=False,
            protocol="tcp://",
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        )
