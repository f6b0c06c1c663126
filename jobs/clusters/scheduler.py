"""What a scheduler knows of its workers.

The rule: it is never waited for without an end; one that does not answer ends the run, which may be tried again. This
module does not know what the workers are for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lvm_batch.jobs.errors import TryAgain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distributed import Client

ANSWER_S = 10


def workers_of(client: Client, *, timeout_s: float = ANSWER_S) -> Mapping[str, Mapping[str, Any]]:
    """Return what the scheduler tells of each worker, by its address; raises :class:`TryAgain` if it does not."""
    scheduler = client.scheduler
    if scheduler is None or client.status != "running":
        raise scheduler_gone()
    try:
        known = client.sync(scheduler.identity, n_workers=-1, callback_timeout=timeout_s)
    except (OSError, TimeoutError) as error:
        raise scheduler_gone() from error
    workers: Mapping[str, Mapping[str, Any]] = known["workers"]
    return workers


def scheduler_gone() -> TryAgain:
    """The error of a run whose scheduler does not answer any more."""
    return TryAgain(
        "the scheduler went away", "start it again, then run the same command: it does what is missing"
    )
