"""The workers of a cluster, as the driver sees them: how many tasks fit, what they hold, which of them is stuck.

The rule: ask the scheduler at most once a second, and never wait for it without a time limit; a refused worker counts
for nothing.
"""

from __future__ import annotations

from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

from lvm_batch.jobs.clusters.backend import LOCAL_WORKERS
from lvm_batch.jobs.clusters.versions import describe, version_differences
from lvm_batch.jobs.clusters.waiting import worker_memory, workers_of
from lvm_batch.jobs.errors import TryAgain
from lvm_batch.jobs.models.self_check import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from dask.typing import Key
    from distributed import Client

    from lvm_batch.jobs.clusters.backend import WorkerExpectations

_LOOK_EVERY_S = 1.0
_RESTART_S = 4
_SHORT_S = 0.5  # a task queued at a worker saves some 10 ms, but may wait there while another worker is idle
_AHEAD = 5
"""Tasks submitted for each slot that may come: Dask requests workers by the time that the submitted tasks will take."""


class Workers:
    """The workers, looked up at most once a second; ``on_refused`` is called with each that is refused."""

    def __init__(
        self,
        client: Client,
        on_refused: Callable[[Refusal], None] = lambda _: None,
        *,
        expectations: WorkerExpectations = LOCAL_WORKERS,
    ) -> None:
        self.client = client
        self._expected = expectations
        self._known: set[str] = set()
        self._slots_each = 1
        self._on_refused = on_refused
        self._refused: dict[str, Refusal] = {}
        self._fit: frozenset[str] = frozenset()
        self.memory: dict[str, str] = {}
        self.finished_at: dict[str, float] = {}
        self._n_slots = 0
        self._are_short = False
        self._looked = -_LOOK_EVERY_S
        self._seen_workers = monotonic()

    @property
    def n_slots(self) -> int:
        """Tasks that the cluster can run at once, at least 1."""
        self.look()
        return max(1, self._n_slots)

    def window(self, n_waiting: int) -> int:
        """Tasks to keep submitted while ``n_waiting`` others wait here: two for each slot.

        A slot begins its second task as soon as the first one is computed, while that is being committed. Near the end
        it is one task for each slot, unless tasks are short: a second one would wait at a worker while another is idle.
        If the cluster starts workers as there is work, more tasks must be waiting.
        """
        if self._expected.most_workers:
            return _AHEAD * self.most_slots
        return self.n_slots * (2 if self._are_short or n_waiting > self.n_slots else 1)

    @property
    def most_slots(self) -> int:
        """Tasks that the cluster can run at once when all workers that may come have come."""
        return max(self.n_slots, (self._expected.most_workers or 0) * self._slots_each)

    @property
    def allowed(self) -> frozenset[str] | None:
        """The workers that tasks may go to; ``None`` means any, including workers that join later."""
        return self._fit if self._refused else None

    def refuse(self, refusal: Refusal) -> None:
        """Give a worker no more work; raises :class:`TryAgain` if none is left."""
        if refusal.worker not in self._refused:
            self._refused[refusal.worker] = refusal
            self._on_refused(refusal)
            self.look(now=True)

    def is_stranded(self, allowed: frozenset[str] | None) -> bool:
        """Whether a task that may go to ``allowed`` has none of them left."""
        return allowed is not None and not allowed & self._fit

    def note_duration(self, task_s: float) -> None:
        """Note how long a task took, from its submission to its end."""
        self._are_short = task_s < _SHORT_S

    def look(self, *, now: bool = False) -> None:
        """Look up the workers, at most once a second unless ``now``.

        Raises :class:`TryAgain` if the scheduler is gone, if there have been no workers for too long, or if all are
        refused.
        """
        if monotonic() - self._looked < _LOOK_EVERY_S and not now:
            return
        workers = self._ask_scheduler()
        self._looked = monotonic()
        if self._expected.may_differ:
            self._check_joiners(workers)
        fit = {address: worker for address, worker in workers.items() if address not in self._refused}
        self._fit = frozenset(fit)
        for address in fit:  # a worker that joins late has had nothing to do yet
            self.finished_at.setdefault(address, self._looked)
        self._n_slots = sum(int(worker["nthreads"]) for worker in fit.values())
        self.memory.update({address: worker_memory(worker) for address, worker in fit.items()})
        if fit:
            self._slots_each = max(1, self._n_slots // len(fit))
            self._seen_workers = self._looked
        elif workers:
            raise self._no_worker_left()
        elif self._looked - self._seen_workers > self._expected.wait_s:
            raise TryAgain("the cluster has no workers left", "start some, then run the same command again")

    def _check_joiners(self, workers: Collection[str]) -> None:
        """Refuse workers that joined since the last look with another lvm-batch, or without one that checks itself."""
        joined = [address for address in workers if address not in self._known]
        self._known.update(joined)
        for other in version_differences(self.client, joined) if joined else ():
            if other.is_ours and other.worker not in self._refused:
                why = f"this run uses lvm-batch {other.ours}"
                found = Refusal(why, describe(other), worker=other.worker, host=other.host)
                self._refused[other.worker] = found
                self._on_refused(found)

    def _no_worker_left(self) -> TryAgain:
        first, *others = self._refused.values()
        return TryAgain(
            f"no worker can be used for this job{f', {len(others) + 1} were refused' if others else ''}: {first.text}",
            "fix that, or use other workers, then run the same command again",
        )

    def _ask_scheduler(self) -> Mapping[str, Mapping[str, Any]]:
        return workers_of(self.client)

    def holder(self, key: Key) -> tuple[str, bool]:
        """Return the worker that holds a task, ``""`` if none does, and whether the task is the first in its queue."""
        for address, keys in self.client.processing().items():
            if key in keys:
                self.look(now=address not in self.finished_at)
                return address, key == next(iter(keys))
        return "", False

    def restart(self, address: str) -> None:
        """Kill a worker that is stuck; its nanny starts another. A worker without a nanny is left alone."""
        with suppress(ValueError, OSError, TimeoutError):
            self.client.restart_workers([address], timeout=_RESTART_S, raise_for_error=False)
