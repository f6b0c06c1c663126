"""Threads of a worker that compute, apart from those that Dask runs tasks on.

The rule: there are as many as the worker has slots, and they live as long as the process. A task that gives its slot
away takes its Dask thread along, which ends with it; Torch, Arrow and the allocator keep memory for each thread, and
would fetch all of it anew for each unit.
"""

from __future__ import annotations

from contextvars import copy_context
from functools import cache
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from distributed import Worker
    from distributed.threadpoolexecutor import ThreadPoolExecutor

T = TypeVar("T")


def start_computing(function: Callable[..., T], *arguments: object) -> Future[T]:
    """Call ``function`` on a thread that computes; there it finds the same Dask worker as here."""
    threads = _threads(worker_address(), worker_slots())
    started: Future[T] = threads.submit(copy_context().run, function, *arguments)
    return started


def give_slot_away() -> None:
    """Let the worker begin its next task, while the present one goes on to its end."""
    from distributed import secede

    if _worker() is not None:
        secede()


def worker_address() -> str:
    """Return the address of this worker; ``""`` in a process that is none."""
    worker = _worker()
    return _here.address if worker is None else str(worker.address)


def worker_slots() -> int:
    """Return how many tasks this worker computes at a time; 1 in a process that is none."""
    worker = _worker()
    return _here.slots if worker is None else int(worker.state.nthreads)


class WorkerHere(NamedTuple):
    """What a process is that works without Dask."""

    address: str = ""
    slots: int = 1


def work_alone(here: WorkerHere) -> None:
    """Say what this process is, which works without Dask."""
    global _here  # noqa: PLW0603 - of the process
    _here = here


_here = WorkerHere()


def _worker() -> Worker | None:
    from distributed import get_worker

    try:
        return get_worker()
    except ValueError:
        return None


@cache
def _threads(worker: str, n_slots: int) -> ThreadPoolExecutor:
    """Return the threads of one worker: a process may have several, in tests."""
    from distributed.threadpoolexecutor import ThreadPoolExecutor

    return ThreadPoolExecutor(n_slots, thread_name_prefix=f"lvm-batch-compute-{worker}")
