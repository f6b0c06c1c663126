"""Worker processes that start in no time: a server that has imported everything forks them.

The rule: importing torch takes seconds, so a process does it while the run is still being planned, and every worker,
also one that replaces a dead one, is a copy of it. Linux only: elsewhere forking a process that has loaded so much is
not safe, and workers start on their own. This module does not know what workers do.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from lvm_batch.jobs.child_processes import for_children, safe_children

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")

METHOD = "forkserver" if sys.platform == "linux" else "spawn"
"""How Dask is to start its workers."""

_servers: set[str] = set()

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

    forkserver.set_forkserver_preload(["lvm_batch.jobs.prediction.worker_setup"])
    with safe_children(), for_children(_ENVIRONMENT):
        forkserver.ensure_running()
    _servers.add(METHOD)


def in_warm_process(function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """Return what ``function`` returns, called in a copy of the server; here, where none has been started or it dies.

    Raises what it raises. The function, its arguments and its result travel by pickle.
    """
    if _servers:
        with suppress(BrokenProcessPool, EOFError):
            return _in_a_copy(function, *arguments, **options)
    return function(*arguments, **options)


def _in_a_copy(function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    here = str(Path.cwd()), dict(os.environ)
    context = get_context(METHOD)
    with (
        safe_children(),  # a server that has died is started anew
        ProcessPoolExecutor(1, mp_context=context, initializer=_come_here, initargs=here) as pool,
    ):
        return pool.submit(function, *arguments, **options).result()


def _come_here(folder: str, environment: dict[str, str]) -> None:
    """Be where the driver is, leave Ctrl-C to it, and end when it does, however that is."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_driver, name="lvm-batch-driver", daemon=True).start()
    os.chdir(folder)
    os.environ.update(environment)


def _end_with_the_driver() -> None:
    """Wait for the driver: a pool's process would wait for its next task for ever, and keep the server alive."""
    driver = parent_process()
    if driver is not None:
        driver.join()
        os._exit(1)
