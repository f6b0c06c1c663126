"""Units over a cluster, a bounded number at a time.

The rule: every unit ends as a record or a failure, whatever becomes of workers. The client keeps twice as many tasks
submitted as the cluster has slots; tasks with ``resources=`` would pass by the scheduler's own queue
(distributed#9164), so the window is kept here.

A worker that dies takes along every unit it held, and nobody knows which of them killed it. So units are tried in
three rounds: all of them; those that were lost with a worker, one to a slot; those that were lost again, one at a
time with nothing beside them. A unit that loses its worker then too is guilty, and is quarantined by name.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from distributed import as_completed
from distributed.scheduler import KilledWorker

from lvm_batch.jobs.cluster import WAIT_S, worker_memory
from lvm_batch.jobs.errors import TryAgain
from lvm_batch.jobs.worker import Failure, run_unit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from dask.typing import Key
    from distributed import Client, Future

    from lvm_batch.io.commit import Record
    from lvm_batch.io.units import Unit
    from lvm_batch.jobs.job import Job

    Outcome = Record | Failure

_POLL_S = 0.01
_LOOK_AT_WORKERS_S = 1.0
_RESTART_S = 4
_FETCH_S = 10
_ANSWER_S = 10


@dataclass(frozen=True, slots=True)
class _Lost:
    """A unit whose worker died, or took longer than a unit may; ``why`` says so for people."""

    unit: Unit
    kind: str
    why: str


@dataclass(slots=True)
class _InFlight:
    """A submitted unit, and when it was."""

    unit: Unit
    future: Future[Outcome]
    since: float = field(default_factory=monotonic)


def drive(
    client: Client, job: Job, units: Iterable[Unit], *, unit_timeout_s: float
) -> Iterator[tuple[Unit, Outcome]]:
    """Compute ``units`` on the cluster; yield each with its record or failure, as they end.

    A unit that runs longer than ``unit_timeout_s`` loses its worker. Raises :class:`TryAgain` when the scheduler goes
    away, or there have been no workers for half a minute.
    """
    cluster = _Cluster(client)
    windows: tuple[Callable[[], int], ...] = (lambda: 2 * cluster.n_slots, lambda: cluster.n_slots, lambda: 1)
    for number, window in enumerate(windows):
        attempt = _Attempt(cluster, job, number, unit_timeout_s)
        lost: list[_Lost] = []
        for outcome in attempt.run(units, window):
            if isinstance(outcome, _Lost):
                lost.append(outcome)
            else:
                yield outcome
        units = [loss.unit for loss in lost]
    for loss in lost:
        message = f"{loss.unit.output}: tried {len(windows)} times, the last time alone; {loss.why}"
        yield loss.unit, Failure(loss.unit.output, loss.kind, message, _HINTS[loss.kind])


_HINTS = {
    "worker_lost": "look into the workers' logs; where memory ran out, use fewer --workers or smaller row groups",
    "unit_timeout": "give more time with --unit-timeout, or cut the input into smaller row groups",
}


class _Cluster:
    """What is known of the workers, looked up at most once a second."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.memory: dict[str, str] = {}
        self.finished_at: dict[str, float] = {}
        self._n_slots = 0
        self._looked = -_LOOK_AT_WORKERS_S
        self._seen_workers = monotonic()

    @property
    def n_slots(self) -> int:
        """Tasks that the cluster can run at once, at least 1."""
        self.look()
        return max(1, self._n_slots)

    def look(self, *, now: bool = False) -> None:
        """Look at the workers; raises :class:`TryAgain` if there is no scheduler, or for long no worker."""
        if monotonic() - self._looked < _LOOK_AT_WORKERS_S and not now:
            return
        workers = self._ask_scheduler()
        self._looked = monotonic()
        self._n_slots = sum(int(worker["nthreads"]) for worker in workers.values())
        self.memory.update({address: worker_memory(worker) for address, worker in workers.items()})
        if workers:
            self._seen_workers = self._looked
        elif self._looked - self._seen_workers > WAIT_S:
            raise TryAgain(
                "the cluster has no workers any more", "start some, then run the same command again"
            )

    def _ask_scheduler(self) -> Mapping[str, Mapping[str, Any]]:
        scheduler = self.client.scheduler
        if scheduler is None or self.client.status != "running":
            raise scheduler_gone()
        try:
            known = self.client.sync(scheduler.identity, n_workers=-1, callback_timeout=_ANSWER_S)
        except (OSError, TimeoutError) as error:
            raise scheduler_gone() from error
        workers: Mapping[str, Mapping[str, Any]] = known["workers"]
        return workers

    def holder(self, key: Key) -> tuple[str, bool]:
        """Return the worker that holds a task, ``""`` if none does, and whether the task is first in its line."""
        for address, keys in self.client.processing().items():
            if key in keys:
                return address, key == next(iter(keys))
        return "", False

    def restart(self, address: str) -> None:
        """Kill a worker that does not come back; its nanny starts another. Without a nanny it is left to itself."""
        with suppress(ValueError, OSError, TimeoutError):
            self.client.restart_workers([address], timeout=_RESTART_S, raise_for_error=False)


