"""Waiting for workers: for the first one, which a queue may keep back for long.

The rule: nothing waits without an end, and every half minute it is said what is waited for. This module does not know
where workers come from.
"""

from __future__ import annotations

from time import monotonic, sleep
from typing import TYPE_CHECKING

from lvm_batch.jobs.clusters.scheduler import ANSWER_S, workers_of
from lvm_batch.jobs.errors import TryAgain

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from distributed import Client

CLUSTER_WAIT_S = 600.0
"""How long to wait for workers of a cluster that is started for the run: its queue may be long."""

_LOOK_EVERY_S = 0.1
_NOTE_EVERY_S = 30.0


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
    """Wait for ``n_workers``; raises :class:`TryAgain` after ``wait_s``, once one was ``refused`` and none came, or
    where the scheduler goes away.

    ``where`` says whose workers they are, ``hint`` what to do if none comes.
    """
    began = noted = monotonic()
    while (n_come := _come(client, wait_s)) < n_workers:
        now = monotonic()
        if refused:
            raise TryAgain(f"{where} was refused a worker: {refused[0]}", hint)
        if now - noted >= _NOTE_EVERY_S:
            noted = now
            tell(f"waiting for a worker of {where}: {now - began:.0f} s of {wait_s:g} s")
        if now - began >= wait_s:
            some = f"{n_come} of {n_workers}" if n_come else "no"
            raise TryAgain(f"{where} has {some} workers after {wait_s:g} s", hint)
        sleep(_LOOK_EVERY_S)


def _come(client: Client, wait_s: float) -> int:
    workers = workers_of(client, timeout_s=min(ANSWER_S, wait_s))
    return sum(worker["status"] == "running" for worker in workers.values())
