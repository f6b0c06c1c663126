"""The workers of a cluster, as the driver sees them: how many tasks fit, what they hold, which of them stands still.

The rule: the scheduler is asked at most once a second, and never waited for without an end. This module does not know
what the tasks are.
"""

from __future__ import annotations

from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

from lvm_batch.jobs.errors import TryAgain
from lvm_batch.jobs.prediction.cluster import WAIT_S, worker_memory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask.typing import Key
    from distributed import Client

_LOOK_EVERY_S = 1.0
_RESTART_S = 4
_SHORT_S = 0.5  # a task that waits at a worker spares it some 10 ms, and may wait there while another has nothing to do
_ANSWER_S = 10


class Workers:
    """What is known of the workers, looked up at most once a second."""

    def __init__(self, client: Client) -> None:
        self.client = client
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
        """Tasks to keep submitted: one to each slot, and one more where they end so soon that it would stand idle."""
        return self.n_slots * (2 if self._are_short else 1)

    def took(self, task_s: float) -> None:
        """Take note of how long a task was on its way."""
        self._are_short = task_s < _SHORT_S

    def look(self, *, now: bool = False) -> None:
        """Look at the workers; raises :class:`TryAgain` if there is no scheduler, or for long no worker."""
        if monotonic() - self._looked < _LOOK_EVERY_S and not now:
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
