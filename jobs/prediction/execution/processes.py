"""Drives units over processes of this machine, without Dask: how a part of a job is computed.

The rule: every unit ends as a record or a failure, even if processes die. A process that dies loses the units it holds,
and nobody knows which of them killed it: each of these is tried again, twice at most, in a new process with nothing
beside it. A process whose self-check fails gets no more units.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing.connection import wait
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING

from lvm_batch.jobs.errors import TryAgain
from lvm_batch.jobs.models.self_check import Refusal
from lvm_batch.jobs.prediction.execution.compute_threads import WorkerHere, work_alone
from lvm_batch.jobs.prediction.execution.worker import Failure, run_unit
from lvm_batch.jobs.processes.forkserver import start_copy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    from lvm_batch.io.dataset.units import Unit
    from lvm_batch.io.output.commit_record import CommitRecord
    from lvm_batch.jobs.prediction.planning.fleet import Fleet
    from lvm_batch.jobs.prediction.planning.job import Job

    Outcome = CommitRecord | Failure

_PATIENCE_S = 0.5
_TRIES_ALONE = 2  # it may have been lost before it began, and another process may be what takes the memory

_HINTS = {
    "worker_lost": "see what the system's log says of it; if memory ran out, use fewer --workers or smaller row groups",
    "unit_timeout": "give more time with --unit-timeout, or cut the input into smaller row groups",
}


@dataclass(frozen=True, slots=True)
class _Loss:
    """A unit lost with its process; ``why`` is the reason as text."""

    unit: Unit
    kind: str
    why: str


def drive_processes(
    job: Job,
    units: Sequence[Unit],
    fleet: Fleet,
    *,
    unit_timeout_s: float,
    on_refused: Callable[[Refusal], None] = lambda _: None,
    on_waiting: Callable[[], None] = lambda: None,
) -> Iterator[tuple[Unit, Outcome]]:
    """Compute ``units`` in the processes of ``fleet``; yield each with its record or failure, as they end.

    If a unit runs longer than ``unit_timeout_s``, its process is ended. ``on_refused`` is called with each process that
    fails its self-check, ``on_waiting`` twice a second while no unit ends. Raises :class:`TryAgain` if all fail it.
    """
    watch = _Watch(unit_timeout_s, on_refused, on_waiting)
    lost: list[_Loss] = []
    yield from _round(job, units, fleet, watch, lost)
    one = replace(fleet, n_workers=1, slots=1, gpus=fleet.gpus[:1])
    for loss in lost:
        left = [loss]
        for _ in range(_TRIES_ALONE):
            again: list[_Loss] = []
            yield from _round(job, [each.unit for each in left], one, watch, again)
            left = again
        yield from ((each.unit, _failure(each)) for each in left)


def _failure(loss: _Loss) -> Failure:
    output = loss.unit.output
    message = f"{output}: tried {1 + _TRIES_ALONE} times, the last time alone; {loss.why}"
    return Failure(output, loss.kind, message, _HINTS[loss.kind])


@dataclass(frozen=True, slots=True)
class _Watch:
    """How long a unit may take, and who is told what happens besides outcomes."""

    unit_timeout_s: float
    on_refused: Callable[[Refusal], None]
    on_waiting: Callable[[], None]


def _round(
    job: Job, units: Sequence[Unit], fleet: Fleet, watch: _Watch, lost: list[_Loss]
) -> Iterator[tuple[Unit, Outcome]]:
    """Yield the outcomes of ``units``, and add those that a process takes along to ``lost``."""
    waiting = deque(units)
    with _processes(job, fleet, len(units)) as workers:
        while waiting or any(worker.held for worker in workers):
            for worker in workers:
                worker.fill(waiting, n_slots=fleet.slots * len(workers))
            if not _await(workers):
                watch.on_waiting()
            for worker in list(workers):
                for unit, outcome in worker.answers():
                    if isinstance(outcome, Refusal):
                        waiting.appendleft(unit)
                        _refuse(worker, outcome, workers, watch)
                    else:
                        yield unit, outcome
                lost += worker.end_if_overdue(watch.unit_timeout_s)
                if worker.has_ended:
                    lost += worker.losses()
                    workers.remove(worker)
                    worker.end()
                    workers.extend([_Worker.started(job, fleet, worker.gpu)] if waiting else [])


def _refuse(worker: _Worker, refusal: Refusal, workers: Sequence[_Worker], watch: _Watch) -> None:
    """Give a process no more units; raises :class:`TryAgain` if none is left."""
    if not worker.is_refused:
        worker.is_refused = True
        watch.on_refused(refusal)
    if all(each.is_refused for each in workers):
        raise TryAgain(
            f"no process of this machine may work on this job: {refusal.text}",
            "fix what is named, or use another machine, then run the same command again",
        )


def _await(workers: Sequence[_Worker]) -> bool:
    """Wait until a process has something to say, or has ended; return whether one has."""
    return bool(wait([each for worker in workers for each in worker.signs], timeout=_PATIENCE_S))


@contextmanager
def _processes(job: Job, fleet: Fleet, n_units: int) -> Iterator[list[_Worker]]:
    """Start the processes that so many units keep busy, and end them when the block is left."""
    fleet = fleet.for_units(n_units)
    workers: list[_Worker] = []
    try:
        for number in range(fleet.n_workers):
            gpu = fleet.gpus[number] if fleet.gpus else None
            workers.append(_Worker.started(job, fleet, gpu))
        yield workers
    finally:
        for worker in workers:
            worker.end()


@dataclass(slots=True)
class _Worker:
    """A process, and the units that it holds, in the order in which it got them.

    It computes as many at once as its ``fleet`` has slots, and begins others while these are committed.
    """

    process: BaseProcess
    connection: Connection
    fleet: Fleet
    gpu: str | None
    held: dict[str, Unit] = field(default_factory=dict)
    is_refused: bool = False
    since: float = 0.0

    @classmethod
    def started(cls, job: Job, fleet: Fleet, gpu: str | None) -> _Worker:
        """Start a process."""
        return cls(*start_copy(partial(_work, job, fleet.slots, gpu)), fleet, gpu)

    @property
    def signs(self) -> tuple[Connection, int]:
        """What becomes readable if the process sends something or ends."""
        return self.connection, self.process.sentinel

    @property
    def has_ended(self) -> bool:
        """Whether the process is no more."""
        return not self.process.is_alive()

    def fill(self, waiting: deque[Unit], *, n_slots: int) -> None:
        """Give it units: one for each of its slots, and as many to begin with next while others have theirs too."""
        slots = self.fleet.slots
        while waiting and not self.is_refused and len(self.held) < slots * (1 + (len(waiting) > n_slots)):
            if not self.held:
                self.since = monotonic()
            unit = waiting.popleft()
            self.held[unit.output] = unit
            with suppress(OSError):  # it has ended, which is seen next
                self.connection.send(unit)

    def answers(self) -> Iterator[tuple[Unit, Outcome | Refusal]]:
        """Yield what it has sent; what it sent before it died counts."""
        with suppress(EOFError, OSError):
            while self.connection.poll():
                output, outcome = self.connection.recv()
                self.since = monotonic()
                yield self.held.pop(output), outcome

    def end_if_overdue(self, timeout_s: float) -> Iterator[_Loss]:
        """End it if no unit has ended for too long, and yield what it holds."""
        if self.held and monotonic() - self.since > timeout_s:
            self.process.kill()
            self.process.join()
            yield from self._lost("unit_timeout", f"it ran longer than {timeout_s:g} s")

    def losses(self) -> Iterator[_Loss]:
        """Yield what it held when it ended."""
        return self._lost("worker_lost", f"its process ended with exit code {self.process.exitcode}")

    def _lost(self, kind: str, why: str) -> Iterator[_Loss]:
        yield from (_Loss(unit, kind, why) for unit in self.held.values())
        self.held.clear()

    def end(self) -> None:
        """End it, whatever it is at."""
        self.process.kill()
        self.process.join()
        self.connection.close()


def _work(job: Job, slots: int, gpu: str | None, driver: Connection) -> None:
    """Compute the units that the driver sends, and send back what became of each, until the driver goes away."""
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    work_alone(WorkerHere(f"{socket.gethostname()}:{os.getpid()}", slots))
    sending = Lock()

    def compute(unit: Unit) -> None:
        outcome = run_unit(job, unit)
        with sending:
            driver.send((unit.output, outcome))

    # Half of the threads commit while the other half waits for units that are computed.
    with suppress(EOFError, OSError), ThreadPoolExecutor(2 * slots) as pool:
        while True:
            pool.submit(compute, driver.recv())
