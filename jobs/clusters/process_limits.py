"""How many files and threads this machine lets processes have, checked before local workers are started.

The rule: a limit that is too low is named before any process is started, and raised if it may be. Later nobody would
see it: a worker that cannot start the thread of its task tells nobody, and Dask tries to open files for a minute.
"""

from __future__ import annotations

import resource
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lvm_batch.jobs.console.text import plural
from lvm_batch.jobs.errors import SurroundingsError, TryAgain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_THREADS = 8
"""Of the driver's side, and of each worker: as many as Dask starts, and one or two for good measure."""

_FILES, _FILES_EACH = 28, 10
"""Open files of the driver's side, and for each worker there: 22 and 9 were measured."""

_STACK_BYTES = 2**18  # of a thread that only waits


def check_process_limits(n_workers: int) -> None:
    """Raise :class:`SurroundingsError` or :class:`TryAgain` if ``n_workers`` cannot have their files and threads."""
    _take_files(n_workers)
    _try_threads(n_workers)


def _take_files(n_workers: int) -> None:
    wanted = _FILES + _FILES_EACH * n_workers
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed != resource.RLIM_INFINITY and allowed < wanted:
        allowed = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, most))
        if allowed < wanted:
            raise SurroundingsError(
                f"{_needs(n_workers)} {wanted} open files, but the limit is {allowed} open files",
                "raise it (`ulimit -n`), or use fewer --workers",
            )


def _needs(n_workers: int) -> str:
    return plural(n_workers, "local worker", ("needs", "need"))


def _try_threads(n_workers: int) -> None:
    wanted, started = _THREADS * (1 + n_workers), 0
    try:
        with _small_stacks(), _waiting() as start:
            while started < wanted:
                start()
                started += 1
    except RuntimeError as error:
        raise TryAgain(
            f"{_needs(n_workers)} {wanted} processes and threads, but only {started} can be started here: {error}",
            "raise the limit on processes (`ulimit -u`, or the container's), use fewer --workers, or run the "
            "same command again when there are fewer",
        ) from error


@contextmanager
def _waiting() -> Iterator[Callable[[], None]]:
    """Give what starts a thread, which stays until the block is left."""
    ended = threading.Event()
    threads: list[threading.Thread] = []

    def start() -> None:
        thread = threading.Thread(target=ended.wait, daemon=True)
        thread.start()
        threads.append(thread)

    try:
        yield start
    finally:
        ended.set()
        for thread in threads:
            thread.join()


@contextmanager
def _small_stacks() -> Iterator[None]:
    before = threading.stack_size(_STACK_BYTES)
    try:
        yield
    finally:
        threading.stack_size(before)
