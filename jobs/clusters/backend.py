"""The protocol of a kind of workers; one module for each kind implements it.

The rule: only the module of a kind knows what is special about it; all others use its :class:`Backend`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from distributed import Client

    from lvm_batch.jobs.errors import Problem
    from lvm_batch.jobs.settings.run import RunSettings

WAIT_S = 30.0
"""How long to wait for a worker of this machine, or of a scheduler that is there already."""

ENGINE = {
    # Which unit killed a worker is found out by the driver, in rounds.
    "distributed.scheduler.allowed-failures": 0,
    # A worker without a heartbeat for so long is given up; while torch computes, its heartbeat continues.
    "distributed.scheduler.worker-ttl": "60s",
    # Asking every 10 ms what a worker is at takes 4 % of its time; the dashboard's profile is filled on demand.
    "distributed.worker.profile.enabled": False,
    # What a worker holds is what it computes with, which waiting does not free: it goes on until its limit, and is then
    # killed and its unit tried again.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
}
"""Dask's settings for a scheduler and workers that serve one run alone."""


@dataclass(frozen=True, slots=True)
class WorkerExpectations:
    """What the driver may expect of the workers.

    ``wait_s`` is how many seconds there may be no worker. ``most_workers`` is how many may come if their number
    follows from the work that is submitted, else ``None``. ``may_differ`` says that others installed the
    workers, so that their versions must be checked.
    """

    wait_s: float = WAIT_S
    most_workers: int | None = None
    may_differ: bool = False


LOCAL_WORKERS = WorkerExpectations()


class Preview(NamedTuple):
    """What a plan shows of the workers: how many, in words, and the request that would be submitted."""

    workers: str | None = None
    request: str | None = None


@dataclass(frozen=True, slots=True)
class LocalWorkers:
    """Worker processes of this machine.

    Each has ``slots`` threads and, if there are ``gpus``, sees the one at its place. A worker that holds more than
    ``memory_limit`` bytes is killed and replaced. ``method`` is how ``multiprocessing`` starts it; it imports
    ``preload`` before its first task.
    """

    n_workers: int
    memory_limit: int | None = None
    slots: int = 1
    gpus: tuple[str, ...] = ()
    method: str = "spawn"
    preload: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkerRequest:
    """The workers that a run needs, for ``n_units`` units; ``local`` if they are on this machine.

    ``tell`` takes a line for people.
    """

    n_units: int
    local: LocalWorkers
    tell: Callable[[str], object] = lambda _: None


class Backend(ABC):
    """One kind of workers, with the settings of a run."""

    name: ClassVar[str]
    """Its value of ``--cluster``, the name of its table and of its extra, if it has these."""

    adapts: ClassVar[bool] = False
    """Whether ``--adapt`` is for it."""

    memory_setting: ClassVar[str] = "--memory-limit"
    """Where people set the memory of a worker."""

    wait_s: ClassVar[float] = WAIT_S
    """How long to wait for a worker, unless ``--wait-for-workers`` says."""

    def __init__(self, settings: RunSettings) -> None:
        self.settings = settings

    def check(self) -> Iterator[Problem]:
        """Yield what is wrong with options and values; raises :class:`MissingExtra` if a package is not installed."""
        return iter(())

    def check_request(self) -> Iterator[Problem]:
        """Yield why the request cannot be made; called only after ``check`` has found nothing."""
        return iter(())

    def preview(self) -> Preview:
        """Return the request that would be made; the settings have passed both checks."""
        return Preview()

    def memory_each(self, _n_local: int, /) -> int | None:
        """Return the bytes that each worker may use; ``None`` if no limit is set.

        ``_n_local`` is how many workers would share this machine.
        """
        return self.settings.memory_limit

    def expectations(self) -> WorkerExpectations:
        """Return what the driver may expect of the workers."""
        return LOCAL_WORKERS

    @property
    def patience_s(self) -> float:
        """How long to wait for a worker."""
        return self.settings.wait_for_workers or self.wait_s

    @abstractmethod
    def start(self, request: WorkerRequest) -> AbstractContextManager[Client]:
        """Give a client of a scheduler that has a worker; what was started ends with the block.

        Raises :class:`TryAgain` if no worker comes in time.
        """
