"""What local workers need: semaphores, the loopback interface, threads and open files.

The rule: what is missing is reported before any process is started.
"""

from __future__ import annotations

import resource
import socket
import threading
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TYPE_CHECKING

from lvm_batch.jobs.errors import SurroundingsError, TryAgain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_HERE = "127.0.0.1"
_ANSWER_S = 10

_THREADS = 8
"""Threads of the driver, and of each worker: as many as Dask starts, and one or two more."""

_FILES, _FILES_EACH = 28, 10
"""Open files of the driver, and more for each worker: 22 and 9 were measured."""

_STACK_BYTES = 2**18  # of a thread that only waits


def check_local_needs() -> None:
    """Raise :class:`SurroundingsError` if workers cannot be started or reached on this machine."""
    try:
        get_context("fork").Lock()
    except OSError as error:
        raise SurroundingsError(
            f"local workers need semaphores, which /dev/shm must be writable for: {error.strerror}",
            "mount a tmpfs there (`docker run --tmpfs /dev/shm`), or use workers elsewhere with --scheduler",
        ) from error
    try:
        with socket.create_server((_HERE, 0)) as server:
            socket.create_connection(server.getsockname(), timeout=_ANSWER_S).close()
    except OSError as error:
        raise SurroundingsError(
            f"local workers are reached at {_HERE}, which does not answer: {error.strerror or error}",
            "bring the loopback interface up (`ip link set lo up`), or use workers elsewhere with --scheduler",
        ) from error


def check_room(n_workers: int) -> None:
    """Raise :class:`SurroundingsError` or :class:`TryAgain` if ``n_workers`` workers cannot have the open files and
    threads that they need. Raises the soft limit on open files as far as needed and allowed.

    Later the reason would be hidden: a worker that cannot start the thread of its task reports nothing, and Dask tries
    to open files for more than a minute.
    """
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
                f"{n_workers} local workers need {wanted} open files, and the limit is {allowed} open files",
                "raise it (`ulimit -n`), or use fewer --workers",
            )


def _try_threads(n_workers: int) -> None:
    wanted, started = _THREADS * (1 + n_workers), 0
    try:
        with _small_stacks(), _waiting() as start:
            while started < wanted:
                start()
                started += 1
    except RuntimeError as error:
        raise TryAgain(
            f"{n_workers} local workers need {wanted} processes and threads, and no more than {started} may be started "
            f"here: {error}",
            "raise the limit on processes (`ulimit -u`, or that of the container), use fewer --workers, or run the same"
            " command again when there are fewer",
        ) from error


@contextmanager
def _waiting() -> Iterator[Callable[[], None]]:
    """Yield a function that starts a thread; the threads end with the block."""
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
