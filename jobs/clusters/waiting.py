"""The workers that a scheduler reports: lists them, and waits until they are there.

The rule: every request and every wait has a time limit, and a line every half minute says what the run waits for.
"""

from __future__ import annotations

from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from lvm_batch.jobs.console.text import plural
from lvm_batch.jobs.errors import TryAgain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from distributed import Client

CLUSTER_WAIT_S = 600.0
"""How long to wait for workers of a cluster that is started for the run: its queue may be long."""

_ANSWER_S = 10
_LOOK_EVERY_S = 0.1
_NOTE_EVERY_S = 30.0


def workers_of(client: Client, *, timeout_s: float = _ANSWER_S) -> Mapping[str, Mapping[str, Any]]:
    """Return the scheduler's information on each worker, by address; raises :class:`TryAgain` if it does not answer."""
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
    """Return the error of a run whose scheduler does not answer any more."""
    return TryAgain(
        "the scheduler is gone", "start it again, then run the same command: it computes what is missing"
    )


def n_slots(client: Client) -> int:
    """Return how many tasks the cluster can run at once now; raises :class:`TryAgain` if the scheduler is gone."""
    return max(1, sum(int(worker["nthreads"]) for worker in workers_of(client).values()))


def worker_memory(worker: Mapping[str, Any]) -> str:
    """Describe how much memory a worker held when it last reported, and how much it may have."""
    held = worker["metrics"].get("memory", 0) / 2**20
    limit = worker["memory_limit"]
    return f"{held:,.0f} MiB" + (f" of {limit / 2**20:,.0f} MiB" if limit else "")


def await_workers(
    client: Client,
    wait_s: float,
    *,
    where: str,
    hint: str,
    n_workers: int = 1,
    tell: Callable[[str], object] = lambda _: None,
    refused: Sequence[str] = (),
) -> None:
    """Wait until ``n_workers`` are running.

    Raises :class:`TryAgain` after ``wait_s`` seconds, as soon as ``refused`` has an entry, or if the scheduler goes
    away. ``where`` says whose workers they are, ``hint`` what to do if none comes.
    """
    began = last_note = monotonic()
    while (n_come := _n_running(client, wait_s)) < n_workers:
        now = monotonic()
        if refused:
            raise TryAgain(f"{where} cannot start a worker: {refused[0]}", hint)
        if now - last_note >= _NOTE_EVERY_S:
            last_note = now
            tell(f"waiting for a worker of {where}: {now - began:.0f} s of {wait_s:g} s")
        if now - began >= wait_s:
            some = f"{n_come} of {plural(n_workers, 'worker')}" if n_come else "no workers"
            raise TryAgain(f"{where} has {some} after {wait_s:g} s", hint)
        sleep(_LOOK_EVERY_S)


def _n_running(client: Client, wait_s: float) -> int:
    workers = workers_of(client, timeout_s=min(_ANSWER_S, wait_s))
    return sum(worker["status"] == "running" for worker in workers.values())
