"""Drives the units of a run over a cluster, a bounded number at a time.

The rule: every unit ends as a record or a failure, even if workers die. The driver keeps twice as many tasks submitted
as the cluster has slots, and fewer near the end. The window is kept here because tasks with ``resources=`` bypass the
scheduler's own queue (distributed#9164).

A worker that dies loses every unit it held, and nobody knows which of them killed it. So units are tried in three
rounds: all units, small ones in groups; then the lost units, one to a slot; then those lost again, one at a time with
nothing beside them. A unit that loses its worker in the last round too is reported as failed.

A worker whose self-check fails returns its units uncomputed and gets no others; from then on, each task names the
workers that it may go to. The worker is left running, because on a scheduler that the user started it may serve others.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING
from uuid import uuid4

from distributed.scheduler import KilledWorker

from lvm_batch.jobs.clusters.backend import LOCAL_WORKERS
from lvm_batch.jobs.clusters.waiting import scheduler_gone
from lvm_batch.jobs.models.self_check import Refusal
from lvm_batch.jobs.prediction.execution.grouping import group_units
from lvm_batch.jobs.prediction.execution.worker import Failure, run_units
from lvm_batch.jobs.prediction.execution.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dask.typing import Key
    from distributed import Client, Future

    from lvm_batch.io.dataset.units import Unit
    from lvm_batch.io.output.commit_record import CommitRecord
    from lvm_batch.jobs.clusters.backend import WorkerExpectations
    from lvm_batch.jobs.prediction.execution.grouping import Group
    from lvm_batch.jobs.prediction.planning.job import Job

    Outcome = CommitRecord | Failure

_PATIENCE_S = 0.5
_FETCH_S = 10


@dataclass(frozen=True, slots=True)
class _Loss:
    """A unit lost with its worker, which died or took too long; ``why`` is the reason as text."""

    unit: Unit
    kind: str
    why: str


@dataclass(slots=True)
class _PendingGroup:
    """A submitted group of units, the workers it may go to, and the time when it was submitted."""

    group: Group
    future: Future[list[Outcome | Refusal]]
    allowed: frozenset[str] | None
    since: float = field(default_factory=monotonic)


def drive(
    client: Client,
    job: Job,
    units: Sequence[Unit],
    *,
    unit_timeout_s: float,
    on_refused: Callable[[Refusal], None] = lambda _: None,
    on_waiting: Callable[[], None] = lambda: None,
    expectations: WorkerExpectations = LOCAL_WORKERS,
) -> Iterator[tuple[Unit, Outcome]]:
    """Compute ``units`` on the cluster; yield each with its record or failure, as they end.

    If a unit runs longer than ``unit_timeout_s``, its worker is restarted. ``on_refused`` is called with each worker
    that is refused, ``on_waiting`` twice a second while no unit ends.
    Raises :class:`TryAgain` if the scheduler goes away, if there are no workers for longer than expected, or if all
    workers are refused.
    """
    workers = Workers(client, on_refused, expectations=expectations)
    key = f"{job.job_id}/{uuid4().hex}"
    windows: tuple[Callable[[int], int], ...] = (workers.window, lambda _: workers.n_slots, lambda _: 1)
    groups = list(group_units(units, workers.most_slots))
    for number, window in enumerate(windows):
        round_ = _Round(workers, job, f"{key}/{number}", unit_timeout_s=unit_timeout_s, on_waiting=on_waiting)
        lost: list[_Loss] = []
        for outcome in round_.run(groups, window):
            if isinstance(outcome, _Loss):
                lost.append(outcome)
            else:
                yield outcome
        groups = [(loss.unit,) for loss in lost]
    for loss in lost:
        message = f"{loss.unit.output}: tried {len(windows)} times, the last time alone; {loss.why}"
        yield loss.unit, Failure(loss.unit.output, loss.kind, message, _HINTS[loss.kind])


_HINTS = {
    "worker_lost": "check the workers' logs; if memory ran out, use fewer --workers or smaller row groups",
    "unit_timeout": "give it more time with --unit-timeout, or split the input into smaller row groups",
}


class _Round:
    """One round over some groups of units; ``key`` is the prefix of its tasks' keys.

    No other round of any run has the same ``key``: a scheduler treats tasks of the same key as one task.
    """

    def __init__(
        self, workers: Workers, job: Job, key: str, *, unit_timeout_s: float, on_waiting: Callable[[], None]
    ) -> None:
        self._workers = workers
        self._job = job
        self._key = key
        self._timeout_s = unit_timeout_s
        self._on_waiting = on_waiting
        self._waiting: deque[Group] = deque()
        self._tries = count()
        self._pending: dict[Key, _PendingGroup] = {}
        self._completed: SimpleQueue[Future[list[Outcome | Refusal]]] = SimpleQueue()

    def run(
        self, groups: Sequence[Group], window: Callable[[int], int]
    ) -> Iterator[tuple[Unit, Outcome] | _Loss]:
        """Submit groups as others end, and yield the outcome of each unit.

        ``window`` tells for the number of groups not submitted yet how many may be.
        """
        self._waiting.extend(groups)
        while self._waiting or self._pending:
            while self._waiting and len(self._pending) < window(len(self._waiting)):
                self._submit(self._waiting.popleft())
            future = self._next_completed()
            if future is None:
                self._on_waiting()
                self._workers.look()
                self._resubmit_stranded()
            elif future.status == "pending":  # it had ended, but its result was lost with a worker
                future.add_done_callback(self._completed.put)
            elif future.key in self._pending:  # else it was given up
                yield from self._finish(future)
            yield from self._give_up_overdue()

    def _next_completed(self) -> Future[list[Outcome | Refusal]] | None:
        with suppress(Empty):
            return self._completed.get(timeout=_PATIENCE_S)
        return None

    def _submit(self, group: Group) -> None:
        # A group that returns from a refused worker needs another key, or the scheduler gives it its first result.
        key = f"lvm-batch-{self._key}.{next(self._tries)}/{group[0].output}"
        allowed = self._workers.allowed
        future = self._workers.client.submit(
            run_units, self._job, group, key=key, pure=False, workers=allowed and list(allowed)
        )
        self._pending[key] = _PendingGroup(group, future, allowed)
        future.add_done_callback(self._completed.put)

    def _resubmit_stranded(self) -> None:
        """Submit a group again if none of its workers is left: the scheduler would wait even if others join."""
        for key, pending in list(self._pending.items()):
            if self._workers.is_stranded(pending.allowed):
                del self._pending[key]
                pending.future.cancel()
                self._waiting.appendleft(pending.group)

    def _finish(self, future: Future[list[Outcome | Refusal]]) -> Iterator[tuple[Unit, Outcome] | _Loss]:
        """Yield the outcomes of a task that ended. A task returns its failures: if it raises, the cluster lost it."""
        pending = self._pending.pop(future.key)
        group = pending.group
        if future.status == "finished":
            self._workers.note_duration(monotonic() - pending.since)
            yield from self._fetch(future, group)
            return
        error = future.exception() if future.status == "error" else None
        future.release()
        if isinstance(error, KilledWorker):
            address = error.last_worker.address
            held = self._workers.memory.get(address, "an unknown amount of memory")
            why = f"its worker {address} died; it last held {held}"
        else:
            # The scheduler may have gone; else it dropped the task with a worker.
            self._workers.look(now=True)
            why = f"the cluster dropped it: {error or future.status}"
        yield from _lose_all(group, "worker_lost", why)

    def _fetch(
        self, future: Future[list[Outcome | Refusal]], group: Group
    ) -> Iterator[tuple[Unit, Outcome] | _Loss]:
        """Fetch a result from the worker that holds it; if it does not answer, the next round finds the records."""
        try:
            outcomes = future.result(timeout=_FETCH_S)
        except TimeoutError:
            why = f"its worker did not return the result within {_FETCH_S} s"
            yield from _lose_all(group, "worker_lost", why)
            return
        except OSError as error:
            raise scheduler_gone() from error
        finally:
            future.release()
        last = outcomes[-1]
        self._workers.finished_at[last.worker] = monotonic()
        refused = []
        for unit, outcome in zip(group, outcomes, strict=True):
            if isinstance(outcome, Refusal):
                refused.append(unit)
            else:
                yield unit, outcome
        if isinstance(last, Refusal):
            self._waiting.appendleft(tuple(refused))
            self._workers.refuse(last)

    def _give_up_overdue(self) -> Iterator[_Loss]:
        """Give up groups that run too long, and restart their workers.

        A group has no more time than a unit: it is small, and its units are tried again one by one.
        """
        for key, pending in list(self._pending.items()):
            if monotonic() - pending.since <= self._timeout_s:
                continue
            address, is_first = self._workers.holder(key)
            started = max(pending.since, self._workers.finished_at.get(address, 0.0))
            if not is_first or monotonic() - started <= self._timeout_s:
                continue  # it waits behind another task
            del self._pending[key]
            pending.future.cancel()
            self._workers.restart(address)
            why = f"it ran longer than {self._timeout_s:g} s on {address}"
            yield from _lose_all(pending.group, "unit_timeout", why)


def _lose_all(group: Group, kind: str, why: str) -> Iterator[_Loss]:
    return (_Loss(unit, kind, why) for unit in group)