def scheduler_gone() -> TryAgain:
    """The error of a run whose scheduler does not answer any more."""
    return TryAgain(
        "the scheduler went away", "start it again, then run the same command: it does what is missing"
    )


class _Attempt:
    """One round over some units."""

    def __init__(self, cluster: _Cluster, job: Job, number: int, unit_timeout_s: float) -> None:
        self._cluster = cluster
        self._job = job
        self._number = number
        self._timeout_s = unit_timeout_s
        self._in_flight: dict[Key, _InFlight] = {}

    def run(self, units: Iterable[Unit], window: Callable[[], int]) -> Iterator[tuple[Unit, Outcome] | _Lost]:
        """Submit units as others end, and yield what becomes of each."""
        waiting = iter(units)
        completed = as_completed(loop=self._cluster.client.loop)
        exhausted = False
        while True:
            while not exhausted and len(self._in_flight) < window():
                unit = next(waiting, None)
                exhausted = unit is None
                if unit is not None:
                    completed.add(self._submit(unit))
            if exhausted and not self._in_flight:
                return
            ended = deque(completed.next_batch(block=False))
            for future in ended:
                if future.key not in self._in_flight:
                    continue  # it was given up
                if future.status == "pending":
                    completed.add(future)  # it had ended, but its result went with a worker
                else:
                    yield self._ended(future)
            if not ended:
                yield from self._overdue()
                self._cluster.look()
                sleep(_POLL_S)

    def _submit(self, unit: Unit) -> Future[Outcome]:
        key = f"{self._job.job_id}/{unit.output}/{self._number}"
        future = self._cluster.client.submit(run_unit, self._job, unit, key=key, pure=False)
        self._in_flight[key] = _InFlight(unit, future)
        return future

    def _ended(self, future: Future[Outcome]) -> tuple[Unit, Outcome] | _Lost:
        """A task returns its failures; what it raises comes from the cluster, which lost it."""
        unit = self._in_flight.pop(future.key).unit
        if future.status == "finished":
            return self._fetched(future, unit)
        error = future.exception() if future.status == "error" else None
        future.release()
        if not isinstance(error, KilledWorker):
            self._cluster.look(
                now=True
            )  # the scheduler may have gone; else it dropped the task with a worker
            return _Lost(unit, "worker_lost", f"the cluster dropped it: {error or future.status}")
        address = error.last_worker.address
        held = self._cluster.memory.get(address, "an unknown amount of memory")
        return _Lost(unit, "worker_lost", f"its worker {address} died; it last held {held}")

    def _fetched(self, future: Future[Outcome], unit: Unit) -> tuple[Unit, Outcome] | _Lost:
        """Get a result from the worker that holds it; if that does not answer, the next round finds the record."""
        try:
            result = future.result(timeout=_FETCH_S)
        except TimeoutError:
            return _Lost(unit, "worker_lost", f"its worker did not hand over the result within {_FETCH_S} s")
        except OSError as error:
            raise scheduler_gone() from error
        finally:
            future.release()
        worker = result.worker if isinstance(result, Failure) else result.get("worker", "")
        self._cluster.finished_at[worker] = monotonic()
        return unit, result

    def _overdue(self) -> Iterator[_Lost]:
        """Give up units that have run too long, and the workers with them."""
        for key, flight in list(self._in_flight.items()):
            if monotonic() - flight.since <= self._timeout_s:
                continue
            address, is_first = self._cluster.holder(key)
            started = max(flight.since, self._cluster.finished_at.get(address, 0.0))
            if not is_first or monotonic() - started <= self._timeout_s:
                continue  # it waits for another
            del self._in_flight[key]
            flight.future.cancel()
            self._cluster.restart(address)
            why = f"it ran longer than {self._timeout_s:g} s on {address}"
            yield _Lost(flight.unit, "unit_timeout", why)
