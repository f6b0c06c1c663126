"""A real scheduler and workers in threads of the test's process: quick to start, but over TCP."""

from __future__ import annotations

import logging

from distributed import LocalCluster


def quick_cluster(n_workers: int) -> LocalCluster:
    """Start workers of one task each; a context manager."""
    return LocalCluster(
        n_workers=n_workers,
        threads_per_worker=1,
        processes=False,
        protocol="tcp://",
        dashboard_address="127.0.0.1:0",
        silence_logs=logging.CRITICAL,
    )
