"""The workers of a cluster, as the driver sees them: how many tasks fit, what they hold, which of them stands still.

The rule: the scheduler is asked at most once a second, and never waited for without an end; a worker that was refused
counts for nothing. This module does not know what the tasks are.
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
_SHORT_S = 0.5  # a task that waits at a worker spares it some 10 ms, and may wait there while another has nothing to do
_AHEAD = 5
"""Tasks submitted for each slot that may come: Dask asks for workers by how long what is submitted will take."""


class Workers:
    """What is known of the workers, looked up at most once a second; ``on_refused`` hears of each that is refused."""

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

    @property
    def window(self) -> int:
        """Tasks to keep submitted: one to each slot, and one more where they end so soon that it would stand idle.

        Where workers come as there is work, more of it must be seen to be waiting.
        """
        if self._expected.most_workers:
            return _AHEAD * self.most_slots
        return self.n_slots * (2 if self._are_short else 1)

    @property
    def most_slots(self) -> int:
        """Tasks that the cluster can run at once when all workers have come that may, of those that are known of."""
        return max(self.n_slots, (self._expected.most_workers or 0) * self._slots_each)

    @property
    def allowed(self) -> frozenset[str] | None:
        """The workers that tasks may go to, ``None`` while that is any: also those to come, who check themselves."""
        return self._fit if self._refused else None

    def refuse(self, refusal: Refusal) -> None:
        """Give a worker no more work; raises :class:`TryAgain` where none is left."""
        if refusal.worker not in self._refused:
            self._refused[refusal.worker] = refusal
            self._on_refused(refusal)
            self.look(now=True)

    def is_stranded(self, allowed: frozenset[str] | None) -> bool:
        """Whether a task that may go to ``allowed`` has none of them left."""
        return allowed is not None and not allowed & self._fit

    def took(self, task_s: float) -> None:
        """Take note of how long a task was on its way."""
        self._are_short = task_s < _SHORT_S

    def look(self, *, now: bool = False) -> None:
        """Look at the workers; raises :class:`TryAgain` if there is no scheduler, for long no worker, or none that may
        work.
        """
        if monotonic() - self._looked < _LOOK_EVERY_S and not now:
            return
        workers = self._ask_scheduler()
        self._looked = monotonic()
        if self._expected.may_differ:
            self._check_joiners(workers)
        fit = {address: worker for address, worker in workers.items() if address not in self._refused}
        self._fit = frozenset(fit)
        self._n_slots = sum(int(worker["nthreads"]) for worker in fit.values())
        self.memory.update({address: worker_memory(worker) for address, worker in fit.items()})
        if fit:
            self._slots_each = max(1, self._n_slots // len(fit))
            self._seen_workers = self._looked
        elif workers:
            raise self._none_left()
        elif self._looked - self._seen_workers > self._expected.wait_s:
            raise TryAgain(
                "the cluster has no workers any more", "start some, then run the same command again"
            )

    def _check_joiners(self, workers: Collection[str]) -> None:
        """Refuse those that came since the last look and have another lvm-batch, or none to refuse by themselves."""
        joined = [address for address in workers if address not in self._known]
        self._known.update(joined)
        for other in version_differences(self.client, joined) if joined else ():
            if other.is_ours and other.worker not in self._refused:
                why = f"this run has lvm-batch {other.ours}"
                found = Refusal(why, describe(other), worker=other.worker, host=other.host)
                self._refused[other.worker] = found
                self._on_refused(found)

    def _none_left(self) -> TryAgain:
        first, *others = self._refused.values()
        return TryAgain(
            f"no worker may work on this job{f', {len(others) + 1} were refused' if others else ''}: {first.text}",
            "mend what is named, or use other workers, then run the same command again",
        )

    def _ask_scheduler(self) -> Mapping[str, Mapping[str, Any]]:
        return workers_of(self.client)

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
