"""Worker processes that start in no time: a server that has imported everything forks them.

The rule: importing torch takes seconds, so a process does it while the run is still being planned, and every worker,
also one that replaces a dead one, is a copy of it. Linux only: elsewhere forking a process that has loaded so much is
not safe, and workers start on their own. This module does not know what workers do.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

METHOD = "forkserver" if sys.platform == "linux" else "spawn"
"""How Dask is to start its workers."""

_ENVIRONMENT = {
    # Libraries that make a pool of threads when they are imported: a copy of the process would not have the threads.
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    # Arrow's allocator is to keep what is freed, as each batch takes as much as the one before: a quarter of the time
    # for reading (27 us a row against 40, 2026-11-23).
    "MIMALLOC_PURGE_DELAY": "-1",
}


def warm_up() -> None:
    """Start the server, if it does not run yet, and return without waiting for it."""
    if METHOD != "forkserver":
        return
    from multiprocessing import forkserver

    forkserver.set_forkserver_preload(
        ["distributed.nanny", "lvm_batch.jobs.cli", "lvm_batch.jobs.worker_setup"]
    )
    with _environment(_ENVIRONMENT):
        forkserver.ensure_running()


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
